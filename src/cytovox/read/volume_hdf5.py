"""Arrays in HDF5 files, only read."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ..errors import CytovoxError, InputError, InputNotFoundError, OptionError
from .dataset import checked
from .following import Follower, file_name, folders_of
from .opening import OpenedFiles
from .permissions import Permissions
from .volume_address import Address
from .volume_axes import SPATIAL, name_axes, place_axes
from .volume_hdf5_layouts import default_array, dimension_scales, layout_of
from .volume_limits import Box, box_shape, check_chunk, check_dtype, check_shape
from .volume_source import Described, ReadOnlySource, digest_files, file_identity

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
    files = OpenedFiles()
    may = replace(address.permissions, growing=True)  # it is compared later
    try:
        file = files.open(address.path, may).h5
    except InputNotFoundError:
        raise
    except InputError as err:
        hint = None if err.hint is None else err.hint.replace("a recording (.rtdc)", "HDF5")
        raise InputError(err.what, path=address.path, hint=hint) from err
    try:
        return HDF5Source(file, address, scale, files)
    except (OSError, RuntimeError, KeyError) as err:
        files.close()
        if isinstance(err, CytovoxError):
            raise
        raise InputError(
            f"what is in the file cannot be listed: {str(err)[:200]}",
            path=address.path,
            hint="the file is damaged; copy it again",
        ) from err
    except BaseException:
        files.close()
        raise


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
    if not inner:
        names = _arrays(file)
        inner = default_array(file, names, scale, address.path) or ""
    if scale is not None and (address.inner or not inner):
        raise OptionError("an array in HDF5 has no scales", path=str(address), hint="omit scale")
    if not inner:
        if len(names) != 1:
            some = ", ".join(f"{address.url}:/{n}" for n in names[:6])
            raise InputError(
                f"the file holds {len(names)} arrays of two dimensions or more",
                path=address.path,
                hint=f"name one of {some}" if names else "give another file",
            )
        inner = names[0]
    here: Any = file
    for part in inner.split("/"):
        link = here.get(part, getlink=True) if isinstance(here, h5py.Group) else None
        if link is None:
            some = ", ".join(f"/{n}" for n in _arrays(file)[:6])
            raise InputError(f"there is no /{inner}", path=address.path, hint=f"there are {some}")
        if not isinstance(link, h5py.HardLink):
            break
        here = here[part]
    look.link(file, inner, f"/{inner}")
    array = file[inner]
    if not isinstance(array, h5py.Dataset):
        raise InputError(f"/{inner} is a group", path=address.path, hint="name an array in it")
    look.dataset(array, inner, f"/{inner}")
    return array


def _arrays(file: h5py.File) -> list[str]:
    """Return the names of arrays in the file itself."""
    from .members import dataset_ids

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
        shape = check_shape(array.shape, where)
        dtype = check_dtype(array.dtype, where)
        attributes = _attributes(array)
        axes = name_axes(len(shape), _names(attributes), where)
        size, offset, units = place_axes(axes, attributes, where)
        layout, form = layout_of(array, address.path), "hdf5"
        if layout is not None:
            form, shape = layout.format, layout.shape
            dtype = dtype if layout.dtype is None else check_dtype(layout.dtype, where)
            size, offset, units = layout.size, layout.offset, (layout.unit,) * 3
        # without chunks, rows can be read alone
        chunk = (1,) * (len(shape) - 1) + shape[-1:]
        if array.chunks is not None:
            chunk = check_chunk(array.chunks, shape, dtype, where)
            chunk = tuple(min(c, n) for c, n in zip(chunk, shape, strict=True))
        self._file = file
        self._files = files
        self._array = checked(array, look.may, files)
        if array.is_virtual:
            self._array.find_sources()
        self._where = where
        # BigDataViewer stores unsigned voxels as signed ones
        self._signed_only_in_name = layout is not None and layout.dtype is not None
        self.described = Described(form, shape, dtype, axes, chunk, chunk, size, offset, units)

    def read_into(self, box: Box, out: npt.NDArray[Any]) -> None:
        """Read a box, slab by slab."""
        deep = self.described.chunk[0]
        row = math.prod(box_shape(box)[1:]) * self.described.dtype.itemsize
        step = max(deep, _SLAB_BYTES // max(row, 1) // deep * deep)
        rest = tuple(slice(*b) for b in box[1:])
        start, end = box[0]
        while start < end:
            stop = min(end, (start // deep) * deep + step)
            part = out[start - box[0][0] : stop - box[0][0]]
            try:
                if part.flags.c_contiguous and part.dtype == self._array.dtype:
                    self._array.read_direct(part, (slice(start, stop), *rest))
                else:
                    read = self._array[(slice(start, stop), *rest)]
                    part[...] = read.view(part.dtype) if self._signed_only_in_name else read
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


def _attributes(array: h5py.Dataset) -> dict[str, Any]:
    wanted = ("voxel_size", "resolution", "offset", "units", "unit", "axis_names")
    found: dict[str, Any] = {}
    for name in (*wanted, "element_size_um", "axistags", "axis_units", "DIMENSION_LABELS"):
        if name not in array.attrs:
            continue
        try:
            value = array.attrs[name]
        except (OSError, TypeError, ValueError):
            continue  # not written in a way that h5py knows; only a description
        found[name] = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
    sized = "voxel_size" in found or "resolution" in found
    if "element_size_um" in found and "voxel_size" not in found:
        found |= {"voxel_size": found["element_size_um"], "units": "micrometer"}
        found.pop("offset", None)
    elif not sized:
        found |= _tagged_sizes(found)
    if "DIMENSION_LIST" in array.attrs and "voxel_size" not in found and not sized:
        with contextlib.suppress(OSError, TypeError, ValueError, KeyError, RuntimeError):
            scales = dimension_scales(array)  # only a description
            # names of axes are rather those that are given to them; units were of the values
            found = scales | found | {k: scales[k] for k in ("voxel_size", "units") if k in scales}
    said = found.get("voxel_size")
    if not sized and isinstance(said, list) and 0 in said:
        warnings.warn(
            f"{array.file.filename}:{array.name}: it says how large voxels are along some axes "
            "only; 1 is taken for the others",
            stacklevel=2,
        )
        found["voxel_size"] = [s or 1.0 for s in said]
    return found


def _tags(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what vigra and ilastik say of each axis."""
    found = _json(attributes.get("axistags"))
    axes = found.get("axes") if isinstance(found, dict) else None
    good = isinstance(axes, list) and all(isinstance(a, dict) and "key" in a for a in axes)
    return axes if good and axes is not None else []


