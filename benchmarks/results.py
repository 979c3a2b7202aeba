"""What was measured, kept as numbers and shown as tables.

Raw numbers are in results.json, one entry per row, and are replaced row by
row; the tables in README.md are made from all of them.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .measure import Side

__all__ = ["OURS", "as_row", "brief", "merge", "put_table", "render", "show"]

OURS = "cytovox"
#: Columns in the order in which they are shown; those without content are left out.
_COLUMNS = (
    "work",
    "cytovox",
    "peer",
    "peer / cytovox",
    "rate",
    "share",
    "floor",
    "core seconds",
    "peak memory",
    "largest process",
    "result",
    "note",
    "see",
)


def as_row(
    work: str,
    sides: Mapping[str, Side],
    *,
    amount: tuple[float, str] | None = None,
    result: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return a row of what jobs took.

    Parameters
    ----------
    work
        What was done.
    sides
        The runs of each; the first is ours.
    amount
        How much was done, for the rate: a number and its unit.
    result
        Key of what programs said that must be the same for all.
    more
        ``floor`` (seconds and what it is), ``share``, ``note``.
    """
    row: dict[str, Any] = {"work": work, "sides": {}, **more}
    if amount is not None:
        row["amount"] = list(amount)
    for name, side in sides.items():
        kept: dict[str, Any] = {"wall": [round(run.wall, 6) for run in side.runs]}
        for key in ("cpu", "peak"):
            values = [getattr(run, key) for run in side.runs]
            if values and None not in values:
                kept[key] = [round(value, 4) for value in values]
        if side.hung:
            kept["hung"] = side.hung
        if side.failure:
            kept["failure"] = side.failure
        if result and side.runs:
            kept["result"] = side.runs[-1].said.get(result)
        row["sides"][name] = kept
    return row


def merge(path: Path, group: str, rows: Mapping[str, dict[str, Any]], conditions: str) -> Any:
    """Put rows into the file of results in place of older ones; return all results."""
    results: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    kept = results.setdefault(group, {})
    for key, row in rows.items():
        kept[key] = {**row, "conditions": conditions}
    text = json.dumps(results, indent=1, ensure_ascii=False)
    # Short lists in one line keep the file readable.
    text = re.sub(
        r"\[\s+([^\[\]{}]*?)\s+\]", lambda m: f"[{re.sub(chr(10) + ' *', ' ', m[1])}]", text
    )
    path.write_text(text + "\n", encoding="utf-8")
    return results


def show(path: Path, results: Mapping[str, Any], order: Mapping[str, Sequence[str]]) -> None:
    """Write the tables into a page, between the marks of their groups."""
    text = path.read_text("utf-8")
    seen: list[str] = []
    for group, keys in order.items():
        rows = results.get(group, {})
        known = [key for key in keys if key in rows]
        table = render([rows[key] for key in known], seen) or "Not measured yet.\n"
        text = _replaced(text, group, table)
    notes = "".join(f"{i}. {line}\n" for i, line in enumerate(seen, 1)) or "None yet.\n"
    path.write_text(_replaced(text, "conditions", notes), encoding="utf-8")


def put_table(page: Path, name: str, lines: Sequence[str]) -> None:
    """Write a table into a page, between its marks."""
    text = _replaced(page.read_text("utf-8"), name, "\n".join(lines) + "\n")
    page.write_text(text, "utf-8", newline="\n")


def _replaced(text: str, name: str, content: str) -> str:
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    head, mark, rest = text.partition(begin)
    _, mark_end, tail = rest.partition(end)
    if not (mark and mark_end):
        raise SystemExit(f"the page has no '{begin}' ... '{end}'")
    return f"{head}{begin}\n{content}{end}{tail}"


def render(rows: Sequence[Mapping[str, Any]], seen: list[str]) -> str:
    """Return a table; conditions that are new are appended to `seen`."""
    lines = [line for row in rows for line in _lines(row, seen)]
    columns = [name for name in _COLUMNS if any(line.get(name) for line in lines)]
    if not lines:
        return ""
    out = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    out += ["| " + " | ".join(line.get(name, "") for name in columns) + " |" for line in lines]
    return "\n".join(out) + "\n"


