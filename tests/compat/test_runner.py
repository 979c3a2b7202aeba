"""What a runner leaves, and for how long, for programs that expect it of dcnum."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cytovox import logic
from cytovox.compat.dcnum.common import DCNumJobRunner
from cytovox.errors import CytovoxError
from cytovox.testing import simulate_recording


@pytest.fixture
def make_runner(tmp_path: Path) -> Callable[..., DCNumJobRunner]:
    """Return a function that makes a runner for a small recording."""
    simulate_recording(tmp_path / "raw.rtdc", frames=10, seed=4, shape=(40, 80))

    def make(*, force: bool = False, **kwargs: Any) -> DCNumJobRunner:
        out = tmp_path / "out.rtdc"
        job = logic.DCNumPipelineJob(tmp_path / "raw.rtdc", out, num_procs=1, **kwargs)
        return DCNumJobRunner(job, force=force)

    return make


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name.split(".")[0] != "raw"}


def test_the_temporary_input_is_there_until_the_end(
    make_runner: Callable[..., DCNumJobRunner], tmp_path: Path
) -> None:
    with make_runner() as runner:
        runner.run()
        assert runner.path_temp_in.exists()
        ours = {"out.rtdc.lock", runner.path_temp_in.name, runner.path_log.name}
        assert names(tmp_path) == {"out.rtdc"} | ours
        background = runner.dtin.image_bg
        assert background is not None
        assert np.all(np.abs(background[:].mean(axis=(1, 2)) - runner.draw.image[:].mean()) < 20)
    assert names(tmp_path) == {"out.rtdc"}


def test_the_temporary_input_goes_with_a_runner_that_is_never_closed(
    make_runner: Callable[..., DCNumJobRunner], tmp_path: Path
) -> None:
    runner = make_runner()
    runner.run()
    path = runner.path_temp_in
    assert path.exists()
    make_runner(force=True).run()  # no run has the output meanwhile
    assert path.exists()
    del runner
    assert names(tmp_path) <= {"out.rtdc"} | {p.name for p in tmp_path.glob("*.log")}


def test_a_run_as_a_thread_leaves_nothing_but_the_result(
    make_runner: Callable[..., DCNumJobRunner], tmp_path: Path
) -> None:
    runner = make_runner()
    runner.start()
    runner.join()
    assert runner.error_tb is None
    assert names(tmp_path) == {"out.rtdc"}


def test_the_log_stays_if_an_error_leaves_the_context(
    make_runner: Callable[..., DCNumJobRunner],
) -> None:
    with pytest.raises(ZeroDivisionError), make_runner() as runner:
        runner.run()
        _ = 1 / 0
    assert "Run start" in runner.path_log.read_text(encoding="utf-8")


def test_nothing_stays_of_a_run_that_cannot_begin(
    make_runner: Callable[..., DCNumJobRunner], tmp_path: Path
) -> None:
    wrong = make_runner(background_code="rollmed", background_kwargs={"kernel_size": 5})
    with pytest.raises(CytovoxError, match="not even"), wrong as runner:
        runner.run()
    assert names(tmp_path) == set()
