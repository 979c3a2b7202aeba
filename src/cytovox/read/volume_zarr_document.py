"""The description of a zarr array: checked, and as tensorstore is to have it.

Writers add members that say nothing about the voxels, and spell others in many
ways; tensorstore refuses both. So it gets a description that is made anew here,
of what is understood. What is not understood is refused by its name.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np

from ..errors import InputError
from .volume_limits import check_chunk, check_dtype, check_shape

__all__ = ["clean_array"]

#: Codecs of bytes, and the settings that count when bytes are packed; unpacking needs none.
_PACKERS = {
    "zstd": ("level",),
    "gzip": ("level",),
    "zlib": ("level",),
    "bz2": ("level",),
    "blosc": ("cname", "clevel", "shuffle", "blocksize", "typesize"),
}
_PACKERS_2 = ("blosc", "bz2", "gzip", "zlib", "zstd")
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
#: Members of zarr 3 that are read elsewhere, or not needed.
_KNOWN_3 = {
    "zarr_format",
    "node_type",
    "shape",
    "data_type",
    "chunk_grid",
    "chunk_key_encoding",
    "fill_value",
    "codecs",
    "attributes",
    "dimension_names",
    "consolidated_metadata",
}
_HINT = "store it again with one of "


def clean_array(
    document: dict[str, Any], version: int, where: str, *, writable: bool = False
) -> dict[str, Any]:
    """Return the description of an array with what is needed to read it, and nothing else."""
    if version == 2:
        return _clean_2(document, where, writable)
    return _clean_3(document, where, writable)


def _clean_2(document: dict[str, Any], where: str, writable: bool) -> dict[str, Any]:
    shape = check_shape(document.get("shape"), where)
    filters = document.get("filters") or []
    if not isinstance(filters, list):
        raise InputError("'filters' is not a list of filters", path=where)
    names = [str(f.get("id") if isinstance(f, dict) else f) for f in filters]
    stored = document.get("dtype")
    objects = isinstance(stored, list) and "|O" in str(stored)
    if objects or any(n in _OBJECT_FILTERS for n in names):
        raise InputError(
            "its voxels are objects, which are never read: reading them can run programs",
            path=where,
            hint="store numbers",
        )
    if isinstance(stored, list):
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
    order, separator = document.get("order") or "C", document.get("dimension_separator") or "."
    if order not in ("C", "F") or separator not in (".", "/"):
        raise InputError(
            f"order {str(order)[:40]!r} and separator {str(separator)[:40]!r} are not both known",
            path=where,
            hint="'C' or 'F', and '.' or '/' are",
        )
    compressor = document.get("compressor")
    if compressor is not None:
        compressor = compressor if isinstance(compressor, dict) else {}
        name = compressor.get("id")
        if name not in _PACKERS_2:
            raise InputError(
                f"compressor {str(name)[:40]!r} is not read",
                path=where,
                hint=_HINT + ", ".join(_PACKERS_2),
            )
        compressor = {"id": name} | (_settings(name, compressor) if writable else {})
    return {
        "zarr_format": 2,
        "shape": list(shape),
        "chunks": list(chunks),
        "dtype": np.dtype(stored).str,
        "order": order,
        "dimension_separator": separator,
        "fill_value": _fill(document.get("fill_value"), dtype, where),
        "filters": None,
        "compressor": compressor,
    }


def _clean_3(document: dict[str, Any], where: str, writable: bool) -> dict[str, Any]:
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
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": str(dtype),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        "chunk_key_encoding": _key_encoding(document.get("chunk_key_encoding"), where),
        "fill_value": dtype.type(0).item() if fill is None else fill,
        "codecs": _codecs(document.get("codecs"), shape, dtype, where, writable, depth=0),
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


def _codecs(
    codecs: Any, shape: tuple[int, ...], dtype: Any, where: str, writable: bool, depth: int
) -> list[dict[str, Any]]:
    if not isinstance(codecs, list) or len(codecs) > 16 or depth > 2:
        raise InputError("'codecs' is not a list of codecs", path=where)
    return [_codec(codec, shape, dtype, where, writable, depth) for codec in codecs]


def _codec(
    codec: Any, shape: tuple[int, ...], dtype: Any, where: str, writable: bool, depth: int
) -> dict[str, Any]:
    name = str(codec.get("name") if isinstance(codec, dict) else codec)
    said = _configuration(codec)
    plain = name.removeprefix("numcodecs.")
    if plain in _PACKERS_3:
        kept = _settings(plain, said) if writable and plain == name else {}
        return {"name": plain} | ({"configuration": kept} if kept else {})
    if name not in _CODECS:
        raise InputError(
            f"codec {name[:40]!r} is not read",
            path=where,
            hint=f"{_HINT}{', '.join(sorted({*_PACKERS_3, *_CODECS}))}",
        )
    for key in said.keys() - _CODECS[name]:
        raise InputError(
            f"codec '{name}' has the member {key[:40]!r}, which is not understood", path=where
        )
    if name == "sharding_indexed":
        return _sharding(said, shape, dtype, where, writable, depth)
    if name == "transpose":
        order = said.get("order")
        plain_order = list(range(len(shape)))
        order = {"C": plain_order, "F": plain_order[::-1]}.get(str(order), order)
        return {"name": name, "configuration": {"order": order}}
    if name == "crc32c":
        return {"name": name}
    return {"name": "bytes", "configuration": {"endian": said.get("endian") or "little"}}


def _sharding(
    said: dict[str, Any],
    shape: tuple[int, ...],
    dtype: Any,
    where: str,
    writable: bool,
    depth: int,
) -> dict[str, Any]:
    chunk = check_chunk(said.get("chunk_shape"), shape, dtype, where)
    index = said.get("index_codecs") or ["bytes", "crc32c"]
    table = (*shape, 2)
    place = said.get("index_location") or "end"
    if place not in ("start", "end"):
        raise InputError(f"an index at {str(place)[:40]!r} is not read", path=where)
    configuration = {
        "chunk_shape": list(chunk),
        "codecs": _codecs(said.get("codecs"), shape, dtype, where, writable, depth + 1),
        "index_codecs": _codecs(index, table, np.dtype("u8"), where, writable, depth + 1),
        "index_location": place,
    }
    return {"name": "sharding_indexed", "configuration": configuration}


def _fill(value: Any, dtype: np.dtype[Any], where: str) -> Any:
    """Return a fill value as zarr spells it for the type of the voxels."""
    number: Any = value
    try:
        if isinstance(value, str):
            number = _number(value, dtype)
        if value is None:
            return None
        if dtype.kind == "f":
            number = float(number)
            if math.isfinite(number):
                return number
            return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
        if number in (0, 1) and dtype.kind == "b":
            return bool(number)
        whole = int(number)
        limits = np.iinfo(dtype)
        if whole == number and limits.min <= whole <= limits.max:
            return whole
    except (TypeError, ValueError, OverflowError, struct.error):
        pass
    raise InputError(
        f"'fill_value' is {str(value)[:40]!r}, which voxels of {dtype} cannot be",
        path=where,
        hint="correct it in the metadata: it stands for chunks that are not stored",
    )


def _number(text: str, dtype: np.dtype[Any]) -> float | int:
    """Return a number that is given as text: NaN, Infinity, hexadecimal bits, or digits."""
    if text.lower().startswith("0x") and dtype.kind == "f":
        bits = bytes.fromhex(text[2:])
        if len(bits) != dtype.itemsize:
            raise ValueError(text)
        return float(np.frombuffer(bits, dtype.newbyteorder(">"))[0])
    return float(text) if dtype.kind == "f" else int(text)
