"""What became of all recordings of a command: exit code, table, and counts in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import escaped
from .console import FINDINGS, counted, exit_code_of_all, in_columns, show

if TYPE_CHECKING:
    from .one_recording import Outcome
    from .run_options import Work

__all__ = ["exit_code_of_batch", "objects_in_words", "show_outcomes", "table_of"]


def exit_code_of_batch(outcomes: Sequence[Outcome]) -> int:
    """Return the exit code of a whole batch, in which what was left out does not count."""
    tried = [outcome for outcome in outcomes if outcome.state != "left out"]
    return exit_code_of_all([one.exit_code or FINDINGS * bool(one.findings) for one in tried])


def show_outcomes(outcomes: Sequence[Outcome], work: Work) -> int:
    """Show what became of all recordings of a command; return its exit code."""
    code = exit_code_of_batch(outcomes)
    if work.findings_ok and code == FINDINGS:
        code = 0
    results = [asdict(outcome) for outcome in outcomes]
    plain = {"cytovox": __version__, "exit_code": code, "results": results}
    show(plain, "" if work.quiet else table_of(outcomes), as_json=work.as_json)
    return code


def table_of(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as aligned text, with a count of states below.

    What was lost has a column for each cause that occurs.
    """
    measured = [one.objects for one in outcomes if one.objects is not None]
    causes = [cause for cause in _causes(measured) if any(one["lost"][cause] for one in measured)]
    rows = [["file", "frames", "found", "events", *causes, "seconds", "state"]]
    several = len({one.recipe for one in outcomes if one.recipe is not None}) > 1
    for one in outcomes:
        seconds = "-" if one.seconds is None else f"{one.seconds:.1f}"
        objects = one.objects or {"found": None, "lost": dict.fromkeys(causes)}
        lost = [objects["lost"][cause] for cause in causes]
        numbers = [
            "-" if n is None else str(n) for n in (one.frames, objects["found"], one.events)
        ]
        numbers += ["-" if n is None else str(n) for n in lost]
        name = f"{one.input} ({one.recipe})" if several and one.recipe else one.input
        rows.append([name, *numbers, seconds, one.verdict])
    lines = in_columns(rows, right=range(1, len(rows[0]) - 1))
    counts = Counter(one.state for one in outcomes)
    named = {"waiting": "not begun"}
    states = ", ".join(f"{number} {named.get(state, state)}" for state, number in counts.items())
    lines.append(f"{counted(len(outcomes), 'file')}: {states}")
    if measured:
        lines.append(objects_in_words(measured))
    lines += [
        f"{escaped(one.input)}: {one.events or 'no'} events, likely because {one.likely_reason}"
        for one in outcomes
        if one.likely_reason is not None
    ]
    return "\n".join(lines)


def _causes(measured: Sequence[dict[str, Any]]) -> list[str]:
    return list(measured[0]["lost"]) if measured else []


def objects_in_words(objects: Sequence[dict[str, Any]]) -> str:
    """Say what became of the objects of all files."""
    found, kept = (sum(one[key] for one in objects) for key in ("found", "kept"))
    lost = sum((Counter(one["lost"]) for one in objects), Counter())
    causes = ", ".join(f"{cause} {number}" for cause, number in lost.items())
    line = f"{counted(found, 'object')} found: {kept} kept, {found - kept} lost"
    return f"{line} ({causes})" if causes else line
