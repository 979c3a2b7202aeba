"""Ten things that hold for labels of any volume, however it was cut into blocks.

All of it goes through the real thing: files, journal, workers, tables. What is
expected is computed by SciPy and scikit-image on the whole volume at once.
Geometries and evidence are tried in greater number, without files, in
``test_stitch.py`` and ``test_objects.py``.
"""

from __future__ import annotations

import collections
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import measure

from cytovox.blockwise.evidence import Measures
from cytovox.blockwise.object_table import read_objects
from cytovox.blockwise.placement import Placement
from cytovox.blockwise.recipe import side_folder
from cytovox.blockwise.volumes import segment_volume
from cytovox.cli.main import main
from cytovox.read.open_volume import open_volume
from cytovox.run.journal import read_journal
from support.volumes import labels_of

THRESHOLD = 100
#: Connectivity by the number of axes: how SciPy and scikit-image call it.
RANKS = {2: {4: 1, 8: 2}, 3: {6: 1, 18: 2, 26: 3}}


def some(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None)


@st.composite
def geometries(draw: st.DrawFn) -> dict[str, Any]:
    """A volume of 30 % noise, blocks of any size, a connectivity."""
    ndim = draw(st.sampled_from([2, 3]))
    longest, most = {2: (14, 40), 3: (7, 30)}[ndim]
    shape = draw(st.tuples(*[st.integers(1, longest)] * ndim))
    block = list(draw(st.tuples(*[st.integers(1, longest + 3)] * ndim)))
    if draw(st.booleans()):  # blocks of a single voxel
        shape = tuple(min(n, 5 if ndim == 2 else 3) for n in shape)
        block = [1] * ndim
    # Files are slow: larger blocks rather than very many.
    while np.prod([-(-n // b) for n, b in zip(shape, block, strict=True)]) > most:
        block = [2 * b for b in block]
    return {
        "image": noise(shape, draw(st.integers(0, 2**16))),
        "block": tuple(block),
        "connectivity": draw(st.sampled_from(list(RANKS[ndim]))),
    }


def noise(shape: tuple[int, ...], seed: int = 0, share: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    bright = rng.integers(THRESHOLD + 1, 250, shape)
    return np.where(rng.random(shape) < share, bright, rng.integers(0, 9, shape)).astype(np.uint8)


def run(
    folder: Path, image: np.ndarray, function: Any = "label", name: str = "out", **more: Any
) -> Any:
    """Segment an image by the real thing."""
    raw = folder / "raw.npy"
    if not raw.exists():
        np.save(raw, image)
    given: dict[str, Any] = {"context": 0, "stitch": "touch", "workers": 0, "objects": False}
    if function == "label":
        given["parameters"] = {"threshold": THRESHOLD}
    return segment_volume(raw, folder / f"{name}.zarr", function, **(given | more))


def labelled(image: np.ndarray, function: Any = "label", **more: Any) -> tuple[np.ndarray, Any]:
    with tempfile.TemporaryDirectory() as folder:
        result = run(Path(folder), image, function, **more)
        assert result
        return labels_of(result.output), result


def table_of(result: Any) -> Any:
    return read_objects(result.table)[0]


def states(output: Path, stage: str = "segment") -> dict[Any, str]:
    """What the journal tells of each block; each of its lines must be whole."""
    path = side_folder(output) / "journal.jsonl"
    for line in path.read_text().splitlines():
        json.loads(line)
    records = read_journal(path).stages.get(stage, {})
    return {key: record.state for key, record in records.items()}


# 1. Components are those of the whole.


@some(15)
@given(geometry=geometries())
def test_1_components_are_those_of_the_whole(geometry: Any, same_partition: Any) -> None:
    image, connectivity = geometry["image"], geometry["connectivity"]
    labels, result = labelled(image, block=geometry["block"], connectivity=connectivity)
    rank = RANKS[image.ndim][connectivity]
    mask = image > THRESHOLD
    expected, count = ndimage.label(mask, ndimage.generate_binary_structure(image.ndim, rank))
    assert same_partition(labels, expected)
    assert same_partition(labels, measure.label(mask, connectivity=rank))
    assert result.objects == count


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("block", [(1, 1, 1), (5, 4, 3), (2, 99, 3), (99, 99, 99)])
def test_1_for_every_connectivity_and_kind_of_block(
    connectivity: int, block: tuple[int, ...], same_partition: Any
) -> None:
    """Where few voxels are set, most links are diagonal; where many are, most are not."""
    shape = (3, 4, 3) if block == (1, 1, 1) else (11, 10, 12)
    rank = RANKS[3][connectivity]
    for share in (0.3, 0.1):
        image = noise(shape, connectivity, share)
        labels, _ = labelled(image, block=block, connectivity=connectivity)
        structure = ndimage.generate_binary_structure(3, rank)
        assert same_partition(labels, ndimage.label(image > THRESHOLD, structure)[0])


# 2. The result is the same to the byte, whoever did which block when, and how often.


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray, Any]:
    """A volume of 27 blocks, its labels and its table from the simplest run."""
    image = noise((14, 15, 13), 3)
    # The first voxel of each block tells a function which one it is.
    image[::5, ::5, ::5] = 1 + np.arange(27).reshape(3, 3, 3)
    result = run(tmp_path_factory.mktemp("plain"), image, block=5, objects=True)
    structure = ndimage.generate_binary_structure(3, 1)
    assert result.objects == ndimage.label(image > THRESHOLD, structure)[1]
    return image, labels_of(result.output), table_of(result)


def check_same(result: Any, plain: Any) -> None:
    _, labels, table = plain
    assert result
    np.testing.assert_array_equal(labels_of(result.output), labels)
    found = table_of(result)
    assert list(found) == list(table)
    for column in table:
        np.testing.assert_array_equal(found[column], table[column], err_msg=column)


@pytest.mark.parametrize("workers", [1, 4])
def test_2_workers_do_not_matter(tmp_path: Path, plain: Any, workers: int) -> None:
    check_same(run(tmp_path, plain[0], block=5, objects=True, workers=workers), plain)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_2_the_order_of_blocks_does_not_matter(
    tmp_path: Path, plain: Any, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = []
    in_order = Placement.run

    def shuffled(self: Placement, blocks: Any, *args: Any, **more: Any) -> Any:
        mixed = list(blocks)
        random.Random(seed).shuffle(mixed)
        orders.append([block.index for block in mixed])
        return in_order(self, mixed, *args, **more)

    monkeypatch.setattr(Placement, "run", shuffled)
    check_same(run(tmp_path, plain[0], block=5, objects=True), plain)
    orders = [order for order in orders if order != [0]]  # the only tile
    assert len(orders) == 2  # to segment, and to relabel
    assert all(sorted(order) == list(range(27)) != order for order in orders)


FUNCTION = '''
"""Finds cells; files in a folder say what else to do with a block."""
import os
import signal
from pathlib import Path

def find(array, *, folder):
    number = int(array[0, 0, 0]) - 1
    with open(Path(folder) / "calls", "a") as file:
        file.write(f"{number}\\n")
    once = Path(folder) / f"once-{number}"
    if once.exists():
        once.unlink()
        raise ValueError("not at the first time")
    if (Path(folder) / f"bad-{number}").exists():
        raise ValueError("this block is bad")
    kill = Path(folder) / f"kill-{number}"
    if kill.exists():
        group = int(kill.read_text())
        kill.unlink()
        os.killpg(group, signal.SIGKILL)
    return array > 100
'''


def function_in(folder: Path) -> dict[str, Any]:
    (folder / "cells.py").write_text(FUNCTION)
    return {
        "function": f"{folder / 'cells.py'}:find",
        "parameters": {"folder": str(folder)},
        "block": 5,
        "objects": True,
    }


def calls(folder: Path) -> dict[int, int]:
    """How often the function was called for each block, since this was asked last."""
    file = folder / "calls"
    lines = file.read_text().split() if file.exists() else []
    file.unlink(missing_ok=True)
    return dict(collections.Counter(map(int, lines)))


@pytest.mark.parametrize("workers", [0, 2])
def test_2_attempts_do_not_matter(tmp_path: Path, plain: Any, workers: int) -> None:
    for block in (0, 7, 26):
        (tmp_path / f"once-{block}").touch()
    result = run(tmp_path, plain[0], workers=workers, retries=1, **function_in(tmp_path))
    check_same(result, plain)
    assert calls(tmp_path) == dict.fromkeys(range(27), 1) | {0: 2, 7: 2, 26: 2}


KILLED = """
import os, signal, sys
from pathlib import Path
from cytovox.blockwise import block_run, label_run, volume_blocks
from cytovox.blockwise.volumes import segment_volume

def die(*args, **more):
    os.killpg(os.getpgid(0), signal.SIGKILL)

def dying(function, before=None):
    def call(*args, **more):
        if before is None:
            function(*args, **more)
            die()
        return die() if before(*args) else function(*args, **more)
    return call

def main(folder, where, workers):
    if where.startswith("segment"):
        (folder / f"kill-{where.removeprefix('segment ')}").write_text(str(os.getpgid(0)))
    if where.startswith("relabel"):
        at = int(where.removeprefix("relabel "))
        work = volume_blocks.RelabelPass
        work.__call__ = dying(work.__call__, lambda self, block: block.index == at)
    if where in ("stitch_labels", "write_pyramid", "publish"):
        place = block_run if where == "publish" else label_run
        setattr(place, where, dying(getattr(place, where)))
    if where == "between renames":
        output = folder / "out.zarr"
        os.replace = dying(os.replace, lambda old, new: Path(new) == output)
    segment_volume(
        folder / "raw.npy", folder / "out.zarr", f"{folder / 'cells.py'}:find", block=5, context=0,
        stitch="touch", workers=workers, parameters={"folder": str(folder)}, objects=True,
        resume=where != "between renames",
    )

if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="there are no groups of processes here")
@pytest.mark.parametrize(
    ("where", "workers"),
    [
        ("segment 0", 0),
        ("segment 13", 2),
        ("segment 26", 0),
        ("stitch_labels", 0),
        ("relabel 5", 0),
        ("write_pyramid", 0),
        ("between renames", 0),
        ("publish", 0),
    ],
)
def test_2_sigkill_does_not_matter(tmp_path: Path, plain: Any, where: str, workers: int) -> None:
    """All processes of a run are killed somewhere; the same call then goes on from there."""
    output = tmp_path / "out.zarr"
    given = function_in(tmp_path)
    np.save(tmp_path / "raw.npy", plain[0])
    if where == "between renames":  # there is an output to be replaced
        assert run(tmp_path, plain[0], **given)
        calls(tmp_path)
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), where, str(workers)],
        start_new_session=True,
    )
    assert process.wait(600) == -signal.SIGKILL
    before = states(output)
    done = {block for block, state in before.items() if state == "done"}
    known = set(range(int(where.split()[1]))) if where.startswith("segment") else set(range(27))
    assert done == known if workers == 0 else 1 <= len(done) < 27
    assert output.exists() == (where == "publish")
    calls(tmp_path)

    result = run(tmp_path, plain[0], **given)
    check_same(result, plain)
    assert calls(tmp_path) == dict.fromkeys(set(range(27)) - done, 1)
    assert set(states(output).values()) == {"done"}
    left = [path.name for path in output.rglob("*") if path.suffix in (".__lock", ".tmp")]
    assert not left


# 3. Foreground stays foreground.


@some(8)
@given(geometry=geometries(), mode=st.sampled_from(["touch", "overlap", "none"]))
def test_3_the_foreground_is_unchanged(geometry: Any, mode: str) -> None:
    image = geometry["image"]
    labels, _ = labelled(
        image, block=geometry["block"], stitch=mode, context=int(mode == "overlap")
    )
    np.testing.assert_array_equal(labels > 0, image > THRESHOLD)


# 4. Ids are 1 to N, the table has N rows, and their voxels are the foreground.


@some(8)
@given(geometry=geometries(), mode=st.sampled_from(["touch", "overlap", "owner", "none"]))
def test_4_ids_are_contiguous_and_counts_add_up(geometry: Any, mode: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        result = run(
            Path(folder),
            geometry["image"],
            block=geometry["block"],
            stitch=mode,
            context=2 * (mode in ("overlap", "owner")),
            objects=True,
        )
        labels, table = labels_of(result.output), table_of(result)
    assert labels.dtype == np.uint32
    counts = np.bincount(labels.ravel(), minlength=result.objects + 1)
    assert len(counts) == result.objects + 1 == len(table) + 1
    assert (counts[1:] > 0).all()
    assert table["label"].tolist() == list(range(1, result.objects + 1))
    assert table["voxels"].tolist() == counts[1:].tolist()
    assert table["voxels"].sum() == np.count_nonzero(labels)
    assert result.report.objects == result.objects


# 5. A truth that is cut into blocks, its ids shuffled, is put together again.


def voronoi(shape: tuple[int, ...], cells: int, seed: int, walls: bool) -> np.ndarray:
    """Cells that fill a volume, perhaps with walls between them."""
    rng = np.random.default_rng(seed)
    seeds = np.zeros(shape, bool)
    seeds[tuple(rng.integers(0, n, cells) for n in shape)] = True
    numbers = np.cumsum(seeds).reshape(shape)
    nearest = ndimage.distance_transform_edt(~seeds, return_distances=False, return_indices=True)
    truth = numbers[tuple(nearest)]
    if walls:
        truth[ndimage.grey_dilation(truth, 3) != truth] = 0
    # One object is what hangs together through faces, as overlap can see it.
    return measure.label(truth, connectivity=1, background=0).astype(np.uint16)


def shuffled(array: np.ndarray) -> np.ndarray:
    """Ids that say nothing, others in each block, and the same if it is tried again."""
    ids, inverse = np.unique(array, return_inverse=True)
    rng = np.random.default_rng(ids.astype(np.int64) @ np.arange(1, ids.size + 1))
    names = rng.permutation(ids.size).astype(np.uint32) + 1
    return np.where(array > 0, names[inverse].reshape(array.shape), 0).astype(np.uint32)


@some(8)
@given(
    ndim=st.sampled_from([2, 3]),
    cells=st.integers(1, 40),
    size=st.integers(4, 30),
    context=st.integers(1, 6),
    walls=st.booleans(),
    rule=st.sampled_from(["iou", "mutual"]),
    seed=st.integers(0, 2**16),
)
def test_5_a_truth_survives_being_cut(
    ndim: int,
    cells: int,
    size: int,
    context: int,
    walls: bool,
    rule: str,
    seed: int,
    same_partition: Any,
) -> None:
    truth = voronoi((30, 34) if ndim == 2 else (14, 13, 15), cells, seed, walls)
    labels, result = labelled(
        truth,
        shuffled,
        block=max(size, 20) // 2 if ndim == 2 else max(size, 14) // 2,
        context=context,
        stitch="overlap",
        reach=1,
        rule=rule,
    )
    assert same_partition(labels, truth)
    assert result.objects == len(np.unique(truth[truth > 0]))


# 6. Without an edge no label is in two blocks.


def ids_of_blocks(labels: np.ndarray, block: tuple[int, ...]) -> list[set[int]]:
    starts = [range(0, n, b) for n, b in zip(labels.shape, block, strict=True)]
    parts = [
        labels[tuple(slice(a, a + b) for a, b in zip(at, block, strict=True))]
        for at in itertools.product(*starts)
    ]
    return [set(np.unique(part)) - {0} for part in parts]


@some(8)
@given(geometry=geometries(), cut=st.booleans())
def test_6_without_an_edge_no_label_spans_blocks(geometry: Any, cut: bool) -> None:
    """Neither if nothing shall be joined, nor if nothing touches across a seam."""
    image, block = geometry["image"].copy(), geometry["block"]
    if cut:
        for axis, size in enumerate(block):
            np.moveaxis(image, axis, 0)[size - 1 :: size] = 0
    labels, result = labelled(
        image,
        block=block,
        stitch="touch" if cut else "none",
        connectivity=geometry["connectivity"],
    )
    ids = ids_of_blocks(labels, block)
    assert not any(a & b for a, b in itertools.combinations(ids, 2))
    assert sum(map(len, ids)) == result.objects
    assert result.report.spanning == 0


# 7. A volume that is turned, or seen in a mirror, differs in names only.


@some(8)
@given(
    geometry=geometries(),
    turn=st.sampled_from(["mirror", "turn", "both"]),
    mode=st.sampled_from(["touch", "overlap"]),
)
def test_7_names_are_all_that_depends_on_direction(
    geometry: Any, turn: str, mode: str, same_partition: Any
) -> None:
    image, block = geometry["image"], geometry["block"]
    # The mirror image has the same seams if blocks fit.
    shape = tuple(max(n // b, 1) * b for n, b in zip(image.shape, block, strict=True))
    image = np.resize(image, shape)

    def seen(array: np.ndarray) -> np.ndarray:
        array = np.flip(array) if turn != "turn" else array
        return array.T if turn != "mirror" else array

    how: dict[str, Any] = {"stitch": mode, "context": 2 * (mode == "overlap")}
    if mode == "touch":
        how["connectivity"] = geometry["connectivity"]
    straight, _ = labelled(image, block=block, **how)
    other, _ = labelled(
        np.ascontiguousarray(seen(image)), block=block if turn == "mirror" else block[::-1], **how
    )
    assert same_partition(seen(straight), other)


# 8. What blocks have measured, put together, is what regionprops measures.


@some(8)
@given(geometry=geometries(), scaled=st.booleans())
def test_8_the_table_is_that_of_regionprops(geometry: Any, scaled: bool) -> None:
    image = geometry["image"]
    ndim = image.ndim
    spacing = (2.0, 0.5, 0.75)[-ndim:] if scaled else (1.0,) * ndim
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw.zarr"
        from cytovox.write.volume_creation import create_volume

        with create_volume(raw, shape=image.shape, dtype=np.uint8, voxel_size=spacing) as volume:
            volume.write(tuple((0, n) for n in image.shape), image)
        result = segment_volume(
            raw,
            Path(folder) / "out.zarr",
            "label",
            block=geometry["block"],
            context=0,
            stitch="touch",
            workers=0,
            connectivity=geometry["connectivity"],
            parameters={"threshold": THRESHOLD},
            measures=Measures(percentiles=()),
        )
        labels, table = labels_of(result.output), table_of(result)
    whole = measure.regionprops_table(
        labels.astype(np.int64),
        image,
        properties=[
            *("label", "num_pixels", "area", "bbox", "centroid", "inertia_tensor_eigvals"),
            *("intensity_mean", "intensity_min", "intensity_max"),
        ],
        spacing=spacing,
    )
    axes = "zyx"[-ndim:]
    pairs = {
        "label": "label",
        "voxels": "num_pixels",
        "area" if ndim == 2 else "volume": "area",
        "mean_intensity": "intensity_mean",
        "min_intensity": "intensity_min",
        "max_intensity": "intensity_max",
    }
    for i, axis in enumerate(axes):
        pairs |= {
            f"{axis}_min": f"bbox-{i}",
            f"{axis}_max": f"bbox-{i + ndim}",
            f"centroid_{axis}": f"centroid-{i}",
        }
    for ours, theirs in pairs.items():
        np.testing.assert_allclose(table[ours], whole[theirs], rtol=1e-12, err_msg=ours)
    moments = np.stack([whole[f"inertia_tensor_eigvals-{i}"] for i in range(ndim)], axis=1)
    # Of a plane figure the variances are its moments, else what is missing to their sum.
    spread = moments if ndim == 2 else moments.sum(1, keepdims=True) / 2 - moments[:, ::-1]
    expected = 2 * np.sqrt((ndim + 2) * np.maximum(spread, 0))
    for i in range(ndim):
        np.testing.assert_allclose(table[f"axis{i + 1}_length"], expected[:, i], atol=1e-6)


# 9. Memory does not grow with the number of blocks.


MEMORY = """
import json, resource, sys
from pathlib import Path
import numpy as np
from cytovox.blockwise.grid import Grid
from cytovox.blockwise.volumes import segment_volume
from cytovox.run.journal import read_journal
from cytovox.write.volume_creation import create_volume

def peaks(folder, blocks, workers):
    shape, block = (64 * blocks, 128, 128), (64, 128, 128)
    rng = np.random.default_rng(0)
    grain = rng.integers(0, 90, block, dtype=np.uint8)
    for at in rng.integers(0, 30, (4, 3)):
        grain[tuple(slice(a, a + 9) for a in at)] = 200
    raw, output = folder / f"{blocks}.zarr", folder / f"out-{blocks}.zarr"
    with create_volume(raw, shape=shape, dtype="uint8", block=block) as volume:
        for one in Grid(shape, block, (0, 0, 0)):
            volume.write(one.write, grain)
    result = segment_volume(
        raw, output, "label", block=block, context=0, stitch="touch", workers=workers,
        parameters={"threshold": 100},
    )
    assert result and result.blocks == blocks
    stages = read_journal(f"{output}.cytovox/journal.jsonl").stages
    peaks = [one.peak_bytes or 0 for stage in stages.values() for one in stage.values()]
    here = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return [here, max(peaks)]

if __name__ == "__main__":
    folder, workers = Path(sys.argv[1]), int(sys.argv[2])
    print(json.dumps([peaks(folder, blocks, workers) for blocks in (4, 256)]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted otherwise elsewhere")
@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_9_memory_does_not_grow_with_the_number_of_blocks(tmp_path: Path, workers: int) -> None:
    """256 blocks hold 256 MiB of voxels and 1 GiB of labels; 4 do not fill the buffers.

    What may be larger is the buffers alone, 2 x 16 MiB of tiles and 16 MiB of stored chunks,
    and what the C library keeps of arrays that are gone: 92 MiB were measured.
    """
    script = tmp_path / "memory.py"
    script.write_text(MEMORY)
    words = [sys.executable, str(script), str(tmp_path), str(workers)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=True)
    few, many = json.loads(done.stdout.splitlines()[-1])
    for before, after in zip(few, many, strict=True):
        assert after - before < 192 << 20


# 10. A block that failed makes the run fail, and is all that is done later.


@pytest.mark.parametrize("workers", [0, 1])
def test_10_a_failed_block_is_no_success(
    tmp_path: Path, plain: Any, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "raw.npy", plain[0])
    function_in(tmp_path)
    for block in (4, 20):
        (tmp_path / f"bad-{block}").touch()
    words = ["volume", "segment", str(tmp_path / "raw.npy"), str(tmp_path / "out.zarr")]
    words += ["-f", f"{tmp_path / 'cells.py'}:find", "--set", f"folder={tmp_path}"]
    words += ["--block", "5", "--stitch", "touch", "--workers", str(workers), "--retries", "0"]
    assert main([*words, "--json"]) == 4
    told = json.loads(capsys.readouterr().out)
    assert told["output"] is None
    assert [failure["block"] for failure in told["failed"]] == [4, 20]
    assert all("this block is bad" in failure["error"] for failure in told["failed"])
    assert not (tmp_path / "out.zarr").exists()
    assert not (tmp_path / "out.objects.parquet").exists()
    assert calls(tmp_path) == dict.fromkeys(range(27), 1)
    found = states(tmp_path / "out.zarr")
    assert {block for block, state in found.items() if state != "done"} == {4, 20}

    assert main(words) == 4
    err = capsys.readouterr().err
    assert "block 4 failed: segment failed: ValueError: this block is bad" in err
    assert "blocks 4, 20: segment failed: ValueError: this block is bad" in err
    assert calls(tmp_path) == {4: 1, 20: 1}

    for file in tmp_path.glob("bad-*"):
        file.unlink()
    assert main(words) == 0
    assert calls(tmp_path) == {4: 1, 20: 1}
    with open_volume(tmp_path / "out.zarr") as volume:
        np.testing.assert_array_equal(volume[...], plain[1])
