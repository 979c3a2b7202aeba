"""Blocks that do not depend on each other: done anywhere, none lost, none twice."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from cytovox.blockwise.block_result import (
    BlockDone,
    BlockFailed,
    BlockStarted,
    RunResult,
    WorkerLost,
)
from cytovox.errors import StageError, UsageError
from cytovox.recipe.python_file import load_python_file
from cytovox.run.executor import WorkerError
from cytovox.run.journal import Journal, read_journal
from cytovox.run.progress import StageProgress, StageStarted
from support.blocks import marks, run_blocks, units
from support.processes import alive, wait_until

HERE = Path(__file__).parent


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_each_block_once_wherever(functions: ModuleType, workers: int) -> None:
    events: list[Any] = []
    result = run_blocks(
        units(functions, 20), functions.square, workers=workers, on_event=events.append, stage="s"
    )
    assert result
    assert result.rows == {i: {"square": i * i} for i in range(20)}
    assert (result.total, result.done, result.skipped, result.failed) == (20, 20, 0, ())
    assert events[0] == StageStarted("s", 20, "blocks")
    assert sum(isinstance(e, BlockStarted) for e in events) == 20
    done = [e for e in events if isinstance(e, BlockDone)]
    assert sorted(e.block for e in done) == list(range(20))
    assert [e.done for e in done] == list(range(1, 21))
    assert [e.done for e in events if isinstance(e, StageProgress)] == list(range(1, 21))
    assert all((e.peak_bytes or 1) > 0 for e in done)


def test_nothing_to_do_is_done(functions: ModuleType) -> None:
    assert run_blocks([], functions.square, workers=2)
    assert run_blocks(iter([functions.Unit(0)]), functions.square, workers=0)


def test_what_a_script_defines_is_sent_along(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from cytovox.blockwise.placement import Placement\n"
        "class Mine:\n    def __init__(self, i): self.index = i\n"
        "offset = 5\n"
        "result = Placement(1).run([Mine(0), Mine(1)], lambda b: {'n': b.index + offset})\n"
        "print(bool(result), result.rows[1]['n'])\n"
    )
    told = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=600, cwd=tmp_path
    )
    assert told.stdout.split() == ["True", "6"], told.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["script.py"]


BAD = {1: "raise", 3: "exit", 4: "unpicklable", 5: "text"}


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_blocks_cost_only_themselves(
    functions: ModuleType, tmp_path: Path, workers: int
) -> None:
    how = BAD if workers else {k: v for k, v in BAD.items() if v != "unpicklable"}
    with Journal(tmp_path / "j") as journal:
        journal.begin({})
        result = run_blocks(
            units(functions, 9),
            functions.misbehaving(tmp_path, how),
            workers=workers,
            retries=1,
            journal=journal,
        )
    assert not result
    assert [f.block for f in result.failed] == sorted(how)
    assert {f.reason for f in result.failed} == {"error"}
    assert {f.attempts for f in result.failed} == {2}
    failure = result.failed[0]
    assert failure.error == "ValueError: block 1 is bad"
    assert "in misbehave" in failure.traceback
    assert "cytovox/blockwise/attempt.py" not in failure.traceback
    assert marks(tmp_path) == {i: 1 for i in range(9) if i not in how}
    records = read_journal(tmp_path / "j").stages["blocks"]
    assert {k for k, r in records.items() if r.state == "failed"} == set(how)
    assert records[1].attempts == 2
    assert "in misbehave" in records[1].traceback


def test_what_fails_once_is_done_in_the_end(functions: ModuleType, tmp_path: Path) -> None:
    how = {0: "once-raise", 2: "once-kill", 5: "once-hang"}
    result = run_blocks(
        units(functions, 8), functions.misbehaving(tmp_path, how), workers=2, timeout=5, retries=1
    )
    assert result
    assert marks(tmp_path) == dict.fromkeys(range(8), 1)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_function_that_fails_all_over_the_volume_stops_early(
    functions: ModuleType, tmp_path: Path, workers: int
) -> None:
    events: list[Any] = []
    sick = functions.misbehaving(tmp_path, dict.fromkeys(range(400), "raise"))
    result = run_blocks(
        units(functions, 400), sick, workers=workers, retries=1, on_event=events.append
    )
    assert not result
    assert result.done == 0
    assert result.untried == 400 - len(result.failed)
    tried = [failure.block for failure in result.failed]
    assert len(tried) < 40
    assert tried[0] < 20  # from one end to the other
    assert tried[-1] == 399
    assert max(b - a for a, b in itertools.pairwise(tried)) < 80
    assert {failure.attempts for failure in result.failed} == {2}


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("good", [range(399, 400), range(200, 270)], ids=["last", "middle"])
def test_one_block_that_works_is_enough_to_try_all(
    functions: ModuleType, tmp_path: Path, workers: int, good: range
) -> None:
    sick = {i: "raise" for i in range(400) if i not in good}
    function = functions.misbehaving(tmp_path, sick)
    result = run_blocks(units(functions, 400), function, workers=workers, retries=0)
    assert set(marks(tmp_path)) == set(good)
    assert result.untried == 0
    assert len(result.failed) == len(sick)


def test_blocks_that_were_done_before_show_that_the_function_works(
    functions: ModuleType, tmp_path: Path
) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.begin({})
        first = units(functions, 1)
        assert run_blocks(first, functions.square, workers=0, journal=journal)
        sick = functions.misbehaving(tmp_path, dict.fromkeys(range(30), "raise"))
        result = run_blocks(units(functions, 30), sick, workers=0, journal=journal, retries=0)
    assert (result.skipped, len(result.failed), result.untried) == (1, 29, 0)


def test_what_must_come_again_is_not_tried_again() -> None:
    calls = []

    def wrong(block: Any) -> None:
        calls.append(block.index)
        try:
            raise UsageError("there is no such option")
        except UsageError as err:
            raise StageError("segment", "it was called in a wrong way") from err

    result = run_blocks([SimpleNamespace(index=0)], wrong, workers=0, retries=5)
    assert calls == [0]
    assert result.failed[0].attempts == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_with_all_values_in_its_text_is_told_in_short(
    tmp_path: Path, workers: int
) -> None:
    def fails(block: Any) -> None:
        raise ValueError(f"first {'0 ' * 1_000_000} last")

    blocks = [SimpleNamespace(index=0)]
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.begin({})
        result = run_blocks(blocks, fails, workers=workers, retries=0, journal=journal)
    (failure,) = result.failed
    assert "ValueError: first 0" in failure.error
    assert failure.error.endswith("0  last")
    assert len(failure.error) < 3_000
    assert len(str(failure.exception)) < 30_000
    assert (tmp_path / "j.jsonl").stat().st_size < 100_000


@pytest.mark.parametrize("workers", [0, 2])
def test_an_exception_that_is_no_exception_of_python_costs_its_block(workers: int) -> None:
    class Panic(BaseException):
        """As compiled modules in Rust raise it."""

    def panic(block: Any) -> None:
        if block.index == 1:
            raise Panic("index out of bounds")

    blocks = [SimpleNamespace(index=i) for i in range(3)]
    result = run_blocks(blocks, panic, workers=workers, retries=0)
    assert [(f.block, f.reason, f.error) for f in result.failed] == [
        (1, "error", "Panic: index out of bounds")
    ]


def test_killers_are_isolated_and_named(functions: ModuleType, tmp_path: Path) -> None:
    events: list[Any] = []
    with Journal(tmp_path / "j") as journal:
        journal.begin({})
        result = run_blocks(
            units(functions, 10),
            functions.misbehaving(tmp_path, {2: "kill", 7: "crash"}),
            workers=2,
            retries=5,
            journal=journal,
            on_event=events.append,
        )
    assert [(f.block, f.reason, f.attempts) for f in result.failed] == [
        (2, "killed", 2),
        (7, "killed", 2),
    ]
    assert "SIGKILL" in result.failed[0].error
    assert "SIGSEGV" in result.failed[1].error
    assert "in misbehave" in result.failed[1].traceback  # told by the dying process
    assert len(marks(tmp_path)) == 8
    assert [e.block for e in events if isinstance(e, WorkerLost)].count(2) == 2
    assert sum(isinstance(e, BlockFailed) and e.final for e in events) == 2


@pytest.mark.parametrize("kind", ["hang", "spin"])
def test_a_timeout_really_stops_a_block(functions: ModuleType, tmp_path: Path, kind: str) -> None:
    start = time.monotonic()
    result = run_blocks(
        units(functions, 4),
        functions.misbehaving(tmp_path, {1: kind}),
        workers=1,
        timeout=1.0,
        retries=0,
    )
    assert time.monotonic() - start < 300  # what hangs would take 600
    (failure,) = result.failed
    assert (failure.block, failure.reason) == (1, "timeout")
    assert "longer than 1 s" in failure.error
    assert "in misbehave" in failure.traceback  # where it hung
    assert len(marks(tmp_path)) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits memory")
def test_a_hungry_block_fails_alone(functions: ModuleType, tmp_path: Path) -> None:
    result = run_blocks(
        units(functions, 3),
        functions.misbehaving(tmp_path, {1: "eat"}),
        workers=1,
        retries=0,
        memory=2**30,
    )
    (failure,) = result.failed
    assert failure.block == 1
    assert "Unable to allocate" in failure.error


def test_what_is_done_is_not_done_again(functions: ModuleType, tmp_path: Path) -> None:
    def run(how: dict[int, str], **more: Any) -> RunResult:
        with Journal(tmp_path / "j") as journal:
            journal.begin({"a": 1})
            function = functions.misbehaving(tmp_path, how)
            return run_blocks(
                units(functions, 6), function, workers=1, retries=0, journal=journal, **more
            )

    first = run({2: "raise", 4: "raise"})
    assert (first.done, first.skipped, len(first.failed)) == (4, 0, 2)
    second = run({})
    assert second
    assert (second.done, second.skipped) == (2, 4)
    assert second.rows == {i: {"index": i} for i in range(6)}
    third = run({}, check=lambda block: block.index != 3)
    assert (third.done, third.skipped) == (1, 5)
    assert marks(tmp_path) == {0: 1, 1: 1, 2: 1, 3: 2, 4: 1, 5: 1}


def test_rows_can_be_taken_at_once(functions: ModuleType) -> None:
    taken: dict[int, Any] = {}
    result = run_blocks(
        units(functions, 5),
        functions.square,
        workers=1,
        on_rows=lambda block, rows: taken.update({block.index: rows["square"]}),
    )
    assert taken == {i: i * i for i in range(5)}
    assert result.rows == {}


def test_a_function_that_workers_cannot_load_is_told_at_once(
    functions: ModuleType, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def f(block): return None\n")
    function = load_python_file(file).f
    file.write_text("def f(block): return {}\n")
    with pytest.raises(WorkerError, match="changed since the run began"):
        run_blocks(units(functions, 3), function, workers=1)


def test_bad_arguments_are_told(functions: ModuleType) -> None:
    one = units(functions, 1)
    for bad in ({"workers": -1}, {"timeout": 0}, {"workers": 0, "timeout": 1}):
        with pytest.raises(UsageError):
            run_blocks(one, functions.square, **bad)  # type: ignore[arg-type]


RUN = """
import sys
from pathlib import Path
from cytovox.blockwise.placement import Placement
from cytovox.recipe.python_file import load_python_file
from cytovox.run.journal import Journal
functions = load_python_file(sys.argv[1])
folder = Path(sys.argv[2])
with Journal(folder / "j") as journal:
    journal.begin({})
    blocks = [functions.Unit(i) for i in range(40)]
    Placement(2).run(blocks, functions.slowly(folder, float(sys.argv[3])), journal=journal)
