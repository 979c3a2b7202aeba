"""Zarr 2 and 3, plain or as OME-Zarr."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..errors import InputError, OptionError
from .volume_address import Address, safe_join
from .volume_axes import name_axes, place_axes
from .volume_chunk_files import files_of_zarr
from .volume_limits import check_chunk, check_dtype, check_shape
from .volume_ome import choose_level, parse_multiscales
from .volume_source import Described
from .volume_store import TensorSource, kvstore, open_tensor, read_json

__all__ = ["open_zarr"]

#: What zarr 3 arrays may be encoded with; none of them makes objects.
_CODECS = {"bytes", "transpose", "gzip", "zstd", "blosc", "crc32c", "sharding_indexed", "endian"}
#: Filters of zarr 2 that make objects, some by running programs.
_OBJECT_FILTERS = {"pickle", "json2", "msgpack2", "vlen-utf8", "vlen-bytes", "vlen-array"}


def open_zarr(address: Address, scale: int | str | None, *, writable: bool) -> TensorSource | None:
    """Open an array or a scale of an OME-Zarr image; None if this is no zarr.

    Parameters
    ----------
    address
        Array or group.
    scale
        Which scale of an image, by number or path.
    writable
        Whether it will be written.

    Raises
    ------
    InputError
        If it is a group without an image, or not to be read.
    OptionError
        If there is no such scale.
    """
    version, document, attributes = _documents(address)
    if document is None and attributes is None:
        return None
    if document is not None:
        if scale is not None:
            raise OptionError("a single array has no scales", path=str(address), hint="omit scale")
        return _open_array(address, version, document, attributes or {}, None, writable)
    image = parse_multiscales(attributes or {}, str(address))
    if image is None:
        raise _no_image(address, attributes or {})
    level = image.levels[choose_level([v.path for v in image.levels], scale, str(address))]
    inside = safe_join(address, level.path)
    version, document, _ = _documents(inside)
    if document is None:
        raise InputError("the metadata name this scale, but there is no array", path=str(inside))
    placed = (image.axes, image.units, level.scale, level.translation, f"ome-zarr-{image.version}")
    return _open_array(inside, version, document, {}, placed, writable)


def _no_image(address: Address, attributes: dict[str, Any]) -> InputError:
    """Return the error that names what is to be opened instead of a group."""
    told = attributes.get("ome")
    told = told if isinstance(told, dict) else attributes
    for kind, names, inside in (("plate", "wells", "/0"), ("well", "images", "")):
        parts = told.get(kind, {}).get(names) if isinstance(told.get(kind), dict) else None
        if isinstance(parts, list) and parts and isinstance(parts[0], dict):
            first = f"{address}/{parts[0].get('path', '')}{inside}"
            return InputError(
                f"this is a {kind} of OME-Zarr with {len(parts)} {names}, not one image",
                path=str(address),
                hint=f"name one image in it, for example {first}",
            )
    return InputError(
        "this is a zarr group, and not an image in it",
        path=str(address),
        hint=f"name an array or image inside, for example {address}/0",
    )


Placed = tuple[tuple[str, ...], tuple[str, ...], tuple[float, ...], tuple[float, ...], str]


def _documents(
    address: Address,
) -> tuple[int, dict[str, Any] | None, dict[str, Any] | None]:
    """Return version, description if it is an array, and attributes if it is zarr."""
    document = read_json(address, "zarr.json")
    if document is not None:
        attributes = document.get("attributes") or {}
        if not isinstance(attributes, dict):
            raise InputError("'attributes' is no object", path=f"{address}/zarr.json")
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
    check = _check_array_3 if version == 3 else _check_array_2
    shape, dtype_name = check(document, str(address))
    if placed is None and not any(k in attributes for k in ("voxel_size", "resolution")):
        placed = _placed_by_parents(address)
    driver = "zarr3" if version == 3 else "zarr"
    tensor = open_tensor(
        {"driver": driver, "kvstore": kvstore(address)}, address, writable=writable
    )
    dtype = check_dtype(tensor.dtype.numpy_dtype, str(address))
    if tuple(tensor.shape) != shape:
        raise InputError(f"shape {tensor.shape} is not {shape}", path=str(address))
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
    place = [described.axes, described.voxel_size, described.offset, described.units]
    files = None
    if not address.remote:
        files = files_of_zarr(address.path, version, document, dtype.itemsize)
    return TensorSource(tensor, described, address, [dtype_name, document, place], files)


def _check_array_3(document: dict[str, Any], where: str) -> tuple[tuple[int, ...], Any]:
    shape = check_shape(document.get("shape"), where)
    dtype = check_dtype(document.get("data_type"), where)
    grid = document.get("chunk_grid")
    if not isinstance(grid, dict) or grid.get("name") != "regular":
        raise InputError("chunks of unequal size are not read", path=where)
    _check_codecs(document.get("codecs"), shape, dtype, where, depth=0)
    if document.get("storage_transformers"):
        raise InputError("storage transformers are not read", path=where)
    return shape, str(dtype)


def _check_codecs(codecs: Any, shape: Any, dtype: Any, where: str, depth: int) -> None:
    if not isinstance(codecs, list) or len(codecs) > 16 or depth > 2:
        raise InputError("'codecs' is no list of codecs", path=where)
    for codec in codecs:
        name = codec.get("name") if isinstance(codec, dict) else codec
        if not isinstance(name, str) or name not in _CODECS:
            raise InputError(
                f"codec {str(name)[:40]!r} is not read",
                path=where,
                hint=f"store it again with one of {', '.join(sorted(_CODECS))}",
            )
        if name == "sharding_indexed":
            inner = codec.get("configuration") if isinstance(codec, dict) else None
            if not isinstance(inner, dict):
                raise InputError("sharding has no configuration", path=where)
            check_chunk(inner.get("chunk_shape"), shape, dtype, where)
            _check_codecs(inner.get("codecs"), shape, dtype, where, depth + 1)


def _check_array_2(document: dict[str, Any], where: str) -> tuple[tuple[int, ...], Any]:
    shape = check_shape(document.get("shape"), where)
    filters = document.get("filters") or []
    if not isinstance(filters, list):
        raise InputError("'filters' is no list of filters", path=where)
    names = [str(f.get("id") if isinstance(f, dict) else f) for f in filters]
    if not isinstance(document.get("dtype"), str) or any(n in _OBJECT_FILTERS for n in names):
        raise InputError(
            "its voxels are objects, which are never read: reading them can run programs",
            path=where,
            hint="store numbers",
        )
    dtype = check_dtype(document["dtype"], where)
    check_chunk(document.get("chunks"), shape, dtype, where)
    if names:
        raise InputError(
            f"filter {str(names[0])[:40]!r} is not read", path=where, hint="store without filters"
        )
    return shape, str(dtype)


def _placed_by_parents(address: Address) -> Placed | None:
    """Return what an image that this array is a scale of says about it."""
    above, name = address.parent(), address.name
    for _ in range(2):
        if above is None:
            return None
        _, array, attributes = _documents(above)
        image = parse_multiscales(attributes, str(above)) if attributes and not array else None
        for level in image.levels if image is not None else ():
            if image is not None and level.path == name:
                form = f"ome-zarr-{image.version}"
                return image.axes, image.units, level.scale, level.translation, form
        name = f"{above.name}/{name}"
        above = above.parent()
    return None


def _place(described: Described, placed: Placed, where: str) -> Described:
    axes, units, scale, translation, form = placed
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
    axes = name_axes(dimensions, names, where)
    size, offset, units = place_axes(axes, attributes, where)
    return replace(described, axes=axes, voxel_size=size, offset=offset, units=units)
