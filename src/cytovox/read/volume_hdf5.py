"""Arrays in HDF5 files, only read."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy.typing as npt

from ..errors import CytovoxError, InputError, OptionError
from .dataset import checked
from .following import Follower, file_name, folders_of
from .members import dataset_ids
from .opening import OpenedFiles
from .permissions import Permissions
from .volume_address import Address
from .volume_axes import name_axes, place_axes
from .volume_folder import digest_files, file_identity
from .volume_hdf5_metadata import Layout, default_array, describe_array, member_of
from .volume_limits import Box, box_shape, check_chunk, check_dtype, check_shape
from .volume_view import Described, ReadOnlySource

__all__ = ["HDF5Source", "open_hdf5"]

logger = logging.getLogger(__name__)

#: bytes that are read at once where the target is not plain memory
_SLAB_BYTES = 16 * 2**20
_MAX_LISTED = 1000


def open_hdf5(address: Address, scale: int | str | None) -> HDF5Source:
    """Open an array of a file; without a path inside, the only one that there is.

    Of files of Imaris and BigDataViewer the first channel and time point is
    taken, and a scale can be chosen.

    Links and virtual arrays may lead to files in the folder of this one or below
    it, as those of recordings may; to others, and to raw data, if that is allowed.
    """
    may = replace(address.permissions, growing=True)  # it is compared later
    with contextlib.ExitStack() as stack:
        files = stack.enter_context(OpenedFiles())
        file = files.open(address.path, may).h5
        try:
            source = HDF5Source(file, address, scale, files)
        except CytovoxError:
            raise
        except (OSError, RuntimeError, KeyError) as err:
            raise InputError(
                f"what is in the file cannot be listed: {str(err)[:200]}",
                path=address.path,
                hint="the file is damaged; copy it again",
            ) from err
        stack.pop_all()
        return source


class _Look(Follower):
    """Looks at an array, and at what it is a view of."""

    def dataset(self, dataset: h5py.Dataset, name: str, where: str) -> None:
        """Refuse what could not be read if it were opened itself."""
        outside = self.elsewhere(dataset, name, where)
        where = f"{file_name(dataset.file)}:{dataset.name}"
        if dataset.shape is None:
            raise InputError("the array is empty", path=where)
        try:
            stored = dataset.dtype
        except TypeError as err:
            raise InputError(f"its voxels are of an unknown type: {err}", path=where) from err
        dtype = check_dtype(stored, where)
        if dataset.chunks is not None and not outside:
            check_chunk(dataset.chunks, dataset.shape, dtype, where)
            checked(dataset, self.may).check(0, 0)  # only whether its compression is read


def _find(file: h5py.File, address: Address, scale: int | str | None, look: _Look) -> h5py.Dataset:
    inner = address.inner.strip("/")
    names = [] if inner else _arrays(file)
    known = default_array(file, names, scale, address.path) if names else None
    if scale is not None and known is None:
        raise OptionError("an array in HDF5 has no scales", path=str(address), hint="omit scale")
    if not inner and known is None and len(names) != 1:
        some = ", ".join(f"{address.url}:/{n}" for n in names[:6])
        raise InputError(
            f"the file holds {len(names)} arrays of two dimensions or more",
            path=address.path,
            hint=f"name one of {some}" if names else "give another file",
        )
    inner = inner or known or names[0]
    if member_of(file, inner) is None:
        some = ", ".join(f"/{n}" for n in _arrays(file)[:6])
        raise InputError(f"there is no /{inner}", path=address.path, hint=f"there are {some}")
    look.link(file, inner, f"/{inner}")
    array = file[inner]
    if not isinstance(array, h5py.Dataset):
        raise InputError(f"/{inner} is a group", path=address.path, hint="name an array in it")
    look.dataset(array, inner, f"/{inner}")
    return array


def _arrays(file: h5py.File) -> list[str]:
    """Return the names of arrays in the file itself."""
    names = (path for path, found in dataset_ids(file) if found.rank >= 2)
    return sorted(itertools.islice(names, _MAX_LISTED))


class HDF5Source(ReadOnlySource):
    """An array of an open file."""

    def __init__(
        self,
        file: h5py.File,
        address: Address,
        scale: int | str | None,
        files: OpenedFiles,
    ) -> None:
        where = str(address)
        may = replace(address.permissions, growing=True).within(*folders_of(file))
        look = _Look(file, may, files)
        array = _find(file, address, scale, look)
        # what is followed because it was allowed is also shown
        level = logging.INFO if address.permissions == Permissions() else logging.WARNING
        for text in look.followed:
            logger.log(level, "%s: read from elsewhere: %s", where, text)
        self._file = file
        self._files = files
        self._array = checked(array, look.may, files)
        if array.is_virtual:
            self._array.find_sources()
        self._where = where
        check_shape(array.shape, where)
        layout = describe_array(array, address.path)
        # BigDataViewer stores unsigned voxels as signed ones
        self._signed_only_in_name = layout.dtype != array.dtype
        self.described = _describe(array, layout, where)

    def read_into(self, box: Box, out: npt.NDArray[Any]) -> None:
        """Read a box, slab by slab."""
        deep = self.described.chunk[0]
        row = math.prod(box_shape(box)[1:]) * self.described.dtype.itemsize
        step = max(deep, _SLAB_BYTES // max(row, 1) // deep * deep)
        target = out.view(self._array.dtype) if self._signed_only_in_name else out
        start, end = box[0]
        while start < end:
            stop = min(end, (start // deep) * deep + step)
            part = target[start - box[0][0] : stop - box[0][0]]
            try:
                self._array.read_rows(start, stop, part, box[1:])
            except (OSError, KeyError, RuntimeError) as err:
                raise InputError(
                    f"voxels {start} to {stop} of the first axis cannot be read: "
                    f"{str(err).splitlines()[0][:200]}",
                    path=self._where,
                    hint="the file may be damaged; copy it again",
                ) from err
            start = stop

    def identity(self) -> dict[str, Any]:
        """Return size and time of the file, and of others that are read."""
        path = Path(self._file.filename)
        others = sorted(self._files.others)
        return digest_files(path.parent, [path, *others]) if others else file_identity(path)

    def close(self) -> None:
        """Close the files."""
        self._files.close()


def _describe(array: h5py.Dataset, layout: Layout, where: str) -> Described:
    shape, dtype = check_shape(layout.shape, where), check_dtype(layout.dtype, where)
    axes = name_axes(len(shape), layout.axes, where)
    # without chunks, rows can be read alone
    chunk = (1,) * (len(shape) - 1) + shape[-1:]
    if array.chunks is not None:
        stored = check_chunk(array.chunks, shape, dtype, where)
        chunk = tuple(min(c, n) for c, n in zip(stored, shape, strict=True))
    size, offset, units = place_axes(axes, layout.said, where)
    return Described(layout.format, shape, dtype, axes, chunk, chunk, size, offset, units)
