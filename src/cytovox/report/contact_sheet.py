"""Many events side by side, each with its measured outline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from ..read import HDF5Data
from .style import FAINT, INK, draw_outline, draw_scale_bar, new_figure, title

__all__ = [
    "Crop",
    "choose_events",
    "contact_sheet",
    "cut_events",
    "draw_contact_sheet",
    "window",
]

#: width over height of a sheet that looks well
_SHEET_ASPECT = 1.8
#: pixels around the largest event, and between the crops
_MARGIN = 7
_GAP = 3


@dataclass(frozen=True, slots=True)
class Crop:
    """An event, cut out of its image."""

    event: int
    image: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]


def contact_sheet(data: HDF5Data, *, number: int = 24, columns: int | None = None) -> Figure:
    """Draw events with their outlines.

    Parameters
    ----------
    data
        A measured recording (features ``image`` and ``mask``).
    number
        Number of events; they are chosen evenly by size, from small to large.
    columns
        Number of events side by side; what fills the space best if None.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import io, h5py
    >>> stream = io.BytesIO()
    >>> with h5py.File(stream, "w") as h5:
    ...     h5.attrs.update({"experiment:event count": 2, "imaging:pixel size": 0.34})
    ...     h5["events/image"] = np.full((2, 30, 40), 100, dtype=np.uint8)
    ...     h5["events/mask"] = np.eye(30, 40, dtype=bool) * np.ones((2, 1, 1), dtype=bool)
    >>> with HDF5Data(stream) as data:
    ...     figure = contact_sheet(data)
    >>> len(figure.axes)
    1
    """
    figure = new_figure(8.2, 5.4)
    draw_contact_sheet(figure.add_subplot(), data, number=number, columns=columns)
    return figure


def draw_contact_sheet(
    axes: Any, data: HDF5Data, *, number: int = 24, columns: int | None = None
) -> None:
    """Draw events with their outlines into given axes; see `contact_sheet`.

    Where the recording has no events, or its images are not at hand, the axes
    say so.

    Parameters
    ----------
    axes
        Axes of matplotlib.
    data
        A measured recording.
    number
        Number of events; they are chosen evenly by size, from small to large.
    columns
        Number of events side by side; what fills the space best if None.
    """
    axes.set_axis_off()
    axes.set_anchor("NW")
    title(axes, "Events with measured outlines")
    if not len(data) or "mask" not in data or "image" not in data:
        text = "images or masks are not in this file" if len(data) else "no events"
        axes.text(0.5, 0.5, text, ha="center", va="center", color=FAINT, fontsize=11)
        return
    events = choose_events(data, number)
    crops = cut_events(data, events)
    title(axes, "Events with measured outlines", f"{len(crops)} of {len(data)}, by size")
    height, width = crops[0].image.shape
    columns = min(columns or _best_columns(len(crops), height, width), len(crops))
    rows = -(-len(crops) // columns)
    sheet = np.full(
        (rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP), np.nan, np.float32
    )
    places = [
        (place // columns * (height + _GAP), place % columns * (width + _GAP))
        for place in range(len(crops))
    ]
    for crop, (y, x) in zip(crops, places, strict=True):
        sheet[y : y + height, x : x + width] = crop.image
    low, high = np.nanpercentile(sheet, (0.2, 99.8))
    axes.imshow(
        sheet, cmap="gray", vmin=low - 8, vmax=max(high + 8, low + 1), interpolation="nearest"
    )
    for crop, (y, x) in zip(crops, places, strict=True):
        draw_outline(axes, crop.mask, x, y)
        axes.text(
            x + 1.5, y + 1.5, f"{crop.event}", va="top", fontsize=7, color=INK,
            path_effects=[withStroke(linewidth=1.8, foreground="#ffffffb0")],
        )  # fmt: skip
    draw_scale_bar(axes, sheet.shape, float(data.pixel_size or 0))


def _best_columns(number: int, height: int, width: int) -> int:
    """Return the number of columns without gaps whose sheet has the best aspect."""
    whole = [n for n in range(1, number + 1) if number % n == 0]
    candidates = whole if number > 5 and len(whole) > 2 else range(1, number + 1)

    def misfit(columns: int) -> float:
        rows = -(-number // columns)
        aspect = columns * (width + _GAP) / (rows * (height + _GAP))
        return abs(float(np.log(aspect / _SHEET_ASPECT)))

    return min(candidates, key=misfit)


def choose_events(data: HDF5Data, number: int) -> list[int]:
    """Return events evenly spaced by size, from small to large."""
    order = np.argsort(data["area_um"][:], kind="stable") if "area_um" in data else None
    picked = np.linspace(0, len(data) - 1, min(number, len(data))).round().astype(int)
    return [int(i if order is None else order[i]) for i in picked]


def cut_events(data: HDF5Data, events: list[int]) -> list[Crop]:
    """Cut equally large pieces around the events; outside the image is NaN."""
    # Slices of one, since single indices would read and keep whole chunks.
    images = [data.image[i : i + 1][0] for i in events]  # type: ignore[index]
    masks = [np.asarray(data.mask[i : i + 1][0], dtype=np.bool_) for i in events]  # type: ignore[index]
    boxes = [_box(mask) for mask in masks]
    size = np.max([last - first for first, last in boxes], axis=0) + 2 * _MARGIN
    around = [(room, room) for room in size]
    crops = []
    for event, image, mask, box in zip(events, images, masks, boxes, strict=True):
        place = tuple(map(window, box.sum(axis=0) // 2, size, image.shape))
        wide = np.pad(image.astype(np.float32), around, constant_values=np.nan)
        crops.append(Crop(event, wide[place], np.pad(mask, around)[place]))
    return crops


def window(middle: int, size: int, length: int) -> slice:
    """Return a window about `middle`, within the image where that is large enough."""
    start = middle - size // 2
    if size <= length:
        start = min(max(start, 0), length - size)
    return slice(start + size, start + 2 * size)  # the image is padded by `size`


def _box(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return first and one past last row and column, shape (2, 2)."""
    y, x = np.nonzero(mask)
    if not len(y):
        return np.array([[0, 0], mask.shape])
    return np.array([[y.min(), x.min()], [y.max() + 1, x.max() + 1]])