"""


def begin_run(folder: Path, seconds: float) -> subprocess.Popen[bytes]:
    call = [sys.executable, "-c", RUN, str(HERE / "block_functions.py"), str(folder), str(seconds)]
    return subprocess.Popen(call, stderr=subprocess.PIPE)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes")
def test_sigkill_loses_nothing_and_leaves_nobody(functions: ModuleType, tmp_path: Path) -> None:
    with begin_run(tmp_path, 0.05) as run:
        wait_until(lambda: len(marks(tmp_path)) >= 8)
        workers = {int(p) for f in tmp_path.glob("block-*") for p in f.read_text().split()}
        run.kill()
        run.wait()
    wait_until(lambda: not any(map(alive, workers)))
    done = marks(tmp_path)
    told = {
        k for k, r in read_journal(tmp_path / "j").stages["blocks"].items() if r.state == "done"
    }
    assert told <= set(done)
    assert len(set(done) - told) <= 2
    with Journal(tmp_path / "j") as journal:
        journal.begin({})
        assert run_blocks(
            units(functions, 40), functions.marking(tmp_path), workers=2, journal=journal
        )
    again = marks(tmp_path)
    assert set(again) == set(range(40))
    assert {k for k, n in again.items() if n > 1} <= set(done) - told


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes")
def test_ctrl_c_stops_soon_and_leaves_nobody(tmp_path: Path) -> None:
    with begin_run(tmp_path, 300) as run:
        wait_until(lambda: len(list(tmp_path.glob("begun-*"))) == 2)
        workers = [int(file.read_text()) for file in tmp_path.glob("begun-*")]
        assert all(map(alive, workers))
        run.send_signal(signal.SIGINT)
        assert run.wait(600) != 0
    wait_until(lambda: not any(map(alive, workers)))
    states = {r.state for r in read_journal(tmp_path / "j").stages["blocks"].values()}
    assert states == {"started"}


def test_blocks_cost_little(functions: ModuleType, tmp_path: Path) -> None:
    """Far from the limit that a quiet machine keeps; this one may be busy."""
    cpu = time.process_time()
    with Journal(tmp_path / "j") as journal:
        journal.begin({})
        assert run_blocks(units(functions, 1000), functions.square, workers=2, journal=journal)
    assert (time.process_time() - cpu) / 1000 < 0.002
    assert os.path.getsize(tmp_path / "j") < 400_000
