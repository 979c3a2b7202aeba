"""Writing into files that refer to others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from cytovox.errors import UsageError
from cytovox.read import concatenated_hdf5_data
from cytovox.write import HDF5Writer

# In a process of its own, since a fault of this kind ends the process.
SCRIPT = """
import sys
from cytovox.write import HDF5Writer
with HDF5Writer(sys.argv[1]) as writer:
    images = writer.h5["events/image"][:]
    writer.store_feature_chunk("deform", images.mean(axis=(1, 2)))
"""


def test_virtual_datasets_can_be_read_while_writing(tmp_path: Path) -> None:
    part = tmp_path / "part.rtdc"
    with h5py.File(part, "w") as h5:
        h5["events/image"] = np.full((3, 4, 5), 7, np.uint8)
        h5["events/frame"] = np.arange(1, 4)
        h5.attrs["experiment:event count"] = 3
    whole = tmp_path / "whole.rtdc"
    with concatenated_hdf5_data([part, part], path_out=whole):
        pass
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(whole)], capture_output=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    with h5py.File(whole) as h5:
        assert h5["events/image"].is_virtual
        assert h5["events/deform"][:].tolist() == [7] * 6


def test_whole_floats_are_a_map(tmp_path: Path) -> None:
    with HDF5Writer(tmp_path / "out.rtdc") as writer:
        assert writer.store_mapping(np.ones(3)) == "basinmap0"
        assert writer.events["basinmap0"].dtype == np.int64
        with pytest.raises(UsageError, match="whole number"):
            writer.store_mapping(np.full(3, 0.5))
