"""What was found against what is true, for a simulated recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ..testing import Truth

__all__ = ["Comparison", "compare_with_truth", "match_cells"]

#: Features that are compared: name, unit, digits shown.
_FEATURES = (("area_um", "um2", 2), ("deform", "", 4), ("volume", "um3", 1))
#: A found cell lies within this distance (um) of the true one.
_NEAR = 2.0
#: The median area agrees if it is off by less than this share.
_AREA_WITHIN = 0.03


@dataclass(frozen=True, slots=True)
class Comparison:
    """How found events and true cells correspond."""

    #: Number of whole cells, of events, of cells without event, of events without whole cell.
    true: int
    found: int
    missed: int
    extra: int
    #: Of each compared feature the median of true and of found values, over matched pairs.
    medians: dict[str, tuple[float, float]]
    #: The deformation that is expected of outlines through pixels, the median.
    deform_on_pixels: float = 0.0

    @property
    def agrees(self) -> bool:
        """Whether every cell was found once, and the sizes are right within 3 %."""
        true, found = self.medians.get("area_um", (1.0, 1.0))
        return not (self.missed or self.extra) and abs(found / true - 1) < _AREA_WITHIN

    def __str__(self) -> str:
        lines = [
            f"cells   true {self.true}, found {self.found}, missed {self.missed}, "
            f"extra {self.extra}"
        ]
        for name, unit, digits in _FEATURES:
            if name not in self.medians:
                continue
            true, found = self.medians[name]
            off = f"{100 * (found / true - 1):+.2f} %" if unit else f"{found - true:+.4f}"
            lines.append(
                f"{name:<7} true {true:.{digits}f}, found {found:.{digits}f} {unit}".rstrip()
                + f" ({off} at the median)"
            )
            if name == "deform":
                lines.append(
                    "        outlines follow pixels, which makes cells look more deformed: "
                    f"{self.deform_on_pixels:.4f} is expected"
                )
        return "\n".join(lines)


def compare_with_truth(result: Path, truth: Truth) -> Comparison:
    """Match the events of a result with the whole cells of the truth."""
    from ..read import HDF5Data

    whole = truth.whole
    with HDF5Data(result) as data:
        number = len(data)
        there = {name for name, _, _ in _FEATURES if name in data}
        names = ("frame", "pos_x", "pos_y", *sorted(there)) if number else ()
        found = {name: np.asarray(data[name][:], dtype=float) for name in names}
    if not number:
        return Comparison(len(whole), 0, len(whole), 0, {})
    # Instruments count frames from one, the table counts from zero.
    pairs = match_cells(whole, {**found, "frame": found["frame"] - 1})
    medians = {
        name: (float(np.median(whole[name][pairs[0]])), float(np.median(found[name][pairs[1]])))
        for name in there
        if len(pairs[0])
    }
    matched = len(pairs[0])
    expected = float(np.median(whole.deform_on_pixels[pairs[0]])) if matched else 0.0
    missed, extra = len(whole) - matched, number - matched
    return Comparison(len(whole), number, missed, extra, medians, expected)


def match_cells(true: Any, found: dict[str, npt.NDArray[np.float64]]) -> npt.NDArray[np.int64]:
    """Return indices of pairs, shape (2, n): each cell with its nearest event."""
    pairs: list[tuple[int, int]] = []
    used: set[int] = set()
    by_frame: dict[int, list[int]] = {}
    for event, frame in enumerate(found["frame"].astype(int)):
        by_frame.setdefault(int(frame), []).append(event)
    for cell in range(len(true)):
        near = []
        for event in by_frame.get(int(true["frame"][cell]), ()):
            away = np.hypot(
                found["pos_x"][event] - true["pos_x"][cell],
                found["pos_y"][event] - true["pos_y"][cell],
            )
            if away < _NEAR and event not in used:
                near.append((float(away), event))
        if near:
            used.add(min(near)[1])
            pairs.append((cell, min(near)[1]))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2).T
