"""What the documented interface of blocks says, sentence by sentence."""

from __future__ import annotations

import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from scipy import ndimage

import cytovox
from cytovox.blockwise import DaCapoBlockwiseTask, run_blockwise, segment_blockwise
from cytovox.blockwise.array_run import run_array_work
from cytovox.blockwise.block_result import BlockDone, BlockFailure, VolumeResult
from cytovox.blockwise.evidence_file import EvidenceFolder
from cytovox.blockwise.placement import Placement
from cytovox.blockwise.replay import replay_block
from cytovox.blockwise.threshold_worker import ThresholdWork
from cytovox.blockwise.volumes import restitch_volume
from cytovox.cli.main import main
from cytovox.cli.volume_results import failures_in_words
from cytovox.errors import InputError, OptionError, StageError, UsageError
from cytovox.read.open_volume import open_volume
from cytovox.run.journal import read_journal
from cytovox.write.volume_creation import create_volume
from support.volumes import labels_of, smooth_noise

#: Parameters and defaults of the documented functions.
BLOCKS = (
    "total_roi, read_roi, write_roi, num_workers=16, max_retries={}, timeout=None, "
    "upstream_tasks=None, *args"
)


def roi(begin: int, end: int) -> Roi:
    return Roi((begin,), (end - begin,))


@pytest.mark.parametrize(
    ("function", "documented"),
    [
        (DaCapoBlockwiseTask, f"worker_file, {BLOCKS.format(2)}"),
        (run_blockwise, f"worker_file, {BLOCKS.format(1)}"),
        (segment_blockwise, f"segment_function_file, context, {BLOCKS.format(2)}"),
    ],
)
def test_parameters_are_those_of_the_page(function: Any, documented: str) -> None:
    told = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    plain = [str(p.replace(annotation=inspect.Parameter.empty)) for p in told if p.kind in kinds]
    assert ", ".join(plain) == documented
    assert any(p.kind == inspect.Parameter.VAR_KEYWORD for p in told)


#: The convention of worker files: ``start_worker`` in a program of its own.
PROGRAM = """
import subprocess, sys
from pathlib import Path
import daisy

read_write_conflict = False
fit = "shrink"
{more}

def start_worker(out):
    client = daisy.Client()
    while True:
        with client.acquire_block() as block:
            if block is None:
                break
            begin, end = block.write_roi.begin[0], block.write_roi.end[0]
            if begin == 22 and not Path(out, "mended").exists():
                raise ValueError("block at 22 is bad")
            with open(Path(out, f"w-{{begin}}-{{end}}"), "a") as file:
                file.write("x")

def spawn_worker(out):
    def run():
        subprocess.run([sys.executable, __file__, "start-worker", out], check=True)
    return run

if __name__ == "__main__":
    start_worker(sys.argv[2])
"""


def run_program(folder: Path, workers: int = 1, more: str = "", **options: Any) -> Any:
    path = folder / "mine.py"
    path.write_text(PROGRAM.format(more=more))
    options = {"journal": folder / "j"} | options
    read, write = roi(0, 14), roi(2, 12)
    return run_blockwise(path, roi(0, 47), read, write, workers, 1, out=str(folder), **options)


@pytest.mark.parametrize("retries", [0, 2])
def test_programs_of_their_own_have_as_many_attempts_as_asked_for(
    tmp_path: Path, retries: int
) -> None:
    """Also where there are so many blocks that others would be put off after a failure."""
    count = 'Path(out, "attempts").open("a").write("x")'
    path = tmp_path / "mine.py"
    raising = "                raise ValueError("
    text = PROGRAM.format(more="").replace(raising, f"                {count}\n{raising}")
    path.write_text(text)
    block = roi(2, 12)
    result = run_blockwise(path, roi(2, 202), block, block, 1, retries, out=str(tmp_path))
    assert (result.total, result.done, result.undone) == (20, 19, 1)
    assert [(f.block, f.attempts) for f in result.failed] == [((22,), retries + 1)]
    assert (tmp_path / "attempts").read_text() == "x" * (retries + 1)


