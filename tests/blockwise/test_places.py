"""Where workers are changes nothing: processes, a command, a Dask cluster."""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from funlib.geometry import Roi

from cytovox.blockwise import run_blockwise
from cytovox.blockwise.desk import Desk, connect
from cytovox.blockwise.places import CommandPlace, DaskPlace, Here, LocalPlace, find_place
from cytovox.blockwise.run_blocks import run_blocks
from cytovox.errors import UsageError
from cytovox.recipe.python_file import load_python_file
from cytovox.run.executor import WorkerError
from cytovox.run.journal import Journal, read_journal

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def functions() -> ModuleType:
    return load_python_file(HERE / "block_functions.py")


def units(functions: ModuleType, count: int) -> list[Any]:
    return [functions.Unit(i) for i in range(count)]


def marks(folder: Path) -> dict[int, int]:
    files = folder.glob("block-*")
    return {int(f.name.partition("-")[2]): len(f.read_text().splitlines()) for f in files}


def test_places_are_found() -> None:
    assert isinstance(find_place(0), Here)
    assert isinstance(find_place(0, "srun {command}"), Here)
    local = find_place()
    assert isinstance(local, LocalPlace)
    assert local.workers >= 1
    command = find_place(4, "srun -n1 {command}", "node7")
    assert isinstance(command, CommandPlace)
    assert (command.workers, command.host) == (4, "node7")
    assert find_place(1, "srun -n1 {command}").host == "127.0.0.1"  # nobody else can come
    for bad in ("srun -n1", "tcp://somewhere", 3):
        with pytest.raises(UsageError):
            find_place(1, bad)
    with pytest.raises(UsageError):
        find_place(-1)
    with pytest.raises(UsageError, match="no place for the worker"):
        CommandPlace("srun", 1)


