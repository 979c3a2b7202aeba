"""Descriptions of arrays are those that zarr-python would write."""

from __future__ import annotations

import json
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

from cytovox.read.volume_address import Address
from cytovox.write.volume_metadata import VolumePlan, array_documents, group_documents

ATTRIBUTES = {"ome": {"version": "0.5", "name": "\u00b5"}}


def contents(documents: dict[str, Any]) -> dict[str, Any]:
    """What documents say, be they bytes or buffers of zarr-python."""
    texts = {n: v if isinstance(v, bytes) else v.to_bytes() for n, v in documents.items()}
    contents = {name: json.loads(text) for name, text in texts.items()}
    for content in contents.values():
        if content.get("consolidated_metadata") is None:  # some releases of zarr write that
            content.pop("consolidated_metadata", None)
    return contents


def plan(dtype: str, unit: tuple[int, ...]) -> VolumePlan:
    place = ((1.0,) * 3, (0.0,) * 3, "", unit, (1, 8, 8))
    shape, axes = (5, 40, 30), ("z", "y", "x")
    return VolumePlan(Address("a"), shape, np.dtype(dtype), axes, *place, labels=False)


TYPES = [
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64"),
]


@pytest.mark.parametrize("unit", [(1, 8, 8), (2, 16, 24)])
@pytest.mark.parametrize("dtype", TYPES)
def test_arrays_of_zarr_3(dtype: str, unit: tuple[int, ...]) -> None:
    made = array_documents(plan(dtype, unit), 3, ATTRIBUTES)
    kept: dict[str, Any] = {}
    floating = np.dtype(dtype).kind == "f"
    zarr.create_array(
        zarr.storage.MemoryStore(kept),
        shape=(5, 40, 30),
        dtype=dtype,
        chunks=(1, 8, 8),
        shards=unit if unit != (1, 8, 8) else None,
        compressors=BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")
        if floating
        else ZstdCodec(level=1),
        fill_value=0,
        dimension_names=list("zyx"),
        attributes=ATTRIBUTES,
    )
    assert contents(made) == contents(kept)


@pytest.mark.parametrize("dtype", TYPES)
def test_arrays_of_zarr_2(dtype: str) -> None:
    kept: dict[str, Any] = {}
    zarr.create_array(
        zarr.storage.MemoryStore(kept),
        shape=(5, 40, 30),
        dtype=dtype,
        chunks=(1, 8, 8),
        compressors=numcodecs.Zstd(level=0),
        fill_value=0,
        zarr_format=2,
        chunk_key_encoding={"name": "v2", "separator": "/"},
        attributes=ATTRIBUTES,
    )
    wanted = contents(kept)
    wanted[".zarray"]["compressor"].pop("checksum", None)  # some releases of numcodecs write that
    assert contents(array_documents(plan(dtype, (2, 16, 24)), 2, ATTRIBUTES)) == wanted


@pytest.mark.parametrize("version", [2, 3])
def test_groups(version: Any) -> None:
    kept: dict[str, Any] = {}
    zarr.create_group(zarr.storage.MemoryStore(kept), attributes=ATTRIBUTES, zarr_format=version)
    assert contents(group_documents(ATTRIBUTES, version)) == contents(kept)
