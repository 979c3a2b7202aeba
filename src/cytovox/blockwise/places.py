"""Where workers are: here, in processes of this machine, on Dask, by a command.

A place starts workers and ends them, and knows how they ended; what they do is
the same everywhere. A worker is a process that runs this package's
``cytovox.blockwise.workers`` and calls the desk of the run.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ..errors import UsageError
from ..run.children import (
    SINGLE_THREAD_VARIABLES,
    describe_exit,
    note_child,
    single_threaded_start,
)
from ..run.parent_watch import ending_with_stdin
from ..run.resources import cpu_count
from .desk import LOOPBACK, is_loopback

__all__ = [
    "KEY_VARIABLE",
    "CommandPlace",
    "DaskPlace",
    "Handle",
    "Here",
    "LocalPlace",
    "Place",
    "find_place",
    "worker_command",
]

#: Environment variable with the key of the run.
KEY_VARIABLE = "CYTOVOX_WORKER_KEY"

_MODULE = "cytovox.blockwise.workers"
#: Seconds in which Dask must tell how a worker has ended.
_ANSWER = 2.0


class Handle(Protocol):
    """A worker that was started, whether or not it has called yet."""

    def wait(self, seconds: float | None = None) -> str | None:
        """Wait for its end and return how it ended, None if it has not.

        Parameters
        ----------
        seconds
            How long at most; without a limit if None.
        """

    def kill(self) -> None:
        """Make it end at once."""


class Place(Protocol):
    """Where workers can be started."""

    workers: int
    host: str

    def start(self, call: list[str], key: str, log: Path) -> Handle:
        """Start a worker that calls the desk.

        Parameters
        ----------
        call
            Arguments that say where the desk is.
        key
            Key of the run; not for the command line, which others can read.
        log
            File for what the worker prints, where the place can write it.
        """

    def lost(self) -> str:
        """Return why no worker can come from here any more; empty if some can."""

    def close(self) -> None:
        """Give back what the place itself holds."""


def worker_command(call: list[str], python: str | None = None) -> list[str]:
    """Return the command that runs a worker.

    Parameters
    ----------
    call
        Arguments that say where the run listens.
    python
        Interpreter; this one if None.
    """
    return [python or sys.executable, "-m", _MODULE, *call]


class _Lasting(Place):
    """A place that holds nothing, and from which a worker may always come.

    That goes for a command, too: a queue may let workers wait for days.
    """

    def lost(self) -> str:
        """Return nothing."""
        return ""

    def close(self) -> None:
        """Do nothing."""


class Here(_Lasting):
    """No other process at all: blocks are done where they are asked for."""

    workers = 0
    host = LOOPBACK

    def start(self, call: list[str], key: str, log: Path) -> Handle:
        """Refuse: there is nothing to start."""
        raise UsageError("there are no workers beside this process")


class ProcessHandle:
    """A process of this machine."""

    def __init__(self, process: subprocess.Popen[bytes], group: bool = False) -> None:
        self.process = process
        self._group = group
        note_child(self)

    def wait(self, seconds: float | None = None) -> str | None:
        """Wait for its end and return how it ended."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        if self.process.stdin is not None:
            self.process.stdin.close()
        return describe_exit(code)

    def kill(self) -> None:
        """Kill it, with those that it has started if it leads a group."""
        if self._group and hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self.process.kill()


class LocalPlace(_Lasting):
    """Processes of this machine.

    Parameters
    ----------
    workers
        How many.
    environment
        Variables that they get beside those of this process.
    """

    def __init__(self, workers: int, environment: Mapping[str, str] | None = None) -> None:
        self.workers = workers
        self.host = LOOPBACK
        self.environment = dict(environment or {})

    def start(self, call: list[str], key: str, log: Path) -> Handle:
        """Start a process that ends with this one: it holds a pipe of ours."""
        with single_threaded_start(), open(log, "ab") as output:
            process = subprocess.Popen(
                worker_command([*call, "--lifeline"]),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment, KEY_VARIABLE: key},
            )
        return ProcessHandle(process)


