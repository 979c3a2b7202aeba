"""From a volume to labels and a table of objects, in one call."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import cytovox
from cytovox.blockwise.evidence import Measures
from cytovox.blockwise.object_table import read_objects
from cytovox.blockwise.recipe import side_folder
from cytovox.blockwise.replay import replay_block
from cytovox.blockwise.volumes import measure_volume, restitch_volume, segment_volume
from cytovox.errors import (
    InputError,
    InputNotFoundError,
    OptionError,
    OutputExistsError,
    StageError,
    UsageError,
)
from cytovox.run.journal import FingerprintChangedError, read_journal
from cytovox.run.progress import Warned
from cytovox.testing.volume_simulator import BLOB_THRESHOLD, simulate_volume
from support.volumes import components, labels_of


def noise(shape: tuple[int, ...], share: float = 0.3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.random(shape) < share).astype(np.uint8) * 200


def same_up_to_names(a: np.ndarray, b: np.ndarray) -> bool:
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return pairs.shape[1] == np.unique(a).size == np.unique(b).size


def save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def segment_noise(tmp_path: Path, image: np.ndarray, name: str = "out", **more: Any) -> Any:
    raw = tmp_path / "raw.npy"
    if not raw.exists():
        np.save(raw, image)
    given: dict[str, Any] = {
        "block": 16,
        "context": 0,
        "stitch": "touch",
        "parameters": {"threshold": 100},
        "workers": 0,
    }
    return segment_volume(raw, tmp_path / f"{name}.zarr", "label", **(given | more))


@pytest.mark.parametrize(
    ("shape", "connectivity"), [((50, 37), 8), ((20, 33, 18), 6), ((20, 33, 18), 26)]
)
def test_components_are_those_of_the_whole(
    tmp_path: Path, shape: tuple[int, ...], connectivity: int
) -> None:
    image = noise(shape, 0.3 if connectivity != 26 else 0.08)
    result = segment_noise(tmp_path, image, connectivity=connectivity)
    rank = {8: 2, 6: 1, 26: 3}[connectivity]
    true, count = components(image > 100, rank)
    assert result
    assert result.objects == count
    found = labels_of(result.output)
    assert found.dtype == np.uint32
    assert same_up_to_names(found, true)


def test_objects_are_those_of_regionprops(tmp_path: Path) -> None:
    from skimage.measure import regionprops

    truth = simulate_volume(
        tmp_path / "a.tif", shape=(40, 60, 50), seed=3, voxel_size=(2, 1, 0.5), units="micrometer"
    )
    result = segment_volume(
        tmp_path / "a.tif",
        tmp_path / "a.labels.zarr",
        "label",
        block=(16, 32, 32),
        context=0,
        stitch="touch",
        workers=0,
        parameters={"threshold": BLOB_THRESHOLD},
    )
    assert result.objects == len(truth)
    with truth.open_labels() as labels, truth.open_image() as image:
        assert same_up_to_names(labels[...], labels_of(result.output))
        raw = image[...]
    assert result.table == tmp_path / "a.labels.objects.parquet"
    table, recipe = read_objects(result.table)
    assert recipe["function"] == "label"
    assert table.units["volume"] == "micrometer^3"
    for row, region in enumerate(regionprops(labels_of(result.output), raw)):
        assert table["label"][row] == region.label
        assert table["voxels"][row] == region.area
        assert table["volume"][row] == region.area * 1.0
        assert [table[f"{a}_min"][row] for a in "zyx"] == list(region.bbox[:3])
        assert [table[f"{a}_max"][row] for a in "zyx"] == list(region.bbox[3:])
        centre = np.array(region.centroid) * (2, 1, 0.5)
        assert np.allclose([table[f"centroid_{a}"][row] for a in "zyx"], centre)
        assert np.isclose(table["mean_intensity"][row], region.intensity_mean)
        assert table["max_intensity"][row] == region.intensity_max


def test_channels_are_given_to_the_function(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (2, 10, 12, 14)).astype(np.uint8)
    import zarr

    group = zarr.open_group(tmp_path / "image.zarr", mode="w")
    group.create_array("0", data=image, chunks=(2, 5, 6, 7))
    axes = [{"name": "c", "type": "channel"}] + [{"name": a, "type": "space"} for a in "zyx"]
    scale = [{"type": "scale", "scale": [1, 1, 1, 1]}]
    levels = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{"axes": axes, "datasets": levels, "name": "a"}],
    }

    def larger(array: np.ndarray) -> np.ndarray:
        assert array.ndim == 4
        return array[1] > array[0]

    result = segment_volume(
        tmp_path / "image.zarr",
        tmp_path / "out.zarr",
        larger,
        block=6,
        context=0,
        stitch="touch",
        workers=0,
        measures=Measures(channel=1),
    )
    true, count = ndimage.label(image[1] > image[0])
    assert result.objects == count
    assert same_up_to_names(labels_of(result.output), true)
    table, _ = read_objects(result.table)
    assert np.isclose(
        table["mean_intensity"].mean(),
        np.mean(ndimage.mean(image[1], labels_of(result.output), table["label"])),
    )


def test_workers_do_not_matter(tmp_path: Path) -> None:
    image = noise((40, 40, 20), 0.25)
    stored = []
    # None, threads, and processes, which alone can be given a limit.
    for workers, timeout in ((0, None), (1, None), (3, None), (2, 60)):
        result = segment_noise(tmp_path, image, f"w{workers}", workers=workers, timeout=timeout)
        assert result
        table, _ = read_objects(result.table)
        stored.append((labels_of(result.output), table))
    for labels, table in stored[1:]:
        assert np.array_equal(labels, stored[0][0])
        assert all(np.array_equal(table[c], stored[0][1][c], equal_nan=True) for c in table)


SCRIPT = """
import sys, time
from pathlib import Path
from cytovox.blockwise.volumes import segment_volume

