"""N5: arrays that keep x first, in files without an end."""

from __future__ import annotations

import re
import warnings
from typing import Any

from ..errors import InputError, OptionError
from .volume_address import Address, safe_join
from .volume_axes import name_axes, place_axes, read_transform
from .volume_chunk_files import files_of_n5
from .volume_folder import find_members, folder_of, name_members
from .volume_limits import check_chunk, check_dtype, check_known, check_numbers, check_shape
from .volume_store import TensorSource, kvstore, read_json
from .volume_view import Described

__all__ = ["open_n5"]

#: What ImageJ says of an image: how many along c, z and t, and the voxel along x, y and z.
_COUNTS = ("Channels", "Slices", "Frames")
_SIDES = ("Width", "Height", "Depth")

#: How blocks may be packed, with what tensorstore needs to know about packing.
_COMPRESSIONS: dict[str, dict[str, Any]] = {
    "raw": {},
    "gzip": {},
    "bzip2": {},
    "xz": {},
    "zstd": {},
    "blosc": {"cname": "lz4", "clevel": 5, "shuffle": 1},
}


def open_n5(address: Address, scale: int | str | None, *, writable: bool) -> TensorSource | None:
    """Open an array, or a scale (``s0``, ``s1`` ...) of a group; None if this is not N5."""
    document = read_json(address, "attributes.json")
    if document is None and not _is_array(safe_join(address, "s0")):
        return None
    if document is None or "dimensions" not in document:
        name = scale if isinstance(scale, str) and scale.startswith("s") else f"s{scale or 0}"
        inside = safe_join(address, name)
        document = read_json(inside, "attributes.json")
        if document is None or "dimensions" not in document:
            members = find_members(address, _is_array)
            if scale is None and len(members) == 1:
                return open_n5(members[0], None, writable=writable)
            raise (InputError if scale is None else OptionError)(
                f"this is an N5 group without an array '{name}'",
                path=str(address),
                hint=name_members(members, "name an array inside", address.remote),
            )
        address = inside
    elif scale is not None:
        raise OptionError("a single array has no scales", path=str(address), hint="omit scale")
    where = str(address)
    shape = check_shape(document["dimensions"], where)
    dtype = check_dtype(document.get("dataType"), where)
    chunk = check_chunk(document.get("blockSize"), shape, dtype, where)
    groups = _groups_above(address)
    said = document.get("axes") or _imagej_axes(document)
    names = said if isinstance(said, (list, str)) else None
    axes = name_axes(len(shape), names, where, fastest_first=True)
    placement = _placement(document, groups, axes, address)
    size, offset, units = place_axes(axes, placement, where)
    cleaned = {
        "dimensions": list(shape),
        "blockSize": list(chunk),
        "dataType": str(dtype),
        "compression": _compression(document, where, writable),
    }
    files = None
    if not address.remote:
        files = files_of_n5(folder_of(address), cleaned, dtype.itemsize)
    spec = {"driver": "n5", "kvstore": kvstore(address), "metadata": cleaned}
    described = Described("n5", shape, dtype, axes, chunk, chunk, size, offset, units)
    told = [document, [axes, size, offset, units]]
    return TensorSource(spec, address, described, told, files, writable=writable)


def _is_array(address: Address) -> bool:
    return "dimensions" in (read_json(address, "attributes.json") or {})


def _compression(document: dict[str, Any], where: str, writable: bool) -> dict[str, Any]:
    """Return how blocks are packed, without what only other writers understand."""
    said = document.get("compression")
    if said is None:  # before N5 2.0
        said = {"type": document.get("compressionType")}
    name = said.get("type") if isinstance(said, dict) else None
    name = check_known(name, _COMPRESSIONS, "compression", where)
    cleaned = {"type": name} | _COMPRESSIONS[name]
    for key in ("level", "preset", "blockSize", "cname", "clevel", "shuffle", "blocksize"):
        if writable and key in said:
            cleaned[key] = said[key]
    if name == "gzip" and said.get("useZlib"):
        cleaned["useZlib"] = True
    return cleaned


def _groups_above(address: Address) -> list[dict[str, Any]]:
    """Return the attributes of the groups that an array is in, the nearest first."""
    found: list[dict[str, Any]] = []
    above = address.parent()
    while above is not None and len(found) < 3:
        try:
            found.append(read_json(above, "attributes.json") or {})
        except InputError as err:
            warnings.warn(f"{address}: read without what is said above it: {err}", stacklevel=2)
            break
        if "n5" in found[-1]:  # the root of the container
            break
        above = above.parent()
    return found


def _imagej_axes(document: dict[str, Any]) -> str | None:
    """Return the axes of an image that Fiji has written as ImageJ keeps it."""
    counts = [
        (axis, document.get(f"num{name}")) for axis, name in zip("czt", _COUNTS, strict=True)
    ]
    if not all(isinstance(count, int) for _, count in counts):
        return None
    return "xy" + "".join(axis for axis, count in counts if count != 1)


def _placement(
    document: dict[str, Any], groups: list[dict[str, Any]], axes: tuple[str, ...], address: Address
) -> dict[str, Any]:
    """Return voxel size, offset and units in the order of the file, for files of any writer."""
    own = read_transform(document.get("transform"), axes)
    for group in groups[:1]:
        images = group.get("multiscales")
        for level in _levels_of(images[0]) if isinstance(images, list) and images else ():
            if own is None and level.get("path") == address.name:
                own = read_transform(level.get("transform"), axes)
    if own is not None:
        return own
    if "resolution" in document:
        return document
    if all(isinstance(document.get(f"pixel{side}"), (int, float)) for side in _SIDES):
        sides = {axis: document[f"pixel{side}"] for axis, side in zip("xyz", _SIDES, strict=True)}
        sizes = [sides.get(axis, 1.0) for axis in axes]
        return {"resolution": sizes, "units": document.get("pixelUnit")}
    offset = next((g["offset"] for g in (document, *groups) if "offset" in g), None)
    pixel = document.get("pixelResolution")
    for group in groups if pixel is None else ():
        pixel = group.get("pixelResolution", group.get("resolution")) if pixel is None else pixel
    factors = _factors(document, groups, address.name)
    if factors is None and "pixelResolution" in document:
        factors = []
    placed = pixel if isinstance(pixel, dict) else {"dimensions": pixel}
    lengths = placed.get("dimensions")
    if not isinstance(lengths, list) or factors is None:
        return {"offset": offset}
    where = str(address)
    size = check_numbers(lengths, len(lengths), "pixelResolution", where, positive=True)
    if len(factors) == len(size):
        by = check_numbers(factors, len(size), "downsamplingFactors", where, positive=True)
        size = tuple(s * f for s, f in zip(size, by, strict=True))
    return {"resolution": list(size), "units": placed.get("unit"), "offset": offset}


def _levels_of(image: Any) -> list[dict[str, Any]]:
    levels = image.get("datasets") if isinstance(image, dict) else None
    return [v for v in levels if isinstance(v, dict)] if isinstance(levels, list) else []


def _factors(document: dict[str, Any], groups: list[dict[str, Any]], name: str) -> Any:
    """Return how many of the finest voxels are one along each axis; None if that is unknown."""
    if isinstance(document.get("downsamplingFactors"), list):
        return document["downsamplingFactors"]
    number = re.fullmatch(r"s([0-9]{1,3})", name)
    if number is None or int(number[1]) == 0:
        return []
    for group in groups:
        for key in ("scales", "downsamplingFactors"):
            listed = group.get(key)
            if isinstance(listed, list) and len(listed) > int(number[1]):
                found = listed[int(number[1])]
                return found if isinstance(found, list) else None
    return None
