"""Colours, sizes and the saving of pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from ..run.folder_sync import replaced_file

__all__ = [
    "FAINT",
    "FATES",
    "INK",
    "MEASURED",
    "OUTLINE",
    "TRUE",
    "draw_outline",
    "draw_scale_bar",
    "label_axes",
    "new_figure",
    "save_figure",
    "title",
]

#: text and lines
INK = "#2b2f33"
#: what steps back
FAINT = "#8a9096"
#: what was measured
MEASURED = "#0f7ea8"
#: outlines on grey images
OUTLINE = "#14a5dc"
#: what is true
TRUE = "#d9782d"
#: what became of an object: an event, or lost under a cause
FATES = {
    "kept": OUTLINE,
    "border": "#e0842f",
    "merged": "#8f6be0",
    "opening": "#e0408f",
    "size": "#d8b400",
    "gate": "#2fa866",
    "contour": "#a3663a",
    "repeated": "#9aa0a6",
}

_DPI = 150


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure (inches) that is drawn without a display."""
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.16, h_pad=0.13, wspace=0.02)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure as PNG; a file of that name appears only when complete.

    Parameters
    ----------
    figure
        Figure of matplotlib.
    path
        File to write; an existing one is replaced.
    """
    path = Path(path)
    with replaced_file(path) as file:
        # The version of the library would make equal pictures unequal files.
        figure.savefig(file, format="png", metadata={"Software": None})
    return path


def label_axes(axes: Any, x: str, y: str) -> None:
    """Label axes, with quiet lines and ticks."""
    axes.set_xlabel(x, color=INK, fontsize=11)
    axes.set_ylabel(y, color=INK, fontsize=11)
    axes.tick_params(colors=INK, labelsize=9.5, width=0.8, length=3.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
        axes.spines[side].set_linewidth(0.8)


def title(axes: Any, text: str, detail: str = "") -> None:
    """Put a title, and a detail in smaller, fainter letters, above axes."""
    axes.set_title(text, loc="left", color=INK, fontsize=12.5, fontweight="bold", pad=10)
    if detail:
        axes.set_title(detail, loc="right", color=FAINT, fontsize=9.5, pad=10)


def draw_outline(
    axes: Any,
    mask: npt.NDArray[np.bool_],
    x: int = 0,
    y: int = 0,
    *,
    colour: str = OUTLINE,
    width: float = 1.4,
    dashed: bool = False,
) -> None:
    """Draw the outline of a mask whose first pixel is at a place of the axes."""
    if not mask.any():
        return
    padded = np.pad(mask, 1).astype(float)
    columns = np.arange(padded.shape[1]) + x - 1
    rows = np.arange(padded.shape[0]) + y - 1
    # Just below 1, the line runs through the centres of the outermost pixels, as
    # does the outline that is measured.
    axes.contour(
        columns, rows, padded, [0.99], colors=colour, linewidths=width,
        linestyles="dashed" if dashed else "solid",
    )  # fmt: skip


def draw_scale_bar(
    axes: Any, shape: tuple[int, ...], pixel_size: float, *, inside: bool = False
) -> None:
    """Draw a bar of a round length below an image, or inside, at the left."""
    if pixel_size <= 0:
        return
    target = shape[1] * pixel_size / (5 if inside else 10)
    steps = [step * 10.0**power for power in range(-3, 6) for step in (1, 2, 5)]
    length = max((step for step in steps if step <= target), default=steps[0])
    start = 0.02 * shape[1] if inside else 0.0
    y = shape[0] * (0.92 if inside else 1.035)
    end = start + length / pixel_size
    halo = [withStroke(linewidth=4, foreground="#ffffffc0")] if inside else []
    axes.plot(
        [start, end], [y, y], color=INK, linewidth=2.5, solid_capstyle="butt", path_effects=halo
    )
    axes.text(
        end + 0.01 * shape[1], y, f"{length:g} µm", va="center", color=INK,
        fontsize=8.5 if inside else 10, path_effects=halo,
    )  # fmt: skip
    if not inside:
        axes.set_ylim(y + 0.03 * shape[0], -0.5)
