"""What a simulated camera writes can be read meanwhile, and is the recording in the end."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import pytest

from cytovox.cli.main import main
from cytovox.errors import InputError, OptionError
from cytovox.read import HDF5Data, Permissions
from cytovox.testing import play_recording, simulate_recording

FRAMES, RATE = 60, 100.0


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "source.rtdc"
    simulate_recording(path, frames=FRAMES, seed=3, chunk_frames=8)
    return path


def play(source: Path, target: Path, locked: bool, look: Callable[[], None]) -> int:
    """Record by a clock of our own; look at the file while the camera waits."""
    seconds = 0.0

    def wait(interval: float) -> None:
        nonlocal seconds
        look()
        seconds += interval

    return play_recording(
        source, target, rate=RATE, locked=locked, clock=lambda: seconds, wait=wait
    )


@pytest.mark.parametrize("locked", [False, True])
def test_the_file_grows_by_whole_chunks_and_can_be_read_meanwhile(
    source: Path, tmp_path: Path, locked: bool
) -> None:
    target, seen = tmp_path / "raw.rtdc", []

    def look() -> None:
        # what another process would read; this one would get the file that it has open
        there = shutil.copy(target, tmp_path / "seen.rtdc")
        with HDF5Data(Path(there), permissions=Permissions(growing=True)) as data:
            assert "experiment:event count" not in data.meta
            number = data.stored_length
            with h5py.File(source) as h5:
                assert (data.locate("image")[:number] == h5["events/image"][:number]).all()
            seen.append(number)

    assert play(source, target, locked, look) == FRAMES
    assert seen == [0, 16, 40]
    with h5py.File(source) as old, h5py.File(target) as new:
        assert dict(new.attrs) == dict(old.attrs)
        for name in old["events"]:
            assert (new["events"][name][:] == old["events"][name][:]).all()
            assert dict(new["events"][name].attrs).keys() == dict(old["events"][name].attrs).keys()


def test_what_others_may_read_is_marked_as_open(source: Path, tmp_path: Path) -> None:
    def look() -> None:
        there = shutil.copy(tmp_path / "raw.rtdc", tmp_path / "seen.rtdc")
        with pytest.raises(InputError, match="says that it is open for writing"):
            HDF5Data(Path(there))

    play(source, tmp_path / "raw.rtdc", False, look)
    with HDF5Data(tmp_path / "raw.rtdc") as data:
        assert len(data) == FRAMES


def test_a_locked_file_is_of_the_oldest_format_and_locked(source: Path, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")

    def look() -> None:
        with (tmp_path / "raw.rtdc").open("rb") as file:
            assert file.read(9)[8] == 0  # version of the superblock
            with pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)

    play(source, tmp_path / "raw.rtdc", True, look)
    with (tmp_path / "raw.rtdc").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)


@pytest.mark.parametrize("locked", [False, True])
def test_a_camera_that_is_stopped_completes_what_it_has(
    source: Path, tmp_path: Path, locked: bool
) -> None:
    steps: Iterator[None] = iter([None, None])

    def stop() -> None:
        if next(steps, steps) is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play(source, tmp_path / "raw.rtdc", locked, stop)
    with HDF5Data(tmp_path / "raw.rtdc") as data:
        assert len(data) == len(data.locate("image")) == len(data["time"]) == 40


def test_a_rate_must_be_above_0(source: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="rate is 0"):
        play_recording(source, tmp_path / "raw.rtdc", rate=0)


@pytest.mark.parametrize("words", [[], ["--locked"]])
def test_the_command_records_what_it_simulates(tmp_path: Path, words: list[str]) -> None:
    how = ["--frames", "40", "--seed", "2", "--live", "1000", *words]
    assert main(["simulate", "recording", str(tmp_path / "a.rtdc"), *how]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.rtdc", "a.truth.csv"]
    simulate_recording(tmp_path / "b.rtdc", frames=40, seed=2, frame_rate=1000)
    with h5py.File(tmp_path / "a.rtdc") as a, h5py.File(tmp_path / "b.rtdc") as b:
        assert dict(a.attrs) == dict(b.attrs)
        assert (a["events/image"][:] == b["events/image"][:]).all()
        assert (a["events/time"][:] == b["events/time"][:]).all()
    assert (tmp_path / "a.truth.csv").read_text() == (tmp_path / "b.truth.csv").read_text()
