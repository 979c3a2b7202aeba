"""The numbers that a report has of each result and each volume, and which are far off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..run.rows import CAUSES

__all__ = ["RESULT_COLUMNS", "VOLUME_COLUMNS", "Column", "find_outliers"]

#: From so many results on, one can be far from the others.
_FEWEST = 5
#: Robust z score beyond which a value is far from the others.
_FAR = 3.5
#: The median of absolute deviations of a normal distribution, in standard deviations.
_MAD = 0.6745


@dataclass(frozen=True, slots=True)
class Column:
    """A number that each result has."""

    key: str
    title: str
    unit: str
    help: str
    #: Decimals that are shown.
    decimals: int = 0
    #: Whether a result that is far from the others is marked.
    compared: bool = True

    @property
    def heading(self) -> str:
        """The title with its unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


RESULT_COLUMNS = (
    Column("frames", "Frames", "", "frames that were measured", compared=False),
    Column("events", "Events", "", "objects that were kept", compared=False),
    Column("found", "Found", "", "objects in the masks, before the clean-up", compared=False),
    Column("kept_percent", "Kept", "%", "events of 100 objects that were found", 1),
    *(
        Column(f"lost_{cause}", f"Lost: {cause}", "", f"objects lost to '{cause}'", compared=False)
        for cause in CAUSES
    ),
    Column("rate", "Rate", "1/s", "events in a second, from the first event to the last", 1),
    Column("area_um", "Area", "µm²", "median of area_um", 2),
    Column("deform", "Deformation", "", "median of deform", 4),
    Column("bright_avg", "Brightness", "", "median of bright_avg, the mean grey value", 1),
    Column("bg_med", "Background", "", "median of bg_med, the grey value around events", 1),
    Column("focus", "Focus", "", "median variance of the Laplacian in the boxes of events", 1),
)

VOLUME_COLUMNS = (
    Column("objects", "Objects", "", "objects in the volume", compared=False),
    Column("voxels_median", "Size", "voxels", "median size of objects", 1),
    Column("blocks", "Blocks", "", "blocks that were segmented", compared=False),
    Column("blocks_failed", "Failed", "", "blocks that could not be segmented", compared=False),
    Column("block_seconds", "Block", "s", "median time that a block took", 2),
    Column("at_seam", "At seams", "", "objects that touch a seam", compared=False),
    Column("spanning", "Spanning", "", "objects that are in several blocks", compared=False),
    Column("cut", "Cut", "", "objects that end exactly at a seam", compared=False),
)


def find_outliers(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]
) -> list[dict[str, float]]:
    """Return for each row its numbers that are far from those of the others, with their z score.

    The score is robust: 0.6745 (x - median) / MAD, where MAD is the median absolute
    deviation from the median; beyond 3.5 it is far. Nothing is if there are fewer than
    five numbers, or half of them are equal.
    """
    far: list[dict[str, float]] = [{} for _ in rows]
    for column in columns:
        if not column.compared:
            continue
        known = [
            (i, row[column.key]) for i, row in enumerate(rows) if row.get(column.key) is not None
        ]
        if len(known) < _FEWEST:
            continue
        values = np.array([value for _, value in known], np.float64)
        deviation = values - np.median(values)
        mad = float(np.median(np.abs(deviation)))
        if mad > 0:
            for (index, _), score in zip(known, (_MAD * deviation / mad).tolist(), strict=True):
                if abs(score) > _FAR:
                    far[index][column.key] = score
    return far