def slowly(array, *, threshold):
    time.sleep(0.15)
    return array > threshold

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    segment_volume(folder / "raw.npy", folder / "out.zarr", f"{__file__}:slowly", block=16,
                   context=0, stitch="touch", workers=2, parameters={"threshold": 100})
"""


def test_killed_run_goes_on(tmp_path: Path) -> None:
    image = noise((48, 48, 48), 0.2)
    save(tmp_path / "raw.npy", image)
    script = tmp_path / "slowly.py"
    script.write_text(SCRIPT)
    journal = side_folder(tmp_path / "out.zarr") / "journal.jsonl"
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path)])
    limit = time.monotonic() + 300
    try:
        while time.monotonic() < limit and process.poll() is None:
            if journal.exists() and journal.read_text().count('"done"') >= 4:
                break
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL) if process.poll() is None else None
        process.wait(600)
    before = read_journal(journal)
    done = {k for k, r in before.stages["segment"].items() if r.state == "done"}
    assert 4 <= len(done) < 27
    assert not (tmp_path / "out.zarr").exists()

    result = segment_volume(
        tmp_path / "raw.npy",
        tmp_path / "out.zarr",
        f"{script}:slowly",
        block=16,
        context=0,
        stitch="touch",
        workers=2,
        parameters={"threshold": 100},
    )
    assert result
    records = read_journal(journal).stages["segment"]
    assert all(records[block].attempts == 1 for block in done)
    true, count = components(image > 100, 1)
    assert result.objects == count
    assert same_up_to_names(labels_of(result.output), true)


def test_run_of_an_earlier_version_is_done_again(tmp_path: Path) -> None:
    def fails(block: np.ndarray) -> np.ndarray:
        if block[0, 0] == 77:
            raise ValueError
        return ndimage.label(block > 100)[0]

    image = noise((32, 32))
    image[16, 16] = 77
    np.save(tmp_path / "raw.npy", image)
    given = {"block": 16, "context": 0, "stitch": "touch", "workers": 0}
    assert not segment_volume(tmp_path / "raw.npy", tmp_path / "out.zarr", fails, **given)
    evidence = tmp_path / "out.zarr.cytovox" / "blocks"
    (evidence / "0.npz").write_bytes(b"")
    events: list[Any] = []
    segment_volume(
        tmp_path / "raw.npy", tmp_path / "out.zarr", fails, **given, on_event=events.append
    )
    said = [event.text for event in events if isinstance(event, Warned)]
    assert any("earlier version" in text for text in said)
    assert not list(evidence.glob("*.npz"))


def test_finished_run_is_not_done_again(tmp_path: Path) -> None:
    image = noise((32, 32))
    first = segment_noise(tmp_path, image)
    written = (tmp_path / "out.zarr" / "zarr.json").stat().st_mtime_ns
    events: list[Any] = []
    second = segment_noise(tmp_path, image, on_event=events.append)
    assert second
    assert second.was_finished
    assert not first.was_finished
    assert events == []
    assert (second.objects, second.blocks) == (first.objects, first.blocks)
    assert second.report.as_dict() == first.report.as_dict()
    assert (tmp_path / "out.zarr" / "zarr.json").stat().st_mtime_ns == written
    second.table.unlink()
    again = segment_noise(tmp_path, image)
    assert not again.was_finished
    assert again.table.exists()
    third = segment_noise(tmp_path, image, resume=False)
    assert third.objects == first.objects
    assert (tmp_path / "out.zarr" / "zarr.json").stat().st_mtime_ns > written


def test_changes_are_refused_and_told(tmp_path: Path) -> None:
    image = noise((32, 32))
    segment_noise(tmp_path, image)
    with pytest.raises(FingerprintChangedError, match="threshold was 100 and is 50"):
        segment_noise(tmp_path, image, parameters={"threshold": 50})
    with pytest.raises(FingerprintChangedError, match="geometry: block"):
        segment_noise(tmp_path, image, block=8)
    with pytest.raises(FingerprintChangedError, match="function"):
        segment_volume(
            tmp_path / "raw.npy",
            tmp_path / "out.zarr",
            "blobs",
            block=16,
            context=0,
            stitch="touch",
            workers=0,
        )
    np.save(tmp_path / "raw.npy", noise((32, 32), seed=1))
    with pytest.raises(FingerprintChangedError, match="input"):
        segment_noise(tmp_path, image)
    assert segment_noise(tmp_path, image, resume=False, parameters={"threshold": 50})


FAILING = """
from pathlib import Path
import numpy as np