@pytest.fixture
def launcher(tmp_path: Path) -> Path:
    """A small program where srun would stand."""
    if os.name == "nt":
        pytest.skip("a shell script")
    script = tmp_path / "launch.sh"
    script.write_text(
        '#!/bin/sh\necho "$@" >> "$(dirname "$0")/calls"\n'
        '[ "$1" = -n1 ] || exit 9\nshift\nenv -u CYTOVOX_WORKER_KEY "$@"\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script


def test_a_command_starts_workers(functions: ModuleType, tmp_path: Path, launcher: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.begin({})
        result = run_blocks(
            units(functions, 12),
            functions.misbehaving(tmp_path, {3: "once-kill", 5: "raise", 7: "once-hang"}),
            cluster=f"{launcher} -n1 {{command}}",
            workers=2,
            timeout=2,
            retries=1,
            journal=journal,
            logs=tmp_path / "logs",
        )
    assert [(f.block, f.reason) for f in result.failed] == [(5, "error")]
    assert marks(tmp_path) == {i: 1 for i in range(12) if i != 5}
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) >= 3  # two, and more for those that were lost
    (key_file,) = tmp_path.glob("logs/*/key")
    assert key_file.stat().st_mode & 0o077 == 0
    assert key_file.read_text() not in (tmp_path / "calls").read_text()
    records = read_journal(tmp_path / "j").stages["blocks"]
    assert {k for k, r in records.items() if r.state == "done"} == set(range(12)) - {5}


def test_a_command_within_a_word_is_quoted(functions: ModuleType, tmp_path: Path) -> None:
    if os.name == "nt":
        pytest.skip("a shell")
    result = run_blocks(
        units(functions, 4), functions.square, cluster='sh -c "exec {command}"', workers=1
    )
    assert result.rows[3] == {"square": 9}


def test_commands_that_do_not_work_are_told(functions: ModuleType, launcher: Path) -> None:
    with pytest.raises(UsageError, match="cannot be run"):
        run_blocks(units(functions, 2), functions.square, cluster="no-such-program {command}")
    with pytest.raises(WorkerError, match="ended with exit code 9"):
        run_blocks(units(functions, 2), functions.square, cluster=f"{launcher} -n2 {{command}}")


TASK = """
import os
from pathlib import Path
import daisy
fit = "shrink"
read_write_conflict = False

def spawn_worker(out, bad=()):
    def worker():
        client = daisy.Client()
        while True:
            with client.acquire_block() as block:
                if block is None:
                    break
                at = block.write_roi.begin[0]
                if at in bad:
                    raise ValueError("bad")
                with open(Path(out, f"block-{at}"), "a") as file:
                    file.write(f"{os.getppid()}\\n")
    return worker
"""


def blockwise(folder: Path, cluster: Any, **more: Any) -> Any:
    (folder / "task.py").write_text(TASK)
    block = Roi((0,), (1,))
    return run_blockwise(
        folder / "task.py", Roi((0,), (12,)), block, block, 2, 0, cluster=cluster, out=str(folder),
        journal=folder / "journal", **more
    )  # fmt: skip


def test_a_task_by_a_command(tmp_path: Path, launcher: Path) -> None:
    result = blockwise(tmp_path, f"{launcher} -n1 {{command}}", bad=[4])
    assert [f.block for f in result.failed] == [(4,)]
    assert "bad" in result.failed[0].traceback
    assert marks(tmp_path) == {i: 1 for i in range(12) if i != 4}


@pytest.mark.timeout(180)
def test_a_task_of_which_no_worker_comes_ends(tmp_path: Path, launcher: Path) -> None:
    result = blockwise(tmp_path, f"{launcher} -n2 {{command}}")
    assert result.done == 0
    assert [failure.block for failure in result.failed] == [(i,) for i in range(12)]
    said = {failure.error for failure in result.failed}
    assert len(said) == 1
    assert re.search(r"8 workers in a row ended before .* ended with exit code 9", said.pop())
    # Nothing of it remains but the journal, by which the same work goes on.
    result = blockwise(tmp_path, f"{launcher} -n1 {{command}}")
    assert result
    assert result.done == 12


@pytest.mark.timeout(180)
def test_dask_workers_outlive_bad_blocks(functions: ModuleType, tmp_path: Path, dask: Any) -> None:
    import distributed

    with distributed.Client(dask.address, set_as_default=False) as client:
        place = find_place(None, client)
        assert isinstance(place, DaskPlace)
        assert place.workers == 2
        result = run_blocks(
            units(functions, 10),
            functions.misbehaving(tmp_path, {2: "kill", 4: "hang", 6: "raise"}),
            cluster=client,
            timeout=2,
            retries=0,
        )
        assert [(f.block, f.reason) for f in result.failed] == [
            (2, "killed"),
            (4, "timeout"),
            (6, "error"),
        ]
        assert len(client.scheduler_info(n_workers=-1)["workers"]) == 2
    assert all(process.poll() is None for process in dask.processes.values())
    # The same by daisy, whose time limit ends the process that it runs in.
    task = blockwise(tmp_path, f"dask:{dask.address}", bad=[4])
    assert [f.block for f in task.failed] == [(4,)]
    assert task.done == 11
    assert all(process.poll() is None for process in dask.processes.values())


class Ending:
    """What Dask gives for a task that has ended, but whose result is asked for in vain."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def add_done_callback(self, done: Callable[[Any], None]) -> None:
        done(self)

    def cancelled(self) -> bool:
        return isinstance(self.error, CancelledError)

    def result(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "it waits for ever"
        raise self.error


@pytest.mark.parametrize(
    ("error", "how"),
    [
        (CancelledError(), "was cancelled"),
        (TimeoutError(), "Dask does not tell how"),
        (OSError("lost"), r"could not be run by Dask: OSError\('lost'\)"),
    ],
)
def test_an_end_that_dask_does_not_tell_is_no_crash(
    tmp_path: Path, error: Exception, how: str
) -> None:
    scheduler = SimpleNamespace(address="tcp://127.0.0.1:8786")
    client = SimpleNamespace(
        scheduler=scheduler,
        scheduler_info=lambda n_workers: {},
        submit=lambda *_, **__: Ending(error),
    )
    place = DaskPlace(client)
    told = place.start([], "key", tmp_path / "worker-1.log").wait(600)
    assert re.search(how, str(told))


def test_clusters_that_are_not_there_are_told(functions: ModuleType) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(UsageError, match="no Dask scheduler answers"):
        run_blocks(units(functions, 1), functions.square, cluster="dask:tcp://127.0.0.1:1")


def test_a_cluster_elsewhere_needs_a_host() -> None:
    class Client:
        class scheduler:  # noqa: N801
            address = "tcp://10.1.2.3:8786"

        def scheduler_info(self, n_workers: int) -> dict[str, Any]:
            return {"workers": {"tcp://10.1.2.4:4000": {"nthreads": 3}}}

        def submit(self) -> None: ...

    with pytest.raises(UsageError, match="say under which name"):
        find_place(None, Client())
    place = find_place(None, Client(), "10.1.2.9")
    assert (place.workers, place.host) == (3, "10.1.2.9")


def test_a_machine_that_vanishes_is_noticed() -> None:
    with Desk() as desk:
        line = connect(*desk.address, desk.key, {"number": 1})
        joined = desk.next(10)
        assert joined is not None
        for end in (line, joined.sender.line):
            with socket.socket(fileno=os.dup(end.fileno())) as known:
                assert known.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                if hasattr(socket, "TCP_KEEPIDLE"):
                    seconds = [
                        known.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
                        for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
                    ]
                    assert seconds[0] + seconds[1] * seconds[2] <= 90
        line.close()
