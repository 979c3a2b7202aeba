"""The table in the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .matrix import Fault

__all__ = ["DATA", "ROOT", "table", "write_page"]

ROOT = Path(__file__).resolve().parents[3]
#: What was counted, row by row.
DATA = Path(__file__).resolve().parents[1] / "results.json"
PAGE = ROOT / "docs" / "explanation" / "reliability.md"
_BEGIN, _END = "<!-- begin matrix -->", "<!-- end matrix -->"


def write_page(known: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the table into the page, between its marks."""
    text = PAGE.read_text(encoding="utf-8")
    head, rest = text.split(_BEGIN)
    tail = rest.split(_END)[1]
    PAGE.write_text(f"{head}{_BEGIN}\n{table(known)}\n{_END}{tail}", encoding="utf-8")


def table(known: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table, what came of each fault, and the commands that counted them."""
    from .rows import FAULTS

    commands = list(dict.fromkeys(entry["command"] for entry in known.values()))
    lines = [
        "| # | fault | survived | longest | the peer, measured |",
        "|---|---|---|---|---|",
    ]
    for fault in FAULTS:
        survived, longest = _counts(fault, known.get(fault.key))
        cells = [str(fault.row), fault.name, survived, longest, fault.peer]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "### What was promised, and what came of it", ""]
    lines += [_paragraph(fault, known.get(fault.key), commands) for fault in FAULTS]
    lines.append("")
    for number, command in enumerate(commands, 1):
        entries = [entry for entry in known.values() if entry["command"] == command]
        seeds = ", ".join(sorted({str(entry["seed"]) for entry in entries}))
        minutes = sum(entry["wall"] for entry in entries) / 60
        lines.append(f"{number}. `{command}` (seed {seeds}, {minutes:.0f} minutes)")
    return "\n".join(lines)


def _counts(fault: Fault, entry: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return how many injections were survived, and how long the longest took."""
    if entry is None:
        return "not run", ""
    survived = f"{entry['injected'] - len(entry['failures'])} of {entry['injected']}"
    if entry["injected"] < fault.full:
        survived += f" (the full count is {fault.full})"
    return survived, f"{entry['longest']:.1f} s"


def _paragraph(fault: Fault, entry: Mapping[str, Any] | None, commands: list[str]) -> str:
    """Return what was promised of a fault, how its injections ended, and which run counted."""
    text = f"- **{fault.row}, {fault.name}.** "
    if fault.note:
        text += f"{fault.note}. "
    text += f"*Promised:* {fault.bound}."
    if entry is not None:
        ended = "; ".join(f"{what} ({count})" for what, count in sorted(entry["ended"].items()))
        text += f" *Ended with:* {ended}. Run {1 + commands.index(entry['command'])}."
    return text
