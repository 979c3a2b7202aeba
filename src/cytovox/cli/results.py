"""The end of a batch: a table for people, or one JSON object for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .. import __version__
from ..errors import escaped
from .console import in_columns, print_json, print_text
from .one_recording import Outcome
from .one_recording import as_json as plain

__all__ = ["show_results", "table_of"]


def show_results(outcomes: Sequence[Outcome], code: int, *, as_json: bool, quiet: bool) -> None:
    """Print what became of each input.

    Parameters
    ----------
    outcomes
        One per input.
    code
        Exit code of the program.
    as_json
        Whether to print JSON instead of the table.
    quiet
        Whether to leave the table out.
    """
    if as_json:
        results = [plain(outcome) for outcome in outcomes]
        print_json({"cytovox": __version__, "exit_code": code, "results": results})
    elif not quiet:
        print_text(table_of(outcomes))


def table_of(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as aligned text, with a count of states below.

    Examples
    --------
    >>> print(table_of([Outcome("a.rtdc", state="done", frames=40, events=12, seconds=0.5)]))
    file    frames  found  events  seconds  state
    a.rtdc      40      -      12      0.5  done
    1 file: 1 done
    """
    rows = [("file", "frames", "found", "events", "seconds", "state")]
    for one in outcomes:
        seconds = "-" if one.seconds is None else f"{one.seconds:.1f}"
        found = None if one.objects is None else one.objects["found"]
        numbers = (_number(one.frames), _number(found), _number(one.events), seconds)
        rows.append((escaped(one.input), *numbers, escaped(one.verdict)))
    lines = in_columns(rows, right=(1, 2, 3, 4))
    counts = Counter(one.state for one in outcomes)
    named = {"waiting": "not begun"}
    states = ", ".join(f"{number} {named.get(state, state)}" for state, number in counts.items())
    files = "1 file" if len(outcomes) == 1 else f"{len(outcomes)} files"
    return "\n".join([*lines, f"{files}: {states}", *_objects_line(outcomes)])


def _objects_line(outcomes: Sequence[Outcome]) -> list[str]:
    """Say what became of the objects of all files."""
    counted = [one.objects for one in outcomes if one.objects is not None]
    if not counted:
        return []
    found, kept = (sum(objects[key] for objects in counted) for key in ("found", "kept"))
    lost = sum((Counter(objects["lost"]) for objects in counted), Counter())
    causes = ", ".join(f"{cause} {number}" for cause, number in lost.items())
    line = f"{found} objects found: {kept} kept, {found - kept} lost"
    return [f"{line} ({causes})" if causes else line]


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)
