"""Where workers are changes nothing: processes, a command, a Dask cluster."""

from __future__ import annotations

import multiprocessing as mp
import os
import stat
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import daisy
import pytest
from funlib.geometry import Roi

from cytovox.blockwise import run_blockwise
from cytovox.errors import UsageError
from cytovox.run.executor import WorkerError
from cytovox.run.journal import Journal, read_journal
from support.blocks import marks, run_blocks, units


@pytest.fixture
def launcher(tmp_path: Path) -> Path:
    """A small program where srun would stand."""
    if os.name == "nt":
        pytest.skip("a shell script")
    script = tmp_path / "launch.sh"
    script.write_text(
        '#!/bin/sh\necho "$@" >> "$(dirname "$0")/calls"\n'
        'for word; do case "$word" in */keys/*) ls -l "$word"; cat "$word"; esac; done'
        ' >> "$(dirname "$0")/keys"\n'
        '[ "$1" = -n1 ] || exit 9\nshift\n"$@"\n'
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
    # One that was just done may have been lost with its worker before that could say so.
    assert set(marks(tmp_path)) == set(range(12)) - {5}
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 2  # each of which starts its worker anew when that is lost
    keys = (tmp_path / "keys").read_text()
    assert "PRIVATE KEY" in keys
    assert all(line.startswith("-rw-------") for line in keys.splitlines() if "/keys/" in line)
    assert not list(tmp_path.glob("logs/*/keys"))
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
    with pytest.raises(WorkerError, match=r"workers in a row ended before .* exit code 9"):
        blockwise(tmp_path, f"{launcher} -n2 {{command}}")
    # Nothing of it remains but the journal, by which the same work goes on.
    result = blockwise(tmp_path, f"{launcher} -n1 {{command}}")
    assert result
    assert result.done == 12


@pytest.mark.timeout(180)
@pytest.mark.parametrize("dask", [True], indirect=True)
def test_dask_does_the_other_blocks(functions: ModuleType, tmp_path: Path, dask: Any) -> None:
    import distributed

    with distributed.Client(dask.address, set_as_default=False) as client:
        result = run_blocks(
            units(functions, 10),
            functions.misbehaving(tmp_path, {2: "kill", 4: "hang", 6: "raise", 8: "crash"}),
            cluster=client,
            timeout=2,
            retries=0,
            logs=tmp_path / "logs",
        )
        assert client.status == "running"  # it is not ours to close
    assert [(f.block, f.reason, f.attempts) for f in result.failed] == [
        (2, "killed", 2),
        (4, "timeout", 1),
        (6, "error", 1),
        (8, "killed", 2),
    ]
    for failure in result.failed[1:]:
        assert "in misbehave" in failure.traceback  # where it hung, raised and crashed
    # One that was just done may have been lost with its worker before that could say so.
    assert set(marks(tmp_path)) == {0, 1, 3, 5, 7, 9}
    assert all(process.poll() is None for process in dask.processes.values())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits memory")
def test_a_block_that_eats_memory_fails_alone_by_a_command(
    functions: ModuleType, tmp_path: Path, launcher: Path
) -> None:
    result = run_blocks(
        units(functions, 4),
        functions.misbehaving(tmp_path, {1: "eat"}),
        cluster=f"{launcher} -n1 {{command}}",
        workers=1,
        retries=0,
        memory=2**30,
        logs=tmp_path / "logs",
    )
    assert [(f.block, f.reason) for f in result.failed] == [(1, "error")]
    assert "Unable to allocate" in result.failed[0].error
    assert marks(tmp_path) == {0: 1, 2: 1, 3: 1}


@pytest.mark.timeout(180)
def test_an_executor_of_the_user_does_blocks(functions: ModuleType, tmp_path: Path) -> None:
    how = {3: "raise", 5: "once-raise"}
    with ProcessPoolExecutor(2, mp_context=mp.get_context("spawn")) as pool:
        result = run_blocks(
            units(functions, 8), functions.misbehaving(tmp_path, how), cluster=pool, retries=1
        )
        assert [(f.block, f.attempts) for f in result.failed] == [(3, 2)]
        assert marks(tmp_path) == {i: 1 for i in range(8) if i != 3}
        with pytest.raises(WorkerError, match="the executor is broken"):
            run_blocks(
                units(functions, 8), functions.misbehaving(tmp_path, {2: "kill"}), cluster=pool
            )


PROGRAM = """
import subprocess, sys
from pathlib import Path
import daisy
fit = "shrink"
read_write_conflict = False

def start_worker(out):
    client = daisy.Client()
    while True:
        with client.acquire_block() as block:
            if block is None:
                break
            Path(out, f"block-{block.write_roi.begin[0]}").write_text("x\\n")

def spawn_worker(out, program):
    if program:
        return lambda: subprocess.run([sys.executable, __file__, out])
    return lambda: start_worker(out)

if __name__ == "__main__":
    start_worker(sys.argv[1])
"""


@pytest.mark.timeout(180)
def test_dask_does_tasks(tmp_path: Path, dask: Any) -> None:
    result = blockwise(tmp_path, f"dask:{dask.address}", bad=[4])
    assert [f.block for f in result.failed] == [(4,)]
    assert result.done == 11
    (tmp_path / "program.py").write_text(PROGRAM)
    block = Roi((0,), (1,))
    for program in (True, False):
        out = tmp_path / str(program)
        out.mkdir()
        result = run_blockwise(
            tmp_path / "program.py", Roi((0,), (6,)), block, block, 2, 0,
            cluster=f"dask:{dask.address}", logs=tmp_path / "logs", out=str(out), program=program,
        )  # fmt: skip
        assert result, result.failed
        assert marks(out) == dict.fromkeys(range(6), 1)
    assert all(process.poll() is None for process in dask.processes.values())


@pytest.mark.timeout(180)
def test_dask_knows_what_its_workers_have(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    first = tmp_path / "first"
    first.mkdir()
    up = daisy.v2.Task(
        "up", Roi((0,), (12,)), Roi((0,), (1,)), Roi((0,), (1,)), fit="shrink",
        process_function=lambda block: (first / str(os.getpid())).touch(), requires={"gpu": 1},
    )  # fmt: skip
    common = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with (
        distributed.LocalCluster(**common, resources={"gpu": 1}) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        assert blockwise(tmp_path, client, upstream_tasks=[up])
        assert {int(path.name) for path in first.iterdir()} == set(client.run(os.getpid).values())


def test_clusters_that_are_not_there_are_told(functions: ModuleType) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(UsageError, match="no Dask scheduler answers"):
        run_blocks(units(functions, 1), functions.square, cluster="dask:tcp://127.0.0.1:1")
