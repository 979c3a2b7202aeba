"""The screen Results: what is in results, whether they are whole, reports of them."""

from __future__ import annotations

import contextlib
import json
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ..errors import CytovoxError, InputError, UsageError
from ..logic.fates import KEPT, analyse
from ..logic.frame_source import FrameSource
from ..logic.origin import frames_of_events
from ..logic.recipes import job_of_result, recipe_of_result
from ..logic.record import read_record, recorded_objects
from ..read import HDF5Data
from .body import Body
from .command_words import call, in_words, quoted
from .folder import Folder

__all__ = ["Results"]

#: More results of a folder than these are not shown.
_MOST = 1000
#: Frames in which a lost object is looked for, and how many at once.
_LOOKED_AT, _BATCH = 1000, 50
#: Programs that show a folder; on Linux another one.
_OPENERS = {"darwin": "open", "win32": "explorer"}


class Results:
    """Answers what the screen asks."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        #: Reports that were made, by the random part of their address.
        self.reports: dict[str, Path] = {}

    def list(self, body: Body) -> dict[str, Any]:
        """Return the results of a folder, with the numbers that they hold."""
        place = self._folder.place(body.text("folder"))
        try:
            names = sorted(p for p in place.iterdir() if p.name.lower().endswith("_dcn.rtdc"))
        except OSError as err:
            raise InputError(f"the folder cannot be read: {err.strerror}", path=place) from err
        return {
            "results": [self._described(path) for path in names[:_MOST] if path.is_file()],
            "hidden": max(len(names) - _MOST, 0),
            "report": in_words(_report_of(place)),
            "verify": in_words(["verify", str(place)]),
            "open": quoted([_OPENERS.get(sys.platform, "xdg-open"), str(place)]),
        }

    def verify(self, body: Body) -> dict[str, Any]:
        """Check a result, or all of a folder, in a program of its own, which may crash."""
        place = self._folder.place(body.text("name"))
        code, out, said = call(["verify", str(place), "--json"])
        try:
            files = json.loads(out)["files"]
        except (ValueError, LookupError, TypeError):
            raise UsageError(said or f"the check ended with code {code}") from None
        return {"exit_code": code, "files": files}

    def report(self, body: Body) -> dict[str, Any]:
        """Make the report of a result or folder, beside it; return where it is opened."""
        place = self._folder.place(body.text("name"))
        words = _report_of(place)
        target = Path(words[3]) / "report.html"
        code, _, said = call([*words, "--quiet"])
        if not target.is_file():
            raise UsageError(said or f"the report ended with code {code}")
        key = secrets.token_urlsafe(9)
        self.reports[key] = target
        return {"address": f"/report/{key}", "file": self._folder.name(target)}

    def explain(self, body: Body) -> dict[str, Any]:
        """Return a frame that is worth a look, and the command that explains it."""
        path = self._folder.file(body.text("name"))
        frame = _frame_to_explain(path, self._folder)
        return {"frame": frame, "command": in_words(["explain", str(path), "--frame", str(frame)])}

    def open(self, body: Body) -> dict[str, Any]:
        """Show a folder in the file manager of this machine."""
        place = self._folder.place(body.text("folder"))
        if not place.is_dir() or click.launch(str(place)):
            raise UsageError("no program opens the folder here", path=place)
        return {"opened": self._folder.name(place)}

    def _described(self, path: Path) -> dict[str, Any]:
        """Return what a result holds, or why it cannot be read."""
        name = self._folder.name(path)
        plain: dict[str, Any] = {"name": name, "bytes": None}
        try:
            plain["bytes"] = path.stat().st_size
            with HDF5Data(path) as data:
                record = read_record(data)
                plain["events"] = len(data)
        except (CytovoxError, OSError, ValueError, LookupError, RuntimeError, TypeError) as error:
            return plain | {"error": str(error)}
        source = record.get("read")
        frames = source.get("frames") if isinstance(source, dict) else None
        return plain | {
            "objects": recorded_objects(record, plain["events"]),
            "frames": frames if type(frames) is int else None,
            "recording": _recording_of(record, self._folder),
            "settings": _settings_of(path),
            "commands": {
                "verify": in_words(["verify", str(path)]),
                "report": in_words(_report_of(path)),
            },
        }


def _recording_of(record: Mapping[str, Any], folder: Folder) -> str | None:
    """Return the name of the recording that a result was made of, if the page may see it."""
    try:
        return folder.name(folder.file(str(record["read"]["files"][0]["path"])))
    except (CytovoxError, OSError, LookupError, TypeError):
        return None


def _frame_to_explain(path: Path, folder: Folder) -> int:
    """Return the first frame in which an object was lost, or else the first with an event."""
    with HDF5Data(path) as data:
        record = read_record(data)
        recording = _recording_of(record, folder)
        objects = recorded_objects(record, len(data))
        frame = None
        if recording is not None and objects is not None and objects["found"] > len(data):
            with (
                contextlib.suppress(CytovoxError),  # such as of a recording that was replaced
                FrameSource(job_of_result(data, folder.file(recording))) as source,
            ):
                frame = _first_with_a_loss(source)
        if frame is None and len(data):
            with contextlib.suppress(CytovoxError):
                frame = int(frames_of_events(data)[0])
        return frame or 0


def _first_with_a_loss(source: FrameSource) -> int | None:
    """Return the first frame in which an object was lost, but for frames that repeat others."""
    chosen = source.chosen()[:_LOOKED_AT]
    for start in range(0, len(chosen), _BATCH):
        frames = source.read(chosen[start : start + _BATCH])
        objects = analyse(frames, source.job, source.data).objects
        lost = objects.frame[(objects.cause != KEPT) & ~frames.duplicate[objects.frame]]
        if lost.size:
            return int(frames.numbers[lost.min()])
    return None


def _settings_of(path: Path) -> dict[str, Any] | None:
    """Return the settings by which a result was made, as the page sends them; None if unknown."""
    try:
        recipe = recipe_of_result(path)
    except (CytovoxError, OSError, ValueError, LookupError, RuntimeError, TypeError):
        return None
    options = {
        f"{stage}.{key}": str(value).lower() if isinstance(value, bool) else str(value)
        for stage, given in recipe.options.items()
        for key, value in given.items()
        if key != "index_mapping" and value is not None
    }
    return {"codes": dict(recipe.codes), "options": options}


def _report_of(place: Path) -> list[str]:
    """Return the command that makes a report in a folder of its own, or makes it anew."""
    folder = place / "report" if place.is_dir() else place.with_name(f"report-{place.stem}")
    return ["report", str(place), "-o", str(folder), "--force"]