def test_a_program_beside_a_task_whose_blocks_are_put_off(tmp_path: Path) -> None:
    """Each block has one attempt, as was asked for."""
    failing = tmp_path / "failing.py"
    failing.write_text(
        "def spawn_worker():\n"
        "    def work(block):\n"
        "        if block.write_roi.begin[0] in (2, 12):\n"
        "            raise ValueError('never')\n"
        "    return work\n"
    )
    block = roi(2, 12)
    upstream = DaCapoBlockwiseTask(failing, roi(2, 202), block, block, 1, 0)
    path = tmp_path / "mine.py"
    raising = "                raise ValueError("
    first = 'Path(out, "mended").touch()'
    text = PROGRAM.format(more="").replace(raising, f"                {first}\n{raising}")
    path.write_text(text.replace("begin == 22", "begin == 52"))
    result = run_blockwise(
        path, roi(2, 202), block, block, 1, 0, None, [upstream], out=str(tmp_path)
    )
    assert [(f.block, f.attempts) for f in result.failed] == [
        ((2,), 1), ((12,), 1), ((52,), 1)
    ]  # fmt: skip
    assert (result.total, result.done, result.skipped, result.undone) == (40, 35, 0, 5)


def test_programs_of_their_own_are_in_the_journal(tmp_path: Path) -> None:
    events: list[Any] = []
    first = run_program(tmp_path, on_event=events.append)
    assert not first
    assert (first.total, first.done, first.undone) == (5, 4, 1)
    (failure,) = first.failed
    assert (failure.block, failure.attempts) == ((22,), 2)
    assert failure.error == "ValueError: block at 22 is bad"
    assert isinstance(failure.exception, ValueError)
    assert 'raise ValueError("block at 22 is bad")' in failure.traceback
    assert sum(isinstance(event, BlockDone) for event in events) == 4
    (records,) = read_journal(tmp_path / "j").stages.values()
    assert {key: r.state for key, r in records.items()} == {
        (2,): "done", (12,): "done", (22,): "failed", (32,): "done", (42,): "done",
    }  # fmt: skip
    assert "mine.py" in (records[22,].traceback or "")
    assert all((r.peak_bytes or 0) > 1e6 for k, r in records.items() if k != (22,))

    (tmp_path / "mended").touch()
    second = run_program(tmp_path)
    assert second
    assert (second.done, second.skipped) == (1, 4)
    assert {path.name: path.read_text() for path in tmp_path.glob("w-*")} == {
        f"w-{a}-{b}": "x" for a, b in [(2, 12), (12, 22), (22, 32), (32, 42), (42, 45)]
    }


def test_programs_of_their_own_are_checked_afterwards(tmp_path: Path) -> None:
    (tmp_path / "mended").touch()
    more = (
        "def after(block):\n"
        "    write, read = block.write_roi, block.read_roi\n"
        "    assert (write.begin[0] - 2, write.end[0] + 2) == (read.begin[0], read.end[0])\n"
        "    return write.end[0] != 45\n"
        "check_function = None, after\n"
    )
    result = run_program(tmp_path, more=more)
    assert not result
    (failure,) = result.failed
    assert failure.block == (42,)
    assert "check_function says that it is not done" in failure.error


def test_programs_of_their_own_cannot_work_in_this_process(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="num_workers=1 at least"):
        run_program(tmp_path, 0)


def test_nobody_can_stop_a_block_in_this_process(
    tmp_path: Path, image: tuple[np.ndarray, str]
) -> None:
    with pytest.raises(UsageError, match="cannot be stopped"):
        run_program(tmp_path, 0, timeout=3)
    with pytest.raises(UsageError, match="cannot be stopped"):
        segment(image[1], tmp_path / "labels.zarr", timeout=3)
    assert not list(tmp_path.glob("labels.zarr.cytovox/*.jsonl"))


def test_logs_stay_only_if_something_fails(tmp_path: Path) -> None:
    assert not run_program(tmp_path)
    assert list(tmp_path.glob("j.logs/*/*.log"))
    shutil.rmtree(tmp_path / "j.logs")
    (tmp_path / "mended").touch()
    assert run_program(tmp_path)
    assert not (tmp_path / "j.logs").exists()


@pytest.fixture
def image(tmp_path: Path) -> tuple[np.ndarray, str]:
    """Noise in voxels of (40, 4, 4) nm at (400, 8, 0) nm."""
    array = smooth_noise((20, 33, 17))
    url = empty(tmp_path / "image.zarr", array.shape, "uint16")
    with open_volume(url, writable=True) as volume:
        for index in np.ndindex(2, 3, 2):
            steps = zip(index, array.shape, strict=True)
            box = tuple((16 * i, min(16 * i + 16, n)) for i, n in steps)
            volume.write(box, array[tuple(slice(*b) for b in box)])
    return array, url


