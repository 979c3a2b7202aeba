"""What can be known before a run is said before any block is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from cytovox.blockwise import segment_blockwise
from cytovox.blockwise.evidence import Measures
from cytovox.blockwise.volumes import restitch_volume, segment_volume
from cytovox.errors import CytovoxError, InputError, OptionError, StorageError
from cytovox.read.open_volume import open_volume
from cytovox.write import export_precomputed
from cytovox.write.volume_creation import create_labels, create_volume

SHAPE = (4, 8, 8)
calls: list[tuple[int, ...]] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


def bright(array: np.ndarray) -> np.ndarray:
    calls.append(array.shape)
    return array > 100


def volume(path: Path, **more: Any) -> Path:
    create_volume(path, shape=SHAPE, dtype="u1", **more).close()
    return path


def segment(raw: Path, **more: Any) -> Any:
    how = {"block": 4, "context": 0, "stitch": "touch", "workers": 0, **more}
    return segment_volume(raw, raw.with_name("labels"), bright, **how)


@pytest.mark.parametrize(
    ("has", "wanted", "said"),
    [
        ({"offset": (0.5, 0, 0)}, {"format": "precomputed"}, "not a whole number of voxels"),
        ({"units": "second"}, {"format": "precomputed"}, "is not a length"),
        ({}, {"format": "tiff"}, "is not written"),
        ({}, {"gate": "volum > 5"}, "no column 'volum'"),
        ({}, {"gate": "area > 5"}, "no column 'area'"),
        ({}, {"gate": "voxels"}, "neither true nor false"),
        (
            {},
            {"gate": "mean_intensity > 5", "measures": Measures(intensity=False)},
            "no column 'mean_intensity'",
        ),
    ],
)
def test_what_the_output_cannot_hold(
    tmp_path: Path, has: dict[str, Any], wanted: dict[str, Any], said: str
) -> None:
    raw = volume(tmp_path / "raw.zarr", **has)
    with pytest.raises(OptionError, match=said) as caught:
        segment(raw, **wanted)
    assert caught.value.path in (None, str(tmp_path / "labels"))
    assert calls == []


def test_labels_that_are_made_again_in_a_format_that_cannot_hold_them(tmp_path: Path) -> None:
    raw, block = volume(tmp_path / "raw.zarr", units="second"), Roi((0, 0, 0), (4, 4, 4))
    where = (Coordinate((0, 0, 0)), Roi((0, 0, 0), SHAPE), block, block, 0)
    region = {"input": raw, "output": tmp_path / "region.zarr", "parameters": {"threshold": 9}}
    assert segment(raw)
    assert segment_blockwise("label", *where, **region)
    with pytest.raises(OptionError, match="is not a length") as caught:
        segment(raw, format="precomputed")
    assert caught.value.path == str(tmp_path / "labels")
    with pytest.raises(OptionError, match="is not a length") as caught:
        segment_blockwise("label", *where, **region, format="precomputed")
    assert caught.value.path == str(tmp_path / "region.zarr")
    assert (tmp_path / "labels").exists()
    assert (tmp_path / "region.zarr").exists()


def test_a_channel_that_is_not_there(tmp_path: Path) -> None:
    create_volume(tmp_path / "raw.zarr", shape=(2, *SHAPE), dtype="u1").close()
    with pytest.raises(OptionError, match="no channel 3"):
        segment(tmp_path / "raw.zarr", measures=Measures(channel=3))
    assert calls == []


@pytest.mark.parametrize("name", ["nowhere/table.csv", "folder.csv"])
def test_a_table_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    raw = volume(tmp_path / "raw.zarr")
    with pytest.raises(StorageError, match="table of objects cannot be written") as caught:
        segment(raw, objects=tmp_path / name)
    assert caught.value.path == str(tmp_path / name)
    assert calls == []


def test_how_to_stitch_is_checked_before_a_region_is_segmented(tmp_path: Path) -> None:
    raw, block = volume(tmp_path / "raw.zarr"), Roi((0, 0, 0), (4, 4, 4))
    where = (Coordinate((0, 0, 0)), Roi((0, 0, 0), SHAPE), block, block, 0)
    for how in ({"stitch": "glue"}, {"threshold": 1}, {"min_voxels": 0}, {"rule": "all"}):
        with pytest.raises(OptionError):
            segment_blockwise("label", *where, input=raw, output=tmp_path / "labels.zarr", **how)
    assert not (tmp_path / "labels.zarr.cytovox").exists()


def test_a_gate_is_checked_before_labels_are_stitched_again(tmp_path: Path) -> None:
    raw = volume(tmp_path / "raw.zarr")
    assert segment(raw)
    before = (tmp_path / "labels.cytovox" / "journal.jsonl").read_bytes()
    with pytest.raises(OptionError, match="no column 'volum'"):
        restitch_volume(tmp_path / "labels", gate="volum > 5", workers=0)
    assert (tmp_path / "labels.cytovox" / "journal.jsonl").read_bytes() == before


def test_a_compression_that_is_not_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        kind = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        kind.set_chunk((4, 8, 8))
        kind.set_filter(32099, h5py.h5z.FLAG_OPTIONAL)  # of nobody
        space = h5py.h5s.create_simple(SHAPE)
        made = h5py.h5d.create(file.id, b"raw", h5py.h5t.STD_U8LE, space, kind)
        made.write_direct_chunk((0, 0, 0), b"abc", 0)
    with pytest.raises(InputError, match="filter 32099"):
        segment(tmp_path / "raw.h5")
    assert calls == []


def test_a_precomputed_volume_has_the_scales_that_begin_at_a_voxel(tmp_path: Path) -> None:
    shape = (4, 300, 300)
    size, offset = (40, 4, 4), (0, 8, 16)  # begins at voxel 0, 2, 4
    how: dict[str, Any] = {"voxel_size": size, "offset": offset, "units": "nm"}
    with create_labels(tmp_path / "a.zarr", shape=shape, **how) as labels:
        labels.write(((0, 4), (0, 300), (0, 300)), np.full(shape, 7, np.uint32))
        assert export_precomputed(labels, tmp_path / "a") == [(4, 300, 300), (4, 150, 150)]
        with pytest.raises(CytovoxError, match="cannot be made"):
            export_precomputed(labels, tmp_path / "b", levels=3)
    with open_volume(tmp_path / "a", scale=1) as coarser:
        assert coarser.offset == (0, 8, 16)
        assert (coarser[...] == 7).all()
