"""Tasks of daisy, worker files in the style of dacapo, and programs that workers start."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path
from typing import Any

import daisy
import pytest
from daisy import v2
from funlib.geometry import Roi

from cytovox.blockwise import DaCapoBlockwiseTask, run_blockwise
from cytovox.errors import StageError, UsageError
from cytovox.run.journal import read_journal
from support.processes import wait_until

BLOCK = Roi((0,), (10,))

#: A worker file of a task that reads what an upstream task has written.
SECOND = """
from pathlib import Path
read_write_conflict = False
fit = "shrink"

def spawn_worker(first, out):
    def work(block):
        at = block.write_roi.begin[0]
        Path(out, str(at)).write_text(Path(first, str(at)).read_text() * 2)
    return work
"""


def mark(folder: Path, block: Any) -> None:
    Path(folder, str(block.write_roi.begin[0])).write_text("x")


def contents(folder: Path) -> dict[int, str]:
    return {int(path.name): path.read_text() for path in folder.iterdir()}


def folders(tmp_path: Path, *names: str) -> list[Path]:
    made = [tmp_path / name for name in names]
    for folder in made:
        folder.mkdir()
    return made


def plain_task(function: Any, *, kind: Any = daisy.Task, **options: Any) -> Any:
    told: dict[str, Any] = {"read_write_conflict": False, "fit": "shrink"} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind("plain", Roi((0,), (45,)), BLOCK, BLOCK, process_function=function, **told)


class Mark:
    """A function of a block that workers can unpickle."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, block: Any) -> None:
        mark(self.folder, block)


def run_second(
    tmp_path: Path, first: Path, second: Path, workers: int, *up: Any, **more: Any
) -> Any:
    file = tmp_path / "second.py"
    file.write_text(SECOND)
    return run_blockwise(
        file, Roi((0,), (45,)), BLOCK, BLOCK, workers, 0, upstream_tasks=list(up),
        first=str(first), out=str(second), **more,
    )  # fmt: skip


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", [daisy.Task, v2.Task])
def test_a_plain_task_is_run_upstream(tmp_path: Path, workers: int, kind: Any) -> None:
    first, second = folders(tmp_path, "first", "second")
    task = plain_task(Mark(first), kind=kind, max_workers=2)
    result = run_second(tmp_path, first, second, workers, task)
    assert result
    assert (result.total, result.done) == (10, 10)
    assert contents(second) == dict.fromkeys(range(0, 50, 10), "xx")


def test_a_plain_task_with_a_loop_and_tasks_of_its_own(tmp_path: Path) -> None:
    zeroth, first, second = folders(tmp_path, "zeroth", "first", "second")

    def loop() -> None:
        import daisy

        client = daisy.Client()
        while True:
            with client.acquire_block() as block:
                if block is None:
                    break
                mark_after(block)

    def mark_after(block: Any) -> None:
        at = str(block.write_roi.begin[0])
        Path(first, at).write_text(Path(zeroth, at).read_text() + "y")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = daisy.Task(
            "before", Roi((0,), (45,)), BLOCK, BLOCK, process_function=Mark(zeroth), fit="shrink"
        )
    task = plain_task(loop, upstream_tasks=[before])
    assert run_second(tmp_path, first, second, 1, task)
    assert contents(second) == dict.fromkeys(range(0, 50, 10), "xyxy")


def test_checks_and_retries_of_a_plain_task_mean_what_daisy_says(tmp_path: Path) -> None:
    first, second, tried = folders(tmp_path, "first", "second", "tried")
    (first / "10").write_text("before")

    def work(block: Any) -> None:
        at = block.write_roi.begin[0]
        with open(tried / str(at), "a") as file:
            file.write("t")
        if at != 20:
            mark(first, block)

    def check(block: Any) -> bool:
        return (first / str(block.write_roi.begin[0])).exists()

    task = plain_task(work, check_function=check, max_retries=2)
    result = run_second(tmp_path, first, second, 1, task)
    assert not result
    assert contents(tried) == {0: "t", 20: "ttt", 30: "t", 40: "t"}
    (failure,) = result.failed
    assert (failure.block, failure.attempts) == ((20,), 3)
    assert (result.skipped, result.undone) == (1, 2)
    assert contents(second) == {0: "xx", 10: "beforebefore", 30: "xx", 40: "xx"}


