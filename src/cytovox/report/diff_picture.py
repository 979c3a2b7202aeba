"""Where two results disagree: events of one of them, and those whose outlines differ most."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ..logic.compare import Comparison, frames_in_both
from ..read import HDF5Data
from .contact_sheet import window
from .panels import in_panels, label_panel
from .style import FAINT, OUTLINE, TRUE, draw_outline

__all__ = ["draw_disagreement", "most_shifted", "picture_of_differences"]

#: Colours of outlines of the first and of the second result.
FIRST, SECOND = TRUE, OUTLINE
#: Pixels of a crop: at least, at most, and around the largest object.
_LEAST, _MOST, _MARGIN = 40, 120, 8


def picture_of_differences(
    first: HDF5Data, second: HDF5Data, found: Comparison, *, number: int = 6, heading: str = ""
) -> Figure:
    """Draw events that one of two results has, and those that differ most, with both outlines.

    Parameters
    ----------
    first, second
        The results.
    found
        How they compare, see `cytovox.logic.compare.compare_results`.
    number
        Number of events of each kind: lost, gained, shifted.
    heading
        What stands above the picture.

    Returns
    -------
    matplotlib.figure.Figure
    """
    shown = [("lost", first, row) for row in _spread(found.lost, number)]
    shown += [("gained", second, row) for row in _spread(found.gained, number)]
    shown += [("shifted", first, row) for row in most_shifted(found, number)]
    frames = frames_in_both(first, second)
    overlaps = {}
    if found.overlap is not None:
        overlaps = dict(zip(found.matched[:, 0].tolist(), found.overlap.tolist(), strict=True))
    size = _size(shown)
    panels: list[Callable[[Any], None]] = [
        functools.partial(
            draw_disagreement, kind=kind, data=data, row=row, both=(first, second),
            frames=frames, size=size, overlap=overlaps.get(row) if kind == "shifted" else None,
        )
        for kind, data, row in shown
    ]  # fmt: skip
    return in_panels(panels or [_say_equal], (size, size), heading, longest=24)


def most_shifted(found: Comparison, number: int) -> list[int]:
    """Return the rows, in the first result, of the events whose masks differ most."""
    if found.overlap is None:
        return []
    order = np.argsort(found.overlap, kind="stable")[:number]
    return [int(row) for row in found.matched[order[found.overlap[order] < 1], 0]]


def draw_disagreement(
    axes: Any,
    *,
    kind: str,
    data: HDF5Data,
    row: int,
    both: tuple[HDF5Data, HDF5Data],
    frames: Sequence[npt.NDArray[np.int64]],
    size: int,
    overlap: float | None = None,
) -> None:
    """Draw an event with the outlines of all events of both results that are there.

    Parameters
    ----------
    axes
        Axes of matplotlib.
    kind
        What became of it: lost, gained or shifted.
    data, row
        The result that has it, and its row there, from 0.
    both, frames
        Both results, and the frame of each of their events.
    size
        Pixels of the crop.
    overlap
        How much the masks have in common, from 0 to 1, if the event is in both.
    """
    place = 0 if data is both[0] else 1
    frame = int(frames[place][row])
    common = "" if overlap is None else f", overlap {overlap:.3f}"
    label_panel(axes, f"{kind}: event {row}", f"frame {frame}{common}")
    mask = np.asarray(data.mask[row : row + 1][0])  # type: ignore[index]
    rows, columns = np.nonzero(mask)
    centre = (int(rows.mean()), int(columns.mean())) if len(rows) else (0, 0)
    box = tuple(window(middle, size, n) for middle, n in zip(centre, mask.shape, strict=True))
    image = np.full(mask.shape, np.nan)
    if "image" in data:
        image = np.asarray(data.image[row : row + 1][0], np.float64)  # type: ignore[index]
    crop = np.pad(image, size, constant_values=np.nan)[box]
    low, high = np.nanpercentile(crop, (0.2, 99.8)) if np.isfinite(crop).any() else (0, 1)
    axes.imshow(crop, cmap="gray", vmin=low - 8, vmax=high + 8, interpolation="nearest")
    for one, numbers, colour in zip(both, frames, (FIRST, SECOND), strict=True):
        for event in np.flatnonzero(numbers == frame).tolist():
            outline = np.pad(np.asarray(one.mask[event : event + 1][0]), size)[box]  # type: ignore[index]
            draw_outline(axes, outline, colour=colour, dashed=colour == SECOND)
    axes.set_xlim(-0.5, size - 0.5)
    axes.set_ylim(size - 0.5, -0.5)


def _spread(rows: npt.NDArray[np.int64], number: int) -> list[int]:
    """Return some of the rows, evenly chosen."""
    places = np.linspace(0, len(rows) - 1, min(number, len(rows))).round().astype(int)
    return [int(row) for row in rows[places]]


def _size(shown: Sequence[tuple[str, HDF5Data, int]]) -> int:
    """Return a width in which the events find room."""
    sizes = [0]
    for _, data, row in shown:
        rows, columns = np.nonzero(data.mask[row : row + 1][0])  # type: ignore[index]
        if len(rows):
            sizes.append(int(max(np.ptp(rows), np.ptp(columns))) + 1)
    return int(np.clip(max(sizes) + 2 * _MARGIN, _LEAST, _MOST))


def _say_equal(axes: Any) -> None:
    label_panel(axes, "No event differs")
    axes.text(0.5, 0.5, "equal", transform=axes.transAxes, ha="center", color=FAINT)
