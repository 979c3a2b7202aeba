"""A program under comparison: run apart, timed, tried twice, its results kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .worker import MARK

WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one job.

    Parameters
    ----------
    path
        Where the output is, if there is one.
    seconds
        How long it took.
    error
        Traceback, or a sentence; None if all went well.
    """

    path: Path
    seconds: float = 0.0
    error: str | None = None


def encode(value: Any) -> Any:
    """Turn slices into ``{"slice": [a, b, c]}``, everywhere in `value`."""
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop, value.step]}
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    return value


class Program:
    """Jobs of one program, one after the other in one process.

    A job that exceeds the time limit, or takes the process down with it, is
    tried once more in a fresh process. With `keep`, outputs stay in the folder
    under the hash of their job, and a later session over it runs them no more.

    Parameters
    ----------
    name
        Package with a module ``logic``.
    folder
        Where outputs go.
    time_limit
        Seconds that one job may take.
    keep
        Whether outputs from an earlier session may be used.
    """

    def __init__(
        self, name: str, folder: Path, *, time_limit: float = 120.0, keep: bool = False
    ) -> None:
        self.name = name
        self.folder = folder
        self.time_limit = time_limit
        self.keep = keep
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()

    def __enter__(self) -> Program:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, path_in: Path, settings: dict[str, Any]) -> Result:
        """Run one job, or return what is kept of it."""
        stem = self._key(path_in, settings)
        path_out = self.folder / f"{stem}.rtdc"
        done = self.folder / f"{stem}.json"
        if self.keep and done.exists():
            return Result(path_out, json.loads(done.read_text(encoding="utf-8"))["seconds"])
        result = Result(path_out, error="not run")
        for _ in range(2):
            for leftover in self.folder.glob(f"{stem}*"):
                leftover.unlink()
            answer = self._ask(path_in, path_out, settings)
            if answer is not None:
                result = Result(path_out, answer["seconds"], answer["error"])
                break
            result = Result(path_out, error=f"{self.name} hung or died, twice")
        if result.error is None:
            done.write_text(json.dumps({"seconds": result.seconds}), encoding="utf-8")
        return result

    def stop(self) -> None:
        """End the process and whatever it started."""
        process, self._process = self._process, None
        if process is None:
            return
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait(30)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _key(self, path_in: Path, settings: dict[str, Any]) -> str:
        digest = hashlib.sha256(str(path_in).encode())
        digest.update(path_in.read_bytes())
        digest.update(json.dumps(encode(settings), sort_keys=True).encode())
        return digest.hexdigest()[:20]

    def _ask(
        self, path_in: Path, path_out: Path, settings: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Return the worker's answer, or None if it gave none in time."""
        process = self._start()
        task = {"path_in": str(path_in), "path_out": str(path_out), "settings": encode(settings)}
        assert process.stdin is not None
        process.stdin.write(json.dumps(task) + "\n")
        process.stdin.flush()
        with contextlib.suppress(queue.Empty):
            line = self._lines.get(timeout=self.time_limit)
            if line is not None:
                answer: dict[str, Any] = json.loads(line)
                return answer
        self.stop()
        return None

    def _start(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._lines = queue.Queue()
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", str(WORKER), self.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
                start_new_session=True,
            )
            threading.Thread(target=_read, args=(self._process, self._lines), daemon=True).start()
        return self._process


def _read(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    """Pass the worker's answers on; None when there will be no more."""
    assert process.stdout is not None
    with contextlib.suppress(ValueError):  # the stream was closed
        for line in process.stdout:
            if line.startswith(MARK):
                lines.put(line[len(MARK) :])
    lines.put(None)