def test_a_plain_task_is_given_up_after_so_many_restarts(tmp_path: Path) -> None:
    first, second = folders(tmp_path, "first", "second")

    def work(block: Any) -> None:
        os._exit(3)

    task = plain_task(work, max_retries=9, max_worker_restarts=2)
    with pytest.raises(StageError, match="too many workers have died.*exit code 3"):
        run_second(tmp_path, first, second, 1, task)


BUSY = """
import os, time
from pathlib import Path
read_write_conflict = False
fit = "shrink"

def spawn_worker(out):
    def work(block):
        mine = Path(out, f"busy-{os.getpid()}")
        mine.touch()
        assert len(list(Path(out).glob("busy-*"))) <= 1
        time.sleep(0.02)
        mine.unlink()
    return work
"""


def test_what_tasks_require_is_limited_by_what_there_is(tmp_path: Path) -> None:
    first, second = folders(tmp_path, "first", "second")

    def work(block: Any) -> None:
        mine = first / f"busy-{os.getpid()}"
        mine.touch()
        assert len(list(first.glob("busy-*"))) <= 1
        time.sleep(0.02)
        mine.unlink()
        mark(first, block)

    task = plain_task(work, max_workers=3, requires={"gpu": 1})
    for resources in (None, {"gpu": 0}, {"cpu": 4}):
        with pytest.raises(UsageError, match="requires 1 gpu, but there is 0"):
            run_second(tmp_path, first, second, 1, task, resources=resources)
    result = run_second(tmp_path, first, second, 1, task, resources={"gpu": 1})
    assert result, result.failed


@pytest.mark.parametrize("workers", [0, 1])
def test_daisy_is_left_as_it_is(tmp_path: Path, workers: int) -> None:
    client, other = daisy.Client, v2.Client
    seen = []
    first, second = folders(tmp_path, "first", "second")
    task = plain_task(Mark(first))
    result = run_second(
        tmp_path, first, second, workers, task,
        on_event=lambda event: seen.append((daisy.Client, v2.Client)),
    )  # fmt: skip
    assert result
    assert set(seen) == {(client, other)}
    assert os.environ.get("CYTOVOX_BLOCKS") is None


#: A worker file as dacapo's relabel_worker: a client is made when the file is asked for its loop.
RELABEL = """
import daisy
import loops
from daisy import Client
from pathlib import Path

read_write_conflict = False
fit = "shrink"


def start_worker(out, return_io_loop=False):
    client = daisy.Client()

    def io_loop():
        client = {client}
        {more}
        while True:
            with client.acquire_block() as block:
                if block is None:
                    break
                Path(out, str(block.write_roi.begin[0])).write_text(client.task_id)
                {then}

    if return_io_loop:
        return io_loop
    io_loop()


def spawn_worker(out):
    return start_worker(out, return_io_loop=True)
"""


def relabel_file(folder: Path, monkeypatch: pytest.MonkeyPatch, **parts: str) -> Path:
    file = folder / "relabel.py"
    (folder / "loops.py").write_text("import daisy\ndef client():\n    return daisy.Client()\n")
    monkeypatch.syspath_prepend(str(folder))
    told = {"client": "daisy.Client()", "more": "pass", "then": "pass"} | parts
    file.write_text(RELABEL.format(**told))
    return file


@pytest.mark.parametrize(
    ("workers", "client"),
    [
        (0, "daisy.Client()"),
        (0, "Client()"),
        (2, "daisy.Client()"),
        (2, "Client()"),
        (1, "loops.client()"),
    ],
)
def test_a_client_is_had_in_any_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, client: str
) -> None:
    (out,) = folders(tmp_path, "out")
    file = relabel_file(tmp_path, monkeypatch, client=client)
    result = run_blockwise(file, Roi((0,), (45,)), BLOCK, BLOCK, workers, 0, out=str(out))
    assert result, result.failed
    assert contents(out) == dict.fromkeys(range(0, 50, 10), result.stages[0])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loop_that_ends_after_each_block_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    (out,) = folders(tmp_path, "out")
    file = relabel_file(tmp_path, monkeypatch, then="return")
    result = run_blockwise(file, Roi((0,), (45,)), BLOCK, BLOCK, workers, 0, out=str(out))
    assert result, result.failed
    assert len(contents(out)) == 5


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loop_is_told_that_there_are_no_more_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    (out,) = folders(tmp_path, "out")
    file = relabel_file(tmp_path, monkeypatch)
    text = file.read_text().replace(
        "                    break", "                    end(out)\n                    break"
    )
    slowly = "    import time\n    time.sleep(3)\n    Path(out, '-1').write_text('ended')\n"
    file.write_text(f"{text}\n\ndef end(out):\n{slowly}")
    assert run_blockwise(file, Roi((0,), (45,)), BLOCK, BLOCK, workers, 0, out=str(out))
    assert contents(out)[-1] == "ended"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_task_can_be_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    (tmp_path / "1").mkdir()
    first, second = folders(tmp_path / "1", "first", "second")
    file = relabel_file(tmp_path, monkeypatch)
    up = DaCapoBlockwiseTask(file, Roi((0,), (45,)), BLOCK, BLOCK, 1, out=str(first))
    for _ in range(2):
        assert run_second(tmp_path, first, second, workers, up)
        assert sorted(contents(second)) == [0, 10, 20, 30, 40]
        for path in (*first.iterdir(), *second.iterdir()):
            path.unlink()


