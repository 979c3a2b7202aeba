"""N5: arrays that keep x first, in files without an end."""

from __future__ import annotations

from typing import Any

from ..errors import InputError, OptionError
from .volume_address import Address, safe_join
from .volume_axes import name_axes, place_axes
from .volume_chunk_names import files_of_n5
from .volume_folder import folder_of
from .volume_limits import check_chunk, check_dtype, check_numbers, check_shape
from .volume_members import find_members, name_members
from .volume_source import Described
from .volume_store import TensorSource, open_tensor, read_json

__all__ = ["open_n5"]

#: How blocks may be packed, with what tensorstore wants to be told about packing.
_COMPRESSIONS: dict[str, dict[str, Any]] = {
    "raw": {},
    "gzip": {},
    "bzip2": {},
    "xz": {},
    "zstd": {},
    "blosc": {"cname": "lz4", "clevel": 5, "shuffle": 1},
}


def open_n5(address: Address, scale: int | str | None, *, writable: bool) -> TensorSource | None:
    """Open an array, or a scale (``s0``, ``s1`` ...) of a group; None if this is no N5.

    Raises
    ------
    InputError
        If it is a group without scales, or not to be read.
    OptionError
        If there is no such scale.
    """
    document = read_json(address, "attributes.json")
    if document is None:
        return None
    group: dict[str, Any] = {}
    if "dimensions" not in document:
        name = scale if isinstance(scale, str) and scale.startswith("s") else f"s{scale or 0}"
        inside, group = safe_join(address, name), document
        found = read_json(inside, "attributes.json")
        if found is None or "dimensions" not in found:
            members = find_members(address, _is_array)
            if scale is None and len(members) == 1:
                return open_n5(members[0], None, writable=writable)
            raise (InputError if scale is None else OptionError)(
                f"this is an N5 group without an array '{name}'",
                path=str(address),
                hint=name_members(members, "name an array inside", address.remote),
            )
        address, document = inside, found
    elif scale is not None:
        raise OptionError("a single array has no scales", path=str(address), hint="omit scale")
    where = str(address)
    shape = check_shape(document["dimensions"], where)
    dtype = check_dtype(document.get("dataType"), where)
    chunk = check_chunk(document.get("blockSize"), shape, dtype, where)
    axes = name_axes(len(shape), document.get("axes"), where, fastest_first=True)
    size, offset, units = place_axes(axes, _placement(document, group, axes, where), where)
    cleaned = {
        "dimensions": list(shape),
        "blockSize": list(chunk),
        "dataType": str(dtype),
        "compression": _compression(document, where, writable),
    }
    files = None
    if not address.remote:
        files = files_of_n5(folder_of(address), where, cleaned, dtype.itemsize)
    spec = {"driver": "n5", "metadata": cleaned}
    tensor = open_tensor(spec, address, writable=writable)
    described = Described("n5", shape, dtype, axes, chunk, chunk, size, offset, units)
    return TensorSource(tensor, spec, described, address, [document, group], files)


def _is_array(address: Address) -> bool:
    return "dimensions" in (read_json(address, "attributes.json") or {})


def _compression(document: dict[str, Any], where: str, writable: bool) -> dict[str, Any]:
    """Return how blocks are packed, without what only other writers understand."""
    said = document.get("compression")
    if said is None:  # before N5 2.0
        said = {"type": document.get("compressionType")}
    name = said.get("type") if isinstance(said, dict) else None
    if name not in _COMPRESSIONS:
        raise InputError(
            f"compression {str(name)[:40]!r} is not read",
            path=where,
            hint=f"store it again with one of {', '.join(sorted(_COMPRESSIONS))}",
        )
    cleaned = {"type": name} | _COMPRESSIONS[name]
    for key in ("level", "preset", "blockSize", "cname", "clevel", "shuffle", "blocksize"):
        if writable and key in said:
            cleaned[key] = said[key]
    if name == "gzip" and said.get("useZlib"):
        cleaned["useZlib"] = True
    return cleaned


def _placement(
    document: dict[str, Any], group: dict[str, Any], axes: tuple[str, ...], where: str
) -> dict[str, Any]:
    """Return voxel size, offset and units in the order of the file, whoever wrote them."""
    transform = document.get("transform")
    if isinstance(transform, dict) and isinstance(transform.get("axes"), list):
        order = [str(a).lower() for a in transform["axes"]]
        if sorted(order) == sorted(axes):
            keys = (("scale", "resolution"), ("translate", "offset"), ("units", "units"))
            return {
                new: [transform[old][order.index(a)] for a in axes]
                for old, new in keys
                if isinstance(transform.get(old), list) and len(transform[old]) == len(axes)
            }
    if "resolution" in document:
        return document
    pixel = document.get("pixelResolution", group.get("pixelResolution", group.get("resolution")))
    pixel = {"dimensions": pixel} if isinstance(pixel, list) else pixel
    if not isinstance(pixel, dict) or not isinstance(pixel.get("dimensions"), list):
        return {"offset": document.get("offset")}
    size = check_numbers(
        pixel["dimensions"], len(pixel["dimensions"]), "pixelResolution", where, positive=True
    )
    factors = document.get("downsamplingFactors")
    if isinstance(factors, list) and len(factors) == len(size):
        by = check_numbers(factors, len(size), "downsamplingFactors", where, positive=True)
        size = tuple(s * f for s, f in zip(size, by, strict=True))
    return {"resolution": list(size), "units": pixel.get("unit"), "offset": document.get("offset")}
