"""Arrays that are given from Python instead of a path."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageError
from ..write.disk import storage_errors
from .recipe import side_folder

__all__ = ["stored_input"]

#: Bytes that are copied at once.
_SLAB_BYTES = 64 << 20


def stored_input(given: Any, output: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Return the path of an input; an array is written beside the output unless it has one.

    Workers are processes, perhaps elsewhere, so they need a path. The same
    array given again leaves the file as it is, so that a run can be resumed.
    """
    if isinstance(given, (str, os.PathLike)):
        return given
    shape, dtype = getattr(given, "shape", None), getattr(given, "dtype", None)
    if shape is None or dtype is None or not hasattr(given, "__getitem__"):
        raise UsageError(
            f"a {type(given).__name__} is not a volume", hint="give a path, a URL or an array"
        )
    if (path := _path_of_zarr(given)) is not None:
        return path
    if np.dtype(dtype).kind not in "biuf" or not 2 <= len(shape) <= 5 or 0 in shape:
        raise UsageError(
            f"an array of shape {tuple(shape)} and type {dtype} is not a volume",
            hint="give numbers along (t, c, z,) y, x",
        )
    folder = side_folder(output)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return _written(given, folder)


def _path_of_zarr(array: Any) -> str | None:
    """Return the folder of a zarr array on a disk of this machine, or None."""
    place = getattr(array, "store_path", None)
    root = getattr(getattr(place, "store", None), "root", None)
    return str(Path(root) / place.path) if isinstance(root, Path) and place is not None else None


def _written(array: Any, folder: Path) -> Path:
    path, mark, fresh = (folder / name for name in ("input.npy", "input.sha256", "input.new.npy"))
    shape, dtype = tuple(map(int, array.shape)), np.dtype(array.dtype)
    out = np.lib.format.open_memmap(fresh, "w+", dtype, shape)
    digest = hashlib.sha256(f"{shape} {dtype.str}".encode())
    step = max(1, _SLAB_BYTES // max(1, dtype.itemsize * int(np.prod(shape[1:]))))
    for start in range(0, shape[0], step):
        slab = np.ascontiguousarray(array[start : start + step], dtype)
        digest.update(slab.data)
        out[start : start + step] = slab
    out.flush()
    del out
    told = digest.hexdigest()
    if path.exists() and mark.is_file() and mark.read_text() == told:
        fresh.unlink()
        return path
    mark.unlink(missing_ok=True)
    os.replace(fresh, path)
    mark.write_text(told)
    return path
