"""Neuroglancer's precomputed volumes."""

from __future__ import annotations

from typing import Any

from ..errors import InputError
from .volume_address import Address, safe_join
from .volume_chunk_files import ChunkFiles, check_shard_files, files_of_precomputed
from .volume_folder import folder_of
from .volume_limits import check_chunk, check_dtype, check_known, check_numbers, check_shape
from .volume_ome import choose_level
from .volume_store import TensorSource, kvstore, read_json
from .volume_view import Described

__all__ = ["open_precomputed"]

_ENCODINGS = ("compressed_segmentation", "jpeg", "png", "raw")
_SHARDING = (
    "@type",
    "preshift_bits",
    "hash",
    "minishard_bits",
    "shard_bits",
    "minishard_index_encoding",
    "data_encoding",
)


def open_precomputed(
    address: Address, scale: int | str | None, *, writable: bool
) -> TensorSource | None:
    """Open a scale of a volume; None if there is no ``info``."""
    info = read_json(address, "info")
    where = f"{address}/info"
    if info is None:
        return None
    scales = info.get("scales")
    if not isinstance(scales, list) or not 1 <= len(scales) <= 64:
        raise InputError("'scales' lists no scales", path=where, hint="this may not be a volume")
    if not all(isinstance(s, dict) and isinstance(s.get("key"), str) for s in scales):
        raise InputError("a scale has no key", path=where)
    number = choose_level([s["key"] for s in scales], scale, str(address))
    chosen: dict[str, Any] = scales[number]
    folder = safe_join(address, chosen["key"])
    channels = check_shape([info.get("num_channels", 1)], where)[0]
    shape = (*_three(chosen.get("size"), where), channels)
    dtype = check_dtype(info.get("data_type"), where)
    chunks = chosen.get("chunk_sizes")
    if not isinstance(chunks, list) or not chunks:
        raise InputError("'chunk_sizes' lists no sizes", path=where)
    check_chunk((*_three(chunks[0], where), channels), shape, dtype, where)
    size = check_numbers(chosen.get("resolution"), 3, "resolution", where, positive=True)
    origin = check_numbers(chosen.get("voxel_offset", [0, 0, 0]), 3, "voxel_offset", where)
    cleaned = _clean_scale(chosen, size, origin, where)
    files = None
    if not address.remote:
        files = _files(folder, cleaned, shape, dtype.itemsize)
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": kvstore(address),
        "multiscale_metadata": {
            "type": info.get("type") or "image",
            "data_type": str(dtype),
            "num_channels": channels,
        },
        "scale_metadata": cleaned,
    }
    described = Described(
        "precomputed",
        shape,
        dtype,
        ("x", "y", "z", "c"),
        shape,
        shape,
        (*size, 1.0),
        (*(o * s for o, s in zip(origin, size, strict=True)), 0.0),
        ("nanometer",) * 3 + ("",),
    )
    told = [info.get("data_type"), chosen]
    return TensorSource(spec, folder, described, told, files, writable=writable)


def _clean_scale(
    chosen: dict[str, Any], size: tuple[float, ...], origin: tuple[float, ...], where: str
) -> dict[str, Any]:
    """Return what tensorstore has to know of a scale."""
    encoding = check_known(chosen.get("encoding"), _ENCODINGS, "encoding", where)
    if any(o != int(o) for o in origin):
        raise InputError(f"voxel_offset {origin} is not whole numbers", path=where)
    cleaned = {
        "key": chosen["key"],
        "size": chosen["size"],
        "resolution": list(size),
        "voxel_offset": [int(o) for o in origin],
        "chunk_size": list(_three(chosen["chunk_sizes"][0], where)),
        "encoding": encoding,
    }
    if encoding == "compressed_segmentation":
        block = chosen.get("compressed_segmentation_block_size") or [8, 8, 8]
        cleaned["compressed_segmentation_block_size"] = block
    sharding = chosen.get("sharding")
    if isinstance(sharding, dict):
        cleaned["sharding"] = {key: sharding[key] for key in _SHARDING if key in sharding}
    elif sharding is not None:
        raise InputError("'sharding' is not an object", path=where)
    return cleaned


def _files(
    folder: Address, scale: dict[str, Any], shape: tuple[int, ...], itemsize: int
) -> ChunkFiles | None:
    where = str(folder)
    if "sharding" not in scale:
        return files_of_precomputed(folder_of(folder), scale, shape, itemsize)
    if folder.archive is not None:
        raise InputError("shards in a zip file are not read", path=where, hint="unpack it")
    bits = check_numbers([scale["sharding"].get("shard_bits")], 1, "shard_bits", where)[0]
    check_shard_files(folder_of(folder), max(1, -(-int(bits) // 4)))
    return None


def _three(values: Any, where: str) -> tuple[int, ...]:
    checked = check_shape(values, where)
    if len(checked) != 3:
        raise InputError(f"{checked} is not a size in three dimensions", path=where)
    return checked
