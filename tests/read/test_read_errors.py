"""What cannot be read is reported with its file and its cause."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from cytovox.errors import InputError, StorageError
from cytovox.read import HDF5Data
from cytovox.read.opening import read_errors
from cytovox.read.recording_file import frame_rate_of
from cytovox.write import copy_features
from cytovox.write.copying import FeatureIsGroupError


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A recording with a feature whose stored bytes were changed."""
    path = tmp_path / "raw.rtdc"
    with h5py.File(path, "w") as h5:
        h5.attrs["experiment:event count"] = 50
        h5.create_dataset("events/area", data=np.arange(50.0), chunks=(50,), fletcher32=True)
        at = h5["events/area"].id.get_chunk_info(0).byte_offset
    with path.open("r+b") as file:
        file.seek(at + 8)
        file.write(b"\xff\x00\xff")
    return path


def test_a_damaged_feature_is_named(damaged: Path) -> None:
    with (
        HDF5Data(damaged) as data,
        pytest.raises(InputError, match=r"raw\.rtdc: 'events/area' cannot be read"),
    ):
        _ = data["area"]


def test_a_damaged_feature_is_not_copied(damaged: Path, tmp_path: Path) -> None:
    with (
        h5py.File(damaged) as source,
        h5py.File(tmp_path / "out.rtdc", "w") as target,
        pytest.raises(InputError, match=r"raw\.rtdc: events/area, chunk at 0, its checksum"),
    ):
        copy_features(source, target, ["area"])


def test_a_group_is_not_copied(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "raw.rtdc", "w") as source, h5py.File(tmp_path / "b", "w") as target:
        source.create_group("events/trace")
        with pytest.raises(
            FeatureIsGroupError, match=r"raw\.rtdc: .* 'trace' is a group"
        ) as caught:
            copy_features(source, target, ["trace"])
        assert isinstance(caught.value, NotImplementedError)


def test_the_reason_of_the_system_is_reported(damaged: Path) -> None:
    with h5py.File(damaged) as h5:
        with (
            pytest.raises(StorageError, match=r"frames 3 to 8 of 'events/area'.*Stale") as caught,
            read_errors(h5["events/area"], (3, 9)),
        ):
            raise OSError("file read failed: errno = 116, error message = '...'")
        assert caught.value.exit_code == 74
        assert caught.value.frame == 3


@pytest.mark.parametrize("rate", ["fast", b"\x8b\x84", [1, 2], float("inf")])
def test_a_frame_rate_that_is_not_a_number(rate: object) -> None:
    with pytest.raises(InputError, match=r"a\.rtdc: the frame rate is"):
        frame_rate_of({"imaging:frame rate": rate}, "a.rtdc")
