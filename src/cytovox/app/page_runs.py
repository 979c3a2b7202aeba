"""Runs that the page has started: programs of their own, of which files tell.

Beside the results are notes: the command, how far it is, and what it has said.
So the server may end at any time: the run goes on, and the next server finds it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import StorageError, UsageError
from ..run.lock import is_being_made
from .command_words import in_words, program

__all__ = ["NOTES", "Runs"]

#: The folder of notes beside results.
NOTES = ".cytovox-page"
#: So much of what a run has said is shown [bytes].
_SAID = 4000


class Runs:
    """Starts runs, stops them, and tells how far they are."""

    def __init__(self) -> None:
        #: Those that this server has started.
        self._children: dict[Path, subprocess.Popen[bytes]] = {}

    def start(self, out: Path, words: Sequence[str], request: Mapping[str, Any]) -> None:
        """Start ``cytovox run`` with these words, whose results go to `out`.

        `request` is kept to start it again. Words are not: who brings a folder with
        notes must not choose the command.
        """
        if self.state(out)["is_running"]:
            raise UsageError("a run is going on there", path=out, hint="stop it, or wait")
        notes = out / NOTES
        started = datetime.now(UTC).isoformat(timespec="seconds")
        note = {"command": in_words(words), "started": started, "request": dict(request)}
        more = ["--progress", str(notes / "progress.json"), "--json"]
        try:
            notes.mkdir(parents=True, exist_ok=True)
            (notes / "progress.json").unlink(missing_ok=True)
            (notes / "command.json").write_text(json.dumps(note), "ascii")
            with (
                (notes / "report.json").open("wb") as report,
                (notes / "messages.txt").open("wb") as messages,
            ):
                child = subprocess.Popen(
                    program([*words, *more]),
                    stdin=subprocess.DEVNULL,
                    stdout=report,
                    stderr=messages,
                    **_apart(),
                )
        except OSError as err:
            raise StorageError(
                f"the run cannot be started: {err.strerror or err}",
                path=out,
                hint="choose another folder for the results",
            ) from err
        # Whoever waits for a child takes its exit code, and lets its number go.
        threading.Thread(target=child.wait, name="cytovox-run", daemon=True).start()
        self._children[out] = child

    def request(self, out: Path) -> dict[str, Any]:
        """Return what the last run of a folder was asked for, to be checked like all requests."""
        request = _read(out / NOTES / "command.json").get("request")
        if not isinstance(request, dict):
            raise UsageError("there is no run that could go on", path=out, hint="start one")
        return request

    def stop(self, out: Path) -> None:
        """Ask a run to end in order; the same command resumes it."""
        state = self.state(out)
        if not state["is_running"]:
            raise UsageError("no run is going on there", path=out, hint="reload the page")
        try:
            os.kill(state["pid"], getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM))
        except OSError as err:
            raise UsageError(
                f"the run cannot be stopped: {err.strerror}", path=out, hint="it may have ended"
            ) from err

    def state(self, out: Path) -> dict[str, Any]:
        """Return how far the last run of a folder is, from what is noted beside its results."""
        notes = out / NOTES
        note, progress = _read(notes / "command.json"), _read(notes / "progress.json")
        child = self._children.get(out)
        is_ours = child is not None and child.returncode is None
        pid, code = progress.get("pid"), progress.get("exit_code")
        if child is not None and pid != child.pid:  # it has written nothing yet, or never
            progress, pid, code = {}, child.pid, child.returncode
        is_running = is_ours or (code is None and is_being_made(notes / "progress.json"))
        return {
            "exists": bool(note),
            "started": str(note.get("started", "")),
            "command": str(note.get("command", "")),
            "is_running": is_running,
            "pid": pid,
            "exit_code": code,
            "files": progress.get("files", []),
            "stage": progress.get("stage", {}),
            "warnings": progress.get("warnings", []),
            "said": "" if is_running else _end_of(notes / "messages.txt"),
        }


def _apart() -> dict[str, Any]:
    """Return how a program is started that neither Ctrl-C nor the end of this one ends."""
    if os.name == "nt":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined,unused-ignore]
    return {"start_new_session": True}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _end_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _SAID))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
