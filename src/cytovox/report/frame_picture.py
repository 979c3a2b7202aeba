"""A frame step by step: background, difference, mask, and outlines by what became of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from ..logic.fates import KEPT, Analysis, fate_of
from ..logic.frame_steps import Step, difference, mask_of, trail_of
from ..run.rows import CAUSES
from .panels import in_panels, label_panel
from .style import FAINT, FATES, INK, draw_outline, draw_scale_bar

__all__ = [
    "draw_background",
    "draw_difference",
    "draw_fates",
    "draw_frame",
    "draw_legend",
    "draw_mask",
    "draw_object",
    "draw_step",
    "frame_picture",
    "steps_picture",
]

#: pixels around an object that is shown by itself
_MARGIN = 14
#: objects of a frame that have an outline, and a number
_OUTLINED, _NUMBERED = 80, 25
#: grey of what a step leaves in a mask
_LEFT = "#3b4046"

#: Rows and columns of a frame that are shown.
Box = tuple[slice, slice]


def frame_picture(analysis: Analysis, row: int, heading: str = "") -> Figure:
    """Draw frame, background, difference, mask, and outlines with what became of them.

    Parameters
    ----------
    analysis
        Some frames and what was found in them.
    row
        Which of the frames.
    heading
        What stands above the picture.

    Returns
    -------
    matplotlib.figure.Figure
    """
    panels: list[Callable[[Any], None]] = [
        lambda axes: draw_frame(axes, analysis, row),
        lambda axes: draw_background(axes, analysis, row),
        lambda axes: draw_difference(axes, analysis, row),
        lambda axes: draw_mask(axes, analysis, row),
        lambda axes: draw_fates(axes, analysis, row),
        lambda axes: draw_legend(axes, analysis, row),
    ]
    return in_panels(panels, analysis.frames.image.shape[1:], heading)


def steps_picture(
    analysis: Analysis,
    row: int,
    steps: Sequence[Step],
    index: int | None = None,
    heading: str = "",
) -> Figure:
    """Draw what each step leaves of the objects of a frame, or of one of them.

    Parameters
    ----------
    analysis
        Some frames and what was found in them.
    row
        Which of the frames.
    steps
        The steps, see `cytovox.logic.frame_steps.steps_of`.
    index
        The object that is shown by itself; the whole frame if None.
    heading
        What stands above the picture.

    Returns
    -------
    matplotlib.figure.Figure
    """
    shape = analysis.frames.image.shape[1:]
    box = (slice(0, shape[0]), slice(0, shape[1])) if index is None else _around(analysis, index)
    panels: list[Callable[[Any], None]] = [
        lambda axes: draw_frame(axes, analysis, row, box),
        lambda axes: draw_difference(axes, analysis, row, box),
    ]
    details = [step.sentence for step in steps]
    if index is not None:
        pixels = trail_of(analysis, steps, index)
        details = [f"{number} px of it" for number in pixels]
        steps = steps[: len(pixels)]
    for step, detail in zip(steps, details, strict=True):
        panels.append(functools.partial(draw_step, step=step, box=box, detail=detail))
    panels.append(lambda axes: draw_fates(axes, analysis, row, box))
    if index is None:
        panels.append(lambda axes: draw_legend(axes, analysis, row))
    size = (box[0].stop - box[0].start, box[1].stop - box[1].start)
    return in_panels(panels, size, heading)


def draw_frame(axes: Any, analysis: Analysis, row: int, box: Box | None = None) -> None:
    """Draw a frame as it was recorded."""
    image = analysis.frames.image[row]
    label_panel(axes, "Frame", f"grey values {image.min()} to {image.max()}")
    _show(axes, image, box, *_grey_range(analysis, row))
    draw_scale_bar(axes, _cut(image, box).shape, float(analysis.extractor.pixel_size), inside=True)


def draw_background(axes: Any, analysis: Analysis, row: int, box: Box | None = None) -> None:
    """Draw the background of a frame, in the same grey values."""
    frames = analysis.frames
    if frames.image_bg is None:
        _say(axes, "Background", "there is no background")
        return
    offset = "" if frames.bg_off is None else f"offset {frames.bg_off[row]:+.2f}"
    label_panel(axes, "Background", offset)
    _show(axes, frames.image_bg[row], box, *_grey_range(analysis, row))


def draw_difference(axes: Any, analysis: Analysis, row: int, box: Box | None = None) -> None:
    """Draw a frame less its background; what is equal is grey."""
    values = difference(analysis, row)
    if values is None:
        _say(axes, "Difference", "there is no background")
        return
    label_panel(axes, "Frame minus background", f"{values.min():.4g} to {values.max():.4g}")
    reach = float(max(10, np.percentile(np.abs(values), 99.5)))
    _show(axes, values, box, -reach, reach)


def draw_mask(axes: Any, analysis: Analysis, row: int, box: Box | None = None) -> None:
    """Draw the mask as it was segmented."""
    mask = analysis.mask[row]
    label_panel(axes, "Mask as segmented", f"{np.count_nonzero(mask)} px")
    _show(axes, mask, box, 0, 1, "gray_r")


def draw_fates(axes: Any, analysis: Analysis, row: int, box: Box | None = None) -> None:
    """Draw the outlines of the objects of a frame, coloured by what became of them.

    Of very many, events and the largest have outlines and numbers, the others are filled.
    """
    objects = analysis.objects
    here = np.flatnonzero(objects.frame == row).tolist()
    kept = sum(objects.cause[index] == KEPT for index in here)
    label_panel(axes, "What became of them", f"{len(here)} found, {kept} kept")
    _show(axes, analysis.frames.image[row], box, *_grey_range(analysis, row))
    order = sorted(here, key=lambda i: (objects.cause[i] != KEPT, -objects.raw_size[i]))
    seen = _mark(axes, analysis, order, box)
    top, left = (0, 0) if box is None else (box[0].start, box[1].start)
    last = _cut(analysis.frames.image[row], box).shape[1] - 6
    for index in [one for one in order if one in seen][:_NUMBERED]:
        axes.text(
            min(int(objects.box[index, 3]) - left, last), max(0, objects.box[index, 0] - top),
            f"{here.index(index) + 1}", color=FATES[fate_of(analysis, index)], fontsize=9,
            fontweight="bold", va="center", clip_on=True,
            path_effects=[withStroke(linewidth=2, foreground="#ffffffd0")],
        )  # fmt: skip


def draw_legend(axes: Any, analysis: Analysis, row: int) -> None:
    """Say how many objects of a frame were kept, and lost under each cause, by colour."""
    objects = analysis.objects
    here = np.flatnonzero(objects.frame == row)
    names = [fate_of(analysis, index) for index in here.tolist()]
    handles = [
        Line2D([], [], color=colour, linewidth=3, label=_counted(name, names.count(name)))
        for name, colour in FATES.items()
        if name in names or name == "kept"
    ]
    label_panel(axes, "Found = kept + lost")
    legend = axes.legend(
        handles=handles, loc="upper left", frameon=False, fontsize=11, labelcolor=INK,
        borderaxespad=0,
    )  # fmt: skip
    legend.set_in_layout(False)


def _counted(name: str, number: int) -> str:
    return f"{number} kept: events" if name == "kept" else f"{number} lost: {name}"


def draw_step(axes: Any, step: Step, box: Box | None = None, detail: str | None = None) -> None:
    """Draw what a step leaves of the objects, and what it removes or adds, in colour."""
    before, after = _cut(step.before, box) > 0, _cut(step.after, box) > 0
    label_panel(
        axes, _NAMES.get(step.name, step.name), step.sentence if detail is None else detail
    )
    picture = np.full((*after.shape, 3), 1.0)
    picture[after & before] = _rgb(_LEFT)
    colour = FAINT if step.cause is None else FATES[CAUSES[step.cause]]
    picture[before & ~after] = _rgb(colour)
    picture[after & ~before] = _rgb(FATES["kept"])
    axes.imshow(picture, interpolation="nearest")
    _frame_around(axes)


_NAMES = {
    "segmentation": "Mask as segmented",
    "clear_border": "Border cleared",
    "fill_holes": "Holes filled",
    "closing_disk": "Opened",
    "size": "Large enough",
    "gate": "Gated",
    "contour": "With an outline",
    "repeated": "Not repeated",
}


def draw_object(axes: Any, analysis: Analysis, index: int) -> None:
    """Draw one object with its outline, coloured by what became of it."""
    axes.set_axis_off()
    box = _around(analysis, index)
    row = int(analysis.objects.frame[index])
    _show(axes, analysis.frames.image[row], box, *_grey_range(analysis, row))
    _mark(axes, analysis, [index], box)


def _mark(axes: Any, analysis: Analysis, indices: Sequence[int], box: Box | None) -> set[int]:
    """Draw objects in their colours; return those that are in the box.

    What an outline through the pixels would hide, since it is thin, is filled.
    """
    seen: set[int] = set()
    filled: npt.NDArray[np.float64] | None = None
    for place, index in enumerate(indices):
        mask, fate = _cut(mask_of(analysis, index), box), fate_of(analysis, index)
        if not mask.any():
            continue
        seen.add(index)
        if place < _OUTLINED and fate not in ("opening", "merged"):
            draw_outline(axes, mask, colour=FATES[fate])
            continue
        if filled is None:
            filled = np.zeros((*mask.shape, 4))
        filled[mask] = (*_rgb(FATES[fate]), 0.75)
    if filled is not None:
        axes.imshow(filled, interpolation="nearest")
    height, width = _cut(analysis.frames.image[0], box).shape
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    return seen


def _around(analysis: Analysis, index: int) -> Box:
    """Return the part of the frame around an object."""
    shape = analysis.frames.image.shape[1:]
    top, bottom, left, right = (int(n) for n in analysis.objects.box[index])
    return (
        slice(max(0, top - _MARGIN), min(shape[0], bottom + _MARGIN)),
        slice(max(0, left - _MARGIN), min(shape[1], right + _MARGIN)),
    )


def _cut(image: npt.NDArray[Any], box: Box | None) -> npt.NDArray[Any]:
    return image if box is None else image[box]


def _grey_range(analysis: Analysis, row: int) -> tuple[float, float]:
    low, high = np.percentile(analysis.frames.image[row], (0.2, 99.8))
    return float(low) - 8, float(high) + 8


def _show(
    axes: Any,
    image: npt.NDArray[Any],
    box: Box | None,
    low: float,
    high: float,
    colours: str = "gray",
) -> None:
    axes.imshow(_cut(image, box), cmap=colours, vmin=low, vmax=high, interpolation="nearest")
    _frame_around(axes)


def _frame_around(axes: Any) -> None:
    axes.set_axis_on()
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(FAINT)
        spine.set_linewidth(0.6)


def _say(axes: Any, name: str, text: str) -> None:
    label_panel(axes, name)
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=FAINT, fontsize=11)


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