WORLD: dict[str, Any] = {
    "voxel_size": (40, 4, 4),
    "offset": (400, 8, 0),
    "units": "nanometer",
    "block": (16, 16, 16),
}
TOTAL = Roi((400, 8, 0), (800, 132, 68))
BLOCK = Roi((0, 0, 0), (640, 64, 64))
NONE = Coordinate((0, 0, 0))


def empty(path: Path, shape: tuple[int, ...], dtype: str) -> str:
    create_volume(path, shape=shape, dtype=dtype, **WORLD).close()
    return str(path)


SHIPPED_PROGRAM = """
import json, subprocess, sys
read_write_conflict = False
fit = "shrink"

def spawn_worker(**options):
    def run():
        words = ["cytovox.blockwise.threshold_worker", "start-worker", "--options"]
        subprocess.run([sys.executable, "-m", *words, json.dumps(options)], check=True)
    return run
"""


@pytest.mark.parametrize("how", ["file", "program", "python", "command line"])
def test_a_shipped_worker_is_used_in_any_way(
    tmp_path: Path, image: tuple[np.ndarray, str], how: str
) -> None:
    array, url = image
    mask = tmp_path / "mask.zarr"
    if how == "python":
        done = run_array_work(
            ThresholdWork, url, mask, block=16, placement=Placement(0), threshold=500
        )
        assert done
    elif how == "command line":
        words = ["volume", "threshold", url, str(mask), "-t", "500", "--block", "16", "-q"]
        subprocess.run([sys.executable, "-m", "cytovox", *words], check=True, timeout=600)
    else:
        empty(mask, array.shape, "uint8")
        file = Path(inspect.getfile(ThresholdWork))
        if how == "program":
            file = tmp_path / "program.py"
            file.write_text(SHIPPED_PROGRAM)
        options = {"input": url, "output": str(mask), "threshold": 500}
        assert run_blockwise(file, TOTAL, BLOCK, BLOCK, 1, **options)
    np.testing.assert_array_equal(labels_of(mask), array > 500)


