"""The screen Results: what is in results, whether they are whole, reports of them."""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import Any

import typer

from ..errors import CytovoxError, InputError, UsageError
from ..logic.recipes import recipe_of_result
from ..logic.record import read_record
from ..read import HDF5Data
from .body import Body
from .command_words import call, in_words, quoted
from .folder import Folder

__all__ = ["Results"]

#: More results of a folder than these are not shown.
_MOST = 1000
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
        code, _, said = call(words)
        if not target.is_file():
            raise UsageError(said or f"the report ended with code {code}")
        key = secrets.token_urlsafe(9)
        self.reports[key] = target
        return {"address": f"/report/{key}", "file": self._folder.name(target)}

    def open(self, body: Body) -> dict[str, Any]:
        """Show a folder in the file manager of this machine."""
        place = self._folder.place(body.text("folder"))
        if not place.is_dir() or typer.launch(str(place)):
            raise UsageError("no program opens the folder here", path=place)
        return {"opened": self._folder.name(place)}

    def _described(self, path: Path) -> dict[str, Any]:
        """Return what a result holds, or why it cannot be read."""
        name = self._folder.name(path)
        plain: dict[str, Any] = {"name": name, "bytes": path.stat().st_size}
        try:
            with HDF5Data(path) as data:
                record = read_record(data)
                plain["events"] = len(data)
        except (CytovoxError, OSError, ValueError, LookupError, RuntimeError, TypeError) as error:
            return plain | {"error": str(error)}
        objects, source = record.get("objects"), record.get("read")
        return plain | {
            "objects": objects if isinstance(objects, dict) else None,
            "frames": source.get("frames") if isinstance(source, dict) else None,
            "recording": self._recording_of(source),
            "settings": _settings_of(path),
            "commands": {
                "verify": in_words(["verify", str(path)]),
                "report": in_words(_report_of(path)),
                "explain": in_words(["explain", str(path), "--frame", "0"]),
            },
        }

    def _recording_of(self, source: Any) -> str | None:
        """Return the name of the recording that a result was made of, if the page may see it."""
        try:
            return self._folder.name(self._folder.file(str(source["files"][0]["path"])))
        except (CytovoxError, LookupError, TypeError, ValueError):
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
