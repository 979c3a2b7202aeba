"""Zarr 2 and 3, plain or as OME-Zarr.

Writers add members that say nothing about the voxels, and spell others in many
ways; tensorstore refuses both. So it gets a description that is made anew here,
of what is understood. What is not understood is refused by its name.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError, OptionError, UsageError
from .volume_address import Address, safe_join
from .volume_axes import name_axes, place_axes, read_transform
from .volume_chunk_files import files_of_zarr
from .volume_folder import find_members, folder_of, name_members
from .volume_limits import check_chunk, check_dtype, check_fill, check_known, check_shape
from .volume_ome import Level, Multiscale, choose_level, parse_multiscales
from .volume_store import TensorSource, kvstore, read_json
from .volume_view import Described

__all__ = ["is_volume", "ome_of", "open_zarr", "read_documents"]

#: Codecs of bytes, and the settings that count when bytes are packed; unpacking needs none.
_PACKERS = {
    "zstd": ("level",),
    "gzip": ("level",),
    "zlib": ("level",),
    "bz2": ("level",),
    "blosc": ("cname", "clevel", "shuffle", "blocksize", "typesize"),
}
_PACKERS_3 = ("blosc", "gzip", "zstd")
#: Other codecs of zarr 3, and their members.
_CODECS: dict[str, set[str]] = {
    "bytes": {"endian"},
    "endian": {"endian"},
    "transpose": {"order"},
    "crc32c": set(),
    "sharding_indexed": {"chunk_shape", "codecs", "index_codecs", "index_location"},
}
#: Filters of zarr 2 that make objects, some by running programs.
_OBJECT_FILTERS = {"pickle", "json2", "msgpack2", "vlen-utf8", "vlen-bytes", "vlen-array"}
#: Members of zarr 3 that are read, or not needed.
_KNOWN_3 = {
    *("zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding"),
    *("fill_value", "codecs", "attributes", "dimension_names", "consolidated_metadata"),
}

Documents = tuple[int, dict[str, Any] | None, dict[str, Any] | None]
#: Axes, voxel size, offset and units of an array.
Place = tuple[tuple[str, ...], tuple[float, ...], tuple[float, ...], tuple[str, ...]]


def open_zarr(address: Address, scale: int | str | None, *, writable: bool) -> TensorSource | None:
    """Open an array or a scale of an OME-Zarr image; None if this is not zarr.

    A group in which there is one array or image only stands for that.
    """
    version, document, attributes = read_documents(address)
    if document is None and attributes is None:
        return None
    where, attributes = str(address), attributes or {}
    if document is not None:
        if scale is not None:
            raise OptionError("a single array has no scales", path=where, hint="omit scale")
        placed = None
        if not any(key in attributes for key in ("voxel_size", "resolution", "transform")):
            placed = _placed_above(address)
        return _open_array(address, version, document, attributes, placed, writable)
    image = parse_multiscales(attributes, where, scale if isinstance(scale, str) else None)
    if image is None:
        return open_zarr(_only_member(address, attributes), scale, writable=writable)
    level = image.levels[choose_level([v.path for v in image.levels], scale, where)]
    inside = safe_join(address, level.path)
    version, document, own = read_documents(inside)
    if document is None:
        raise InputError("the metadata name this scale, but there is no array", path=str(inside))
    return _open_array(inside, version, document, own or {}, (image, level), writable)


def is_volume(address: Address) -> bool:
    """Return whether a folder is an array or an image."""
    _, document, attributes = read_documents(address)
    return document is not None or "multiscales" in ome_of(attributes or {})


def ome_of(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return what attributes say by OME-Zarr, of any version."""
    ome = attributes.get("ome")
    return ome if isinstance(ome, dict) else attributes


def _only_member(address: Address, attributes: dict[str, Any]) -> Address:
    """Return the one array or image in a group, or say which there are."""
    for kind, names, inside in (("plate", "wells", "/0"), ("well", "images", "")):
        said = ome_of(attributes).get(kind)
        parts = said.get(names) if isinstance(said, dict) else None
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


def read_documents(address: Address) -> Documents:
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
    placed: tuple[Multiscale, Level] | None,
    writable: bool,
) -> TensorSource:
    where = str(address)
    clean = _clean_2 if version == 2 else _clean_3
    dtype, cleaned = clean(document, where, writable)
    shape, files = tuple(cleaned["shape"]), None
    if placed is None:
        place = _own_place(document, attributes, len(shape), where)
    else:
        place = _place(*placed, document, attributes, len(shape), where)
    if not address.remote:
        files, cleaned = files_of_zarr(folder_of(address), cleaned, dtype.itemsize)
    driver = "zarr3" if version == 3 else "zarr"
    spec = {"driver": driver, "kvstore": kvstore(address), "metadata": cleaned}
    axes, size, offset, units = place
    described = Described(
        f"zarr{version}" if placed is None else f"ome-zarr-{placed[0].version}",
        shape,
        dtype,
        axes,
        shape,
        shape,
        size,
        offset,
        units,
        channels=() if placed is None else placed[0].channels,
    )
    told = [str(dtype), document, [axes, size, offset, units]]
    return TensorSource(spec, address, described, told, files, writable=writable)


