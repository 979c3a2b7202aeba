"""Small simulated recordings for tests of the runner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cytovox.logic import DCNumJobRunner, DCNumPipelineJob
from cytovox.testing import simulate_recording

SHAPE = (60, 120)


@pytest.fixture(scope="session")
def raw_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of 230 frames, simulated once; copy it, do not change it."""
    path = tmp_path_factory.mktemp("raw") / "raw.rtdc"
    simulate_recording(path, frames=230, seed=3, shape=SHAPE, frame_rate=100.0, save_truth=False)
    return path


@pytest.fixture
def raw(raw_template: Path, tmp_path: Path) -> Path:
    """A recording that a test may change."""
    path = tmp_path / "raw.rtdc"
    path.write_bytes(raw_template.read_bytes())
    return path


@pytest.fixture
def run_job() -> Callable[..., DCNumJobRunner]:
    """Return a function that runs a job and returns the closed runner."""

    def run(path_in: Path, path_out: Path, *, force: bool = False, **kwargs: Any):
        runner_kwargs = {k: kwargs.pop(k) for k in ("on_event", "processes") if k in kwargs}
        kwargs.setdefault("num_procs", 2)
        job = DCNumPipelineJob(path_in, path_out, **kwargs)
        with DCNumJobRunner(job, force=force, **runner_kwargs) as runner:
            runner.run()
        return runner

    return run


@pytest.fixture
def events_of() -> Callable[[Path], dict[str, np.ndarray]]:
    """Return a function that reads all features of a file."""

    def read(path: Path) -> dict[str, np.ndarray]:
        with h5py.File(path) as h5:
            found = {f"events/{k}": v[:] for k, v in h5["events"].items()}
            found.update(
                {f"basin_events/{k}": v[:] for k, v in h5.get("basin_events", {}).items()}
            )
            return found

    return read
