"""What a recording says of itself when its file does not."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from cytovox.errors import InputError
from cytovox.read import HDF5Data
from cytovox.write import create_with_basins


def test_length_is_that_of_what_is_referred_to(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "images.h5", "w") as h5:
        h5["events/image"] = np.zeros((7, 4, 5), np.uint8)
    create_with_basins(tmp_path / "referring.h5", [tmp_path / "images.h5"])
    with HDF5Data(tmp_path / "referring.h5") as data:
        assert len(data) == 7
        assert data.image is not None
        assert len(data.image) == 7


def test_length_of_nothing_is_unknown(tmp_path: Path) -> None:
    h5py.File(tmp_path / "empty.h5", "w").close()
    with (
        HDF5Data(tmp_path / "empty.h5") as data,
        pytest.raises(InputError, match="number of frames is unknown"),
    ):
        len(data)


def test_pixel_size_can_be_set(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "raw.h5", "w") as h5:
        h5["events/deform"] = np.zeros(3)
    with HDF5Data(tmp_path / "raw.h5") as data:
        assert data.pixel_size == 0
        data.pixel_size = 0.1234567891
        assert data.pixel_size == 0.12345679
        assert data.meta["imaging:pixel size"] == 0.12345679
        assert data.get_ppid() == "hdf:p=0.12345679^i=0"
        with pickle.loads(pickle.dumps(data)) as copied:
            assert copied.pixel_size == 0.12345679
