"""Worker files over regions: fits, checks, callbacks, retries, timeouts, order, resume."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from funlib.geometry import Roi

from cytovox.blockwise import DaCapoBlockwiseTask, run_blockwise
from cytovox.blockwise.block_result import BlockDone, BlockFailed, BlockStarted
from cytovox.blockwise.task_result import leftovers
from cytovox.errors import UsageError
from cytovox.run.journal import FingerprintChangedError, read_journal
from cytovox.run.progress import Warned
from support.processes import alive, wait_until

#: A worker file as people write them: a loop around daisy's client.
FILE = """
import os, time
from pathlib import Path
import daisy

read_write_conflict = {conflict}
fit = "{fit}"
{more}

def spawn_worker(out, bad=(), how="raise", seconds=0.0, last=None, other=None):
    def meanwhile():
        "Wait until the other task has done a block."
        for _ in range(6000):
            if any(Path(other).glob("w-*")):
                return
            time.sleep(0.1)

    def worker():
        client = daisy.Client()
        while True:
            with client.acquire_block() as block:
                if block is None:
                    break
                start = time.time()
                Path(out, f"begun-{{os.getpid()}}").touch()
                at, end = block.write_roi.begin[0], block.write_roi.end[0]
                if at in bad:
                    if how == "raise":
                        raise ValueError(f"block at {{at}} is bad")
                    if how == "hang":
                        time.sleep(600)
                    if how == "exit":
                        os._exit(5)
                    if how == "once" and not Path(out, f"once-{{at}}").exists():
                        Path(out, f"once-{{at}}").touch()
                        raise ValueError("only once")
                time.sleep(seconds)
                if at == last:
                    meanwhile()
                with open(Path(out, f"w-{{at}}-{{end}}"), "a") as file:
                    read = f"{{block.read_roi.begin[0]}} {{block.read_roi.end[0]}}"
                    file.write(f"{{read}} {{os.getpid()}} {{start}} {{time.time()}}\\n")
    return worker
