"""Descriptions of arrays are those that zarr-python would write."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

from cytovox.write.volume_layout import Layout
from cytovox.write.volume_metadata import array_documents, group_documents

ATTRIBUTES = {"ome": {"version": "0.5", "name": "\u00b5"}}


def contents(documents: dict[str, Any]) -> dict[str, Any]:
    """What documents say, be they bytes or buffers of zarr-python."""
    texts = {n: v if isinstance(v, bytes) else v.to_bytes() for n, v in documents.items()}
    contents = {name: json.loads(text) for name, text in texts.items()}
    for content in contents.values():
        if content.get("consolidated_metadata") is None:  # some releases of zarr write that
            content.pop("consolidated_metadata", None)
    return contents


@pytest.mark.parametrize("unit", [(1, 8, 8), (2, 16, 24)])
@pytest.mark.parametrize(
    "dtype",
    [*("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")]
    + [*("float16", "float32", "float64")],
)
def test_arrays_of_zarr_3(dtype: str, unit: tuple[int, ...]) -> None:
    layout = Layout((1, 8, 8), unit)
    made = array_documents(
        shape=(5, 40, 30), dtype=dtype, layout=layout, axes="zyx", version=3, attributes=ATTRIBUTES
    )
    kept: dict[str, Any] = {}
    floating = np.dtype(dtype).kind == "f"
    zarr.create_array(
        zarr.storage.MemoryStore(kept),
        shape=(5, 40, 30),
        dtype=dtype,
        chunks=layout.chunk,
        shards=unit if layout.sharded else None,
        compressors=BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")
        if floating
        else ZstdCodec(level=1),
        fill_value=0,
        dimension_names=list("zyx"),
        attributes=ATTRIBUTES,
    )
    assert contents(made) == contents(kept)


def test_groups_of_zarr_3() -> None:
    kept: dict[str, Any] = {}
    zarr.create_group(zarr.storage.MemoryStore(kept), attributes=ATTRIBUTES, zarr_format=3)
    assert contents(group_documents(ATTRIBUTES, 3)) == contents(kept)
