"""Who does units, and what becomes of those whose workers were lost."""

from __future__ import annotations

import operator
import socket
import ssl
import sys
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cytovox.errors import UsageError
from cytovox.run.cluster import CommandExecutor, DaskExecutor, find_executor
from cytovox.run.executor import Serial, TeamExecutor, Threads, WorkerError
from cytovox.run.pool_executor import PoolExecutor
from cytovox.run.team import LostWorkerError
from cytovox.run.unit_worker import UnitLimits


def found(folder: Path, workers: int | None, cluster: Any = None, **more: Any) -> Any:
    return find_executor(workers, cluster, None, folder, **more)


def test_executors_are_found(tmp_path: Path) -> None:
    assert type(found(tmp_path, 0)) is Serial
    assert type(found(tmp_path, 0, "srun {command}")) is Serial
    local = found(tmp_path, None)
    assert type(local) is TeamExecutor
    assert local.slots >= 1
    assert found(tmp_path, 8).slots == 8
    assert type(found(tmp_path, 2, threads=True)) is Threads
    limits = UnitLimits(seconds=1)
    assert type(found(tmp_path, 2, threads=True, limits=limits)) is TeamExecutor
    command = find_executor(4, "srun -n1 {command}", "node7", tmp_path)
    assert isinstance(command, CommandExecutor)
    assert (command.slots, command.host) == (4, "node7")
    assert found(tmp_path, 1, "srun {command}").host == "127.0.0.1"  # nobody else can come
    assert isinstance(found(tmp_path, 3, "dask:tcp://there:8786"), DaskExecutor)
    with ThreadPoolExecutor(1) as pool:
        assert isinstance(found(tmp_path, 3, pool), PoolExecutor)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ({"workers": -1}, "there cannot be -1 workers"),
        ({"workers": 1, "cluster": "srun -n1"}, "is not a cluster"),
        ({"workers": 1, "cluster": "tcp://somewhere"}, "is not a cluster"),
        ({"workers": 1, "cluster": 3}, "a int is not a cluster"),
        ({"workers": 0, "limits": UnitLimits(seconds=1)}, "cannot be stopped"),
        ({"workers": 0, "limits": UnitLimits(memory=1)}, "more memory"),
        ({"workers": 1, "limits": UnitLimits(seconds=0)}, "in 0 s"),
    ],
)
def test_what_is_no_place_is_refused(tmp_path: Path, what: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        found(tmp_path, **what)


class Careless(Executor):
    """Loses some units before they begin, and gives some to a second worker."""

    def __init__(self, lost: int, twice: bool = False) -> None:
        self.lost = lost
        self.twice = twice

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.lost -= 1
        if self.lost >= 0:
            future.cancel()
            future.set_running_or_notify_cancel()
            return future
        if self.twice:  # the first worker has died over it
            Path(args[0]).write_text("node7:12\n")
        try:
            future.set_result(function(*args))
        except Exception as err:  # noqa: BLE001 - as an executor does it
            future.set_exception(err)
        return future


def test_a_unit_that_never_began_is_done_by_another_worker(tmp_path: Path) -> None:
    with PoolExecutor(Careless(3), 1, tmp_path) as executor:
        assert executor.submit(operator.neg, 5).result(60) == -5
    assert list(tmp_path.iterdir()) == []


def test_workers_that_never_begin_end_the_run(tmp_path: Path) -> None:
    with PoolExecutor(Careless(100), 1, tmp_path) as executor:
        for _ in range(2):
            error = executor.submit(operator.neg, 5).exception(60)
            assert isinstance(error, WorkerError)
            assert "5 workers in a row ended before they could begin" in str(error)


def test_a_unit_whose_worker_died_is_not_done_by_another_one_unasked(tmp_path: Path) -> None:
    with PoolExecutor(Careless(0, twice=True), 1, tmp_path) as executor:
        error = executor.submit(operator.neg, 5).exception(60)
    assert isinstance(error, LostWorkerError)
    assert error.worker == "node7:12"


def test_a_worker_that_cannot_write_beside_the_output_says_so(tmp_path: Path) -> None:
    with PoolExecutor(Careless(0), 1, tmp_path) as executor:
        (tmp_path / "units").rmdir()
        error = executor.submit(operator.neg, 5).exception(60)
    assert "a file system that all machines share" in str(error)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces it")
def test_memory_is_limited_and_the_worker_lives_on(tmp_path: Path) -> None:
    with TeamExecutor(1, UnitLimits(memory=1 << 30), tmp_path) as executor:
        assert executor.submit(operator.neg, 5).result(60) == -5
        error = executor.submit(bytearray, 2 << 30).exception(60)
        assert isinstance(error, MemoryError)
        assert len(executor.submit(bytearray, 1 << 20).result(60)) == 1 << 20
    assert len(list(tmp_path.glob("worker-*.log"))) == 1, "one worker has done all"


@pytest.mark.timeout(120)
def test_who_has_no_certificate_of_the_run_cannot_reach_it(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    pytest.importorskip("cryptography")
    any_server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    any_server.check_hostname = False
    any_server.verify_mode = ssl.CERT_NONE
    with find_executor(1, "env {command}", None, tmp_path) as executor:
        assert executor.submit(operator.neg, 5).result(100) == -5
        assert isinstance(executor, CommandExecutor)
        protocol, _, address = executor.address.partition("://")
        assert protocol == "tls"
        host, _, port = address.rpartition(":")
        assert host == "127.0.0.1"
        with (
            socket.create_connection((host, int(port)), timeout=60) as line,
            any_server.wrap_socket(line) as stranger,
            pytest.raises(OSError, match="(?i)certificate|handshake|closed"),
        ):
            stranger.recv(1)  # the server asks for ours


@pytest.mark.timeout(300)
def test_what_units_require_is_had_by_their_dask_worker(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    workers = {
        name: {
            "cls": distributed.Worker,
            "options": {"nthreads": 1, "resources": resources},
        }
        for name, resources in (("plain", {}), ("graphics", {"gpu": 1}))
    }
    scheduler = {
        "cls": distributed.Scheduler,
        "options": {"dashboard_address": "127.0.0.1:0", "port": 0, "host": "127.0.0.1"},
    }
    with (
        distributed.SpecCluster(workers, scheduler, silence_logs=40) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        DaskExecutor(client, None, tmp_path) as executor,
    ):
        client.wait_for_workers(2, timeout=100)
        units = [executor.submit(worker_of, n, {"gpu": 1}) for n in range(8)]
        assert {unit.result(100) for unit in units} == {"graphics"}
        assert executor.waiting() == ""
        executor.submit(worker_of, 9, {"gpu": 2})
        assert executor.waiting().endswith("has 2 gpu")


def worker_of(_: int) -> str:
    from distributed import get_worker

    return str(get_worker().name)
