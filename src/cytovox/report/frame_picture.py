"""A frame step by step: background, difference, mask, and outlines by what became of them."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from ..logic.explain import Step, difference, mask_of, trail_of
from ..logic.fates import KEPT, Analysis
from ..run.rows import CAUSES
from .style import FAINT, FATES, INK, draw_outline, draw_scale_bar, new_figure

__all__ = [
    "draw_background",
    "draw_difference",
    "draw_fates",
    "draw_frame",
    "draw_legend",
    "draw_mask",
    "draw_object",
    "draw_step",
    "fate_of",
    "frame_picture",
    "steps_picture",
]

#: width over height of a picture that looks well
_ASPECT = 1.7
#: inches: width of a picture, its edge, between panels, height of a panel at most
_WIDTH, _EDGE, _GAP, _HIGHEST = 13.0, 0.2, 0.25, 2.6
#: inches of the name above a panel, and of a line below it
_ABOVE, _LINE = 0.34, 0.17
#: letters in an inch of such a line, and in the longest detail
_LETTERS, _LONGEST = 14, 80
#: pixels around an object that is shown by itself
_MARGIN = 14
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
    return _in_panels(panels, analysis.frames.image.shape[1:], heading)


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
        The steps, see `cytovox.logic.explain.steps_of`.
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
    return _in_panels(panels, size, heading)


def _in_panels(
    panels: Sequence[Callable[[Any], None]], size: tuple[int, ...], heading: str
) -> Figure:
    """Draw panels of one size in as many columns as look best."""
    aspect = size[0] / size[1]

    def cell(columns: int) -> tuple[float, float, float]:
        """Return width and height of an image, and of it with its text."""
        width = (_WIDTH - 2 * _EDGE - (columns - 1) * _GAP) / columns
        width = min(width, _HIGHEST / aspect)
        lines = min(4, 1 + int(_LONGEST / (width * _LETTERS)))
        return width, width * aspect, width * aspect + _ABOVE + lines * _LINE

    def misfit(columns: int) -> float:
        rows = -(-len(panels) // columns)
        return abs(float(np.log(_WIDTH / (rows * cell(columns)[2]) / _ASPECT)))

    columns = min(range(1, len(panels) + 1), key=misfit)
    rows = -(-len(panels) // columns)
    width, height, step = cell(columns)
    top = 0.5 if heading else 0.15
    across = 2 * _EDGE + columns * width + (columns - 1) * _GAP
    down = top + rows * step
    figure = new_figure(across, down)
    figure.set_layout_engine("none")
    if heading:
        figure.text(
            _EDGE / across, 1 - 0.2 / down, heading, ha="left", va="top", color=INK, fontsize=13,
            fontweight="bold",
        )  # fmt: skip
    for number, draw in enumerate(panels):
        row, column = divmod(number, columns)
        x, y = _EDGE + column * (width + _GAP), top + row * step + _ABOVE + height
        axes = figure.add_axes((x / across, 1 - y / down, width / across, height / down))
        axes.set_axis_off()
        draw(axes)
    return figure


def _label(axes: Any, name: str, detail: str = "") -> None:
    """Put a name above a panel, and a detail below it."""
    axes.set_title(name, loc="left", color=INK, fontsize=11.5, fontweight="bold", pad=5)
    width = axes.get_position().width * axes.figure.get_figwidth()
    axes.annotate(
        "\n".join(textwrap.wrap(detail, max(16, int(width * _LETTERS)))), (0, 0), (0, -4),
        xycoords="axes fraction", textcoords="offset points", va="top", color=FAINT, fontsize=9,
        annotation_clip=False,
    )  # fmt: skip


def draw_frame(axes: Any, analysis: Analysis, row: int, box: Box | None = None) -> None:
    """Draw a frame as it was recorded."""
    image = analysis.frames.image[row]
    _label(axes, "Frame", f"grey values {image.min()} to {image.max()}")
    _show(axes, image, box, *_grey_range(analysis, row))
    draw_scale_bar(axes, _cut(image, box).shape, float(analysis.extractor.pixel_size), inside=True)


def draw_background(axes: Any, analysis: Analysis, row: int, box: Box | None = None) -> None:
    """Draw the background of a frame, in the same grey values."""
    frames = analysis.frames
    if frames.image_bg is None:
        _say(axes, "Background", "there is no background")
        return
    offset = "" if frames.bg_off is None else f"offset {frames.bg_off[row]:+.2f}"
    _label(axes, "Background", offset)
    _show(axes, frames.image_bg[row], box, *_grey_range(analysis, row))


def draw_difference(axes: Any, analysis: Analysis, row: int, box: Box | None = None) -> None:
    """Draw a frame less its background; what is equal is grey."""
    values = difference(analysis, row)
    if values is None:
        _say(axes, "Difference", "there is no background")
        return
    _label(axes, "Frame minus background", f"{values.min():.4g} to {values.max():.4g}")
    reach = float(max(10, np.percentile(np.abs(values), 99.5)))
    _show(axes, values, box, -reach, reach)


def draw_mask(axes: Any, analysis: Analysis, row: int, box: Box | None = None) -> None:
    """Draw the mask as it was segmented."""
    mask = analysis.mask[row]
    _label(axes, "Mask as segmented", f"{np.count_nonzero(mask)} px")
    _show(axes, mask, box, 0, 1, "gray_r")


def draw_fates(axes: Any, analysis: Analysis, row: int, box: Box | None = None) -> None:
    """Draw the outlines of all objects of a frame, coloured by what became of them."""
    objects = analysis.objects
    here = np.flatnonzero(objects.frame == row).tolist()
    kept = sum(objects.cause[index] == KEPT for index in here)
    _label(axes, "What became of them", f"{len(here)} found, {kept} kept")
    _show(axes, analysis.frames.image[row], box, *_grey_range(analysis, row))
    shown = _cut(analysis.frames.image[row], box)
    top, left = (0, 0) if box is None else (box[0].start, box[1].start)
    for number, index in enumerate(here, 1):
        mask = _cut(mask_of(analysis, index), box)
        if not mask.any():
            continue
        colour = FATES[fate_of(analysis, index)]
        _outline_any(axes, mask, colour)
        y = max(0, int(objects.box[index, 0]) - top)
        x = min(int(objects.box[index, 3]) - left, shown.shape[1] - 6)
        axes.text(
            x, y, f"{number}", color=colour, fontsize=9, fontweight="bold", va="center",
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
    _label(axes, "Found = kept + lost")
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
    _label(axes, _NAMES.get(step.name, step.name), step.sentence if detail is None else detail)
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
    _outline_any(axes, _cut(mask_of(analysis, index), box), FATES[fate_of(analysis, index)])


def fate_of(analysis: Analysis, index: int) -> str:
    """Return what became of an object in one word: kept, or one of the causes."""
    cause = int(analysis.objects.cause[index])
    return "kept" if cause == KEPT else CAUSES[cause]


def _outline_any(axes: Any, mask: npt.NDArray[np.bool_], colour: str) -> None:
    """Draw an outline; around the pixels where a line through them would be no area."""
    rows, columns = np.nonzero(mask)
    if np.ptp(rows) > 1 and np.ptp(columns) > 1:
        draw_outline(axes, mask, colour=colour)
    else:
        axes.scatter(columns, rows, s=6, color=colour, marker="s", linewidths=0)
    axes.set_xlim(-0.5, mask.shape[1] - 0.5)
    axes.set_ylim(mask.shape[0] - 0.5, -0.5)


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
    _label(axes, name)
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=FAINT, fontsize=11)


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
