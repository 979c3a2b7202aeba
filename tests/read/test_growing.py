"""What counts as a frame of a recording that is being written, and that nothing locks it."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from cytovox.errors import InputError
from cytovox.read.growing import open_growing


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a recording of 30 frames in chunks of 10, of which 25 have a time."""
    path = tmp_path / "raw.rtdc"
    with h5py.File(path, "w") as h5:
        image = h5.create_dataset("events/image", (30, 8, 9), "u1", chunks=(10, 8, 9))
        image[:] = np.arange(30, dtype=np.uint8)[:, None, None]
        h5.create_dataset("events/time", data=np.arange(25) / 100, chunks=(10,), maxshape=(None,))
        h5.attrs["imaging:pixel size"] = 0.34
    return path


def test_a_frame_is_there_when_all_of_it_is(path: Path) -> None:
    with open_growing(path) as recording:
        assert len(recording) == 25
        assert not recording.is_complete
        assert recording.image[20:40].shape == (5, 8, 9)
        assert recording["time"].tolist() == recording.seconds().tolist()
        assert "image" in recording


def test_nothing_counts_after_a_chunk_that_was_not_written(path: Path) -> None:
    with h5py.File(path, "r+") as h5:
        content = h5["events/image"].id.read_direct_chunk((20, 0, 0))[1]
        del h5["events/image"]
        image = h5.create_dataset("events/image", (30, 8, 9), "u1", chunks=(10, 8, 9))
        image[:10] = 1
        image.id.write_direct_chunk((20, 0, 0), content)
    with open_growing(path) as recording:
        assert len(recording) == 10


@pytest.mark.parametrize(("count", "complete"), [(25, True), (24, False), (30, False), (0, False)])
def test_it_is_complete_when_all_that_it_counts_is_there(
    path: Path, count: int, complete: bool
) -> None:
    with h5py.File(path, "r+") as h5:
        h5.attrs["experiment:event count"] = count
    with open_growing(path) as recording:
        assert recording.is_complete is complete


def test_it_is_not_locked_and_may_be(path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    with path.open("rb") as file, open_growing(path) as recording:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert len(recording) == 25
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with open_growing(path) as recording:
            assert len(recording) == 25


def test_times_are_unknown_without_time_and_rate(path: Path) -> None:
    with h5py.File(path, "r+") as h5:
        del h5["events/time"]
    with open_growing(path) as recording:
        assert np.isnan(recording.seconds()).all()
    with h5py.File(path, "r+") as h5:
        h5.attrs["imaging:frame rate"] = 10.0
    with open_growing(path) as recording:
        assert recording.seconds()[-1] == 2.9


def test_a_file_without_events_is_not_a_recording_yet(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "raw.rtdc", "w") as h5:
        h5.create_group("events")
    with pytest.raises(InputError, match="no events yet"), open_growing(tmp_path / "raw.rtdc"):
        pass
