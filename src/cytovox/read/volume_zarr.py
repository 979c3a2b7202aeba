"""Zarr 2 and 3, plain or as OME-Zarr."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

from ..errors import InputError, OptionError
from .volume_address import Address, safe_join
from .volume_axes import name_axes, place_axes, read_transform
from .volume_chunk_names import files_of_zarr
from .volume_folder import folder_of
from .volume_limits import check_chunk, check_dtype
from .volume_members import find_members, name_members
from .volume_ome import choose_level, parse_multiscales
from .volume_source import Described
from .volume_store import TensorSource, open_tensor, read_json
from .volume_zarr_document import clean_array

__all__ = ["is_volume", "open_zarr"]


def open_zarr(address: Address, scale: int | str | None, *, writable: bool) -> TensorSource | None:
    """Open an array or a scale of an OME-Zarr image; None if this is not zarr.

    A group in which there is one array or image only stands for that.
    """
    version, document, attributes = _documents(address)
    if document is None and attributes is None:
        return None
    if document is not None:
        if scale is not None:
            raise OptionError("a single array has no scales", path=str(address), hint="omit scale")
        return _open_array(address, version, document, attributes or {}, None, writable)
    wanted = scale if isinstance(scale, str) else None
    image = parse_multiscales(attributes or {}, str(address), wanted)
    if image is None:
        return open_zarr(_only_member(address, attributes or {}), scale, writable=writable)
    level = image.levels[choose_level([v.path for v in image.levels], scale, str(address))]
    inside = safe_join(address, level.path)
    version, document, _ = _documents(inside)
    if document is None:
        raise InputError("the metadata name this scale, but there is no array", path=str(inside))
    placed = (image.axes, image.units, level.scale, level.translation, f"ome-zarr-{image.version}")
    source = _open_array(inside, version, document, {}, placed, writable)
    source.described = replace(source.described, channels=image.channels)
    return source


def _only_member(address: Address, attributes: dict[str, Any]) -> Address:
    """Return the one array or image in a group, or say which there are."""
    ome = attributes.get("ome")
    ome = ome if isinstance(ome, dict) else attributes
    for kind, names, inside in (("plate", "wells", "/0"), ("well", "images", "")):
        parts = ome.get(kind, {}).get(names) if isinstance(ome.get(kind), dict) else None
        if isinstance(parts, list) and parts and isinstance(parts[0], dict):
            first = f"{address}/{parts[0].get('path', '')}{inside}"
            raise InputError(
                f"this is a {kind} of OME-Zarr with {len(parts)} {names}, not one image",
                path=str(address),
                hint=f"name one image in it, for example {first}",
            )
    found = find_members(address, is_volume)
    if len(found) == 1:
        return found[0]
    raise InputError(
        "this is a zarr group, and not an image in it",
        path=str(address),
        hint=name_members(found, "name an array or image inside", address.remote),
    )


def is_volume(address: Address) -> bool:
    """Return whether a folder is an array or an image."""
    _, document, attributes = _documents(address)
    ome = (attributes or {}).get("ome")
    ome = ome if isinstance(ome, dict) else attributes or {}
    return document is not None or "multiscales" in ome


Placed = tuple[tuple[str, ...], tuple[str, ...], tuple[float, ...], tuple[float, ...], str]


def _documents(
    address: Address,
) -> tuple[int, dict[str, Any] | None, dict[str, Any] | None]:
    """Return version, description if it is an array, and attributes if it is zarr."""
    document = read_json(address, "zarr.json")
    if document is not None:
        attributes = document.get("attributes") or {}
        if not isinstance(attributes, dict):
            raise InputError("'attributes' is not an object", path=f"{address}/zarr.json")
        return 3, document if document.get("node_type") == "array" else None, attributes
    document = read_json(address, ".zarray")
    attributes = read_json(address, ".zattrs")
    if document is None and attributes is None and read_json(address, ".zgroup") is not None:
        attributes = {}
    return 2, document, attributes


def _open_array(
    address: Address,
    version: int,
    document: dict[str, Any],
    attributes: dict[str, Any],
    placed: Placed | None,
    writable: bool,
) -> TensorSource:
    cleaned = clean_array(document, version, str(address), writable=writable)
    shape = tuple(cleaned["shape"])
    dtype = check_dtype(cleaned["dtype" if version == 2 else "data_type"], str(address))
    if placed is None and not any(k in attributes for k in ("voxel_size", "resolution")):
        placed = _placed_by_parents(address)
    files = None
    if not address.remote:
        place = folder_of(address), str(address)
        files, cleaned = files_of_zarr(*place, cleaned, dtype.itemsize)
    spec = {"driver": "zarr3" if version == 3 else "zarr", "metadata": cleaned}
    tensor = open_tensor(spec, address, writable=writable)
    layout = tensor.chunk_layout
    described = Described(
        format=f"zarr{version}",
        shape=shape,
        dtype=dtype,
        axes=(),
        chunk=check_chunk(tuple(layout.read_chunk.shape), shape, dtype, str(address)),
        write_unit=tuple(layout.write_chunk.shape),
        voxel_size=(1.0,) * len(shape),
        offset=(0.0,) * len(shape),
        units=("",) * len(shape),
    )
    if writable:
        check_chunk(described.write_unit, shape, dtype, str(address))
    if placed is not None:
        described = _place(described, placed, str(address))
    else:
        described = _place_plain(described, document, attributes, str(address))
    meaning = [described.axes, described.voxel_size, described.offset, described.units]
    return TensorSource(tensor, spec, described, address, [str(dtype), document, meaning], files)


def _placed_by_parents(address: Address) -> Placed | None:
    """Return what an image that this array is a scale of says about it."""
    above, name = address.parent(), address.name
    for _ in range(2):
        if above is None:
            return None
        try:
            _, array, attributes = _documents(above)
            found = attributes if attributes and not array else {}
            image = parse_multiscales(found, str(above), name)
        except InputError as err:
            warnings.warn(f"{address}: read without the size of its voxels: {err}", stacklevel=2)
            return None
        for level in image.levels if image is not None else ():
            if image is not None and level.path == name:
                form = f"ome-zarr-{image.version}"
                return image.axes, image.units, level.scale, level.translation, form
        name = f"{above.name}/{name}"
        above = above.parent()
    return None


def _place(described: Described, placed: Placed, where: str) -> Described:
    axes, units, scale, translation, form = placed
    if not axes:  # before OME-Zarr 0.3
        axes = name_axes(len(described.shape), None, where)
        return replace(described, axes=axes, format=form)
    if len(axes) != len(described.shape):
        raise InputError(
            f"the metadata speak of {len(axes)} axes, the array has {len(described.shape)}",
            path=where,
            hint="write the metadata again",
        )
    return replace(
        described, axes=axes, units=units, voxel_size=scale, offset=translation, format=form
    )


def _place_plain(
    described: Described, document: dict[str, Any], attributes: dict[str, Any], where: str
) -> Described:
    """Take what plain arrays are often given: voxel_size, offset, units, axis names."""
    dimensions = len(described.shape)
    names = None
    for found in (
        document.get("dimension_names"),
        attributes.get("axis_names"),
        attributes.get("_ARRAY_DIMENSIONS"),
    ):
        if isinstance(found, list) and names is None:
            names = found
    transform = attributes.get("transform")
    if names is None and isinstance(transform, dict) and isinstance(transform.get("axes"), list):
        names = transform["axes"]
    axes = name_axes(dimensions, names, where)
    placement = read_transform(transform, axes) or attributes
    size, offset, units = place_axes(axes, placement, where)
    return replace(described, axes=axes, voxel_size=size, offset=offset, units=units)