def _tagged_sizes(attributes: dict[str, Any]) -> dict[str, Any]:
    tags = [tag for tag in _tags(attributes) if str(tag["key"]).lower() in SPATIAL]
    sizes = [tag.get("resolution") for tag in tags]
    sizes = [abs(s) if isinstance(s, (int, float)) and math.isfinite(s) else 0 for s in sizes]
    if not any(sizes):
        return {}
    units = _json(attributes.get("axis_units"))
    units = units if isinstance(units, dict) else {}
    said = [units.get(tag["key"], tag.get("unit", "")) for tag in tags]
    usual = attributes.get("units", attributes.get("unit", ""))
    return {
        "voxel_size": sizes,
        "units": said if any(said) else usual,
    }


def _json(value: Any) -> Any:
    """Return a text in JSON as values, or None; texts of a fixed length are bytes."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    try:
        return json.loads(value)
    except (ValueError, TypeError, RecursionError):
        return None


def _names(attributes: dict[str, Any]) -> list[Any] | None:
    if tags := _tags(attributes):
        return [tag["key"] for tag in tags]
    labels = attributes.get("DIMENSION_LABELS")
    labels = labels if isinstance(labels, list) and all(labels) else None
    names = labels or attributes.get("axis_names")
    return names if isinstance(names, list) else None
