"""How far the run over a volume is, and by which recipe: from the folder beside its output."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..run.journal import JournalContent, read_journal
from .recipe import side_folder
from .recipe_file import read_recipe

__all__ = ["describe_run", "journal_of", "recipe_in_words", "seam_lines"]

#: What is counted in a report about the seams, if there is any.
_SEAMS = {
    "cut": "end exactly at a seam: cut, or at rest there",
    "contested": "join labels that one block had separated",
    "exceeding": "reach beyond what a block saw: more context may help",
    "doubtful": "pairs of labels were close to the threshold",
    "dropped": "labels were dropped, for another block has the object",
}


def journal_of(output: str | os.PathLike[str]) -> JournalContent | None:
    """Return the journal of the run that makes or made an output; None if there is none."""
    path = side_folder(output) / "journal.jsonl"
    return read_journal(path) if path.is_file() else None


def describe_run(
    output: str | os.PathLike[str], journal: JournalContent | None
) -> dict[str, Any] | None:
    """Return what is known of the run of a journal, as plain values."""
    if journal is None:
        return None
    folder = side_folder(output)
    stages = {}
    for name, records in journal.stages.items():
        states = Counter(record.state for record in records.values())
        stages[name] = {
            **{state: states[state] for state in ("done", "failed", "started")},
            "attempts": sum(record.attempts for record in records.values()),
            "seconds": round(sum(record.seconds or 0 for record in records.values()), 3),
            "peak_bytes": max((r.peak_bytes or 0 for r in records.values()), default=0),
            "errors": {
                str(key): record.error
                for key, record in sorted(records.items(), key=lambda item: str(item[0]))
                if record.state == "failed"
            },
        }
    try:
        recipe = read_recipe(folder)
    except (OSError, ValueError, LookupError, TypeError):
        recipe = None
    finished = [note for note in journal.notes if note.get("event") == "finished"]
    return {
        "folder": str(folder),
        "runs": journal.runs,
        "finished": bool(finished),
        "objects": finished[-1].get("objects") if finished else None,
        "stages": stages,
        "recipe": recipe,
        "seams": _seams(folder / "lookup.json"),
    }


def _seams(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes()).get("seams")
    except (OSError, ValueError, AttributeError):
        return None


def recipe_in_words(recipe: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return rows of a word and a text, which is empty if there is nothing to say."""
    words = " ".join(f"{key}={value}" for key, value in recipe["parameters"].items())
    block, context = (" x ".join(map(str, recipe[name])) for name in ("block", "context"))
    return [
        ("input", recipe["input"]),
        ("function", f"{recipe['function']} {words}".rstrip()),
        ("blocks", f"{block} with a context of {context}"),
        ("stitch", _stitch_in_words(recipe["stitch"])),
        ("gate", recipe["gate"]),
        ("table", recipe["table"]),
    ]


def _stitch_in_words(how: Mapping[str, Any]) -> str:
    mode = str(how["mode"])
    if mode == "touch" and how["connectivity"]:
        return f"{mode}, connectivity {how['connectivity']}"
    if mode in ("none", "touch"):
        return mode
    rule = how["rule"] if mode == "overlap" else "agreement"
    return f"{mode}, {rule} > {how['threshold']}, {how['min_voxels']} voxels at least"


def seam_lines(report: Mapping[str, Any]) -> list[str]:
    """Return the lines of a report about the seams, given as plain values."""
    lines = [
        f"{report['at_seam']} of {report['objects']} objects touch a seam, "
        f"{report['spanning']} are in several blocks",
        *(f"{report[name]} {text}" for name, text in _SEAMS.items() if report[name]),
    ]
    seam, inside = report["seam_median"], report["interior_median"]
    if seam is not None and inside is not None:
        lines.append(f"median size {seam:.0f} voxels at seams, {inside:.0f} inside of blocks")
    return lines
