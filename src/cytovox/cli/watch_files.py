"""What a watch writes beside the results: the list of broken recordings, and a report a day."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import escaped
from .arrivals import Stamp
from .one_recording import Outcome
from .outcomes import table_of

__all__ = ["BrokenList", "DailyReport"]


def _lines_of(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects in a file with one a line; a line that a kill has cut is none."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


class BrokenList:
    """Recordings that are damaged, each as it was when that was found: a line of JSON for each.

    A line that cannot be read, or is removed, costs one attempt.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path
        self._folder = folder
        self._known = {line["path"]: line for line in _lines_of(path) if "path" in line}

    def reason(self, path: Path, stamp: Stamp) -> str | None:
        """Return why a recording need not be tried, or None if it is to be."""
        line = self._known.get(self._name(path))
        if line is None or [line.get("size"), line.get("mtime_ns")] != list(stamp):
            return None
        return str(line.get("error"))

    def add(self, path: Path, stamp: Stamp, error: str, now: datetime) -> None:
        """Put a recording on the list."""
        line = {"path": self._name(path), **stamp._asdict(), "error": error}
        self._known[line["path"]] = line | {"found": now.isoformat(timespec="seconds")}
        self._write()

    def keep(self, stamps: dict[Path, Stamp]) -> None:
        """Take those from the list that are gone or have changed."""
        there = {self._name(path): path for path in stamps}
        kept = {
            name: line
            for name, line in self._known.items()
            if name in there and self.reason(there[name], stamps[there[name]]) is not None
        }
        if len(kept) != len(self._known):
            self._known = kept
            self._write()

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()

    def _write(self) -> None:
        from ..run.folder_sync import replaced_file

        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replaced_file(self.path) as file:
            file.writelines(f"{json.dumps(line)}\n".encode() for line in self._known.values())


class DailyReport:
    """What was measured on each day: a line of JSON for each recording, and a table of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, outcome: Outcome, now: datetime, **more: Any) -> None:
        """Add what became of a recording to the report of a day."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"watch-{now.date().isoformat()}.jsonl"
        line = {"time": now.isoformat(timespec="seconds"), **asdict(outcome), **more}
        torn = path.is_file() and not path.read_bytes().endswith(b"\n")
        with path.open("a", encoding="utf-8", newline="\n") as file:
            file.write("\n" * torn + json.dumps(line, default=str) + "\n")
        self._tabulate(path)

    def _tabulate(self, path: Path) -> None:
        """Write the table of a day anew."""
        from ..run.folder_sync import replaced_file

        names = {one.name for one in fields(Outcome)}
        lines = list(_lines_of(path))
        outcomes = [
            Outcome(**{name: value for name, value in line.items() if name in names})
            for line in lines
            if "input" in line
        ]
        moved = [
            f"{line['input']}: moved to {line['moved_to']}" for line in lines if "moved_to" in line
        ]
        text = "\n".join([table_of(outcomes), *map(escaped, moved), ""])
        with replaced_file(path.with_suffix(".txt")) as file:
            file.write(text.encode())
