"""Arrays that a segmentation function is given, and those that a run is given: by which names."""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..read.volume import Volume
from ..write.disk import storage_errors
from .grid import box_shape, slices
from .recipe import side_folder

__all__ = ["BlockArray", "address_of", "chosen_address"]

_FILES = (".h5", ".hdf5", ".hdf", ".ims")
#: Attributes of arrays that say where they are in the world.
_PLACED = {"voxel_size", "resolution", "offset", "units", "transform"}
#: Bytes that are copied at once.
_SLAB_BYTES = 64 << 20


class BlockArray(np.ndarray[Any, Any]):
    """The voxels of a block with its context: a NumPy array that also knows regions.

    ``array[roi]`` and ``array.to_ndarray(roi)`` return voxels of the volume by
    region in world units, be they of the block or not; all else is as of the
    NumPy array of the block. What is computed from it is a plain NumPy array.

    Attributes
    ----------
    roi : funlib.geometry.Roi or None
        The region that the block reads.
    volume : Volume or None
        The whole volume.

    Examples
    --------
    >>> from cytovox.read.open_volume import open_volume
    >>> from funlib.geometry import Roi
    >>> path = getfixture("tmp_path") / "a.npy"
    >>> np.save(path, np.arange(20).reshape(4, 5))
    >>> with open_volume(path) as volume:
    ...     block = BlockArray.of(volume[1:3, 1:4], volume, Roi((1, 1), (2, 3)))
    ...     block[Roi((2, 2), (1, 2))].tolist(), block.to_ndarray(Roi((0, 0), (1, 2))).tolist()
    ([[12, 13]], [[0, 1]])
    >>> block.tolist(), type(block > 5).__name__
    ([[6, 7, 8], [11, 12, 13]], 'ndarray')
    """

    roi: Any = None
    volume: Volume | None = None

    @classmethod
    def of(cls, array: npt.NDArray[Any], volume: Volume, roi: Any) -> Self:
        """Return an array that knows its region.

        Parameters
        ----------
        array
            What was read, of shape (channels, ...) or of the shape of the region.
        volume
            Where it is from.
        roi
            The region that it is of.
        """
        made = array.view(cls)
        made.roi, made.volume = roi, volume
        return made

    def __array_finalize__(self, other: Any) -> None:
        if isinstance(other, BlockArray) and other.shape == self.shape:
            self.roi, self.volume = other.roi, other.volume

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        plain = np.asarray(array)
        return plain[()] if return_scalar else plain

    def __getitem__(self, key: Any) -> Any:
        if hasattr(key, "to_slices"):
            return self.to_ndarray(key)
        return np.asarray(self)[key]

    @property
    def voxel_size(self) -> Any:
        """Size of a voxel along each axis of space, as regions count."""
        return self._of().roi_voxel_size

    @property
    def axis_names(self) -> list[str]:
        """Names of the axes."""
        return list(self._of().axes)

    def to_ndarray(self, roi: Any = None, fill_value: float | None = None) -> npt.NDArray[Any]:
        """Return voxels by region.

        Parameters
        ----------
        roi
            Region in world units; that of the block if None.
        fill_value
            Value of voxels outside of the volume; that of the run if None.

        Returns
        -------
        numpy.ndarray
            Channels first, then the shape of the region in voxels.
        """
        if roi is None or (fill_value is None and self.roi is not None and roi == self.roi):
            return np.array(self)
        volume = self._of()
        wanted, mine = (volume.grid.to_box(one, volume.url) for one in (roi, self.roi))
        if fill_value is None:
            fill_value = volume.fill_value
        if fill_value == volume.fill_value and all(
            a <= c and d <= b for (a, b), (c, d) in zip(mine, wanted, strict=True)
        ):
            place: Any = (..., *slices(wanted, mine))
            return np.array(np.asarray(self)[place])
        return _filled(volume, wanted, fill_value)

    def _of(self) -> Volume:
        if self.volume is None:
            raise UsageError(
                "this array does not know its region any more",
                hint="take regions of the array that the function was given",
            )
        return self.volume


def _filled(volume: Volume, box: Any, fill_value: float) -> npt.NDArray[Any]:
    """Read a box; another value than that of the volume stands for what is outside."""
    found = volume.read(box)
    if fill_value == volume.fill_value:
        return found
    inside = np.zeros(box_shape(box), np.bool_)
    sizes = zip(box, volume.spatial_shape, strict=True)
    inside[tuple(slice(max(0, -a), max(0, min(b, n) - a)) for (a, b), n in sizes)] = True
    return np.where(inside, found, np.asarray(fill_value, found.dtype))


def address_of(identifier: Any) -> str:
    """Return the address of an array that is named as dacapo does.

    Parameters
    ----------
    identifier
        Anything with ``container`` (a path) and ``dataset`` (a name in it), as
        dacapo's ``LocalArrayIdentifier``; or an address.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> address_of(SimpleNamespace(container="cells.zarr", dataset="volumes/raw"))
    'cells.zarr/volumes/raw'
    >>> address_of(SimpleNamespace(container="cells.h5", dataset="raw"))
    'cells.h5:/raw'
    """
    if isinstance(identifier, (str, os.PathLike)):
        return os.fspath(identifier)
    container = getattr(identifier, "container", None)
    if container is None:
        raise UsageError(
            f"a {type(identifier).__name__} does not name an array",
            hint="give an object with container and dataset, or an address",
        )
    text = str(os.fspath(container)).rstrip("/")
    dataset = str(getattr(identifier, "dataset", None) or "").strip("/")
    if not dataset:
        return text
    return f"{text}:/{dataset}" if text.lower().endswith(_FILES) else f"{text}/{dataset}"


def chosen_address(what: str, address: Any, identifier: Any) -> str:
    """Return the address of an array that is given in one of two ways.

    Parameters
    ----------
    what
        ``"input"`` or ``"output"``.
    address, identifier
        One of them; the other is None.

    Raises
    ------
    UsageError
        If both or none are given.
    """
    if (address is None) == (identifier is None):
        raise UsageError(
            f"the {what} is given {'twice' if address is not None else 'not at all'}",
            hint=f"give either {what}=... or {what}_array_identifier=...",
        )
    return address_of(identifier if address is None else address)


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
    if np.ma.is_masked(given):
        raise UsageError(
            "some of its voxels are masked, which is not read", hint="fill them: array.filled(0)"
        )
    if _PLACED.intersection(getattr(given, "attrs", ())):
        warnings.warn(
            "the voxel size and offset in the attributes of this array are not read, since it is "
            "in no folder: give voxel_size and units, or its path",
            stacklevel=3,
        )
    if _kind_of(dtype) not in "biuf" or not 2 <= len(shape) <= 5 or not all(n > 0 for n in shape):
        raise UsageError(
            f"an array of shape {tuple(shape)} and type {dtype} is not a volume",
            hint="give numbers along (t, c, z,) y, x",
        )
    folder = side_folder(output)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return _written(given, folder)


def _kind_of(dtype: Any) -> str:
    """Return the kind of a type of NumPy; "O" for what is none."""
    try:
        return str(np.dtype(dtype).kind)
    except TypeError:
        return "O"


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
