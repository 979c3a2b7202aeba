"""Bad input: one clear line, the right exit code, no traceback, nothing left behind."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from cytovox.cli.main import main
from cytovox.errors import InputError
from cytovox.logic import DCNumJobRunner, DCNumPipelineJob
from cytovox.read import HDF5Data
from cytovox.testing import simulate_recording


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "raw.rtdc"
    simulate_recording(path, frames=40, seed=5)
    return path


@pytest.fixture
def raw(good: Path, tmp_path: Path) -> Path:
    path = tmp_path / "raw.rtdc"
    shutil.copy(good, path)
    return path


def listing(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() if p.is_file() else b""
        for p in sorted(folder.rglob("*"))
    }


def fails(
    capsys: pytest.CaptureFixture[str], folder: Path, words: list[str], code: int, *told: str
) -> str:
    """Run, and check everything that is the same for all bad input."""
    before = listing(folder)
    got = main(["run", *words])
    out, err = capsys.readouterr()
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, err
    assert got == code, errors
    assert "Traceback" not in err + out
    assert "please report" not in errors[0]
    for text in told:
        assert text in errors[0]
    assert errors[0].endswith(")"), f"no hint what to do: {errors[0]}"
    assert listing(folder) == before
    return errors[0]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scribble(path: Path) -> None:
    path.write_text("time,area\n0,1\n", encoding="utf-8")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def without_images(path: Path) -> None:
    with h5py.File(path, "a") as h5:
        del h5["events/image"]


def without_events(path: Path) -> None:
    with h5py.File(path, "a") as h5:
        del h5["events"]


def with_frames(number: int) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with h5py.File(path, "a") as h5:
            for name in list(h5["events"]):
                values = h5["events"][name][:number]
                del h5["events"][name]
                h5["events"].create_dataset(name, data=values, maxshape=(None, *values.shape[1:]))
            h5.attrs["experiment:event count"] = number

    return change


def without_pixel_size(path: Path) -> None:
    with h5py.File(path, "a") as h5:
        del h5.attrs["imaging:pixel size"]


def lying(difference: int) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with h5py.File(path, "a") as h5:
            h5.attrs["experiment:event count"] = len(h5["events/image"]) + difference

    return change


def without_count(path: Path) -> None:
    with h5py.File(path, "a") as h5:
        del h5.attrs["experiment:event count"]


def colour(path: Path) -> None:
    with h5py.File(path, "a") as h5:
        shape = h5["events/image"].shape
        del h5["events/image"]
        h5["events/image"] = np.zeros((*shape, 3), dtype=np.uint8)


def times_of_pictures(path: Path) -> None:
    with h5py.File(path, "a") as h5:
        del h5["events/time"]
        h5["events/time"] = np.zeros((40, 3, 3))


def names_that_are_no_text(path: Path) -> None:
    with h5py.File(path, "a") as h5:
        h5["events"].create_dataset(b"\xff\xfe", data=np.zeros(40))


@pytest.mark.parametrize(
    ("spoil", "code", "told"),
    [
        pytest.param(times_of_pictures, 1, ["times"], id="times of another shape"),
        pytest.param(names_that_are_no_text, 1, ["is not text"], id="names that are not text"),
        pytest.param(cut, 1, ["cut short"], id="truncated"),
        pytest.param(scribble, 1, ["HDF5"], id="not HDF5"),
        pytest.param(empty, 1, ["empty"], id="empty file"),
        pytest.param(without_events, 1, ["events"], id="no events group"),
        pytest.param(without_images, 1, ["image"], id="no images"),
        pytest.param(with_frames(0), 1, ["no frames"], id="zero frames"),
        pytest.param(without_pixel_size, 1, ["pixel size", "pixel_size"], id="no pixel size"),
        pytest.param(lying(+7), 1, ["47", "40"], id="count too high"),
        pytest.param(lying(-7), 1, ["33", "40"], id="count too low"),
        pytest.param(colour, 1, ["image"], id="colour images"),
    ],
)
def test_spoilt_file(
    raw: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    code: int,
    told: list[str],
) -> None:
    spoil(raw)
    fails(capsys, tmp_path, [str(raw)], code, str(raw), *told)


def test_an_error_that_somebody_keeps_holds_up_nobody(raw: Path) -> None:
    good = Path(shutil.copy(raw, raw.with_name("good.rtdc")))
    with h5py.File(raw, "a") as h5:
        log = h5.create_dataset("logs/bad", (100,), "S80", chunks=(100,), compression=32015)
        log.id.write_direct_chunk((0,), b"no zstd")

    def measure() -> None:
        job = DCNumPipelineJob(good, good.with_name("out.rtdc"), num_procs=2)
        with DCNumJobRunner(job) as runner:
            runner.run()

    with HDF5Data(raw) as data, pytest.raises(InputError) as kept:
        _ = data.logs
    other = threading.Thread(target=measure, daemon=True)
    other.start()
    other.join(600)
    assert not other.is_alive(), f"who keeps '{kept.value}' has the lock of HDF5"
    assert good.with_name("out.rtdc").is_file()


def test_missing_count_is_taken_from_the_images(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without_count(raw)
    assert main(["run", str(raw)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[1] == "40"


def test_attributes_that_nobody_understands_do_no_harm(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(raw, "a") as h5:
        h5.attrs[b"\xff\xfe"] = 1
        h5.attrs["pipeline:dcnum hash"] = np.arange(3)
        h5.attrs["pipeline:dcnum yield"] = np.zeros(2, [("a", "i4"), ("b", "f8")])
    assert main(["run", str(raw)]) == 0
    result = raw.with_name(f"{raw.stem}_dcn.rtdc")
    with h5py.File(result) as h5:
        assert all(isinstance(key, str) for key in h5.attrs)
    assert main(["verify", str(result)]) == 0


def test_one_frame_is_an_input_like_any_other(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_frames(1)(raw)
    # The background of a single frame is that frame, so nothing stands out.
    assert main(["run", str(raw)]) == 3
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert "no events" in out


def test_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fails(capsys, tmp_path, [str(tmp_path / "gone.rtdc")], 74, "gone.rtdc")


def test_folder_without_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fails(capsys, tmp_path, [str(tmp_path)], 2, "no .rtdc recordings")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--segmenter", "nonsense"], ["segmenter", "nonsense", "thresh"]),
        (["--background", "nonsense"], ["background", "nonsense", "sparsemed"]),
        (["--set", "segmenter.tresh=-3"], ["tresh", "did you mean 'thresh'?"]),
        (["--set", "segmenter.thresh=3"], ["3", "below zero"]),
        (["--set", "background.kernel_size=0"], ["kernel_size"]),
        (["--set", "gate.size_thresh_mask=big"], ["size_thresh_mask", "whole number"]),
        (["--compression", "gzip"], ["gzip", "zstd"]),
        (["--frames", "9-3"], ["9-3", "rising"]),
        (["--basins", "leak"], ["leak", "drain"]),
        (["--workers", "0"], ["--workers"]),
        (["--nonsense"], ["--nonsense"]),
    ],
)
def test_wrong_usage(
    raw: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    told: list[str],
) -> None:
    fails(capsys, tmp_path, [str(raw), *words], 2, *told)


def test_frames_that_are_not_there(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for frames in ("3,41", "9" * 18, f"0-{'9' * 18}"):  # memory is for none of these
        fails(capsys, tmp_path, [str(raw), "--frames", frames], 2, str(raw), "40")


def test_missing_basin(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(raw), "--basins", "tap", "--quiet"]) == 0
    raw.unlink()
    result = tmp_path / "raw_dcn.rtdc"
    words = [str(result), "-o", str(tmp_path / "again.rtdc"), "--set", "segmenter.thresh=-4"]
    fails(capsys, tmp_path, words, 1, str(result), "raw.rtdc")


def test_folder_that_cannot_be_made(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Rights do not stop an administrator; a file in the way stops everyone.
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    fails(capsys, tmp_path, [str(raw), "-o", str(tmp_path / "file" / "out")], 74, "file")


def test_folder_that_cannot_be_written(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    real = Path.open

    def refuse(self: Path, mode: str = "r", *args: object, **kwargs: object) -> object:
        if self.parent == closed and mode[0] != "r":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    closed.chmod(0o555)
    try:
        fails(capsys, tmp_path, [str(raw), "-o", str(closed)], 74, str(closed))
    finally:
        closed.chmod(0o755)


def test_existing_output_is_refused_and_left_as_it_is(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "raw_dcn.rtdc").write_text("mine", encoding="utf-8")
    fails(capsys, tmp_path, [str(raw)], 1, "raw_dcn.rtdc", "--force")


def test_debug_shows_the_traceback(
    raw: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cut(raw)
    assert main(["run", str(raw), "--debug"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("error: ")