def fragile(array, *, flag):
    if array[0, 0] == 77 and not Path(flag).exists():
        raise ValueError("this block is bad")
    return array > 100
"""


def test_failing_block_costs_only_itself(tmp_path: Path) -> None:
    image = noise((64, 64))
    image[16, 32] = 77
    save(tmp_path / "raw.npy", image)
    (tmp_path / "fragile.py").write_text(FAILING)
    given: dict[str, Any] = {
        "block": 16,
        "context": 0,
        "stitch": "touch",
        "workers": 2,
        "retries": 0,
        "parameters": {"flag": str(tmp_path / "repaired")},
    }
    function = f"{tmp_path / 'fragile.py'}:fragile"
    result = segment_volume(tmp_path / "raw.npy", tmp_path / "out.zarr", function, **given)
    assert not result
    assert [failure.block for failure in result.failed] == [6]
    assert "this block is bad" in result.failed[0].error
    assert not (tmp_path / "out.zarr").exists()
    records = read_journal(side_folder(tmp_path / "out.zarr") / "journal.jsonl").stages["segment"]
    assert sum(record.state == "done" for record in records.values()) == 15
    assert "ValueError" in records[6].traceback
    with pytest.raises(StageError, match="block 6.*this block is bad") as caught:
        replay_block(tmp_path / "out.zarr", 6)
    assert isinstance(caught.value.__cause__, ValueError)
    assert replay_block(tmp_path / "out.zarr", 5).count > 0
    with pytest.raises(UsageError, match="1 of 16 blocks are not segmented"):
        restitch_volume(tmp_path / "out.zarr")

    (tmp_path / "repaired").touch()
    result = segment_volume(tmp_path / "raw.npy", tmp_path / "out.zarr", function, **given)
    assert result
    records = read_journal(side_folder(tmp_path / "out.zarr") / "journal.jsonl").stages["segment"]
    assert [key for key, record in records.items() if record.attempts > 1] == [6]
    true, count = components(image > 100, 1)
    assert result.objects == count
    assert same_up_to_names(labels_of(result.output), true)


def test_gate_leaves_out_of_labels_and_table(tmp_path: Path) -> None:
    image = noise((40, 40))
    result = segment_noise(tmp_path, image, gate="voxels > 5", objects=tmp_path / "t.csv")
    true, count = components(image > 100, 1)
    sizes = np.bincount(true.ravel())[1:]
    assert result.objects == (sizes > 5).sum() < count
    found = labels_of(result.output)
    assert np.array_equal(found != 0, np.isin(true, np.flatnonzero(sizes > 5) + 1))
    assert np.array_equal(np.unique(found), np.arange(result.objects + 1))
    rows = (tmp_path / "t.csv").read_text().splitlines()
    assert len(rows) == result.objects + 1
    again = restitch_volume(tmp_path / "out.zarr", gate="", workers=0)
    assert again.objects == count
    with pytest.raises(OptionError, match="condition"):
        segment_noise(tmp_path, image, "other", gate="__import__('os')")


def test_table_alone(tmp_path: Path) -> None:
    image = noise((40, 40))
    result = segment_noise(tmp_path, image, objects=False, measures=Measures())
    assert result.table is None
    path, count = measure_volume(
        tmp_path / "out.zarr", objects=tmp_path / "a.parquet", gate="voxels > 3"
    )
    table, _ = read_objects(path)
    found = labels_of(result.output)
    sizes = np.bincount(found.ravel())
    assert count == len(table) == (sizes[1:] > 3).sum()
    assert np.array_equal(sizes[table["label"]], table["voxels"])


def test_nothing_is_measured_if_nobody_wants_it(tmp_path: Path) -> None:
    result = segment_noise(tmp_path, noise((40, 40)), objects=False)
    assert result
    assert result.objects > 1
    with pytest.raises(InputError, match="not measured"):
        measure_volume(tmp_path / "out.zarr", objects=tmp_path / "a.csv")
    with pytest.raises(FingerprintChangedError, match="measures"):
        segment_noise(tmp_path, noise((40, 40)))


def test_stitched_in_other_ways_without_segmenting(tmp_path: Path) -> None:
    image = np.zeros((32, 48), np.uint8)
    image[10:22, 8:40] = 200
    calls = tmp_path / "calls"

    def count_calls(array: np.ndarray) -> np.ndarray:
        with open(calls, "a") as file:
            file.write("x")
        return array > 100

    save(tmp_path / "raw.npy", image)
    common: dict[str, Any] = {"block": 16, "context": 20, "workers": 0}
    result = segment_volume(tmp_path / "raw.npy", tmp_path / "out.zarr", count_calls, **common)
    assert result.objects == 1
    for mode, objects in (("none", 6), ("touch", 1), ("owner", 1), ("overlap", 1)):
        again = restitch_volume(tmp_path / "out.zarr", stitch=mode, workers=0)
        assert again.objects == objects, mode
        assert len(np.unique(labels_of(again.output))) == objects + 1
    # Segmenting with less is contained in what is there.
    assert segment_volume(
        tmp_path / "raw.npy",
        tmp_path / "out.zarr",
        count_calls,
        stitch="touch",
        **common,
    )
    assert calls.read_text() == "x" * 6


def test_too_little_was_kept(tmp_path: Path) -> None:
    segment_noise(tmp_path, noise((32, 32)))
    with pytest.raises(UsageError, match="did not keep"):
        restitch_volume(tmp_path / "out.zarr", stitch="overlap", workers=0)
    with pytest.raises(InputNotFoundError, match="no blocks"):
        restitch_volume(tmp_path / "nothing.zarr")


def test_bad_wishes_are_refused_before_work(tmp_path: Path) -> None:
    image = noise((32, 32))
    for more, words in (
        ({"parameters": {"treshold": 1}}, "treshold"),
        ({"block": (1, 2, 3)}, "axes of space"),
        ({"stitch": "glue"}, "glue"),
        ({"stitch": "overlap"}, "without context"),
        ({"connectivity": 7}, "7"),
        ({"objects": tmp_path / "a.xlsx"}, "xlsx"),
        ({"threshold": 2.0, "stitch": "overlap", "context": 4}, "2.0"),
        ({"parameters": {"threshold": 1, "connectivity": 8}, "connectivity": 4}, "give it once"),
    ):
        with pytest.raises(UsageError, match=words):
            segment_noise(tmp_path, image, **more)
    assert not side_folder(tmp_path / "out.zarr").exists()
    (tmp_path / "out.zarr").mkdir()
    with pytest.raises(OutputExistsError):
        segment_noise(tmp_path, image)


def test_recipe_is_kept(tmp_path: Path) -> None:
    segment_noise(tmp_path, noise((32, 32)), gate="voxels > 2")
    told = json.loads((side_folder(tmp_path / "out.zarr") / "recipe.json").read_text())
    assert told["function"] == "label"
    assert told["parameters"] == {"threshold": 100}
    assert told["gate"] == "voxels > 2"


def test_name_at_the_top_is_lazy() -> None:
    code = (
        "import sys, cytovox; assert not {'numpy', 'numba', 'daisy'} & set(sys.modules);"
        "assert callable(cytovox.segment_volume); assert 'segment_volume' in dir(cytovox)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)
    with pytest.raises(AttributeError):
        _ = cytovox.nothing


def test_nuclei_are_counted_right(tmp_path: Path, shared_data: Path) -> None:
    import tifffile

    folder = shared_data / "volumes" / "stardist3d"
    true = tifffile.imread(folder / "mask3d.tif")
    count = np.unique(true).size - 1
    assert count == 51
    save(tmp_path / "mask.npy", true.astype(np.uint16))

    def perfect(array: np.ndarray) -> np.ndarray:
        # What is cut in the context has another number there than elsewhere.
        return np.where(array > 0, array.astype(np.uint32) * 3 % 1009, 0).astype(np.uint32)

    for mode in ("owner", "overlap"):
        result = segment_volume(
            tmp_path / "mask.npy",
            tmp_path / f"{mode}.zarr",
            perfect,
            block=(16, 32, 32),
            context=12,
            stitch=mode,
            workers=0,
        )
        assert result.objects == count, mode
        assert same_up_to_names(labels_of(result.output), true), mode


def test_ground_truth_survives_being_cut(tmp_path: Path, shared_data: Path) -> None:
    import tifffile

    path = shared_data / "volumes" / "fib25_250" / "overseg.tif"
    true = np.ascontiguousarray(tifffile.imread(path)[:96, :96, :96])
    # One object is what hangs together.
    true = ndimage_components(true)
    save(tmp_path / "true.npy", true)

    def shuffled(array: np.ndarray) -> np.ndarray:
        ids, inverse = np.unique(array, return_inverse=True)
        rng = np.random.default_rng(int(ids.sum()) % 2**31)
        names = np.zeros(ids.size, np.uint32)
        names[ids != 0] = rng.permutation(int((ids != 0).sum())) + 1
        return names[inverse].reshape(array.shape)

    result = segment_volume(
        tmp_path / "true.npy",
        tmp_path / "out.zarr",
        shuffled,
        block=40,
        context=8,
        workers=0,
        objects=False,
        reach=1,
    )
    assert result
    assert same_up_to_names(labels_of(result.output), true)


def ndimage_components(labels: np.ndarray) -> np.ndarray:
    from skimage.measure import label

    return label(labels, connectivity=1, background=0).astype(np.uint32)
