"""What is exported is what neuroglancer's specification asks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cytovox.errors import InputError, UsageError
from cytovox.read.open_volume import open_volume
from cytovox.write import export_precomputed, write_segment_properties
from cytovox.write.volume_creation import create_labels


def check_info(path: Path) -> dict[str, Any]:
    """Check the keys that the specification of precomputed volumes requires."""
    info: dict[str, Any] = json.loads((path / "info").read_text())
    assert info["@type"] == "neuroglancer_multiscale_volume"
    assert info["type"] in ("image", "segmentation")
    assert info["data_type"] in (
        *("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float32"),
    )
    assert info["num_channels"] >= 1
    keys = set()
    for scale in info["scales"]:
        keys.add(scale["key"])
        assert all(isinstance(n, int) and n > 0 for n in scale["size"])
        assert all(n > 0 for n in scale["resolution"])
        assert all(isinstance(n, int) for n in scale["voxel_offset"])
        for name in ("size", "resolution", "voxel_offset"):
            assert len(scale[name]) == 3
        assert all(len(c) == 3 for c in scale["chunk_sizes"])
        if scale["encoding"] == "compressed_segmentation":
            assert info["data_type"] in ("uint32", "uint64")
            assert len(scale["compressed_segmentation_block_size"]) == 3
        else:
            assert scale["encoding"] == "raw"
    assert len(keys) == len(info["scales"])
    return info


def test_export(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 9, (30, 70, 80), dtype=np.uint64)
    labels[0, 0, 0] = 2**63 + 5
    url = tmp_path / "a.zarr"
    with create_labels(
        url,
        shape=labels.shape,
        dtype=np.uint64,
        voxel_size=(0.04, 0.004, 0.004),
        offset=(0.4, 0.04, 0.008),
        units="micrometer",
    ) as volume:
        volume.write([(0, n) for n in labels.shape], labels)
    out = tmp_path / "exported"
    table = {
        "label": np.arange(1, 4),
        "voxels": np.array([5, 6, 7]),
        "volume": [0.5, 1.5, 2.5],
        "broken": [1.0, np.nan, 2.0],
        "many": np.array([1, 2**40, 3]),
        "name": ["a", "b", "c"],
        "touches": [True, False, True],
    }
    assert export_precomputed(url, out, table=table) == [(30, 70, 80), (30, 35, 40)]
    info = check_info(out)
    assert info["type"] == "segmentation"
    first = info["scales"][0]
    assert first["resolution"] == [4, 4, 40]
    assert first["voxel_offset"] == [2, 10, 10]
    assert first["encoding"] == "compressed_segmentation"
    with open_volume(out) as volume:
        np.testing.assert_array_equal(volume[:], labels)
        assert volume.units == "nanometer"
        assert volume.offset == (400, 40, 8)
    said = json.loads((out / info["segment_properties"] / "info").read_text())
    assert said["@type"] == "neuroglancer_segment_properties"
    assert said["inline"]["ids"] == ["1", "2", "3"]
    properties = {p["id"]: p for p in said["inline"]["properties"]}
    assert set(properties) == {"voxels", "volume", "many", "name", "touches"}
    assert properties["voxels"]["data_type"] == "int32"
    assert properties["many"]["data_type"] == properties["volume"]["data_type"] == "float32"
    assert properties["name"] == {"id": "name", "type": "label", "values": ["a", "b", "c"]}
    assert properties["touches"]["values"] == [1, 0, 1]


def test_images_and_two_axes(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 70), dtype=np.uint8)
    np.save(tmp_path / "a.npy", image)
    assert export_precomputed(tmp_path / "a.npy", tmp_path / "a") == [(1, 40, 70), (1, 20, 35)]
    assert check_info(tmp_path / "a")["type"] == "image"
    with open_volume(tmp_path / "a") as volume:
        np.testing.assert_array_equal(volume[0], image)


def test_sizes_without_a_unit_are_mentioned(tmp_path: Path) -> None:
    size = {"shape": (8, 8, 8), "format": "precomputed", "voxel_size": (4, 2, 2)}
    with pytest.warns(UserWarning, match="nanometers, which are taken"):
        create_labels(tmp_path / "a", **size).close()
    create_labels(tmp_path / "b", **size, units="um").close()
    with open_volume(tmp_path / "b") as volume:
        assert (volume.voxel_size, volume.units) == ((4000, 2000, 2000), "nanometer")


def test_properties_that_cannot_be(tmp_path: Path) -> None:
    create_labels(tmp_path / "a", shape=(8, 8, 8), format="precomputed").close()
    with pytest.raises(UsageError, match="label"):
        write_segment_properties(tmp_path / "a", {"size": [1]})
    with pytest.raises(UsageError, match="equally long"):
        write_segment_properties(tmp_path / "a", {"label": [1], "size": [1, 2]})
    create_labels(tmp_path / "b", shape=(8, 8, 8)).close()
    with pytest.raises(InputError, match="not a precomputed"):
        write_segment_properties(tmp_path / "b", {"label": [1]})
    np.save(tmp_path / "c.npy", np.full((8, 8, 8), -1))
    with pytest.raises(UsageError, match="below 0"):
        export_precomputed(tmp_path / "c.npy", tmp_path / "c")