def _lines(row: Mapping[str, Any], seen: list[str]) -> Iterator[dict[str, str]]:
    """Yield a line for each peer, or one if there is none."""
    conditions = row.get("conditions", "")
    if conditions not in seen:
        seen.append(conditions)
    sides = row["sides"]
    ours = sides.get(OURS, {})
    peers = [name for name in sides if name != OURS]
    for peer in peers or [None]:
        other = sides[peer] if peer else {}
        line = {"work": row["work"], "see": str(seen.index(conditions) + 1)}
        line["cytovox"] = brief(ours.get("wall"), "s", ours.get("failure"))
        if peer:
            line["peer"] = f"{peer}: {brief(other.get('wall'), 's', other.get('failure'))}"
            line["peer / cytovox"] = _ratio(ours.get("wall"), other.get("wall"))
        line |= _details(row, ours, other)
        yield line


def _details(
    row: Mapping[str, Any], ours: Mapping[str, Any], other: Mapping[str, Any]
) -> dict[str, str]:
    details = {}
    wall = ours.get("wall")
    if "amount" in row and wall:
        number, unit = row["amount"]
        details["rate"] = f"{_significant(number / statistics.median(wall))} {unit}/s"
    if row.get("share") is not None:
        details["share"] = f"{100 * row['share']:.1f} %"
    if row.get("floor"):
        seconds, what = row["floor"]
        part = f", {100 * seconds / statistics.median(wall):.0f} % of it" if wall else ""
        details["floor"] = f"{_seconds(seconds)} ({what}{part})"
    details["core seconds"] = _both(ours, other, "cpu", _significant)
    details["peak memory"] = _both(ours, other, "peak", lambda value: f"{value / 1e6:.0f} MB")
    results = [str(side["result"]) for side in (ours, other) if side.get("result") is not None]
    details["result"] = results[0] if len(set(results)) == 1 else " / ".join(results)
    notes = [row["note"]] if row.get("note") else []
    hung = ours.get("hung", 0) + other.get("hung", 0)
    if hung:
        notes.append("hung once" if hung == 1 else f"hung {hung} times")
    details["note"] = "; ".join(notes)
    return details


def _both(ours: Mapping[str, Any], other: Mapping[str, Any], key: str, show: Any) -> str:
    shown = [show(statistics.median(side[key])) for side in (ours, other) if side.get(key)]
    return " / ".join(shown)


def brief(values: Sequence[float] | None, unit: str, failure: str | None = None) -> str:
    """Return median and range, or why there are none."""
    if not values:
        return f"failed ({failure.splitlines()[0][:60]})" if failure else "-"
    text = _seconds(statistics.median(values)) if unit == "s" else _significant(values[0])
    if len(values) > 1:
        text += f" ({_seconds(min(values))} to {_seconds(max(values))})"
    return f"{text}; then failed" if failure else text


def _ratio(ours: Sequence[float] | None, other: Sequence[float] | None) -> str:
    """Return how many times longer the other took, by pairs of runs: median and range."""
    pairs = [b / a for a, b in zip(ours or [], other or [], strict=False)]
    if not pairs:
        return ""
    text = f"**{_significant(statistics.median(pairs))}**"
    if len(pairs) > 1:
        text += f" ({_significant(min(pairs))} to {_significant(max(pairs))})"
    return text


def _seconds(value: float) -> str:
    if value < 1e-3:
        return f"{_significant(value * 1e6)} µs"
    if value < 1:
        return f"{_significant(value * 1e3)} ms"
    return f"{_significant(value)} s"


def _significant(value: float) -> str:
    """Return three digits, without an exponent.

    Examples
    --------
    >>> _significant(1234.5), _significant(0.01234)
    ('1230', '0.0123')
    """
    if value == 0:
        return "0"
    shown = float(f"{value:.3g}")
    return f"{shown:.0f}" if shown >= 100 else f"{shown:g}"
