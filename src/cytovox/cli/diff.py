"""``cytovox diff``: how two results of one recording differ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ..errors import InputError, escaped
from .command_options import OUTPUT, AllowedToRecordings, Said, argument, option, options
from .console import FINDINGS, counted, in_columns, show
from .looking import save_picture

if TYPE_CHECKING:
    from ..logic.compare import Comparison
    from ..read import HDF5Data

__all__ = ["diff"]

#: Features that are listed; the others are in the JSON.
_LISTED = 12


@options
class _Picture:
    out: Path | None = option(
        None,
        "Draw events that differ, with the outlines of both, into this picture.",
        "--out",
        "-o",
        panel=OUTPUT,
        metavar="PNG",
    )
    force: bool = option(False, "Replace a picture that exists already.", panel=OUTPUT)
    anyway: bool = option(False, "Compare results that do not say that they are of one recording.")


def diff(
    first: Annotated[Path, argument("A", "A result of a run (.rtdc).")],
    second: Annotated[Path, argument("B", "Another result of the same recording.")],
    picture: _Picture,
    allowed: AllowedToRecordings,
    said: Said,
) -> int:
    """Compare two results of one recording: events gained and lost, features, recipes.

    Events are the same if they are in the same frame and their masks overlap.
    Shifts are those of B against A. Images are not compared. Exit code 0 if
    events and values are equal, 3 if not; recipes may differ all the same.

    Example: cytovox diff a_dcn.rtdc b_dcn.rtdc -o differences.png
    """
    from ..logic.compare import compare_results, recipe_differences, require_one_recording
    from ..read import HDF5Data

    may = allowed.permissions()
    with HDF5Data(first, permissions=may) as one, HDF5Data(second, permissions=may) as two:
        for data in (one, two):
            if "pipeline:dcnum hash" not in data.meta:
                raise InputError("this is no result of a run", path=data.place)
        if not picture.anyway:
            require_one_recording(one, two)
        found = compare_results(one, two)
        plain = _plain((first, second), found, recipe_differences(one, two))
        if picture.out is not None:
            _draw(one, two, found, picture, plain)
    show(plain, _in_words(plain), as_json=said.as_json)
    return int(plain["exit_code"])


def _draw(
    one: HDF5Data, two: HDF5Data, found: Comparison, picture: _Picture, plain: dict[str, Any]
) -> None:
    from ..report.diff_picture import picture_of_differences

    assert picture.out is not None
    if one.mask is None or two.mask is None:
        path = two.place if two.mask is None else one.place
        raise InputError("there are no masks to draw", path=path, hint="leave out -o")
    names = _names(Path(plain["first"]), Path(plain["second"]))
    heading = f"A: {names[0]} (orange), B: {names[1]} (blue, dashed)"
    figure = picture_of_differences(one, two, found, heading=heading)
    save_picture(figure, picture.out, force=picture.force)
    plain["picture"] = str(picture.out)


def _names(one: Path, two: Path) -> list[str]:
    """Return the names of two files, with as many folders as tell them apart."""
    most = max(len(one.parts), len(two.parts))
    parts = next((n for n in range(1, most) if one.parts[-n:] != two.parts[-n:]), most)
    return [escaped("/".join(path.parts[-parts:])) for path in (one, two)]


def _plain(
    paths: tuple[Path, Path], found: Comparison, recipe: list[tuple[str, str, str]]
) -> dict[str, Any]:
    import numpy as np

    overlap = found.overlap
    with_values = overlap is not None and len(overlap)
    return {
        "exit_code": 0 if found.is_equal else FINDINGS,
        "first": str(paths[0]),
        "second": str(paths[1]),
        "equal": found.is_equal,
        "recipe": [{"option": n, "first": one, "second": two} for n, one, two in recipe],
        "events": {"first": found.events[0], "second": found.events[1]},
        "matched": len(found.matched),
        "lost": found.lost.tolist(),
        "gained": found.gained.tolist(),
        "overlap": None
        if not with_values
        else {
            "equal": int(np.count_nonzero(overlap == 1)),
            "median": float(np.median(overlap)),  # type: ignore[arg-type]
            "low": float(np.quantile(overlap, 0.05)),  # type: ignore[arg-type]
        },
        "features_compared": found.compared,
        "features": {
            one.feature: {
                "changed": one.changed,
                "median": one.median,
                "low": one.low,
                "high": one.high,
                "largest": one.largest,
                "relative": one.relative,
            }
            for one in found.shifts
        },
        "only_in_first": list(found.only[0]),
        "only_in_second": list(found.only[1]),
        "unread": [
            {"file": str(path), **one._asdict()}
            for path, one in zip(paths, found.unread, strict=True)
            if one.features
        ],
    }


def _in_words(plain: dict[str, Any]) -> str:
    lines = [escaped(f"{plain['second']} against {plain['first']}")]
    rows = [
        ("recipe", f"{one['option']}: {one['first']} -> {one['second']}")
        for one in plain["recipe"]
    ] or [("recipe", "the same")]
    events = plain["events"]
    rows.append(
        (
            "events",
            f"{events['first']} -> {events['second']}: {plain['matched']} in both, "
            f"{len(plain['lost'])} lost, {len(plain['gained'])} gained",
        )
    )
    if overlap := plain["overlap"]:
        text = f"{overlap['equal']} of {plain['matched']} are equal"
        if overlap["equal"] < plain["matched"]:
            text += f"; overlap: median {overlap['median']:.3f}, 5 % below {overlap['low']:.3f}"
        rows.append(("masks", text))
    for place in ("first", "second"):
        if names := plain[f"only_in_{place}"]:
            rows.append(("features", f"only in {plain[place]}: {' '.join(names)}"))
    for one in plain["unread"]:
        names = " ".join(one["features"])
        rows.append(("features", f"not read of {one['file']}: {names}, since {one['reason']}"))
    number = len(plain["features"])
    compared = counted(plain["features_compared"], "feature")
    values = f"{number} of {compared} differ" if number else f"{compared} equal"
    rows.append(("values", f"{values}; images were not compared"))
    lines += [f"  {line}" for line in in_columns(rows, fold=85, once=True)]
    return "\n".join([*lines, *_shifts_in_words(plain["features"])])


def _shifts_in_words(features: dict[str, dict[str, Any]]) -> list[str]:
    if not features:
        return []
    rows = [["shift of", "events", "median", "5 %", "95 %", "largest"]]
    for name, one in list(features.items())[:_LISTED]:
        values = (one["median"], one["low"], one["high"], one["largest"])
        rows.append([name, str(one["changed"]), *(f"{value:.4g}" for value in values)])
    more = len(features) - _LISTED
    lines = [f"  {line}" for line in in_columns(rows, right=(1, 2, 3, 4))]
    return [*lines, f"  and {more} more, see --json"] if more > 0 else lines