def test_a_block_that_a_worker_marks_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (out,) = folders(tmp_path, "out")
    file = relabel_file(tmp_path, monkeypatch, then="block.status = daisy.BlockStatus.FAILED")
    result = run_blockwise(file, Roi((0,), (45,)), BLOCK, BLOCK, 0, 1, out=str(out))
    assert (result.done, len(result.failed)) == (0, 5)
    assert "marked as failed" in result.failed[0].error


PROGRAM = """
import ctypes, os, signal, subprocess, sys, time
from pathlib import Path
from cytovox.errors import InputError
import daisy

read_write_conflict = False
fit = "shrink"


def start_worker(out, how):
    client = daisy.Client()
    while True:
        with client.acquire_block() as block:
            if block is None:
                break
            at = block.write_roi.begin[0]
            path = Path(out, str(at))
            is_first = not path.exists()
            with open(path, "a") as file:
                file.write("x")
            if at == 20 and how == "raise":
                raise InputError("this is bad", path="a.zarr", block=7)
            if at == 20 and how == "die" and is_first:
                os.kill(os.getpid(), signal.SIGKILL)
            if at == 20 and how == "hang":
                Path(out, "-1").write_text(str(os.getpid()))
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(600)
            if at == 20 and how == "spin":  # holds the interpreter all the while
                Path(out, "-1").write_text(str(os.getpid()))
                ctypes.PyDLL(None).sleep(600)


def spawn_worker(out, how=""):
    def run():
        subprocess.run([sys.executable, __file__, "start-worker", out, how])
    return run


if __name__ == "__main__":
    start_worker(*sys.argv[2:])
"""


def run_program(tmp_path: Path, how: str, retries: int = 0, **more: Any) -> tuple[Any, Path]:
    (out,) = folders(tmp_path, "out")
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    result = run_blockwise(
        file, Roi((0,), (45,)), BLOCK, BLOCK, 2, retries, out=str(out), how=how, **more
    )
    return result, out


def test_an_error_of_a_program_keeps_its_type_and_place(tmp_path: Path) -> None:
    result, out = run_program(tmp_path, "raise", 1, journal=tmp_path / "j")
    (failure,) = result.failed
    assert (failure.block, failure.attempts, result.done) == ((20,), 2, 4)
    assert failure.error.startswith("InputError: ")
    assert (failure.exception.path, failure.exception.block) == ("a.zarr", 7)
    assert "program.py" in failure.traceback
    (records,) = read_journal(tmp_path / "j").stages.values()
    assert "this is bad" in (records[20,].error or "")
    assert contents(out) == {0: "x", 10: "x", 20: "xx", 30: "x", 40: "x"}


@pytest.mark.skipif(os.name == "nt", reason="kills itself by a signal")
def test_a_program_that_dies_costs_an_attempt_at_its_block(tmp_path: Path) -> None:
    result, out = run_program(tmp_path, "die", 1)
    assert result, result.failed
    assert contents(out) == {0: "x", 10: "x", 20: "xx", 30: "x", 40: "x"}


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes")
def test_a_program_ends_with_its_worker(tmp_path: Path) -> None:
    result, out = run_program(tmp_path, "hang")
    (failure,) = result.failed
    assert (failure.block, failure.reason, result.done) == ((20,), "killed", 4)
    program = Path("/proc", contents(out)[-1])
    wait_until(lambda: not program.exists())


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes")
def test_a_program_that_holds_the_interpreter_ends_with_the_time_limit(tmp_path: Path) -> None:
    result, out = run_program(tmp_path, "spin", timeout=12.0)
    assert (20,) in [failure.block for failure in result.failed]
    program = Path("/proc", contents(out)[-1])
    wait_until(lambda: not program.exists())