class CommandPlace(_Lasting):
    """Processes that a command starts somewhere, such as ``srun -n1 {command}``.

    Parameters
    ----------
    template
        Command line with ``{command}`` where that of the worker belongs. It is
        not given to a shell. It must end when the worker ends.
    workers
        How many.
    host
        Name under which the workers reach this process.
    """

    def __init__(self, template: str, workers: int, host: str = LOOPBACK) -> None:
        words = shlex.split(template, posix=os.name != "nt")
        if not any("{command}" in word for word in words):
            raise UsageError(
                f"the command '{template}' has no place for the worker's",
                hint='write {command} where it belongs, as in "srun -n1 {command}"',
            )
        self.template = template
        self.workers = workers
        self.host = host
        self._words = words

    def start(self, call: list[str], key: str, log: Path) -> Handle:
        """Run the command; the key lies in a file that only its owner can read."""
        key_file = log.parent / "key"
        if not key_file.exists():
            with open(os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(key)
        command = worker_command([*call, "--key-file", str(key_file)])
        words: list[str] = []
        for word in self._words:
            # Alone it becomes several words; within one it is quoted, for a shell.
            words += command if word == "{command}" else [_filled(word, command)]
        if shutil.which(words[0]) is None:
            raise UsageError(
                f"the command '{words[0]}' cannot be run",
                hint="is it installed here, and spelled right?",
            )
        with open(log, "ab") as output:
            try:
                process = subprocess.Popen(
                    ending_with_stdin(words),
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is for this process alone
                )
            except OSError as err:
                raise UsageError(
                    f"the command '{words[0]}' cannot be run: {err.strerror}",
                    hint="is it installed here, and spelled right?",
                ) from err
        return ProcessHandle(process, group=True)


def _filled(word: str, command: list[str]) -> str:
    return word.replace("{command}", shlex.join(command))


class DaskPlace(Place):
    """Workers that live as tasks on a Dask cluster.

    Each task runs a process of its own beside the Dask worker, so a block that
    hangs or crashes never takes a Dask worker with it. If a Dask worker dies,
    Dask itself starts the task elsewhere.

    Parameters
    ----------
    cluster
        Address of the scheduler, or a `distributed.Client`.
    workers
        How many; as many as the cluster has threads if None.
    host
        Name under which the cluster reaches this process; needed if the
        cluster is not on this machine.
    """

    def __init__(self, cluster: Any, workers: int | None = None, host: str | None = None) -> None:
        self._own = isinstance(cluster, str)
        self._client: Any = _dask_client(cluster) if self._own else cluster
        self._address = self._client.scheduler.address
        found = self._client.scheduler_info(n_workers=-1).get("workers", {})
        self.workers = workers or sum(w.get("nthreads", 1) for w in found.values()) or 1
        self.host = host or LOOPBACK
        hosts = {_host_of(address) for address in (self._address, *found)}
        elsewhere = sorted(name for name in hosts if not is_loopback(name))
        if host is None and elsewhere:
            self.close()
            raise UsageError(
                f"the cluster is not on this machine alone ({', '.join(elsewhere[:3])}), "
                "and its workers must reach this process",
                hint="say under which name or address they can, with host=",
            )

    @property
    def address(self) -> str:
        """Address of the scheduler."""
        return str(self._address)

    def start(self, call: list[str], key: str, log: Path) -> Handle:
        """Submit a task that runs a worker."""
        future = self._client.submit(
            _run_beside, call, key, pure=False, retries=1000, key=f"cytovox-{log.stem}-{key[:12]}"
        )
        return _DaskHandle(future)

    def lost(self) -> str:
        """Return why: once the client has given up its scheduler, its tasks never end."""
        if self._client.status in ("closing", "closed"):
            return f"the Dask scheduler at {self._address} is gone"
        return ""

    def close(self) -> None:
        """Leave the cluster, if it was joined here."""
        if self._own and self._client is not None:
            self._client.close()


def _dask_client(address: str) -> Any:
    try:
        import distributed
    except ImportError as err:
        raise UsageError("Dask is not installed", hint="pip install cytovox[dask]") from err
    try:
        return distributed.Client(address, set_as_default=False, timeout=10)
    except (OSError, TimeoutError, ValueError) as err:
        raise UsageError(
            f"no Dask scheduler answers at {address}: {err}",
            hint="is it running, and is the address right?",
        ) from err


class _DaskHandle:
    def __init__(self, future: Any) -> None:
        self._future = future
        self._ended = threading.Event()
        future.add_done_callback(self._end)

    def _end(self, future: Any) -> None:
        self._ended.set()

    def wait(self, seconds: float | None = None) -> str | None:
        if not self._ended.wait(seconds):
            return None
        try:
            # It is kept by a Dask worker, which may be gone; only words hang on it.
            return str(self._future.result(_ANSWER))
        except TimeoutError:
            return "has ended, but Dask does not tell how"
        except Exception as err:
            # It may be cancelled at any moment, even while it is asked how it ended.
            if self._future.cancelled():
                return "was cancelled"
            return f"could not be run by Dask: {err!r}"

    def kill(self) -> None:
        # The line to its desk is cut beforehand, which ends the process.
        with contextlib.suppress(Exception):
            self._future.cancel(force=True)
        self._ended.set()


def _host_of(address: str) -> str:
    return address.partition("://")[2].rpartition(":")[0] or "localhost"


def find_place(
    workers: int | None = None, cluster: Any = None, host: str | None = None
) -> LocalPlace | CommandPlace | DaskPlace | Here:
    """Return where workers shall be.

    Parameters
    ----------
    workers
        How many; 0 for none beside this process; None for one a core, or for
        all that a cluster has.
    cluster
        None for processes of this machine; ``"dask:tcp://host:8786"`` or a
        `distributed.Client`; or a command line with ``{command}`` in it.
    host
        Name or address under which workers elsewhere reach this process. Only
        this machine can if None.

    Raises
    ------
    UsageError
        If there is no such place.

    Examples
    --------
    >>> find_place(3).workers, find_place(0).workers
    (3, 0)
    >>> find_place(2, "srun -n1 {command}").template
    'srun -n1 {command}'
    """
    if workers is not None and (not isinstance(workers, int) or workers < 0):
        raise UsageError(f"there cannot be {workers!r} workers", hint="give 0, 1, 2, ...")
    if workers == 0:
        return Here()
    if cluster is None:
        return LocalPlace(workers or cpu_count())
    if not isinstance(cluster, str):
        if not hasattr(cluster, "submit") or not hasattr(cluster, "scheduler_info"):
            raise UsageError(
                f"a cluster is not told by a {type(cluster).__name__}",
                hint="give an address, a distributed.Client or a command",
            )
        return DaskPlace(cluster, workers, host)
    if cluster.startswith("dask:"):
        return DaskPlace(cluster.removeprefix("dask:"), workers, host)
    if "{command}" in cluster:
        return CommandPlace(cluster, workers or 1, host or LOOPBACK)
    raise UsageError(
        f"'{cluster}' is not a place for workers",
        hint='write "dask:tcp://HOST:8786", or a command like "srun -n1 {command}"',
    )


def _run_beside(call: list[str], key: str) -> str:
    """Run a worker as a process beside this one; return how it ended.

    What a Dask worker runs: if it dies, its pipe breaks, and the worker ends.
    """
    environment = {**os.environ, KEY_VARIABLE: key}
    environment |= dict.fromkeys(SINGLE_THREAD_VARIABLES, "1")
    process = subprocess.Popen(
        worker_command([*call, "--lifeline"]), stdin=subprocess.PIPE, env=environment
    )
    try:
        return describe_exit(process.wait())
    finally:
        process.kill()