def test_segment_functions_by_name_by_file_and_as_they_are(
    tmp_path: Path, image: tuple[np.ndarray, str]
) -> None:
    array, url = image
    file = tmp_path / "mine.py"
    file.write_text("def bright(array, *, level):\n    return array > level\n")

    def bright(array: Any, *, level: int) -> Any:
        return array > level

    expected, count = ndimage.label(array > 505)
    ways: list[tuple[Any, dict[str, Any]]] = [
        ("label", {"threshold": 505}),
        (bright, {"level": 505}),
        (f"{file}:bright", {"level": 505}),
    ]
    found = []
    for number, (function, parameters) in enumerate(ways):
        out = tmp_path / f"labels-{number}.zarr"
        result = cytovox.segment_volume(
            url, out, function, block=8, context=0, stitch="touch", workers=0,
            parameters=parameters, objects=False,
        )  # fmt: skip
        assert result.objects == count
        found.append(labels_of(out))
    for labels in found:
        np.testing.assert_array_equal(labels, found[0])
    pairs = np.unique(np.stack([found[0].ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == count + 1


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("label", {"threshold": 505}),
        ("watershed", {"threshold": 500, "sigma": 0, "seed_distance": 2}),
        ("blobs", {"sigma": 1.5, "threshold": 1.0}),
    ],
)
def test_shipped_functions_do_the_same_in_both_interfaces(
    tmp_path: Path, image: tuple[np.ndarray, str], name: str, parameters: dict[str, Any]
) -> None:
    _, url = image
    first, second = tmp_path / "first.zarr", tmp_path / "second.zarr"
    result = cytovox.segment_volume(
        url, first, name, block=8, context=4, workers=0, parameters=parameters, fill_value=0
    )
    block = Roi((0, 0, 0), (320, 32, 32))
    again = segment_blockwise(
        name,
        Coordinate((160, 16, 16)),
        TOTAL,
        block,
        block,
        0,
        input=url,
        output=second,
        parameters=parameters,
    )
    assert result
    assert again
    assert again.objects == result.objects > 3
    np.testing.assert_array_equal(labels_of(first), labels_of(second))
    with open_volume(second) as volume:
        assert volume.voxel_size == (40, 4, 4)


@pytest.mark.parametrize("shape", [(40, 50), (12, 30, 31), (2, 12, 30, 31)])
def test_any_number_of_dimensions(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = smooth_noise(shape)
    np.save(tmp_path / "a.npy", array)

    def bright(given: Any) -> Any:
        return (given if given.ndim < 4 else given[1]) > 505

    out = tmp_path / "labels.zarr"
    result = cytovox.segment_volume(
        tmp_path / "a.npy", out, bright, block=16, context=0, stitch="touch", workers=0
    )
    expected, count = ndimage.label(bright(array))
    assert result.objects == count
    np.testing.assert_array_equal(labels_of(out) > 0, expected > 0)


def segment(url: str, output: Path, workers: int = 0, **more: Any) -> Any:
    return segment_blockwise(
        "label", NONE, TOTAL, BLOCK, BLOCK, workers,
        input=url, output=output, **({"stitch": "touch", "parameters": {"threshold": 505}} | more),
    )  # fmt: skip


def test_what_is_lost_is_segmented_again(tmp_path: Path, image: tuple[np.ndarray, str]) -> None:
    array, url = image
    out = tmp_path / "labels.zarr"
    first = segment(url, out)
    assert (first.done, first.skipped) == (24, 0)
    expected = labels_of(out)
    np.testing.assert_array_equal(expected > 0, array > 505)
    again = segment(url, out)
    assert (again.done, again.skipped) == (12, 12)  # relabelled only

    shutil.rmtree(tmp_path / "labels.zarr.cytovox" / "local.zarr")
    third = segment(url, out)
    assert (third.done, third.skipped) == (24, 0)
    np.testing.assert_array_equal(labels_of(out), expected)

    path, at, size = EvidenceFolder(tmp_path / "labels.zarr.cytovox" / "blocks").place(3)
    content = path.read_bytes()
    path.write_bytes(content[:at] + content[at + size :])
    fourth = segment(url, out)
    assert (fourth.done, fourth.skipped) == (13, 11)
    np.testing.assert_array_equal(labels_of(out), expected)


def test_the_journal_of_a_segmentation(tmp_path: Path, image: tuple[np.ndarray, str]) -> None:
    _, url = image
    out = tmp_path / "labels.zarr"
    result = segment(url, out, 1)
    journal = read_journal(tmp_path / "labels.zarr.cytovox" / "journal.jsonl")
    assert len(journal.stages) == 2
    for records in journal.stages.values():
        assert len(records) == 12
        for record in records.values():
            assert record.state == "done"
            assert record.seconds is not None
            assert (record.peak_bytes or 0) > 1e6
    labels = [r.result["labels"] for r in next(iter(journal.stages.values())).values()]  # type: ignore[index]
    assert sum(labels) >= result.objects > 0
    finished = [note for note in journal.notes if note["event"] == "finished"]
    assert finished[-1]["objects"] == result.objects


def test_the_output_has_a_pyramid(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", smooth_noise((128, 100)))
    block = Roi((0, 0), (64, 64))
    assert segment_blockwise(
        "label", Coordinate((0, 0)), Roi((0, 0), (128, 100)), block, block, 0,
        input=tmp_path / "a.npy", output=tmp_path / "labels.zarr", stitch="touch",
    )  # fmt: skip
    with open_volume(tmp_path / "labels.zarr", scale=1) as half:
        assert (half.shape, half.voxel_size) == ((64, 50), (2, 2))


def test_keywords_that_are_not_known_are_those_of_the_function(
    tmp_path: Path, image: tuple[np.ndarray, str]
) -> None:
    array, url = image
    out = tmp_path / "labels.zarr"
    assert segment(url, out, below=True)
    np.testing.assert_array_equal(labels_of(out) > 0, array < 505)


def test_wrong_words_are_told_before_work(tmp_path: Path, image: tuple[np.ndarray, str]) -> None:
    _, url = image
    out = tmp_path / "labels.zarr"
    file = tmp_path / "mine.py"
    file.write_text("def segment_function(array, block, level): return array > level\n")
    with pytest.raises(OptionError, match="it knows level"):
        segment_blockwise(file, NONE, TOTAL, BLOCK, BLOCK, 0, input=url, output=out, levle=3)
    with pytest.raises(UsageError, match="no more positional"):
        segment_blockwise(
            file, NONE, TOTAL, BLOCK, BLOCK, 0, 2, None, None, "surplus", input=url, output=out
        )
    assert not list(tmp_path.glob("labels*"))


def test_a_segmentation_of_what_another_task_makes(
    tmp_path: Path, image: tuple[np.ndarray, str]
) -> None:
    array, url = image
    mask = empty(tmp_path / "mask.zarr", array.shape, "uint8")
    upstream = DaCapoBlockwiseTask(
        Path(inspect.getfile(ThresholdWork)), TOTAL, BLOCK, BLOCK, 1,
        input=url, output=mask, threshold=505,
    )  # fmt: skip
    out = tmp_path / "labels.zarr"
    result = segment(mask, out, 1, upstream_tasks=[upstream], parameters={"threshold": 0})
    assert result
    assert len(result.stages) == 3
    assert result.objects == ndimage.label(array > 505)[1]


def test_the_report_is_about_the_objects_that_are_left(tmp_path: Path) -> None:
    array = np.zeros((32, 32), np.uint8)
    array[2:4, 2:4] = 1  # small
    array[10:22, 4:8] = 1  # across a seam
    array[8:16, 24:30] = 1  # ends at it
    np.save(tmp_path / "a.npy", array)
    out = tmp_path / "labels.zarr"
    result = cytovox.segment_volume(
        tmp_path / "a.npy", out, "label", block=16, context=0, stitch="touch", workers=0,
        gate="voxels > 10",
    )  # fmt: skip
    assert result.report is not None
    assert result.objects == result.report.objects == 2
    assert (result.report.at_seam, result.report.spanning) == (2, 1)
    assert labels_of(out)[9, 25] == result.report.cut[0]
    told = json.loads((tmp_path / "labels.zarr.cytovox" / "lookup.json").read_text())
    assert (told["seams"]["objects"], told["seams"]["dropped"]) == (2, 0)
    again = restitch_volume(out, gate="", workers=0)
    assert again.report is not None
    assert again.objects == again.report.objects == 3


def test_a_function_without_a_name_is_replayed_from_python(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", smooth_noise((16, 16)))

    def bright(array: Any) -> Any:
        return array > 505

    out = tmp_path / "labels.zarr"
    more: dict[str, Any] = {"block": 16, "context": 0, "stitch": "touch", "workers": 0}
    made = cytovox.segment_volume(tmp_path / "a.npy", out, bright, **more)
    assert made
    with pytest.raises(UsageError, match=r"from Python: .*replay_block.*FILE\.py:NAME"):
        replay_block(out, 0)
    assert replay_block(out, 0, function=bright).count == made.objects


@pytest.mark.parametrize("version", [2, 3])
def test_plates_name_an_image_in_them(tmp_path: Path, version: int) -> None:
    told = {"plate": {"wells": [{"path": "A/1"}, {"path": "A/2"}]}}
    folder = tmp_path / "plate.zarr"
    folder.mkdir()
    if version == 2:
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
        (folder / ".zattrs").write_text(json.dumps(told))
    else:
        group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": told}}
        (folder / "zarr.json").write_text(json.dumps(group))
    with pytest.raises(InputError, match="plate of OME-Zarr with 2 wells") as caught:
        open_volume(folder)
    assert str(caught.value.hint).endswith("plate.zarr/A/1/0")


def test_commands_name_files_as_one_would_type_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", smooth_noise((40, 40)))
    common = ["--block", "16", "--workers", "0"]
    words = ["a.npy", "labels.zarr", "-f", "label", "--set", "threshold=505", "--stitch", "touch"]
    assert main(["volume", "segment", *words, "--picture", "a.png", *common]) == 0
    out = capsys.readouterr().out.splitlines()
    assert "table: labels.objects.parquet" in out
    assert "picture: a.png" in out
    assert main(["volume", "objects", "labels.zarr", "-o", "t.csv"]) == 0
    assert capsys.readouterr().out.startswith("t.csv: ")


def test_what_cannot_be_replayed_is_not_to_be_replayed() -> None:
    failure = BlockFailure(3, "error", "ValueError: no", "", 1)
    result = VolumeResult(None, blocks=9, failed=(failure,))
    assert "cytovox volume replay a.zarr 3" in "".join(failures_in_words(result, "a.zarr"))
    told = "".join(failures_in_words(result, "a.zarr", replays=False))
    assert "replay" not in told
    assert "cytovox volume info a.zarr" in told


def test_the_place_of_an_error_is_named_once() -> None:
    error = StageError("segment", "ValueError: no", block=3, hint="see there")
    failure = BlockFailure(3, "error", f"StageError: {error}", "", 2, error, time=1)
    line, _ = failures_in_words(VolumeResult(None, blocks=9, failed=(failure,)), "a.zarr")
    assert line == (
        "error: a.zarr: block 3: segment failed: ValueError: no (see there) (time point 1) "
        "(attempts: 2)"
    )
    assert error.block == 3