"""


def worker_file(
    folder: Path, *, fit: str = "shrink", conflict: bool = False, more: str = ""
) -> Path:
    path = folder / "mine.py"
    path.write_text(FILE.format(fit=fit, conflict=conflict, more=more))
    return path


def roi(begin: int, end: int) -> Roi:
    return Roi((begin,), (end - begin,))


def written(folder: Path) -> dict[tuple[int, int], list[list[str]]]:
    found = {}
    for path in folder.glob("w-*"):
        _, begin, end = path.name.split("-")
        found[int(begin), int(end)] = [line.split() for line in path.read_text().splitlines()]
    return found


CASES = [
    # total, context, write, blocks of "valid", what the others have beyond, overhang and shrink
    ((0, 100), 10, 30, [(10, 40), (40, 70)], (70, 100), (70, 90)),
    ((0, 25), 2, 10, [(2, 12), (12, 22)], (22, 32), (22, 23)),
    ((0, 7), 0, 10, [], (0, 10), (0, 7)),
    ((0, 100), 5, 30, [(5, 35), (35, 65), (65, 95)], None, None),
]


@pytest.mark.parametrize("fit", ["valid", "overhang", "shrink"])
@pytest.mark.parametrize("case", CASES)
def test_blocks_fit_as_documented(tmp_path: Path, case: Any, fit: str) -> None:
    total, context, write, valid, overhang, shrink = case
    events: list[Any] = []
    result = run_blockwise(
        worker_file(tmp_path, fit=fit),
        roi(*total),
        roi(0, write + 2 * context),
        roi(context, write + context),
        num_workers=0,
        on_event=events.append,
        out=str(tmp_path),
    )
    beyond = {"valid": None, "overhang": overhang, "shrink": shrink}[fit]
    expected = valid + ([beyond] if beyond else [])
    blocks = written(tmp_path)
    assert sorted(blocks) == expected
    for (begin, end), lines in blocks.items():
        assert lines[0][:2] == [str(begin - context), str(end + context)]
    left = [(r.begin[0], r.end[0]) for r in result.leftovers[result.stages[0]]]
    assert left == ([shrink] if fit == "valid" and shrink else [])
    # As in daisy: a run is true if each of its blocks is done.
    assert result
    assert ("not covered by whole blocks" in str(result)) is bool(left)
    assert bool([e for e in events if isinstance(e, Warned)]) is bool(left)


def test_leftovers_cover_each_voxel_once() -> None:
    block = Roi((2, 2), (10, 20))
    read = Roi((0, 0), (14, 24))
    found = leftovers(Roi((0, 0), (39, 57)), read, block, "valid")
    inside = {(z, y) for z in range(2, 37) for y in range(2, 55)}
    done = {(z, y) for z in range(2, 32) for y in range(2, 42)}
    told = [
        (z, y)
        for part in found
        for z in range(part.begin[0], part.end[0])
        for y in range(part.begin[1], part.end[1])
    ]
    assert len(told) == len(set(told))
    assert set(told) == inside - done
    with pytest.raises(UsageError, match="no room"):
        leftovers(Roi((0,), (10,)), Roi((0,), (20,)), Roi((5,), (10,)), "shrink")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failing_block_costs_only_itself(tmp_path: Path, workers: int) -> None:
    events: list[Any] = []
    result = run_blockwise(
        worker_file(tmp_path),
        roi(0, 95),
        roi(0, 10),
        roi(0, 10),
        workers,
        1,
        out=str(tmp_path),
        bad=[20, 40],
        journal=tmp_path / "j",
        on_event=events.append,
    )
    assert not result
    assert (result.total, result.done, result.undone) == (10, 8, 2)
    assert [(f.block, f.attempts) for f in result.failed] == [((20,), 2), ((40,), 2)]
    assert result.failed[0].error == "ValueError: block at 20 is bad"
    assert "mine.py" in result.failed[0].traceback
    assert len(written(tmp_path)) == 8
    (records,) = read_journal(tmp_path / "j").stages.values()
    assert "block at 20 is bad" in records[20,].traceback
    assert sum(isinstance(e, BlockDone) for e in events) == 8
    assert sum(isinstance(e, BlockFailed) and e.final for e in events) == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_a_function_that_fails_all_over_the_region_stops_early(
    tmp_path: Path, workers: int
) -> None:
    events: list[Any] = []

    def run(bad: list[int], folder: Path) -> Any:
        folder.mkdir()
        return run_blockwise(
            worker_file(tmp_path),
            roi(0, 1000),
            roi(0, 10),
            roi(0, 10),
            workers,
            1,
            out=str(folder),
            bad=bad,
            on_event=events.append,
        )

    result = run(list(range(0, 1000, 10)), tmp_path / "none")
    assert (result.total, result.done, result.undone) == (100, 0, 100)
    # Those that were begun meanwhile by the other worker are among them.
    assert 8 <= len(result.failed) <= 8 + 2 * workers
    assert {0, 990} <= {failure.block[0] for failure in result.failed}
    (warned,) = [event.text for event in events if isinstance(event, Warned)]
    assert "none worked; no more are tried" in warned
    events.clear()
    # One of those from all over the region that works is enough.
    result = run([at for at in range(0, 1000, 10) if at != 570], tmp_path / "one")
    assert (result.done, result.undone, len(result.failed)) == (1, 99, 99)
    assert not [event for event in events if isinstance(event, Warned)]


@pytest.mark.parametrize(("workers", "retries"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_a_first_block_that_fails_costs_the_others_no_attempt(
    tmp_path: Path, workers: int, retries: int
) -> None:
    events: list[Any] = []
    result = run_blockwise(
        worker_file(tmp_path),
        roi(0, 300),
        roi(0, 10),
        roi(0, 10),
        workers,
        retries,
        out=str(tmp_path),
        bad=[0, 10, 20],
        on_event=events.append,
    )
    assert (result.total, result.done, result.skipped, result.undone) == (30, 27, 0, 3)
    assert [(f.block[0], f.attempts) for f in result.failed] == [
        (at, retries + 1) for at in (0, 10, 20)
    ]
    begun = [event.block for event in events if isinstance(event, BlockStarted)]
    assert len(begun) == 27 + 3 * (retries + 1)
    assert all(len(lines) == 1 for lines in written(tmp_path).values())


@pytest.mark.parametrize("workers", [0, 1])
def test_what_must_come_again_is_not_tried_again(tmp_path: Path, workers: int) -> None:
    file = tmp_path / "refusing.py"
    file.write_text(
        "from cytovox.errors import UsageError\n"
        "def spawn_worker():\n"
        "    def work(block):\n"
        "        if block.write_roi.begin[0] == 10:\n"
        "            raise UsageError('not with these options')\n"
        "        if block.write_roi.begin[0] == 20:\n"
        "            raise ValueError('perhaps')\n"
        "    return work\n"
    )
    result = run_blockwise(file, roi(0, 50), roi(0, 10), roi(0, 10), workers, 2)
    assert (result.done, result.undone) == (3, 2)
    assert [(f.block, f.attempts) for f in result.failed] == [((10,), 1), ((20,), 3)]


def test_a_second_run_does_only_what_failed(tmp_path: Path) -> None:
    def run(bad: list[int], **more: Any) -> Any:
        return run_blockwise(
            worker_file(tmp_path),
            roi(0, 60),
            roi(0, 10),
            roi(0, 10),
            1,
            0,
            out=str(tmp_path),
            bad=bad,
            how="once",
            journal=tmp_path / "j",
            **more,
        )

    first = run([20, 40])
    assert (first.done, len(first.failed)) == (4, 2)
    second = run([20, 40])
    assert second
    assert (second.done, second.skipped) == (2, 4)
    assert all(len(lines) == 1 for lines in written(tmp_path).values())
    with pytest.raises(FingerprintChangedError, match="parameters: bad"):
        run([])
    third = run([], on_change="recompute")
    assert (third.done, third.skipped) == (6, 0)


CHECKS = """
def before(block):
    return block.write_roi.begin[0] == 10

