"""Room is looked for before work begins; what would fit is never refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cytovox.blockwise.block_preflight import volume_need
from cytovox.cli.main import main
from cytovox.errors import StorageError
from cytovox.logic import DCNumJobRunner, DCNumPipelineJob
from cytovox.logic.preflight import job_need
from cytovox.read import HDF5Data
from cytovox.read.open_volume import open_volume
from cytovox.run import folder_room
from cytovox.run.folder_room import MARGIN, Need, NotEnoughMemoryError, check_need
from cytovox.run.memory import MemoryLimit
from cytovox.testing import simulate_recording


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let so many bytes of memory be allowed."""

    def set_allowed(number: int) -> None:
        limit = MemoryLimit(number, "limit of a test")
        monkeypatch.setattr(folder_room, "memory_allowed", lambda: limit)

    return set_allowed


def need_of(path: Path, **kwargs: Any) -> Need:
    job = DCNumPipelineJob(path, num_procs=2, **kwargs)
    with HDF5Data(path, **job["data_kwargs"]) as data:
        return job_need(job, data)


def test_refused_warned_or_fine(free: Callable[[int], None], tmp_path: Path) -> None:
    need = Need(1000, 5000, 0)
    free(int(5000 * MARGIN))
    assert check_need(need, tmp_path) is None
    free(int(5000 * MARGIN) - 1)
    warning = check_need(need, tmp_path)
    assert warning is not None
    assert "may be needed" in warning
    free(int(1000 * MARGIN))
    assert check_need(need, tmp_path) is not None
    free(int(1000 * MARGIN) - 1)
    with pytest.raises(StorageError, match="are needed and 0.0 MB are free") as caught:
        check_need(need, tmp_path / "not" / "there" / "yet")
    assert caught.value.exit_code == 74
    assert "--no-preflight" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_already_needs_no_room(free: Callable[[int], None], tmp_path: Path) -> None:
    (tmp_path / "half").write_bytes(bytes(1000))
    free(200)
    with pytest.raises(StorageError):
        check_need(Need(1000, 1000, 0), tmp_path)
    assert check_need(Need(1000, 1000, 0), tmp_path, already=[tmp_path / "half"]) is None


def test_memory(allowed: Callable[[int], None], tmp_path: Path) -> None:
    need = Need(0, 0, 5_000_000)
    allowed(5_000_000)
    assert check_need(need, tmp_path) is None
    with pytest.raises(NotEnoughMemoryError, match="4.0 MB are allowed: what was asked for"):
        check_need(need, tmp_path, memory=4_000_000)
    allowed(4_999_999)
    with pytest.raises(NotEnoughMemoryError, match="limit of a test"):
        check_need(need, tmp_path)


def background_bytes(path: Path, how: dict[str, Any]) -> int:
    """Return the size of the temporary file with the background."""
    job = DCNumPipelineJob(path, path.with_name("other.rtdc"), num_procs=2, **how)
    with DCNumJobRunner(job) as runner:
        runner.task_background()
        return runner.path_temp_in.stat().st_size


@pytest.mark.parametrize(
    ("background", "compression", "strategy"),
    [  # each pair of values
        ("sparsemed", "zstd-5", "drain"),
        ("sparsemed", "none", "tap"),
        ("rollmed", "zstd-5", "tap"),
        ("rollmed", "none", "drain"),
    ],
)
def test_no_result_is_smaller_than_is_asked_for(
    raw: Path, tmp_path: Path, run_job: Any, strategy: str, compression: str, background: str
) -> None:
    how = {
        "basin_strategy": strategy,
        "compression": compression,
        "background_code": background,
    }
    need = need_of(raw, **how)
    out = tmp_path / "out.rtdc"
    run_job(raw, out, **how)
    size = out.stat().st_size + background_bytes(raw, how)
    assert MARGIN * need.least_bytes <= size
    assert need.least_bytes <= need.likely_bytes
    # Not far off either, beside the fixed costs of a small file.
    assert size < 3 * need.likely_bytes + 200_000


def test_real_recordings_are_not_overestimated(shared_data: Path, tmp_path: Path) -> None:
    for name in ("cytoshot_2023", "shapein_variable_length_logs"):
        path = tmp_path / f"{name}.rtdc"
        shutil.copy(shared_data / "recordings" / path.name, path)
        need = need_of(path)
        assert main(["run", "-q", str(path)]) in (0, 3)
        size = path.with_name(f"{name}_dcn.rtdc").stat().st_size
        assert MARGIN * need.least_bytes <= size
        assert need.likely_bytes < 1.4 * size  # several events may share an image


