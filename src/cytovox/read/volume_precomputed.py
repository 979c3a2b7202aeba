"""Neuroglancer's precomputed volumes."""

from __future__ import annotations

from typing import Any

from ..errors import InputError
from .volume_address import Address, safe_join
from .volume_chunk_files import files_of_precomputed
from .volume_limits import check_chunk, check_dtype, check_numbers, check_shape
from .volume_ome import choose_level
from .volume_source import Described
from .volume_store import TensorSource, kvstore, open_tensor, read_json

__all__ = ["open_precomputed"]


def open_precomputed(
    address: Address, scale: int | str | None, *, writable: bool
) -> TensorSource | None:
    """Open a scale of a volume; None if this is none.

    Raises
    ------
    InputError
        If its ``info`` is not to be read.
    OptionError
        If there is no such scale.
    """
    info = read_json(address, "info")
    where = f"{address}/info"
    if info is None:
        return None
    scales = info.get("scales")
    if not isinstance(scales, list) or not 1 <= len(scales) <= 64:
        raise InputError("'scales' lists no scales", path=where, hint="this may be no volume")
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
    tensor = open_tensor(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": kvstore(address),
            "scale_index": number,
        },
        address,
        writable=writable,
    )
    tensor = _from_zero(tensor)
    layout = tensor.chunk_layout
    described = Described(
        "precomputed",
        shape,
        dtype,
        ("x", "y", "z", "c"),
        check_chunk(tuple(layout.read_chunk.shape), shape, dtype, where),
        tuple(layout.write_chunk.shape),
        (*size, 1.0),
        (*(o * s for o, s in zip(origin, size, strict=True)), 0.0),
        ("nanometer",) * 3 + ("",),
    )
    if writable:
        check_chunk(described.write_unit, shape, dtype, where)
    if tuple(tensor.shape) != shape:
        raise InputError(f"shape {tensor.shape} is not {shape}", path=where)
    files = None
    if not address.remote:
        files = files_of_precomputed(folder.path, chosen, shape, dtype.itemsize)
    return TensorSource(tensor, described, folder, [info.get("data_type"), chosen], files)


def _from_zero(tensor: Any) -> Any:
    import tensorstore as ts

    return tensor[ts.d[:].translate_to[0]]


def _three(values: Any, where: str) -> tuple[int, ...]:
    checked = check_shape(values, where)
    if len(checked) != 3:
        raise InputError(f"{checked} is no size in three dimensions", path=where)
    return checked