def after(block):
    return Path("{out}", "fixed").exists() or block.write_roi.begin[0] != 30

check_function = {check}

def init_callback_fn(context):
    with open("{out}/context", "a") as file:
        file.write(str(context) + "\\n")
"""


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("check", "skipped", "failed"),
    [
        ("before, after", [10], [30]),
        ("before", [10], [0, 20, 30]),
        ("None, after", [], [30]),
        ("before, None", [10], []),
    ],
)
def test_checks_before_and_after(
    tmp_path: Path, check: str, skipped: list[int], failed: list[int], workers: int
) -> None:
    check = check if check == "before" else f"({check})"
    more = CHECKS.format(check=check, out=tmp_path)
    path = worker_file(tmp_path, more=more)
    result = run_blockwise(path, roi(0, 40), roi(0, 10), roi(0, 10), workers, 0, out=str(tmp_path))
    done = [b for b, _ in sorted(written(tmp_path))]
    assert done == [b for b in (0, 10, 20, 30) if b not in skipped]
    assert [f.block[0] for f in result.failed] == failed  # type: ignore[index]
    assert result.skipped == len(skipped)
    assert bool(result) is not bool(failed)
    assert len((tmp_path / "context").read_text().splitlines()) == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_the_context_given_to_the_callback_names_the_task(tmp_path: Path, workers: int) -> None:
    more = (
        "def init_callback_fn(context):\n"
        f"    Path({str(tmp_path)!r}, 'context').write_text(str(context))\n"
    )
    result = run_blockwise(
        worker_file(tmp_path, more=more),
        roi(0, 20),
        roi(0, 10),
        roi(0, 10),
        workers,
        out=str(tmp_path),
    )
    assert result
    assert (tmp_path / "context").read_text() == f"task_id={result.stages[0]}"


def test_a_timeout_really_stops_a_block(tmp_path: Path) -> None:
    start = time.monotonic()
    result = run_blockwise(
        worker_file(tmp_path),
        roi(0, 40),
        roi(0, 10),
        roi(0, 10),
        2,
        0,
        1.0,
        out=str(tmp_path),
        bad=[20],
        how="hang",
    )
    assert time.monotonic() - start < 300  # what hangs would take 600
    (failure,) = result.failed
    assert (failure.block, failure.reason) == ((20,), "timeout")
    assert len(written(tmp_path)) == 3


def test_a_block_that_ends_its_worker_is_named(tmp_path: Path) -> None:
    result = run_blockwise(
        worker_file(tmp_path),
        roi(0, 60),
        roi(0, 10),
        roi(0, 10),
        2,
        1,
        out=str(tmp_path),
        bad=[10],
        how="exit",
    )
    (failure,) = result.failed
    assert (failure.block, failure.reason, failure.attempts) == ((10,), "killed", 2)
    assert len(written(tmp_path)) == 5


def test_conflicting_blocks_exclude_each_other(tmp_path: Path) -> None:
    assert run_blockwise(
        worker_file(tmp_path, conflict=True),
        roi(0, 84),
        roi(0, 14),
        roi(2, 12),
        2,
        out=str(tmp_path),
        seconds=0.1,
    )
    times = {b: (float(ls[0][3]), float(ls[0][4])) for (b, _), ls in written(tmp_path).items()}
    assert len(times) == 8
    for begin, (start, end) in times.items():
        if begin + 10 in times:
            other = times[begin + 10]
            assert end <= other[0] or other[1] <= start


def test_upstream_tasks_pipeline_block_by_block(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    upstream = DaCapoBlockwiseTask(
        worker_file(first),
        roi(0, 80),
        roi(0, 10),
        roi(0, 10),
        1,
        out=str(first),
        last=70,
        other=str(second),
    )
    result = run_blockwise(
        worker_file(second),
        roi(0, 80),
        roi(0, 10),
        roi(0, 10),
        1,
        upstream_tasks=[upstream],
        out=str(second),
    )
    assert result
    assert (result.total, len(result.stages)) == (16, 2)
    ups = {b: float(ls[0][4]) for (b, _), ls in written(first).items()}
    downs = {b: float(ls[0][3]) for (b, _), ls in written(second).items()}
    assert all(downs[b] >= ups[b] - 0.02 for b in ups)
    assert min(downs.values()) < max(ups.values())  # the second begins before the first ends


def test_upstream_failures_are_not_success(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    block = roi(0, 10)
    for workers in (0, 1):
        upstream = DaCapoBlockwiseTask(
            worker_file(first), roi(0, 40), block, block, 1, 0, out=str(first), bad=[20]
        )
        result = run_blockwise(
            worker_file(second),
            roi(0, 40),
            block,
            block,
            workers,
            upstream_tasks=[upstream],
            out=str(second),
        )
        assert not result
        assert [f.block for f in result.failed] == [(20,)]
        assert result.undone == 2  # the one, and the one that needs it
        assert "never begun" in str(result)


def test_workers_that_are_processes_of_their_own(tmp_path: Path) -> None:
    """The convention of worker files: ``start-worker`` on a command line."""
    path = tmp_path / "mine.py"
    path.write_text(
        "import subprocess, sys, daisy\nfrom pathlib import Path\n"
        "fit = 'shrink'\nread_write_conflict = False\n"
        "def start_worker(out):\n"
        "    client = daisy.Client()\n"
        "    while True:\n"
        "        with client.acquire_block() as block:\n"
        "            if block is None: break\n"
        "            Path(out, f'w-{block.write_roi.begin[0]}-{block.write_roi.end[0]}').touch()\n"
        "def spawn_worker(out):\n"
        "    def run():\n"
        "        subprocess.run([sys.executable, __file__, 'start-worker', out], check=True)\n"
        "    return run\n"
        "if __name__ == '__main__':\n    start_worker(sys.argv[2])\n"
    )
    result = run_blockwise(path, roi(0, 35), roi(0, 10), roi(0, 10), 1, out=str(tmp_path))
    assert result
    assert sorted(written(tmp_path)) == [(0, 10), (10, 20), (20, 30), (30, 35)]


def test_workers_that_cannot_start_end_the_run(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def spawn_worker():\n    def run(): import no_such_module\n    return run\n")
    result = run_blockwise(path, roi(0, 100), roi(0, 10), roi(0, 10), 2, 0)
    assert not result
    assert result.undone == 10
    assert "no_such_module" in result.failed[0].error


def test_daisy_itself_can_run_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    daisy = pytest.importorskip("daisy")
    monkeypatch.chdir(tmp_path)
    more = CHECKS.format(check="(None, after)", out=tmp_path)
    task = DaCapoBlockwiseTask(
        worker_file(tmp_path, more=more),
        roi(0, 40),
        roi(0, 10),
        roi(0, 10),
        1,
        0,
        out=str(tmp_path),
    )
    states = daisy.run_blockwise(
        [task], progress=False, summary=False, return_states=True, host="127.0.0.1"
    )
    (state,) = states.values()
    assert (state.completed_count, state.failed_count) == (3, 1)


def test_bad_files_are_told(tmp_path: Path) -> None:
    block = roi(0, 10)
    path = tmp_path / "mine.py"
    for text, told in [
        ("", "no function spawn_worker"),
        ("1 / 0", "ZeroDivisionError"),
        ("def spawn_worker(): return 3", "nothing that can be called"),
        ("fit = 'tight'\ndef spawn_worker(): return print", "cannot fit 'tight'"),
        ("check_function = 3\ndef spawn_worker(): return print", "pair of functions"),
    ]:
        path.write_text(text)
        with pytest.raises(UsageError, match=told):
            run_blockwise(path, roi(0, 40), block, block, 1)
    with pytest.raises(FileNotFoundError):
        run_blockwise(tmp_path / "none.py", roi(0, 40), block, block, 1)
    task = DaCapoBlockwiseTask(worker_file(tmp_path), roi(0, 40), block, block, out="x")
    with pytest.raises(UsageError, match="twice"):
        run_blockwise(
            worker_file(tmp_path),
            roi(0, 40),
            block,
            block,
            upstream_tasks=[task],
            out="x",
        )


def test_nothing_is_left_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out, here = tmp_path / "out", tmp_path / "here"
    out.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    block = roi(0, 10)
    assert run_blockwise(worker_file(out), roi(0, 40), block, block, 2, out=str(out))
    assert list(here.iterdir()) == []
    assert capfd.readouterr() == ("", "")


RUN = """
import sys
from pathlib import Path
from funlib.geometry import Roi
from cytovox.blockwise import run_blockwise
block = Roi((0,), (10,))
run_blockwise(sys.argv[1], Roi((0,), (400,)), block, block, 2, out=sys.argv[2],
              seconds=float(sys.argv[3]), journal=Path(sys.argv[2]) / "j")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes")
@pytest.mark.parametrize(("number", "seconds"), [(signal.SIGKILL, 0.05), (signal.SIGINT, 300)])
def test_workers_end_with_the_run(tmp_path: Path, number: int, seconds: float) -> None:
    call = [sys.executable, "-c", RUN, str(worker_file(tmp_path)), str(tmp_path), str(seconds)]

    def started() -> set[int]:
        return {int(path.name.partition("-")[2]) for path in tmp_path.glob("begun-*")}

    with subprocess.Popen(call, stderr=subprocess.DEVNULL) as run:
        wait_until(lambda: len(started()) >= (2 if number == signal.SIGKILL else 1))
        workers = started()
        assert all(map(alive, workers))
        run.send_signal(number)
        assert run.wait(600) != 0
    wait_until(lambda: not any(map(alive, workers)))
    if number == signal.SIGKILL:
        done = len(written(tmp_path))
        block = roi(0, 10)
        again = run_blockwise(
            tmp_path / "mine.py",
            roi(0, 400),
            block,
            block,
            2,
            out=str(tmp_path),
            seconds=seconds,
            journal=tmp_path / "j",
        )
        assert again
        assert done - 2 <= again.skipped <= done
        assert again.done + again.skipped == 40