def _placed_above(address: Address) -> tuple[Multiscale, Level] | None:
    """Return what an image that this array is a scale of says about it."""
    above, name = address.parent(), address.name
    for _ in range(2):
        if above is None:
            return None
        try:
            _, array, attributes = read_documents(above)
            image = parse_multiscales({} if array else attributes or {}, str(above), name)
        except InputError as err:
            warnings.warn(f"{address}: read without the size of its voxels: {err}", stacklevel=2)
            return None
        for level in () if image is None else image.levels:
            if image is not None and level.path == name:
                return image, level
        name = f"{above.name}/{name}"
        above = above.parent()
    return None


def _place(
    image: Multiscale,
    level: Level,
    document: dict[str, Any],
    attributes: dict[str, Any],
    dimensions: int,
    where: str,
) -> Place:
    if not image.axes:  # before OME-Zarr 0.3, or of OpenOrganelle
        said = {"transform": level.transform} if level.transform else {}
        return _own_place(document, said | attributes, dimensions, where)
    if len(image.axes) != dimensions:
        raise InputError(
            f"the metadata speak of {len(image.axes)} axes, the array has {dimensions}",
            path=where,
            hint="write the metadata again",
        )
    return image.axes, level.scale, level.translation, image.units


def _own_place(
    document: dict[str, Any], attributes: dict[str, Any], dimensions: int, where: str
) -> Place:
    """Take what plain arrays are often given: voxel_size, offset, units, axis names."""
    transform = attributes.get("transform")
    named = (
        document.get("dimension_names"),
        attributes.get("axis_names"),
        attributes.get("_ARRAY_DIMENSIONS"),
        transform.get("axes") if isinstance(transform, dict) else None,
    )
    names = next((found for found in named if isinstance(found, list)), None)
    axes = name_axes(dimensions, names, where)
    return axes, *place_axes(axes, read_transform(transform, axes) or attributes, where)


def _clean_2(
    document: dict[str, Any], where: str, writable: bool
) -> tuple[np.dtype[Any], dict[str, Any]]:
    """Return the type of the voxels, and what is needed to read them, and nothing else."""
    shape = check_shape(document.get("shape"), where)
    filters = document.get("filters") or []
    if not isinstance(filters, list):
        raise InputError("'filters' is not a list of filters", path=where)
    names = [str(f.get("id") if isinstance(f, dict) else f) for f in filters]
    stored = document.get("dtype")
    fields = isinstance(stored, list)
    if (fields and "|O" in str(stored)) or not _OBJECT_FILTERS.isdisjoint(names):
        raise InputError(
            "its voxels are objects, which are never read: reading them can run programs",
            path=where,
            hint="store numbers",
        )
    if fields:
        raise InputError(
            "each of its voxels has several fields, which are not read",
            path=where,
            hint="store each field as an array of its own",
        )
    dtype = check_dtype(stored, where)
    chunks = check_chunk(document.get("chunks"), shape, dtype, where)
    if names:
        raise InputError(
            f"filter {names[0][:40]!r} is not read", path=where, hint="store without filters"
        )
    compressor = document.get("compressor")
    if compressor is not None:
        compressor = compressor if isinstance(compressor, dict) else {}
        name = check_known(compressor.get("id"), _PACKERS, "compressor", where)
        compressor = {"id": name} | (_settings(name, compressor) if writable else {})
    separator = document.get("dimension_separator") or "."
    return dtype, {
        "zarr_format": 2,
        "shape": list(shape),
        "chunks": list(chunks),
        "dtype": np.dtype(stored).str,
        "order": check_known(document.get("order") or "C", ("C", "F"), "order", where),
        "dimension_separator": check_known(separator, (".", "/"), "separator", where),
        "fill_value": _fill(document.get("fill_value"), dtype, where),
        "filters": None,
        "compressor": compressor,
    }


