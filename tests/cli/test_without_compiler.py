"""With NUMBA_DISABLE_JIT=1, for debuggers and coverage, results are the same to the last bits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import tifffile

from cytovox.read.open_volume import open_volume
from cytovox.testing import simulate_recording


def both(folder: Path, *words: str) -> tuple[Path, Path]:
    """Run the command in two folders, once compiled and once as Python."""
    made = []
    for disabled in "01":
        place = folder / f"out-{disabled}"
        place.mkdir()
        done = subprocess.run(
            [sys.executable, "-m", "cytovox", *words],
            cwd=place,
            env={**os.environ, "NUMBA_DISABLE_JIT": disabled},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr
        made.append(place)
    return made[0], made[1]


def arrays(path: Path) -> dict[str, Any]:
    found = {}
    with h5py.File(path) as h5:
        h5["events"].visititems(
            lambda name, thing: (
                found.update({name: thing[()]}) if isinstance(thing, h5py.Dataset) else None
            )
        )
    return found


def test_a_recording(tmp_path: Path) -> None:
    raw = tmp_path / "raw.rtdc"
    simulate_recording(raw, frames=6, shape=(48, 96))
    compiled, interpreted = both(tmp_path, "run", str(raw), "-o", ".")
    ours, theirs = (arrays(next(place.glob("*.rtdc"))) for place in (compiled, interpreted))
    assert list(ours) == list(theirs)
    assert len(ours["deform"]) > 2
    for name, values in ours.items():
        exact = values.dtype.kind != "f"  # Python takes powers otherwise in the last bit
        np.testing.assert_allclose(
            theirs[name], values, rtol=0 if exact else 1e-13, atol=0, err_msg=name
        )


def test_a_volume(tmp_path: Path) -> None:
    image = np.zeros((10, 16, 16), np.uint8)
    for z, y, x in [(2, 3, 3), (2, 9, 3), (6, 8, 8), (5, 3, 12), (8, 13, 2)]:
        image[z - 1 : z + 2, y - 2 : y + 3, x - 2 : x + 3] = 200
    tifffile.imwrite(tmp_path / "stack.tif", image)
    words = ["volume", "segment", str(tmp_path / "stack.tif"), "labels.zarr", "-f", "label"]
    blocks = ["--block", "8,8,8", "--context", "2", "--objects", "objects.parquet"]
    compiled, interpreted = both(tmp_path, *words, *blocks, "--workers", "0")
    tables = [pq.read_table(place / "objects.parquet") for place in (compiled, interpreted)]
    assert tables[0].equals(tables[1])
    assert tables[0].num_rows > 2
    labels = [
        open_volume(place / "labels.zarr").read([(0, n) for n in image.shape])
        for place in (compiled, interpreted)
    ]
    np.testing.assert_array_equal(*labels)
