"""Make volumes to be written block by block: labels, masks, predictions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError, OptionError, OutputExistsError, UsageError
from ..read.open_volume import open_volume
from ..read.volume import Volume
from ..read.volume_address import Address, parse_address
from ..read.volume_axes import normalize_unit
from ..read.volume_limits import check_dtype, check_numbers, check_shape
from ..read.volume_ome import parse_multiscales
from ..read.volume_store import read_json, remove_tree
from .consolidated import refresh_consolidated
from .precomputed import write_info
from .volume_layout import VolumePlan, plan_layout, write_documents
from .volume_metadata import (
    array_documents,
    group_documents,
    image_label,
    image_name,
    multiscales,
)

__all__ = [
    "FORMATS",
    "check_label_place",
    "create_labels",
    "create_volume",
    "enter_label",
    "image_of_labels",
    "read_attributes",
    "write_array",
]

#: Formats that are written.
FORMATS = ("ome-zarr-0.5", "ome-zarr-0.4", "zarr2", "precomputed")

_MARKS = ("zarr.json", ".zarray", ".zgroup", ".zattrs", "attributes.json", "info")


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
    return _create(
        url,
        format,
        overwrite,
        shape=shape,
        dtype=dtype,
        voxel_size=voxel_size,
        units=units,
        offset=offset,
        block=block,
        chunk=chunk,
        axes=axes,
        labels=True,
    )


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
    return _create(
        url,
        format,
        overwrite,
        shape=shape,
        dtype=dtype,
        voxel_size=voxel_size,
        units=units,
        offset=offset,
        block=block,
        chunk=chunk,
        axes=axes,
        labels=False,
    )


def _create(url: Any, format: str, overwrite: bool, **wanted: Any) -> Volume:
    if format not in FORMATS:
        raise OptionError(
            f"format '{format}' is not written", path=str(url), hint=f"take {', '.join(FORMATS)}"
        )
    plan = _plan(url, **wanted)
    _make_room(plan.address, overwrite)
    if format == "precomputed":
        write_info(plan)
    elif format == "zarr2":
        attributes = {
            "axis_names": list(plan.axes),
            "voxel_size": list(plan.voxel_size),
            "offset": list(plan.offset),
            "units": [plan.units] * len(plan.voxel_size),
        }
        write_array(plan.address, plan, version=2, attributes=attributes)
    else:
        _write_image(plan, format.removeprefix("ome-zarr-"))
    refresh_consolidated(plan.address)
    return open_volume(str(plan.address), writable=True)


def _plan(url: Any, **wanted: Any) -> VolumePlan:
    address = parse_address(url)
    if address.inner:
        raise OptionError("HDF5 is not written", path=str(url), hint="name it .zarr")
    where = str(address)
    try:
        shape = check_shape(tuple(int(n) for n in wanted["shape"]), where)
        dtype = check_dtype(wanted["dtype"], where)
        axes = tuple(wanted["axes"] or ("t", "c", "z", "y", "x")[-len(shape) :])
        space = sum(axis in "zyx" for axis in axes)
        if len(axes) != len(shape) or space < 2 or list(axes) != sorted(axes, key="tczyx".index):
            raise OptionError(f"axes {axes} do not fit shape {shape}", path=where)
        if wanted["labels"] and space + ("t" in axes and bool(wanted["axes"])) != len(shape):
            raise OptionError(f"labels of shape {shape} have more than z, y, x", path=where)
        size = wanted["voxel_size"]
        size = [1.0] * space if size is None else [float(s) for s in size]
        offset = wanted["offset"]
        offset = [0.0] * space if offset is None else [float(s) for s in offset]
        return VolumePlan(
            address if address.remote else Address(os.path.abspath(address.url)),
            shape,
            dtype,
            axes,
            check_numbers(size, space, "voxel_size", where, positive=True),
            check_numbers(offset, space, "offset", where),
            normalize_unit(wanted["units"]),
            None if wanted["block"] is None else tuple(int(n) for n in wanted["block"]),
            None if wanted["chunk"] is None else tuple(int(n) for n in wanted["chunk"]),
            wanted["labels"],
        )
    except (InputError, TypeError, ValueError) as err:
        if isinstance(err, UsageError):
            raise
        raise UsageError(getattr(err, "what", str(err)), path=where) from err


def _make_room(address: Address, overwrite: bool) -> None:
    volume = any(read_json(address, name) is not None for name in _MARKS)
    if not volume:
        if not address.remote and address.path.exists():
            taken = not address.path.is_dir() or any(address.path.iterdir())
            if taken:
                raise OutputExistsError(
                    "there is something that is no volume", path=address.path, hint="name another"
                )
        return
    if not overwrite:
        raise OutputExistsError(
            "the volume exists", path=str(address), hint="say overwrite, or name another"
        )
    remove_tree(address)


def write_array(
    address: Address,
    plan: VolumePlan,
    *,
    version: int,
    attributes: dict[str, Any] | None = None,
) -> None:
    """Write the metadata of one array."""
    space = sum(axis in "zyx" for axis in plan.axes)
    layout = plan_layout(
        plan.shape,
        plan.block,
        plan.dtype,
        spatial=space,
        shards=version == 3,
        chunk=plan.chunk,
        where=str(address),
    )
    documents = array_documents(
        shape=plan.shape,
        dtype=plan.dtype,
        layout=layout,
        axes=plan.axes,
        version=version,
        attributes=attributes,
    )
    write_documents(address, documents)


def _write_image(plan: VolumePlan, version: str) -> None:
    zarr = 3 if version == "0.5" else 2
    if plan.labels:
        check_label_place(str(plan.address), f"ome-zarr-{version}")
    name = image_name(plan.address.name)
    attributes = multiscales(
        name, plan.axes, plan.units, [("0", plan.voxel_size, plan.offset)], version
    )
    if plan.labels:
        attributes.get("ome", attributes)["image-label"] = image_label(version)
    inside = Address(f"{plan.address.url}/0", plan.address.remote)
    write_array(inside, plan, version=zarr)
    write_documents(plan.address, group_documents(attributes, zarr))
    if plan.labels:
        enter_label(str(plan.address))


def image_of_labels(url: str | os.PathLike[str]) -> Address | None:
    """Return the OME-Zarr image in whose folder ``labels`` something lies, if there is one."""
    above = parse_address(url).parent()
    top = above.parent() if above is not None and above.name == "labels" else None
    if top is None or parse_multiscales(read_attributes(top)[1], str(top)) is None:
        return None
    return top


def check_label_place(url: str | os.PathLike[str], format: str) -> None:
    """Check that labels in the folder of an image are of the same version of zarr."""
    top = image_of_labels(url) if format.startswith("ome-zarr") else None
    if top is None:
        return
    wanted = "ome-zarr-0.5" if read_attributes(top)[0] == 3 else "ome-zarr-0.4"
    if format != wanted:
        raise OptionError(
            f"labels inside this image must be {wanted}",
            path=os.fspath(url),
            hint=f"say format {wanted}",
        )


def enter_label(url: str | os.PathLike[str]) -> None:
    """List labels in the image in whose folder ``labels`` they lie; else do nothing."""
    address = parse_address(url)
    folder = address.parent()
    zarr, attributes = read_attributes(address)
    said = attributes.get("ome", attributes).get("image-label")
    if folder is None or said is None or image_of_labels(url) is None:
        return
    said["source"] = {"image": "../../"}
    write_documents(address, group_documents(attributes, zarr))
    listed = read_attributes(folder)[1]
    block = listed.setdefault("ome", {"version": "0.5"}) if zarr == 3 else listed
    names = [n for n in block.get("labels", []) if isinstance(n, str)]
    block["labels"] = names if address.name in names else [*names, address.name]
    write_documents(folder, group_documents(listed, zarr))


def read_attributes(address: Address) -> tuple[int, dict[str, Any]]:
    """Return the version of zarr and the attributes of a group or array."""
    document = read_json(address, "zarr.json")
    if document is not None:
        return 3, document.get("attributes") or {}
    return 2, read_json(address, ".zattrs") or {}