def _clean_3(
    document: dict[str, Any], where: str, writable: bool
) -> tuple[np.dtype[Any], dict[str, Any]]:
    """Return the type of the voxels, and what is needed to read them, and nothing else."""
    shape = check_shape(document.get("shape"), where)
    said = document.get("data_type")
    if isinstance(said, dict) and not said.get("configuration"):
        said = said.get("name")
    dtype = check_dtype(said, where)
    grid = document.get("chunk_grid")
    if not isinstance(grid, dict) or grid.get("name") != "regular":
        raise InputError("chunks of unequal size are not read", path=where)
    chunk = check_chunk(_configuration(grid).get("chunk_shape"), shape, dtype, where)
    if document.get("storage_transformers"):
        raise InputError("storage transformers are not read", path=where)
    for name, value in document.items():
        optional = isinstance(value, dict) and value.get("must_understand") is False
        if name not in _KNOWN_3 and value not in (None, [], {}, False) and not optional:
            raise InputError(
                f"its metadata have the member {name[:40]!r}, which is not understood",
                path=where,
                hint="it may change what the voxels mean; store it again without it",
            )
    fill = _fill(document.get("fill_value"), dtype, where)
    codecs = _Codecs(shape, dtype, where, writable)
    return dtype, {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": str(dtype),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        "chunk_key_encoding": _key_encoding(document.get("chunk_key_encoding"), where),
        "fill_value": dtype.type(0).item() if fill is None else fill,
        "codecs": codecs.clean(document.get("codecs")),
    }


def _key_encoding(said: Any, where: str) -> dict[str, Any]:
    said = {"name": said} if isinstance(said, str) else said or {"name": "default"}
    name = said.get("name") if isinstance(said, dict) else None
    separator = _configuration(said).get("separator") or ("." if name == "v2" else "/")
    if name not in ("default", "v2") or separator not in (".", "/"):
        raise InputError(
            f"chunks that are named by {str(said)[:80]} are not read",
            path=where,
            hint="store it again with chunk_key_encoding 'default' or 'v2'",
        )
    return {"name": name, "configuration": {"separator": separator}}


def _configuration(member: Any) -> dict[str, Any]:
    found = member.get("configuration") if isinstance(member, dict) else None
    return found if isinstance(found, dict) else {}


def _settings(name: str, said: dict[str, Any]) -> dict[str, Any]:
    return {key: said[key] for key in _PACKERS[name] if key in said}


@dataclass(frozen=True, slots=True)
class _Codecs:
    """The codecs of one array of zarr 3, made anew."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    where: str
    writable: bool

    def clean(self, codecs: Any, depth: int = 0) -> list[dict[str, Any]]:
        if not isinstance(codecs, list) or len(codecs) > 16 or depth > 2:
            raise InputError("'codecs' is not a list of codecs", path=self.where)
        return [self._codec(codec, depth) for codec in codecs]

    def _codec(self, codec: Any, depth: int) -> dict[str, Any]:
        name = str(codec.get("name") if isinstance(codec, dict) else codec)
        said = _configuration(codec)
        plain = name.removeprefix("numcodecs.")
        if plain in _PACKERS_3:
            kept = _settings(plain, said) if self.writable and plain == name else {}
            return {"name": plain} | ({"configuration": kept} if kept else {})
        members = _CODECS[check_known(name, {*_PACKERS_3, *_CODECS}, "codec", self.where)]
        for key in said.keys() - members:
            raise InputError(
                f"codec '{name}' has the member {key[:40]!r}, which is not understood",
                path=self.where,
            )
        if name == "sharding_indexed":
            said = self._sharding(said, depth + 1)
        elif name in ("bytes", "endian"):
            name, said = "bytes", {"endian": said.get("endian") or "little"}
        return {"name": name} | ({"configuration": said} if said else {})

    def _sharding(self, said: dict[str, Any], depth: int) -> dict[str, Any]:
        chunk = check_chunk(said.get("chunk_shape"), self.shape, self.dtype, self.where)
        place = said.get("index_location") or "end"
        index = said.get("index_codecs") or ["bytes", "crc32c"]
        return {
            "chunk_shape": list(chunk),
            "codecs": self.clean(said.get("codecs"), depth),
            "index_codecs": self.clean(index, depth),
            "index_location": check_known(place, ("start", "end"), "index_location", self.where),
        }


def _fill(value: Any, dtype: np.dtype[Any], where: str) -> Any:
    """Return a fill value as zarr spells it for the type of the voxels."""
    if value is None:
        return None
    try:
        number = _number(value, dtype) if isinstance(value, str) else value
        number = number if isinstance(number, (int, float)) else None
        number = check_fill(number, dtype, where).item()
    except (ValueError, UsageError) as err:
        raise InputError(
            f"'fill_value' is {str(value)[:40]!r}, which voxels of {dtype} cannot be",
            path=where,
            hint="correct it in the metadata: it stands for chunks that are not stored",
        ) from err
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    return number


def _number(text: str, dtype: np.dtype[Any]) -> float | int:
    """Return a number that is given as text: NaN, Infinity, hexadecimal bits, or digits."""
    if text.lower().startswith("0x") and dtype.kind == "f":
        return float(np.frombuffer(bytes.fromhex(text[2:]), dtype.newbyteorder(">")).item())
    return float(text) if dtype.kind == "f" else int(text)
