"""Colours, sizes and the saving of pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..run.folder_sync import replaced_file

__all__ = [
    "FAINT",
    "INK",
    "MEASURED",
    "OUTLINE",
    "TRUE",
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
