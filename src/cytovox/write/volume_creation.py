"""Make volumes to be written block by block: labels, masks, predictions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError, OptionError, OutputExistsError, UsageError
from ..read.const import VOLUME_FILES
from ..read.open_volume import open_volume
from ..read.volume import Volume
from ..read.volume_address import Address, parse_address, safe_join
from ..read.volume_axes import normalize_unit
from ..read.volume_limits import check_dtype, check_numbers, check_shape
from ..read.volume_store import read_json, remove_tree
from .precomputed import info_documents
from .volume_metadata import (
    VolumePlan,
    array_documents,
    check_label_place,
    enter_label,
    group_documents,
    multiscales,
    refresh_consolidated,
    write_documents,
)

__all__ = ["FORMATS", "create_labels", "create_volume"]

#: Formats that are written.
FORMATS = ("ome-zarr-0.5", "ome-zarr-0.4", "zarr2", "precomputed")


def create_labels(
    url: str | os.PathLike[str],
    *,
    shape: Sequence[int],
    dtype: npt.DTypeLike = np.uint32,
    voxel_size: Sequence[float] | None = None,
    units: str = "",
    offset: Sequence[float] | None = None,
    block: Sequence[int] | None = None,
    format: str = "ome-zarr-0.5",
    chunk: Sequence[int] | None = None,
    axes: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Volume:
    """Make an empty volume of labels, to be written by blocks.

    In the folder ``labels`` of an OME-Zarr image, the labels are entered there
    as well, so that viewers show them over the image.

    Parameters
    ----------
    url
        Folder or URL to make.
    shape
        Voxels along (t,) (z,) y, x.
    dtype
        Type of labels, integers.
    voxel_size
        Size of a voxel along each axis, in `units`; 1 by default.
    units
        For example ``"nanometer"``, ``"micrometer"``. Precomputed volumes are
        always in nanometers, which unknown units are taken for.
    offset
        Place of the first voxel, in `units`; 0 by default.
    block
        Voxels that are written at once along each axis. Chunks and shards are
        chosen so that a block is a whole number of them.
    format
        One of `FORMATS`.
    chunk
        Voxels of a chunk along each axis, if it must be a certain size.
    axes
        One letter per axis, if there is t; by default the last ones of z, y, x.
    overwrite
        Replace a volume that is there; anything else is never replaced.

    Returns
    -------
    Volume
        Open to read and write.

    Raises
    ------
    OptionError
        If the format is unknown, or cannot hold such labels.
    UsageError
        If the block is not a whole number of chunks; the message says sizes
        that would do.
    OutputExistsError
        If there is something already.
    StorageError
        If the store refuses.

    Examples
    --------
    >>> url = getfixture("tmp_path") / "labels.zarr"
    >>> with create_labels(url, shape=(50, 60, 70), block=(32, 32, 32)) as labels:
    ...     labels.write(((32, 50), (0, 32), (0, 32)), np.full((18, 32, 32), 7, np.uint32))
    ...     int(labels[40, 2, 3]), labels.write_unit
    (7, (32, 32, 32))
    """
    if np.dtype(dtype).kind not in "iu":
        raise OptionError(f"labels are integers, not {np.dtype(dtype)}", path=str(url))
    plan = _plan(url, shape, dtype, axes, voxel_size, offset, units, block, chunk, labels=True)
    return _create(plan, format, overwrite)


def create_volume(
    url: str | os.PathLike[str],
    *,
    shape: Sequence[int],
    dtype: npt.DTypeLike,
    voxel_size: Sequence[float] | None = None,
    units: str = "",
    offset: Sequence[float] | None = None,
    block: Sequence[int] | None = None,
    format: str = "ome-zarr-0.5",
    chunk: Sequence[int] | None = None,
    axes: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Volume:
    """Make an empty volume that is not of labels; as `create_labels` otherwise.

    Parameters
    ----------
    url, voxel_size, units, offset, block, format, chunk, overwrite
        See `create_labels`; `voxel_size`, `offset` and `block` are along axes
        of space.
    shape
        Voxels along each axis; channels before z.
    dtype
        Type of voxels, integers or floating-point numbers.
    axes
        One letter per axis, of t, c, z, y, x in this order; by default the last
        ones of them.

    Examples
    --------
    >>> url = getfixture("tmp_path") / "probability.zarr"
    >>> with create_volume(url, shape=(2, 8, 9, 9), dtype="float32") as volume:
    ...     volume.axes, volume.spatial_shape
    (('c', 'z', 'y', 'x'), (8, 9, 9))
    """
    plan = _plan(url, shape, dtype, axes, voxel_size, offset, units, block, chunk, labels=False)
    return _create(plan, format, overwrite)


def _create(plan: VolumePlan, format: str, overwrite: bool) -> Volume:
    if format not in FORMATS:
        raise OptionError(
            f"format '{format}' is not written",
            path=str(plan.address),
            hint=f"take {', '.join(FORMATS)}",
        )
    documents = _documents(plan, format)  # refused before what is there is removed
    _make_room(plan.address, overwrite)
    for address, described in documents:
        write_documents(address, described)
    if plan.labels:
        enter_label(str(plan.address))
    refresh_consolidated(plan.address)
    return open_volume(str(plan.address), writable=True)


def _documents(plan: VolumePlan, format: str) -> list[tuple[Address, dict[str, bytes]]]:
    """Return what describes a volume, by folder and name."""
    if format == "precomputed":
        return [(plan.address, info_documents(plan))]
    if format == "zarr2":
        attributes: dict[str, Any] = {
            "axis_names": plan.axes,
            "voxel_size": plan.voxel_size,
            "offset": plan.offset,
            "units": [plan.units] * len(plan.voxel_size),
        }
        return [(plan.address, array_documents(plan, 2, attributes))]
    version = 3 if format == "ome-zarr-0.5" else 2
    attributes = multiscales([plan], version)
    if plan.labels:
        check_label_place(str(plan.address), format)
        # background is clear
        said: dict[str, Any] = {"colors": [{"label-value": 0, "rgba": [0, 0, 0, 0]}]}
        said |= {} if version == 3 else {"version": "0.4"}
        attributes.get("ome", attributes)["image-label"] = said
    return [
        (safe_join(plan.address, "0"), array_documents(plan, version)),
        (plan.address, group_documents(attributes, version)),
    ]


def _plan(
    url: str | os.PathLike[str],
    shape: Sequence[int],
    dtype: npt.DTypeLike,
    axes: Sequence[str] | None,
    voxel_size: Sequence[float] | None,
    offset: Sequence[float] | None,
    units: str,
    block: Sequence[int] | None,
    chunk: Sequence[int] | None,
    *,
    labels: bool,
) -> VolumePlan:
    address = parse_address(url)
    if address.inner:
        raise OptionError("HDF5 is not written", path=str(url), hint="name it .zarr")
    where = str(address)
    try:
        shape = check_shape(tuple(int(n) for n in shape), where)
        dtype = check_dtype(dtype, where)
        named = tuple(axes or "tczyx"[-len(shape) :])
        space = sum(axis in "zyx" for axis in named)
        ordered = sorted(named, key="tczyx".index)
        if len(named) != len(shape) or space < 2 or list(named) != ordered:
            raise OptionError(f"axes {named} do not fit shape {shape}", path=where)
        if labels and space + ("t" in named and bool(axes)) != len(shape):
            raise OptionError(f"labels of shape {shape} have more than z, y, x", path=where)
        size = [1.0] * space if voxel_size is None else [float(s) for s in voxel_size]
        shift = [0.0] * space if offset is None else [float(s) for s in offset]
        return VolumePlan(
            address,
            shape,
            dtype,
            named,
            check_numbers(size, space, "voxel_size", where, positive=True),
            check_numbers(shift, space, "offset", where),
            normalize_unit(units),
            None if block is None else tuple(int(n) for n in block),
            None if chunk is None else tuple(int(n) for n in chunk),
            labels,
        )
    except (InputError, TypeError, ValueError) as err:
        if isinstance(err, UsageError):
            raise
        raise UsageError(getattr(err, "what", str(err)), path=where) from err


def _make_room(address: Address, overwrite: bool) -> None:
    if any(read_json(address, name) is not None for name in VOLUME_FILES):
        if not overwrite:
            raise OutputExistsError(
                "the volume exists", path=str(address), hint="say overwrite, or name another"
            )
        remove_tree(address)
        return
    path = address.path
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise OutputExistsError(
            "there is something that is not a volume", path=path, hint="name another"
        )