def test_frames_without_cells_need_next_to_nothing(tmp_path: Path) -> None:
    path = tmp_path / "empty.rtdc"
    simulate_recording(path, frames=100, seed=1, empty=1.0, save_truth=False)
    assert need_of(path).least_bytes < 200_000


@pytest.mark.parametrize("frames", [1, 2])
def test_very_short_recordings(tmp_path: Path, frames: int) -> None:
    path = tmp_path / "short.rtdc"
    with h5py.File(path, "w") as h5:
        h5.attrs.update({"experiment:event count": frames, "imaging:pixel size": 0.3})
        h5["events/image"] = np.full((frames, 60, 120), 100, np.uint8)
    need = need_of(path)
    assert 0 <= need.least_bytes <= need.likely_bytes < 50_000


def test_noise_makes_no_events(tmp_path: Path) -> None:
    path = tmp_path / "noise.rtdc"
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as h5:
        h5.attrs.update({"experiment:event count": 20, "imaging:pixel size": 0.3})
        h5["events/image"] = rng.integers(0, 255, (20, 500, 500), dtype=np.uint8)
    assert need_of(path, basin_strategy="tap").least_bytes < 1_000_000


def run_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    main(["run", "--json", *words])
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def test_a_run_is_refused_before_anything_is_written(
    raw: Path, free: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    free(1000)
    out = raw.parent / "results"
    said = run_json(capsys, str(raw), "-o", str(out))
    assert said["exit_code"] == 74
    assert "are needed and 0.0 MB are free" in said["results"][0]["error"]
    assert not out.exists()
    said = run_json(capsys, str(raw), "-o", str(out), "--no-preflight")
    assert said["exit_code"] == 0
    assert (out / "raw_dcn.rtdc").exists()


def test_the_library_looks_for_room_as_well(raw: Path, free: Callable[[int], None]) -> None:
    free(1000)
    job = DCNumPipelineJob(raw, raw.parent / "out.rtdc")
    with DCNumJobRunner(job) as runner, pytest.raises(StorageError, match="are needed"):
        runner.run()
    assert [path.name for path in raw.parent.iterdir()] == [raw.name]
    with DCNumJobRunner(job, preflight=False) as runner:
        runner.run()
    assert runner.state == "done"


def test_a_run_that_may_not_fit_begins_with_a_warning(
    raw: Path, free: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    need = need_of(raw)
    free(int(MARGIN * (need.least_bytes + need.likely_bytes) / 2))
    said = run_json(capsys, str(raw))
    assert said["exit_code"] == 0
    assert any("may be needed" in text for text in said["results"][0]["warnings"])


def test_a_volume_is_refused_before_anything_is_written(
    tmp_path: Path,
    free: Callable[[int], None],
    allowed: Callable[[int], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    image = tmp_path / "image.npy"
    np.save(image, np.zeros((40, 200, 200), np.uint8))
    words = ["volume", "segment", str(image), str(tmp_path / "out" / "l.zarr"), "-f", "label"]
    words += ["--set", "threshold=100", "--block", "40", "--workers", "0", "-q"]
    free(1000)
    assert main(words) == 74
    free(1 << 40)
    allowed(1_000_000)
    assert main(words) == 1
    assert "of memory are needed" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["image.npy"]
    assert main([*words, "--no-preflight"]) == 0


def test_the_need_of_a_volume_grows_with_it(tmp_path: Path) -> None:
    needs = []
    for length in (50, 100):
        np.save(tmp_path / "a.npy", np.zeros((length, 100, 100), np.uint8))
        with open_volume(tmp_path / "a.npy") as volume:
            needs.append(volume_need(volume, (50, 50, 50), (8, 8, 8), 2))
    small, large = needs
    assert large.likely_bytes == 2 * small.likely_bytes
    assert large.memory_bytes >= small.memory_bytes > 2 * 66**3 * 5


def test_where_there_is_plenty_of_room_no_frame_is_read(raw: Path, tmp_path: Path) -> None:
    job = DCNumPipelineJob(raw, tmp_path / "out.rtdc", num_procs=2)
    with HDF5Data(raw) as data:
        thorough = job_need(job, data)
        quick = job_need(job, data, free=1 << 50)
        close = job_need(job, data, free=thorough.likely_bytes)
    assert thorough.likely_bytes > 0
    assert (quick.least_bytes, quick.likely_bytes) == (0, 0)
    assert quick.memory_bytes == thorough.memory_bytes
    assert close == thorough
