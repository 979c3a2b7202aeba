"""The part of a page that compares several results: a table with a row for each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from .charts import sparkline
from .columns import RESULT_COLUMNS, VOLUME_COLUMNS, find_outliers
from .page import render
from .result_numbers import ResultNumbers

if TYPE_CHECKING:
    from .volume_numbers import VolumeNumbers

__all__ = ["Row", "VolumeRow", "results_table", "volumes_table"]

#: Edges of the bins of areas [µm²], the same for all results.
_AREA_BINS = np.geomspace(1, 10_000, 121)
#: Most bars of a sparkline.
_BARS = 40
#: Columns of the table beside those of what was lost.
_SHOWN = [c for c in RESULT_COLUMNS if not c.key.startswith("lost_")]
_LOST = [c for c in RESULT_COLUMNS if c.key.startswith("lost_")]


@dataclass(slots=True, eq=False)
class Row:
    """What the table has of one result."""

    path: str
    #: Where on the page its section is; None if there is none.
    anchor: str | None
    plain: dict[str, Any]
    recipe: list[str]
    rate: npt.NDArray[np.float64]
    areas: npt.NDArray[np.int64]
    sparks: dict[str, Markup] = field(default_factory=dict)
    far: dict[str, float] = field(default_factory=dict)
    differs: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, numbers: ResultNumbers, anchor: str | None) -> Row:
        """Return the row of a result."""
        rate = numbers.courses.get("rate")
        return cls(
            numbers.path,
            anchor,
            numbers.plain(),
            list(numbers.pipeline["recipe"]),
            np.empty(0) if rate is None else rate.y,
            _area_histogram(numbers.area),
        )


@dataclass(slots=True, eq=False)
class VolumeRow:
    """What the table has of labels of one volume."""

    path: str
    anchor: str | None
    plain: dict[str, Any]
    spark: Markup
    function: str
    findings: list[str]
    far: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, found: VolumeNumbers, anchor: str | None) -> VolumeRow:
        """Return the row of labels."""
        spark = Markup("")
        if found.sizes.size:
            low, high = int(found.sizes.min()), int(found.sizes.max())
            counts, _ = np.histogram(found.sizes, np.geomspace(low, high + 1, _BARS // 2))
            spark = sparkline(counts, f"sizes from {low} to {high} voxels, logarithmic")
        function = dict(found.recipe).get("function", "")
        return cls(found.path, anchor, found.plain(), spark, function, list(found.findings))


def volumes_table(rows: Sequence[VolumeRow], title: str) -> Markup:
    """Return the table of labels of volumes."""
    for row, far in zip(
        rows, find_outliers([row.plain for row in rows], VOLUME_COLUMNS), strict=True
    ):
        row.far = far
    return render(
        "volumes.html",
        title=title,
        rows=rows,
        columns=VOLUME_COLUMNS,
        name=lambda path: Path(path).name,
    )


def _area_histogram(area: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return how many events have an area in each of the `_AREA_BINS`."""
    return np.histogram(area[np.isfinite(area)], _AREA_BINS)[0]


def results_table(rows: Sequence[Row], failed: Sequence[tuple[str, str]], title: str) -> Markup:
    """Return the table of results, and of what could not be read with the reasons."""
    for row, far in zip(
        rows, find_outliers([row.plain for row in rows], RESULT_COLUMNS), strict=True
    ):
        row.far = far
    recipes = Counter(row.plain["pipeline"] for row in rows)
    usual = recipes.most_common(1)[0][0] if recipes else ""
    reference = next((row.recipe for row in rows if row.plain["pipeline"] == usual), [])
    _draw_sparks(rows)
    for row in rows:
        if row.plain["pipeline"] != usual:
            row.differs = list(_differences(reference, row.recipe)) or ["another generation"]
    return render(
        "folder.html",
        title=title,
        rows=rows,
        failed=failed,
        columns=_SHOWN,
        lost=_LOST,
        recipes=len(recipes),
        reference=reference,
        far=sum(bool(row.far) for row in rows),
        name=lambda path: Path(path).name,
    )


def _draw_sparks(rows: Sequence[Row]) -> None:
    """Draw the sparklines; those of areas have one range."""
    total = np.sum([row.areas for row in rows], axis=0) if rows else np.zeros(0)
    filled = np.flatnonzero(total)
    first, last = (filled[0], filled[-1] + 1) if filled.size else (0, 1)
    for row in rows:
        if row.rate.size:
            label = f"event rate over time, up to {row.rate.max():.4g}"
            row.sparks["rate"] = sparkline(_fewer(row.rate), label)
        if row.areas.any():
            low, high = _AREA_BINS[first], _AREA_BINS[last]
            label = f"areas from {low:.3g} to {high:.3g} µm², logarithmic"
            row.sparks["area_um"] = sparkline(_fewer(row.areas[first:last]), label)


def _fewer(values: npt.NDArray[Any]) -> list[float]:
    parts = np.array_split(values, min(len(values), _BARS))
    return [float(part.mean()) for part in parts]


def _differences(reference: Sequence[str], recipe: Sequence[str]) -> Iterator[str]:
    """Yield in which options a recipe differs, in words."""
    usual = {stage.split(":")[0].split(" ")[0]: stage for stage in reference}
    for stage in recipe:
        name = stage.split(":")[0].split(" ")[0]
        own, other = (re.split(r"[:,] ", text) for text in (stage, usual.get(name, "")))
        new = [word for word in own if word not in other]
        if new:
            yield f"{name}: {', '.join(new)}"
