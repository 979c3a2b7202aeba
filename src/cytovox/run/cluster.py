"""Units done by other machines: by a Dask cluster, or one that a command starts.

Whoever gives a command, such as ``srun -n1 {command}``, gets a Dask scheduler in
this process and a worker for each time that the command is run. Both ends show
certificates that are made for the run.
"""

from __future__ import annotations

import contextlib
import importlib
import ipaddress
import logging
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import CancelledError, Executor, Future
from pathlib import Path
from typing import Any, Self

from ..errors import UsageError
from .children import describe_exit, note_child
from .executor import Serial, TeamExecutor, Threads, UnitExecutor, WorkerError, tail_of
from .extras import require
from .memory import cpu_count
from .parent_watch import GRACE, ending_with_stdin
from .pool_executor import PoolExecutor
from .unit_worker import UnitLimits

__all__ = ["CommandExecutor", "DaskExecutor", "check_placement", "find_executor"]

LOOPBACK = "127.0.0.1"
#: Workers of a cluster of which it is not said how many it has.
_MANY = 16
#: Seconds after which it is asked again how many workers a cluster has.
_ASK = 2.0
#: Seconds that commands get to end by themselves.
_END = 5.0


class DaskExecutor(PoolExecutor):
    """Workers of a Dask cluster: the address of its scheduler, or a `distributed.Client`.

    A client stays open. If no number of slots is given, there is one for each
    worker that the cluster has meanwhile.
    """

    def __init__(
        self, cluster: Any, slots: int | None, folder: Path, limits: UnitLimits | None = None
    ) -> None:
        super().__init__(None, slots or _MANY, folder, limits)
        self._is_limited = slots is not None
        self._cluster = cluster
        self._client: Any = None
        self._come = 1
        self._asked = 0.0
        self._pools: dict[Any, Any] = {}

    def __enter__(self) -> Self:
        super().__enter__()
        is_open = hasattr(self._cluster, "get_executor")
        self._client = self._cluster if is_open else _client(self._cluster)
        return self

    def __exit__(self, *error: object) -> None:
        """Take units back that have not begun; leave the cluster if it was joined here."""
        super().__exit__(*error)
        for pool in self._pools.values():
            if self._client.status == "running":
                with contextlib.suppress(Exception):  # the scheduler may be gone
                    pool.shutdown(wait=False)
        if self._client is not self._cluster and self._client is not None:
            with contextlib.suppress(Exception):
                self._client.close()

    @property
    def slots(self) -> int:
        """How many units may be on their way at once: one for each worker that has come.

        Dask hands a unit to a worker at once, and a worker whose block holds the
        interpreter cannot give back what waits there.
        """
        if self._client is None:
            return self._slots
        if time.monotonic() - self._asked > _ASK:
            self._come = max(1, len(self._workers()))
            self._asked = time.monotonic()
        return min(self._slots, self._come) if self._is_limited else self._come

    def waiting(self) -> str:
        """Return whether workers have yet to come, or none has what is required."""
        workers = self._workers().values()
        if not workers:
            return f"the Dask scheduler at {self.address} has no workers"
        for key in filter(None, list(self._pools)):
            has = [worker.get("resources") or {} for worker in workers]
            if not any(all(one.get(name, 0) >= n for name, n in key) for one in has):
                what = ", ".join(f"{n:g} {name}" for name, n in key)
                return f"no worker of the Dask scheduler at {self.address} has {what}"
        return ""

    @property
    def address(self) -> str:
        """Address of the scheduler."""
        return str(self._client.scheduler.address) if self._client.scheduler else "?"

    def _workers(self) -> Mapping[str, Any]:
        try:
            found: Mapping[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        except (OSError, KeyError, TimeoutError, ValueError):
            return {}
        return found

    def _submitted(self, requires: Mapping[str, float] | None, *call: Any) -> Future[Any]:
        key = None if requires is None else tuple(sorted(requires.items()))
        if key not in self._pools:
            resources = {} if requires is None else {"resources": dict(requires)}
            self._pools[key] = self._client.get_executor(pure=False, retries=0, **resources)
        future: Future[Any] = self._pools[key].submit(*call)
        return future

    def _gone(self, error: BaseException) -> WorkerError | None:
        if isinstance(error, CancelledError) and self._client.status != "running":
            return WorkerError(
                f"the Dask scheduler at {self.address} is gone",
                hint="the same command goes on when it is there again",
            )
        return None

    def _is_loss(self, error: BaseException) -> bool:
        killed = importlib.import_module("distributed.scheduler").KilledWorker
        return super()._is_loss(error) or isinstance(error, killed)


class CommandExecutor(DaskExecutor):
    """Workers that a command starts somewhere, each for one slot.

    The template is a command line with ``{command}`` where that of a worker belongs.
    It is not given to a shell, and must end when the worker ends. All workers must be
    able to read and write the folder, and reach this machine as `host`.
    """

    def __init__(
        self,
        template: str,
        slots: int,
        folder: Path,
        limits: UnitLimits | None = None,
        host: str = LOOPBACK,
    ) -> None:
        super().__init__(None, slots, folder, limits)
        self.template = template
        self.host = host
        self._words = shlex.split(template, posix=os.name != "nt")
        self._folder = folder
        self._keys = folder / "keys"
        self._commands: list[_Command] = []
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start the scheduler, then the commands."""
        _check_host(self.host)
        if shutil.which(self._words[0]) is None:
            raise UsageError(
                f"the command '{self._words[0]}' cannot be run",
                hint="is it installed here, and spelled right?",
            )
        require("dask", "work on other machines")
        distributed = _distributed()
        PoolExecutor.__enter__(self)
        security = distributed.Security.temporary()
        with contextlib.ExitStack() as stack:
            scheduler = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=0,
                    host=self.host,
                    protocol="tls://",
                    security=security,
                    dashboard_address=f"{LOOPBACK}:0",
                    scheduler_kwargs={"allowed_failures": 0},
                    silence_logs=logging.CRITICAL,
                )
            )
            self._client = stack.enter_context(distributed.Client(scheduler, set_as_default=False))
            self._cluster = self._client
            words = self._filled(
                _worker_command(scheduler.scheduler_address, self._save(security))
            )
            self._held = stack.pop_all()
        for number in range(self._slots):
            log = self._folder / f"worker-{number + 1}.log"
            self._commands.append(_Command(words, log, self))
        for command in self._commands:
            command.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End all workers, in the middle of their units if there is an error."""
        for command in self._commands:
            command.is_closing = True
            if error[0] is not None:
                command.kill()
        super().__exit__(*error)
        with contextlib.suppress(Exception):  # what has not ended by itself is killed
            self._held.close()
        self._wait(_END)
        for command in self._commands:
            command.kill()
        self._wait(GRACE + _END)
        shutil.rmtree(self._keys, ignore_errors=True)

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        for command in self._commands:
            command.join(max(0.0, end - time.monotonic()))

    def command_ended(self, code: int, log: Path) -> None:
        """Take note that a command has ended; end the run if they all do so at once."""
        text = tail_of(log)
        last = "".join(f": {line}" for line in text.splitlines()[-1:])
        self.count_failed_start(f"the last one {describe_exit(code)}{last}", text)

    @property
    def is_failed(self) -> bool:
        """Whether no command is run any more."""
        return self._failure is not None

    def waiting(self) -> str:
        """Return where workers are expected."""
        if self._workers():
            return ""
        host, _, port = self.address.rpartition("/")[2].rpartition(":")
        return f"no worker has come yet; they must be able to reach {host} port {port}"

    def _save(self, security: Any) -> dict[str, Path]:
        """Write the keys into files that only their owner can read."""
        self._keys.mkdir(parents=True, exist_ok=True)
        self._keys.chmod(0o700)
        contents = {
            "ca-file": security.tls_ca_file,
            "cert": security.tls_worker_cert,
            "key": security.tls_worker_key,
        }
        for name, content in contents.items():
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            with open(os.open(self._keys / name, flags, 0o600), "w") as file:
                file.write(content)
        return {name: self._keys / name for name in contents}

    def _filled(self, command: list[str]) -> list[str]:
        """Return the command line with that of a worker in its place."""
        words: list[str] = []
        for word in self._words:
            # Alone it becomes several words; within one it is quoted, for a shell.
            if word == "{command}":
                words += command
            else:
                words.append(word.replace("{command}", shlex.join(command)))
        return words


def _worker_command(address: str, keys: Mapping[str, Path]) -> list[str]:
    """Return the command line of a worker of one thread, which is started anew if it dies."""
    words = [sys.executable, "-m", "distributed.cli.dask_worker", address]
    for name, path in keys.items():
        words += [f"--tls-{name}", str(path)]
    words += ["--nthreads", "1", "--nworkers", "1", "--memory-limit", "0"]
    words += ["--death-timeout", "60", "--dashboard-address", f"{LOOPBACK}:0"]
    host = address.rpartition("/")[2].rpartition(":")[0]
    return [*words, "--host", host] if is_loopback(host) else words


class _Command(threading.Thread):
    """A command that is run again when it ends, until it is asked to end."""

    def __init__(self, words: list[str], log: Path, owner: CommandExecutor) -> None:
        super().__init__(name="cytovox-command", daemon=True)
        self.is_closing = False
        self._words = words
        self._log = log
        self._owner = owner
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        note_child(self)

    def run(self) -> None:
        """Run the command."""
        while (process := self._launched()) is not None:
            code = process.wait()
            if process.stdin is not None:
                process.stdin.close()
            if not self.is_closing:
                self._owner.command_ended(code, self._log)

    def _launched(self) -> subprocess.Popen[bytes] | None:
        with self._lock, open(self._log, "ab") as log:
            if self.is_closing or self._owner.is_failed:
                return None
            self._process = subprocess.Popen(
                ending_with_stdin(self._words),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for this process alone
            )
            return self._process

    def kill(self) -> None:
        """End it, with all that it has started."""
        self.is_closing = True
        with self._lock:
            process = self._process
            if process is None or process.poll() is not None:
                return
            if process.stdin is not None:
                process.stdin.close()  # what stands in between ends the command
            if os.name == "nt":
                process.kill()


def _distributed() -> Any:
    require("dask", "work on other machines", "distributed")
    return importlib.import_module("distributed")


def _client(address: str) -> Any:
    distributed = _distributed()
    try:
        return distributed.Client(address, set_as_default=False, timeout=10)
    except (OSError, TimeoutError, ValueError) as err:
        raise UsageError(
            f"no Dask scheduler answers at {address}: {err}",
            hint="is it running, and is the address right?",
        ) from err


def _check_host(host: str) -> None:
    """Refuse a name or address that this machine does not have."""
    try:
        socket.create_server((host, 0)).close()
    except OSError as err:
        raise UsageError(
            f"cannot listen on '{host}': {err.strerror or err}",
            hint="give a name or address that this machine has",
        ) from err


def is_loopback(host: str) -> bool:
    """Return whether a name or address means this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_placement(workers: int | None, cluster: Any, limits: UnitLimits) -> None:
    """Refuse what says no place for workers, or limits that nobody could enforce there."""
    if workers is not None and (not isinstance(workers, int) or workers < 0):
        raise UsageError(f"there cannot be {workers!r} workers", hint="give 0, 1, 2, ...")
    if limits.seconds is not None and limits.seconds <= 0:
        raise UsageError(f"nothing can be done in {limits.seconds} s", hint="give more, or None")
    if workers == 0:
        for limit, what in (
            (limits.seconds, "stopped"),
            (limits.memory, "kept from using more memory"),
        ):
            if limit is not None:
                raise UsageError(
                    f"work in this process cannot be {what}",
                    hint="leave the limit out, or let a worker do it: workers=1",
                )
    if cluster is None or isinstance(cluster, Executor) or hasattr(cluster, "get_executor"):
        return
    if not isinstance(cluster, str):
        raise UsageError(
            f"a {type(cluster).__name__} is not a cluster",
            hint="give an address, a distributed.Client, an executor or a command",
        )
    if not cluster.startswith("dask:") and "{command}" not in cluster:
        raise UsageError(
            f"'{cluster}' is not a cluster",
            hint='write "dask:tcp://HOST:8786", or a command like "srun -n1 {command}"',
        )


def find_executor(
    workers: int | None,
    cluster: Any,
    host: str | None,
    folder: Path,
    *,
    limits: UnitLimits | None = None,
    threads: bool = False,
) -> UnitExecutor:
    """Return who does units.

    Of workers, 0 means this process, and None one a core, or all that a cluster has.
    The cluster is None for this machine; ``"dask:tcp://host:8786"`` or a
    `distributed.Client`; a `concurrent.futures.Executor`; or a command line with
    ``{command}`` in it, whose workers reach this process as `host`, or only on this
    machine. What workers print and leave goes into the folder, which all machines must
    share. Without limits, `threads` of this process may do.
    """
    limits = limits or UnitLimits()
    check_placement(workers, cluster, limits)
    if workers == 0:
        return Serial()
    if cluster is None:
        slots = workers or cpu_count()
        if threads and not limits:
            return Threads(slots)
        folder.mkdir(parents=True, exist_ok=True)
        return TeamExecutor(slots, limits, folder)
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(cluster, Executor):
        return PoolExecutor(cluster, workers or cpu_count(), folder, limits)
    if not isinstance(cluster, str) or cluster.startswith("dask:"):
        address = cluster.removeprefix("dask:") if isinstance(cluster, str) else cluster
        return DaskExecutor(address, workers, folder, limits)
    return CommandExecutor(cluster, workers or 1, folder, limits, host or LOOPBACK)
