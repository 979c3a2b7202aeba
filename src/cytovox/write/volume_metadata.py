"""Descriptions of arrays and images as zarr-python and OME-Zarr want them.

Those of zarr 3 are written down here, word for word as zarr-python would, since
importing it takes longer than labelling a small volume. Those of zarr 2 it makes
itself, in memory. All are stored by the same client that stores the chunks, so
that any store will do.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import StorageError
from ..read.volume_address import Address
from ..read.volume_ome import Multiscale, parse_multiscales
from ..read.volume_store import read_json, write_bytes
from .volume_layout import Layout

__all__ = [
    "array_documents",
    "group_documents",
    "image_label",
    "image_name",
    "multiscales",
    "read_attributes",
    "read_image",
    "write_documents",
]

_KINDS = {"z": "space", "y": "space", "x": "space", "c": "channel", "t": "time"}


def array_documents(
    *,
    shape: Sequence[int],
    dtype: npt.DTypeLike,
    layout: Layout,
    axes: Sequence[str],
    version: int,
    attributes: dict[str, Any] | None = None,
) -> dict[str, bytes]:
    """Return the documents that describe an array, by name."""
    if version == 3:
        return _encoded(_array_3(shape, np.dtype(dtype), layout, axes, attributes or {}))
    import zarr

    kept: dict[str, Any] = {}
    zarr.create_array(
        zarr.storage.MemoryStore(kept),
        shape=tuple(shape),
        dtype=np.dtype(dtype),
        chunks=layout.chunk,
        # what zarr 2 readers know without more is zarr-python's own choice for it
        compressors="auto",
        fill_value=0,
        zarr_format=2,
        chunk_key_encoding={"name": "v2", "separator": "/"},
        attributes=attributes or {},
    )
    return {name: value.to_bytes() for name, value in kept.items()}


def _array_3(
    shape: Sequence[int],
    dtype: np.dtype[Any],
    layout: Layout,
    axes: Sequence[str],
    attributes: dict[str, Any],
) -> dict[str, Any]:
    little = _codec("bytes", endian="little")
    floating = dtype.kind == "f"
    if floating:
        blosc = {"cname": "zstd", "clevel": 1, "shuffle": "shuffle", "blocksize": 0}
        compressor = _codec("blosc", typesize=dtype.itemsize, **blosc)
    else:
        compressor = _codec("zstd", level=1, checksum=False)
    codecs = [little if dtype.itemsize > 1 else {"name": "bytes"}, compressor]
    if layout.sharded:
        shard = _codec(
            "sharding_indexed",
            chunk_shape=list(layout.chunk),
            codecs=codecs,
            index_codecs=[little, {"name": "crc32c"}],
            index_location="end",
        )
        codecs = [shard]
    return {
        "shape": list(shape),
        "data_type": dtype.name,
        "chunk_grid": _codec("regular", chunk_shape=list(layout.unit)),
        "chunk_key_encoding": _codec("default", separator="/"),
        "fill_value": 0.0 if floating else False if dtype.kind == "b" else 0,
        "codecs": codecs,
        "attributes": attributes,
        "dimension_names": list(axes),
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }


def _codec(name: str, **configuration: Any) -> dict[str, Any]:
    return {"name": name, "configuration": configuration}


def _encoded(document: dict[str, Any]) -> dict[str, bytes]:
    return {"zarr.json": json.dumps(document, indent=2).encode()}


def group_documents(attributes: dict[str, Any], version: int) -> dict[str, bytes]:
    """Return the documents that describe a group, by name."""
    if version == 3:
        return _encoded({"attributes": attributes, "zarr_format": 3, "node_type": "group"})
    import zarr

    kept: dict[str, Any] = {}
    zarr.create_group(zarr.storage.MemoryStore(kept), attributes=attributes, zarr_format=2)
    return {name: value.to_bytes() for name, value in kept.items()}


def multiscales(
    name: str,
    axes: Sequence[str],
    units: str,
    levels: Sequence[tuple[str, Sequence[float], Sequence[float]]],
    version: str,
    method: str | None = None,
) -> dict[str, Any]:
    """Return the attributes of an image by OME-Zarr."""
    described = []
    for axis in axes:
        entry = {"name": axis, "type": _KINDS.get(axis, "channel")}
        if entry["type"] == "space" and units:
            entry["unit"] = units
        described.append(entry)
    lead = len(axes) - len(levels[0][1])
    datasets = [
        {
            "path": path,
            "coordinateTransformations": [
                {"type": "scale", "scale": [1.0] * lead + [float(s) for s in scale]},
                {"type": "translation", "translation": [0.0] * lead + [float(s) for s in shift]},
            ],
        }
        for path, scale, shift in levels
    ]
    image: dict[str, Any] = {"name": name, "axes": described, "datasets": datasets}
    if method is not None:
        image["type"] = method
    if version == "0.5":
        return {"ome": {"version": "0.5", "multiscales": [image]}}
    return {"multiscales": [{"version": version, **image}]}


def image_name(name: str) -> str:
    """Return the name of an image, given that of its file or folder."""
    return name.removesuffix(".zarr").removesuffix(".ome") or name


def image_label(version: str) -> dict[str, Any]:
    """Return what says that an image is one of labels; background is clear."""
    said: dict[str, Any] = {"colors": [{"label-value": 0, "rgba": [0, 0, 0, 0]}]}
    if version != "0.5":
        said["version"] = version
    return said


def read_attributes(address: Address) -> tuple[int, dict[str, Any]]:
    """Return the version of zarr and the attributes of a group or array."""
    document = read_json(address, "zarr.json")
    if document is not None:
        return 3, document.get("attributes") or {}
    return 2, read_json(address, ".zattrs") or {}


def read_image(address: Address) -> Multiscale | None:
    """Return what the attributes of a group say of an image, or None if nothing."""
    return parse_multiscales(read_attributes(address)[1], str(address))


def write_documents(address: Address, documents: dict[str, bytes]) -> None:
    """Store documents of a folder, making the folder first."""
    if not address.remote:
        try:
            address.path.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise StorageError(f"it cannot be made: {err.strerror}", path=address.path) from err
    for name, data in documents.items():
        write_bytes(address, name, data)
