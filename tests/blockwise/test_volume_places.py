"""Segmenting a volume comes out the same wherever the workers are."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cytovox
from cytovox.cli.main import main
from cytovox.errors import UsageError
from cytovox.read.open_volume import open_volume
from cytovox.run.executor import WorkerError
from cytovox.run.journal import read_journal

kills = pytest.mark.skipif(os.name == "nt", reason="no process can be killed by a signal")

BLOCKS = 27
#: The block in whose middle lies the one voxel of this value.
MARKED, MARK = 13, 255

FUNCTION = f"""
import json
import os
import socket

from cytovox.blockwise.label_function import label


def telling(array, *, port=0):
    middle = tuple(n // 2 for n in array.shape)
    if port and array[middle] == {MARK}:
        with socket.create_connection(("127.0.0.1", port), timeout=600) as line:
            told = dict(pid=os.getpid(), parent=os.getppid())
            line.sendall(json.dumps(told).encode() + b"\\n")
            line.recv(1)  # until the test lets it go on, or kills it
    return label(array, threshold=100)
"""


@dataclass
class Volume:
    """What is segmented, and what comes out where there is nobody but this process."""

    folder: Path
    port: int = 0
    expected: Any = None

    def segment(self, name: str, **where: Any) -> Any:
        given: dict[str, Any] = {
            "block": 12,
            "context": 4,
            "stitch": "overlap",
            "parameters": {"port": self.port},
            "objects": self.folder / f"{name}.csv",
        }
        return cytovox.segment_volume(
            self.folder / "raw.npy",
            self.folder / f"{name}.zarr",
            f"{self.folder / 'telling.py'}:telling",
            **(given | where),
        )

    def outcome(self, name: str) -> tuple[Any, ...]:
        with open_volume(self.folder / f"{name}.zarr") as labels:
            voxels = labels[...]
        lines = (self.folder / f"{name}.csv").read_text().splitlines()
        rows = [line for line in lines if not line.startswith("#")]
        return voxels.dtype, voxels.tobytes(), rows

    def journal(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / f"{name}.zarr.cytovox" / "journal.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def check(self, name: str, result: Any) -> None:
        assert result
        assert result.failed == ()
        assert result.blocks == BLOCKS
        assert self.outcome(name) == self.expected
        records = read_journal(self.folder / f"{name}.zarr.cytovox" / "journal.jsonl")
        for stage in ("segment", "relabel"):
            states = {key: r.state for key, r in records.stages[stage].items()}
            assert states == dict.fromkeys(range(BLOCKS), "done")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    from scipy import ndimage

    folder = tmp_path_factory.mktemp("reference")
    rng = np.random.default_rng(4)
    smooth = ndimage.gaussian_filter(rng.random((36, 36, 36)), 1.2)
    raw = np.where(smooth > np.quantile(smooth, 0.8), 180, 20).astype(np.uint8)
    raw[18, 18, 18] = MARK
    np.save(folder / "raw.npy", raw)
    (folder / "telling.py").write_text(FUNCTION)
    made = Volume(folder)
    result = made.segment("here", workers=0)
    assert result
    assert result.objects > 20
    made.expected = made.outcome("here")
    return made


@pytest.fixture
def volume(reference: Volume, tmp_path: Path) -> Volume:
    """The same volume in a folder of its own, since other runs have other outputs."""
    for name in ("raw.npy", "telling.py"):
        (tmp_path / name).write_bytes((reference.folder / name).read_bytes())
    expected = reference.expected
    return Volume(tmp_path, expected=expected)


class Doorbell:
    """Hears from the marked block, while that is being worked on."""

    def __init__(self, answer: Callable[[int, dict[str, Any]], bool]) -> None:
        self.answer = answer
        self.told: list[dict[str, Any]] = []
        self.wrong: list[BaseException] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._hear)

    def __enter__(self) -> Doorbell:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        socket.create_connection(("127.0.0.1", self.port), timeout=600).close()
        self._thread.join(600)
        self._listener.close()
        assert not self._thread.is_alive()
        assert self.wrong == []

    def _hear(self) -> None:
        while True:
            line, _ = self._listener.accept()
            with line:
                line.settimeout(60)
                text = line.makefile().readline()
                if not text:
                    return  # the test is over
                self.told.append(json.loads(text))
                try:
                    if self.answer(len(self.told), self.told[-1]):
                        line.sendall(b"!")
                except BaseException as err:  # noqa: BLE001 - told by the test
                    self.wrong.append(err)


@pytest.mark.parametrize("workers", [1, 2])
def test_processes_do_the_same(volume: Volume, workers: int) -> None:
    result = volume.segment("out", workers=workers)
    volume.check("out", result)
    assert len(volume.expected[2]) == result.objects + 1
    done = [line for line in volume.journal("out") if line.get("event") == "done"]
    names = {line["worker"] for line in done if line["stage"] == "segment"}
    assert 1 <= len(names) <= workers
    assert f":{os.getpid()}" not in "".join(names)


SRUN = """#!/bin/sh
# Stands where srun would: options of its own, then a command, elsewhere.
echo "$@" >> "$(dirname "$0")/calls"
[ "$1" = -n1 ] || { echo "unknown option $1" >&2; exit 9; }
shift
cd / || exit 8
exec env -i PATH="$PATH" HOME="$HOME" "$@"
"""

SRUN_PY = """
import os, subprocess, sys
from pathlib import Path
with open(Path(__file__).with_name("calls"), "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + chr(10))
if sys.argv[1] != "-n1":
    sys.exit(f"unknown option {sys.argv[1]}")
sys.exit(subprocess.call(sys.argv[2:]))
"""


@pytest.fixture(params=["sh", "py"])
def srun(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The beginning of a command that starts another one elsewhere."""
    if request.param == "py":
        path = tmp_path / "fake_srun.py"
        path.write_text(SRUN_PY)
        return f"{sys.executable} {path}"
    if os.name == "nt":
        pytest.skip("a shell script")
    path = tmp_path / "fake_srun.sh"
    path.write_text(SRUN)
    return f"sh {path}"


#: The script that is at home here, where it does not matter whether it stays or is replaced.
one_script = pytest.mark.parametrize("srun", ["py" if os.name == "nt" else "sh"], indirect=True)


@one_script
def test_a_command_does_the_same(volume: Volume, srun: str) -> None:
    result = volume.segment("out", cluster=f"{srun} -n1 {{command}}", workers=2)
    volume.check("out", result)
    calls = (volume.folder / "calls").read_text().splitlines()
    assert len(calls) == 2  # for all passes
    assert all("-m distributed.cli.dask_worker tls://127.0.0.1:" in call for call in calls)


@one_script
def test_a_command_that_fails_is_no_success(
    volume: Volume, srun: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(WorkerError, match=r"in a row ended.*exit code [19].*unknown option -n2"):
        volume.segment("out", cluster=f"{srun} -n2 {{command}}", workers=2)
    assert not (volume.folder / "out.zarr").exists()
    assert not (volume.folder / "out.csv").exists()
    words = ["volume", "segment", str(volume.folder / "raw.npy"), str(volume.folder / "o.zarr")]
    words += ["-f", "label", "--stitch", "touch", "--block", "12", "--workers", "1"]
    assert main([*words, "--cluster", f"{srun} -n2 {{command}}"]) == 1
    err = capsys.readouterr().err
    assert "unknown option -n2" in err
    assert "Traceback" not in err
    # What did not work elsewhere works here, and the journal is intact.
    volume.check("out", volume.segment("out", workers=1))


@kills
def test_a_command_that_is_lost_in_mid_run_loses_no_block(volume: Volume, srun: str) -> None:
    def answer(time: int, told: dict[str, Any]) -> bool:
        if time == 1:
            os.kill(told["pid"], signal.SIGKILL)
        return time > 1

    with Doorbell(answer) as bell:
        volume.port = bell.port
        result = volume.segment("out", cluster=f"{srun} -n1 {{command}}", workers=2)
    assert [told["pid"] for told in bell.told].count(bell.told[0]["pid"]) == 1
    assert len(bell.told) == 2
    volume.check("out", result)


def has_ended(pid: int) -> bool:
    """Wait for the end of a process that is not ours."""
    psutil = pytest.importorskip("psutil")
    try:
        psutil.Process(pid).wait(600)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


def check_one_was_lost(volume: Volume, bell: Doorbell, result: Any) -> None:
    """Check that the marked block, and none else, was done twice; and that this is told."""
    first, second = bell.told
    assert has_ended(first["pid"])
    assert first["pid"] != second["pid"]
    volume.check("out", result)
    lines = [line for line in volume.journal("out") if line.get("stage") == "segment"]
    of_marked = [line for line in lines if line.get("block") == MARKED]
    assert [line["event"] for line in of_marked] == ["started", "failed", "started", "done"]
    failed = of_marked[1]
    assert failed["reason"] == "killed"
    assert not failed["final"]
    assert of_marked[1]["worker"].endswith(f":{first['pid']}")
    assert of_marked[3]["worker"].endswith(f":{second['pid']}")
    done = [line["block"] for line in lines if line["event"] == "done"]
    assert sorted(done) == list(range(BLOCKS))


@kills
@pytest.mark.timeout(300)
def test_dask_does_the_same_though_one_worker_dies(volume: Volume, dask: Any) -> None:
    import distributed

    with distributed.Client(dask.address, set_as_default=False) as client:
        volume.check("client", volume.segment("client", cluster=client))
        assert client.status == "running"  # it is not ours to close
    one, two = (dask.processes[name] for name in ("one", "two"))
    hosts = {line["worker"] for line in volume.journal("client") if "worker" in line}
    assert len(hosts) >= 2

    def answer(time: int, told: dict[str, Any]) -> bool:
        if time == 1:
            (victim,) = (p for p in (one, two) if p.pid == told["pid"])
            os.kill(victim.pid, signal.SIGKILL)
            assert victim.wait(600) == -signal.SIGKILL
        return time > 1

    with Doorbell(answer) as bell:
        volume.port = bell.port
        result = volume.segment("out", cluster=f"dask:{dask.address}", workers=2)
    check_one_was_lost(volume, bell, result)
    assert [p.poll() for p in (one, two)].count(None) == 1


@kills
@pytest.mark.timeout(300)
@pytest.mark.parametrize("dask", [True], indirect=True)
def test_dask_gets_another_worker_by_its_nanny(volume: Volume, dask: Any) -> None:
    before = set(dask.pids().values())
    after: set[int] = set()

    def answer(time: int, told: dict[str, Any]) -> bool:
        if time == 1:
            assert told["pid"] in before
            os.kill(told["pid"], signal.SIGKILL)
            assert has_ended(told["pid"])
        else:
            after.update(dask.pids().values())  # waits for both
        return time > 1

    with Doorbell(answer) as bell:
        volume.port = bell.port
        result = volume.segment("out", cluster=f"dask:{dask.address}", workers=2)
    check_one_was_lost(volume, bell, result)
    assert len(after) == 2
    assert len(after & before) == 1
    assert bell.told[0]["pid"] not in after


@kills
@pytest.mark.timeout(300)
def test_a_dask_cluster_that_is_gone_is_waited_for_no_longer(volume: Volume, dask: Any) -> None:
    def answer(time: int, told: dict[str, Any]) -> bool:
        if time == 1:
            for process in dask.processes.values():  # the scheduler first: nobody is told
                process.kill()
            assert has_ended(told["pid"])
        return time > 1

    with Doorbell(answer) as bell:
        volume.port = bell.port
        with pytest.raises(WorkerError, match=r"the Dask scheduler at \S+ is gone"):
            volume.segment("out", cluster=f"dask:{dask.address}", workers=2)
        assert not (volume.folder / "out.zarr").exists()
        volume.check("out", volume.segment("out", workers=1))


def listening(pid: int) -> set[str]:
    """Return the addresses on which a process and what it has started listen."""
    psutil = pytest.importorskip("psutil")
    root = psutil.Process(pid)
    found = set()
    for process in (root, *root.children(recursive=True)):
        for one in process.net_connections(kind="inet"):
            if one.status == psutil.CONN_LISTEN:
                found.add(f"{one.laddr.ip}:{one.laddr.port}")
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="others tell this to administrators only")
@pytest.mark.parametrize("where", ["here", "processes", "command", "host"])
def test_nobody_else_can_reach_a_run(volume: Volume, where: str, tmp_path: Path) -> None:
    (tmp_path / "fake_srun.py").write_text(SRUN_PY)
    placed: dict[str, Any] = {
        "here": {"workers": 0},
        "processes": {"workers": 2},
        "command": {
            "workers": 2,
            "cluster": f"{sys.executable} {tmp_path / 'fake_srun.py'} -n1 {{command}}",
        },
        # All of 127/8 is this machine, but a run listens where it is told to; status pages
        # of Dask are for this machine alone.
        "host": {
            "workers": 2,
            "host": "127.0.0.9",
            "cluster": f"{sys.executable} {tmp_path / 'fake_srun.py'} -n1 {{command}}",
        },
    }[where]
    seen: list[set[str]] = []

    def answer(time: int, told: dict[str, Any]) -> bool:
        seen.append(listening(os.getpid()))
        return True

    before = listening(os.getpid())
    with Doorbell(answer) as bell:
        volume.port = bell.port
        volume.check("out", volume.segment("out", **placed))
    (during,) = seen
    new = during - before - {f"127.0.0.1:{bell.port}"}
    hosts = [address.rpartition(":")[0] for address in new]
    wanted = {"here": [], "processes": [], "host": ["127.0.0.9", "127.0.0.1"]}
    assert set(hosts) == set(wanted.get(where, ["127.0.0.1"]))
    assert listening(os.getpid()) <= before


def test_a_host_that_is_not_ours_is_refused(volume: Volume) -> None:
    with pytest.raises(UsageError, match="cannot listen"):
        volume.segment("out", workers=1, cluster="srun {command}", host="192.0.2.1")
    assert not (volume.folder / "out.zarr").exists()


EATER = """
from pathlib import Path

import numpy as np


def eater(array, *, flag=""):
    middle = tuple(n // 2 for n in array.shape)
    if array[middle] == 255 and not Path(flag).exists():
        np.ones(2**33, np.uint8)  # 8 GiB
    return array > 100
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits memory")
def test_a_block_that_eats_memory_costs_only_itself(
    volume: Volume, capsys: pytest.CaptureFixture[str]
) -> None:
    (volume.folder / "eater.py").write_text(EATER)
    flag = volume.folder / "flag"
    output = volume.folder / "out.zarr"
    words = ["volume", "segment", str(volume.folder / "raw.npy"), str(output), "--block", "12"]
    words += ["-f", f"{volume.folder / 'eater.py'}:eater", "--set", f"flag={flag}"]
    words += ["--stitch", "touch", "--retries", "1", "--memory", "2G"]
    assert main([*words, "--workers", "1"]) == 4
    err = capsys.readouterr().err
    assert re.search(rf"block {MARKED}: .*(MemoryError|Unable to allocate)", err)
    assert f"1 of {BLOCKS} blocks failed" in err
    assert not output.exists()
    first = read_journal(volume.folder / "out.zarr.cytovox" / "journal.jsonl").stages["segment"]
    assert {key for key, r in first.items() if r.state != "done"} == {MARKED}
    assert first[MARKED].attempts == 2
    flag.touch()
    assert main([*words, "--workers", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["failed"] == []
    lines = [x for x in volume.journal("out") if x.get("stage") == "segment"]
    again = [x["block"] for x in lines if x["event"] == "started"][BLOCKS + 1 :]
    assert again == [MARKED]
    with open_volume(output) as labels, open_volume(volume.folder / "raw.npy") as raw:
        assert np.array_equal(labels[...] > 0, raw[...] > 100)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits memory")
def test_memory_is_limited_from_python_too(volume: Volume) -> None:
    (volume.folder / "eater.py").write_text(EATER)
    given: dict[str, Any] = {"block": 12, "context": 0, "stitch": "touch", "retries": 0}
    no = {"flag": str(volume.folder / "no")}
    result = cytovox.segment_volume(
        volume.folder / "raw.npy",
        volume.folder / "out.zarr",
        f"{volume.folder / 'eater.py'}:eater",
        parameters=no,
        memory=2**31,
        workers=2,
        **given,
    )
    assert not result
    assert result.output is None
    ((block, reason, error),) = ((f.block, f.reason, f.error) for f in result.failed)
    assert (block, reason) == (MARKED, "error")
    assert "allocate 8.00 GiB" in error
    assert "eater" in result.failed[0].traceback
    with pytest.raises(UsageError, match="kept from using more memory"):
        cytovox.segment_volume(
            volume.folder / "raw.npy",
            volume.folder / "here.zarr",
            "label",
            memory=2**31,
            workers=0,
            **given,
        )
