"""Panels of one size, with a name above and a line below each."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .style import FAINT, INK, new_figure

__all__ = ["in_panels", "label_panel"]

#: width over height of a picture that looks well
_ASPECT = 1.7
#: inches: width of a picture, its edge, between panels, height of a panel at most
_WIDTH, _EDGE, _GAP, _HIGHEST = 13.0, 0.2, 0.25, 2.6
#: inches of the name above a panel, and of a line below it
_ABOVE, _LINE = 0.34, 0.17
#: letters in an inch of such a line
_LETTERS = 14


def in_panels(
    panels: Sequence[Callable[[Any], None]],
    size: tuple[int, ...],
    heading: str,
    *,
    longest: int = 80,
) -> Figure:
    """Draw panels of one size in as many columns as look best.

    There is room for a detail of so many letters below each.
    """
    aspect = size[0] / size[1]

    def cell(columns: int) -> tuple[float, float, float]:
        """Return width and height of an image, and of it with its text."""
        width = (_WIDTH - 2 * _EDGE - (columns - 1) * _GAP) / columns
        width = min(width, _HIGHEST / aspect)
        lines = min(4, 1 + int(longest / (width * _LETTERS)))
        return width, width * aspect, width * aspect + _ABOVE + lines * _LINE

    def misfit(columns: int) -> float:
        rows = -(-len(panels) // columns)
        empty = rows * columns - len(panels)
        return abs(float(np.log(_WIDTH / (rows * cell(columns)[2]) / _ASPECT))) + 0.15 * empty

    columns = min(range(1, len(panels) + 1), key=misfit)
    rows = -(-len(panels) // columns)
    width, height, step = cell(columns)
    top = 0.28 + 0.22 * len(heading.splitlines()) if heading else 0.15
    across = 2 * _EDGE + columns * width + (columns - 1) * _GAP
    down = top + rows * step + 0.1
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


def label_panel(axes: Any, name: str, detail: str = "") -> None:
    """Put a name above a panel, and a detail below it."""
    axes.set_title(name, loc="left", color=INK, fontsize=11.5, fontweight="bold", pad=5)
    width = axes.get_position().width * axes.figure.get_figwidth()
    axes.annotate(
        "\n".join(textwrap.wrap(detail, max(16, int(width * _LETTERS)))), (0, 0), (0, -4),
        xycoords="axes fraction", textcoords="offset points", va="top", color=FAINT, fontsize=9,
        annotation_clip=False,
    )  # fmt: skip
