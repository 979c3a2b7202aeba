"""An input that changes while blocks are read, and one that only gets other rights."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from cytovox.blockwise.volumes import segment_volume
from cytovox.errors import InputError
from cytovox.write.volume_creation import create_volume

IMAGE = np.arange(8 * 8 * 8, dtype=np.uint8).reshape(8, 8, 8)


def stored(folder: Path, kind: str) -> tuple[Path, Path]:
    """Return a volume and a file that holds voxels of it."""
    path = folder / f"raw.{kind}"
    if kind == "npy":
        np.save(path, IMAGE)
    elif kind == "tif":
        tifffile.imwrite(path, IMAGE)
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file["raw"] = IMAGE
    else:
        with create_volume(path, shape=IMAGE.shape, dtype="u1", format="zarr2") as volume:
            volume.write(tuple((0, n) for n in IMAGE.shape), IMAGE)
        return path, max(path.rglob("0"), key=lambda file: file.is_file())
    return path, path


def change(file: Path, how: str) -> None:
    before = file.stat()
    if how == "rights":
        file.chmod(0o600)
        return
    with file.open("r+b") as opened:
        opened.seek(-5, os.SEEK_END)
        byte = opened.read(1)
        opened.seek(-1, os.SEEK_CUR)
        opened.write(bytes([byte[0] ^ 1]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def segment(array: np.ndarray, *, then: object) -> np.ndarray:
    then()  # type: ignore[operator]
    return array > 100


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell of such changes")
@pytest.mark.parametrize("kind", ["npy", "tif", "h5", "zarr"])
@pytest.mark.parametrize("how", ["content", "rights"])
def test_a_change_whose_time_was_set_back(tmp_path: Path, kind: str, how: str) -> None:
    raw, file = stored(tmp_path, kind)
    done: list[None] = []

    def once() -> None:
        if not done:
            done.append(None)
            change(file, how)

    run = functools.partial(
        segment_volume, raw, tmp_path / "labels.zarr", functools.partial(segment, then=once),
        block=8, context=0, stitch="touch", workers=0,
    )  # fmt: skip
    if how == "rights":
        assert run()
        return
    with pytest.raises(InputError, match="changed while it was read"):
        run()
    assert not (tmp_path / "labels.zarr").exists()
