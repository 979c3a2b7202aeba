"""The table in the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    """Return the rows, and below them the commands that they were counted with."""
    from .rows import FAULTS

    commands = list(dict.fromkeys(entry["command"] for entry in known.values()))
    lines = [
        "| # | fault | injected | survived | ended with | longest | promised | the peer, measured "
        "| run |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for fault in FAULTS:
        entry = known.get(fault.key)
        if entry is None:
            cells = ["0", "not run", "", ""]
            number = ""
        else:
            survived = entry["injected"] - len(entry["failures"])
            how = ", ".join(f"{what} ({count})" for what, count in sorted(entry["ended"].items()))
            injected = str(entry["injected"])
            if entry["injected"] < fault.full:
                injected += f" of {fault.full}"
            cells = [injected, str(survived), how, f"{entry['longest']:.1f} s"]
            number = str(1 + commands.index(entry["command"]))
        name = f"{fault.name}. {fault.note}" if fault.note else fault.name
        lines.append(
            "| "
            + " | ".join([str(fault.row), name, *cells, fault.bound, fault.peer, number])
            + " |"
        )
    lines.append("")
    for number, command in enumerate(commands, 1):
        entries = [entry for entry in known.values() if entry["command"] == command]
        seeds = ", ".join(sorted({str(entry["seed"]) for entry in entries}))
        minutes = sum(entry["wall"] for entry in entries) / 60
        lines.append(f"{number}. `{command}` (seed {seeds}, {minutes:.0f} minutes)")
    return "\n".join(lines)
