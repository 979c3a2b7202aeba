"""Volumes are checked: what is whole passes, what is not is named."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from funlib.geometry import Coordinate, Roi

from cytovox.blockwise import segment_blockwise
from cytovox.blockwise.evidence_file import EvidenceFolder
from cytovox.blockwise.object_table import read_objects, write_objects
from cytovox.blockwise.renumber import read_label_map
from cytovox.blockwise.verify_array import check_voxels
from cytovox.blockwise.verify_labels import verify_volume
from cytovox.blockwise.volumes import measure_volume, restitch_volume, segment_volume
from cytovox.errors import CytovoxError, InputError, InputNotFoundError, StorageError
from cytovox.read import open_volume
from cytovox.run.findings import Verification


def blobs() -> np.ndarray:
    """192 cubes, of which many touch a seam, in shades that do not compress to nothing."""
    z, y, x = np.ogrid[:48, :96, :96]
    image = ((z % 12 < 8) & (y % 12 < 8) & (x % 16 < 11)) * 200
    noise = np.random.default_rng(0).integers(0, 50, image.shape)
    return (image + noise).astype(np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    np.save(folder / "image.npy", blobs())
    done = segment_volume(
        folder / "image.npy",
        folder / "labels.zarr",
        "label",
        block=(24, 32, 96),
        context=0,
        stitch="touch",
        workers=0,
        parameters={"threshold": 100},
    )
    assert done
    assert done.objects == 4 * 8 * 6
    return folder


@pytest.fixture
def labels(run: Path, tmp_path: Path) -> Path:
    """The labels of a run, to be changed; its input and table are at their old place."""
    copied = tmp_path / "labels.zarr"
    for name in ("labels.zarr", "labels.zarr.cytovox"):
        shutil.copytree(run / name, tmp_path / name)
    shutil.copy(run / "labels.objects.parquet", tmp_path)
    recipe = tmp_path / "labels.zarr.cytovox" / "recipe.json"
    told = json.loads(recipe.read_text())
    told["table"] = str(tmp_path / "labels.objects.parquet")
    recipe.write_text(json.dumps(told))
    return copied


def side(labels: Path) -> Path:
    return labels.with_name("labels.zarr.cytovox")


def told(path: Any, **more: Any) -> list[str]:
    return [str(one) for one in verify_volume(path, **more).findings]


def units(labels: Path, scale: str = "0") -> list[Path]:
    return sorted(p for p in (labels / scale).rglob("*") if p.is_file() and p.suffix != ".json")


@pytest.mark.parametrize("thorough", [True, False])
def test_what_is_made_here_is_whole(run: Path, thorough: bool) -> None:
    found = verify_volume(run / "labels.zarr", thorough=thorough)
    assert found.findings == []
    counts = found.counts
    assert counts["objects"] == counts["rows"] == 192
    assert counts["blocks"] == 6
    if thorough:
        assert counts["foreground"] == int((blobs() > 100).sum())
        assert counts["bytes_checked"] == counts["bytes"]
        assert counts["checksums"] == 6


def test_it_may_be_moved(labels: Path) -> None:
    assert told(labels) == []


def test_the_folder_beside_stands_for_the_labels(run: Path) -> None:
    assert verify_volume(run / "labels.zarr.cytovox").path == str(run / "labels.zarr")


def test_in_any_other_way_to_stitch_and_gate(labels: Path) -> None:
    assert restitch_volume(labels, stitch="none", gate="voxels > 300", workers=0)
    found = verify_volume(labels)
    assert found.findings == []
    measure_volume(labels, gate="voxels > 500")
    found = verify_volume(labels)
    assert found.findings == []
    assert 0 < found.counts["rows"] < found.counts["objects"]


def test_a_torn_shard_is_named(labels: Path) -> None:
    shard = units(labels)[-1]
    os.truncate(shard, shard.stat().st_size - 7)
    found = told(labels)
    place = shard.relative_to(labels / "0" / "c").as_posix()
    assert any(f"shard {place} is torn or damaged" in one for one in found), found


def test_an_empty_shard_is_named_without_reading(labels: Path) -> None:
    shard = units(labels)[0]
    os.truncate(shard, 0)
    assert told(labels, thorough=False) == [
        f"error: {shard.relative_to(labels).as_posix()}: the file is empty: it was torn by a crash"
    ]


def test_a_lost_shard_is_seen(labels: Path) -> None:
    """It reads as background, so only what is known of the labels tells."""
    units(labels)[0].unlink()
    found = told(labels)
    assert any("block 0: holds other labels than were written" in one for one in found)
    assert any("have no voxel" in one for one in found)
    assert any("table" in one for one in found)


def test_changed_labels_are_seen(labels: Path) -> None:
    array = zarr.open_array(labels / "0")
    array[0, 0, 0] = 193
    found = told(labels)
    assert any("block 0: holds other labels" in one for one in found)
    assert any("one is 193, but there are 192 objects" in one for one in found)


def test_a_coarser_scale_of_another_size(labels: Path) -> None:
    shape = zarr.open_array(labels / "1").shape
    shutil.rmtree(labels / "1")
    zarr.create_array(labels / "1", shape=(shape[0] + 2, *shape[1:]), dtype="uint32", chunks=shape)
    assert any(one.startswith("error: scale 1: has 26 voxels along z") for one in told(labels))


def test_a_coarser_scale_that_is_gone(labels: Path) -> None:
    shutil.rmtree(labels / "1")
    assert any(one.startswith("error: scale 1: ") for one in told(labels, thorough=False))


def edit_table(labels: Path, change: Callable[[Any], Any]) -> None:
    path = labels.with_name("labels.objects.parquet")
    table, recipe = read_objects(path)
    write_objects(path, change(table), recipe=recipe)


def other_count(table: Any) -> Any:
    table.columns["voxels"] = table.columns["voxels"].copy()
    table.columns["voxels"][4] += 1
    return table


def other_label(table: Any) -> Any:
    table.columns["label"] = table.columns["label"].copy()
    table.columns["label"][3] = 3
    return table


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (lambda table: table.rows(np.arange(191)), "has 191 rows for 192 objects"),
        (other_count, "the voxels of 1 labels are not as many as it says: 5"),
        (other_label, "its labels are not 1 to 192"),
    ],
)
def test_a_table_that_does_not_fit(
    labels: Path, change: Callable[[Any], Any], finding: str
) -> None:
    edit_table(labels, change)
    assert f"error: table: {finding}" in told(labels)


def test_a_table_that_is_torn_or_gone(labels: Path) -> None:
    path = labels.with_name("labels.objects.parquet")
    os.truncate(path, path.stat().st_size // 2)
    assert any(one.startswith("error: table: ") for one in told(labels))
    path.unlink()
    assert [one.split(":")[0] for one in told(labels)] == ["warning"]


def without(labels: Path, event: str) -> None:
    journal = side(labels) / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    kept = [line for line in lines if f'"event":"{event}"' not in line]
    assert len(kept) < len(lines)
    journal.write_text("".join(kept))


def test_blocks_that_are_not_done(labels: Path) -> None:
    without(labels, "done")
    found = told(labels, thorough=False)
    assert "error: journal, segment: 0 of 6 blocks are done" in found
    assert "error: journal, relabel: 0 of 6 blocks are done" in found


def test_a_run_that_was_never_finished(labels: Path) -> None:
    without(labels, "finished")
    shutil.rmtree(labels)
    found = told(labels)
    assert any("the run was never finished" in one for one in found)
    assert any("the labels are not there yet" in one for one in found)


def test_a_torn_line_of_the_journal_is_told_and_harmless(labels: Path) -> None:
    with (side(labels) / "journal.jsonl").open("a") as journal:
        journal.write('{"event":"do')
    found = verify_volume(labels)
    assert found.ok
    assert ["1 lines were cut off" in one.what for one in found.findings] == [True]


def test_an_input_that_has_changed(run: Path, labels: Path, tmp_path: Path) -> None:
    recipe = side(labels) / "recipe.json"
    image = tmp_path / "image.npy"
    np.save(image, blobs()[:, :, ::-1])
    written = json.loads(recipe.read_text())
    recipe.write_text(json.dumps(written | {"input": str(image)}))
    found = told(labels, thorough=False)
    assert len(found) == 1
    assert found[0].startswith("warning: input: is not what it was")
    image.unlink()
    found = told(labels, thorough=False)
    assert len(found) == 1
    assert found[0].startswith("note: input: cannot be compared")


def test_torn_evidence_only_costs_time(labels: Path) -> None:
    path, at, size = EvidenceFolder(side(labels) / "blocks").place(2)
    content = bytearray(path.read_bytes())
    content[at + size // 2 : at + size] = bytes(size - size // 2)
    path.write_bytes(content)
    found = verify_volume(labels, thorough=False)
    assert found.ok
    assert ["that of 1 blocks is missing or torn (2)" in one.what for one in found.warnings]


def test_a_lookup_of_another_run(labels: Path) -> None:
    path = side(labels) / "lut.npy"
    lut = np.load(path)
    np.save(path, lut[::-1])
    assert any(one.startswith("error: lookup: ") for one in told(labels, thorough=False))


@pytest.mark.parametrize("name", ["lut.npy", "offsets.npy", "shared.npy"])
@pytest.mark.parametrize("torn", [False, True])
def test_a_lookup_that_is_no_array(labels: Path, name: str, torn: bool) -> None:
    path = side(labels) / name
    content = path.read_bytes().replace(b"}", b"(") if torn else b""  # no header ends
    path.write_bytes(content)
    said = "error: lookup: the table of labels cannot be read"
    assert any(one.startswith(said) for one in told(labels, thorough=False))
    with pytest.raises(StorageError, match="table of labels cannot be read"):
        measure_volume(labels, objects=labels.with_name("objects.csv"))


@pytest.mark.parametrize("torn", [False, True])
def test_a_table_of_other_labels_that_is_no_array(tmp_path: Path, torn: bool) -> None:
    path = tmp_path / "map.npy"
    np.save(path, np.ones((2, 2), np.uint32))
    path.write_bytes(path.read_bytes().replace(b"}", b"(") if torn else b"")
    with pytest.raises(InputError, match="not a table of labels"):
        read_label_map(path)


def test_labels_are_read_though_those_of_the_blocks_are_gone(labels: Path) -> None:
    shutil.rmtree(side(labels) / "local.zarr")
    units(labels)[1].unlink()
    found = told(labels)
    assert found[0].startswith("warning: local.zarr: the labels of the blocks cannot be read")
    assert any("have no voxel" in one for one in found)


def test_labels_of_a_region(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", blobs()[0])
    block, out = Roi((0, 0), (32, 32)), tmp_path / "labels.zarr"
    assert segment_blockwise(
        "label", Coordinate((0, 0)), Roi((0, 0), blobs().shape[1:]), block, block, 0,
        input=tmp_path / "a.npy", output=out, stitch="touch", parameters={"threshold": 100},
    )  # fmt: skip
    assert told(out) == []
    units(out)[0].write_bytes(b"")
    assert any("the file is empty" in one for one in told(out))
    journal = side(out) / "journal.jsonl"
    kept = [line for line in journal.read_text().splitlines() if '"finished"' not in line]
    journal.write_text("\n".join(kept) + "\n")
    assert any("the run was never finished" in one for one in told(out))


def test_a_recipe_that_cannot_be_read(labels: Path) -> None:
    (side(labels) / "recipe.json").write_text("{")
    assert any("recipe cannot be read" in one for one in told(labels))


@pytest.mark.parametrize("table", ["", "objects", "objects.xlsx"])
def test_a_recipe_with_a_table_that_is_none(labels: Path, table: str) -> None:
    recipe = side(labels) / "recipe.json"
    recipe.write_text(json.dumps(json.loads(recipe.read_text()) | {"table": table}))
    assert any("recipe cannot be read: 'table' is" in one for one in told(labels))


def make(folder: Path, kind: str) -> str:
    """Make a volume with the tools of others."""
    voxels = blobs()
    if kind in ("zarr2", "zarr3"):
        array = zarr.create_array(
            folder / kind,
            shape=voxels.shape,
            dtype="u1",
            chunks=(24, 48, 48),
            zarr_format=int(kind[-1]),
        )
        array[:] = voxels
        return str(folder / kind)
    if kind == "tiff":
        tifffile.imwrite(folder / "a.tif", voxels, compression="zlib")
        return str(folder / "a.tif")
    with h5py.File(folder / "a.h5", "w") as h5:
        h5.create_dataset("raw", data=voxels, chunks=(24, 48, 48), compression="gzip")
        h5.create_dataset("labels", data=voxels, chunks=(24, 48, 48), fletcher32=True)
    return f"{folder / 'a.h5'}:/{kind}"


@pytest.mark.parametrize("kind", ["zarr2", "zarr3", "tiff", "raw", "labels"])
def test_volumes_of_others(tmp_path: Path, kind: str) -> None:
    found = verify_volume(make(tmp_path, kind))
    assert found.findings == []
    assert found.counts["bytes_checked"] == blobs().nbytes


@pytest.mark.parametrize("kind", ["zarr2", "zarr3", "tiff", "raw", "labels"])
def test_damaged_volumes_of_others(tmp_path: Path, kind: str) -> None:
    url = make(tmp_path, kind)
    if kind.startswith("zarr"):
        chunk = units_of(Path(url))[-1]
        os.truncate(chunk, chunk.stat().st_size // 2)
    else:
        path, begin = where_voxels_are(tmp_path, kind)
        with path.open("r+b") as file:
            file.seek(begin)
            file.write(bytes(60))
    found = verify_volume(url)
    assert not found.ok
    assert all("voxels" in one.where for one in found.errors), found.errors


def where_voxels_are(folder: Path, kind: str) -> tuple[Path, int]:
    if kind == "tiff":
        with tifffile.TiffFile(folder / "a.tif") as file:
            return folder / "a.tif", file.pages[20].dataoffsets[0] + 100
    with h5py.File(folder / "a.h5") as h5:
        return folder / "a.h5", h5[kind].id.get_chunk_info(5).byte_offset + 1000


def units_of(folder: Path) -> list[Path]:
    marks = ("zarr.json", ".zarray", ".zattrs")
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in marks)


def test_real_volumes_are_whole(shared_data: Path) -> None:
    folder = shared_data / "volumes"
    for url in (folder / "stardist3d" / "mask3d.tif", f"{folder}/ovule/sample_ovule.h5:/raw"):
        assert verify_volume(url).findings == []


def test_what_is_no_volume(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError):
        verify_volume(tmp_path / "none.zarr")
    (tmp_path / "text").write_text("nothing of the kind")
    with pytest.raises(InputError):
        verify_volume(tmp_path / "text")
    (tmp_path / "lies.zarr").mkdir()
    (tmp_path / "lies.zarr" / "zarr.json").write_text('{"node_type": "array", "shape": [9]}')
    with pytest.raises(CytovoxError):
        verify_volume(tmp_path / "lies.zarr")


def test_few_parts_are_read_ahead(run: Path) -> None:
    taken: list[Any] = []
    told: list[int] = []

    def boxes() -> Iterator[Any]:
        for z in range(48):
            taken.append(z)
            assert len(taken) - len(told) < 20
            yield ((z, z + 1), (0, 96), (0, 96))

    found = Verification("labels.zarr", "volume")
    with open_volume(run / "labels.zarr") as volume:
        bad = check_voxels(volume, "0", found, boxes=boxes(), on_box=told.append)
    assert not bad
    assert len(told) == 48
