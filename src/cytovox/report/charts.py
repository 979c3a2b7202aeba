"""The charts of a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.colors import LinearSegmentedColormap

from .embedding import chart_uri
from .picture import show_most, thinned
from .result_numbers import Series
from .style import FAINT, MEASURED, label_axes, new_figure
from .volume_picture import draw_seams

__all__ = ["course_chart", "density_chart", "histogram_chart", "sizes_chart", "sparkline"]

Floats = npt.NDArray[np.float64]

#: From few to many, each darker than the one before; the page swaps light and dark at night.
_DENSITY = LinearSegmentedColormap.from_list(
    "density", ["#7fb3d5", "#2f7fb8", "#3d3a8c", "#220a45"]
)
_GRID = 96
#: Width of the Gaussian by which the density is smoothed [cells of the grid].
_SMOOTH = 1.6


def density_chart(area: Floats, deform: Floats) -> tuple[Markup, int, int]:
    """Draw deformation against area, coloured by density; return it, and how many points.

    The numbers are those of events that have both, and of those outside of the axes.
    """
    points = np.array([area, deform])
    points = points[:, np.isfinite(points).all(axis=0)]
    figure = new_figure(4.7, 3.9)
    axes: Any = figure.add_subplot()
    label_axes(axes, "Area (µm²)", "Deformation")
    show_most(axes, points, room=0.04)
    limits = np.array([axes.get_xlim(), axes.get_ylim()])
    inside = ((points >= limits[:, :1]) & (points <= limits[:, 1:])).all(axis=0)
    shown = thinned(points[:, inside])
    density = _density(points[:, inside], shown, limits)
    order = np.argsort(density, kind="stable")
    size = float(np.clip(420 / np.sqrt(shown.shape[1] + 1), 3, 16))
    axes.scatter(
        *shown[:, order], s=size, c=density[order], cmap=_DENSITY, linewidths=0, rasterized=True
    )
    return chart_uri(figure), int(points.shape[1]), int((~inside).sum())


def _density(points: Floats, shown: Floats, limits: Floats) -> Floats:
    """Return how dense all points are at those that are shown."""
    ranges: Any = limits.tolist()
    grid, *edges = np.histogram2d(points[0], points[1], bins=_GRID, range=ranges)
    cells = np.arange(-6, 7)
    kernel = np.exp(-0.5 * (cells / _SMOOTH) ** 2)
    for axis in range(2):
        grid = np.apply_along_axis(np.convolve, axis, grid, kernel, "same")
    place = [
        np.clip(np.searchsorted(edge, values, side="right") - 1, 0, _GRID - 1)
        for edge, values in zip(edges, shown, strict=True)
    ]
    return np.asarray(grid[place[0], place[1]])


def course_chart(course: Series, x_label: str, y_label: str) -> Markup:
    """Draw how something goes on: in steps if it is known of intervals, else as a line."""
    figure = new_figure(4.7, 2.3)
    axes: Any = figure.add_subplot()
    label_axes(axes, x_label, y_label)
    if course.low is None or course.high is None:
        axes.stairs(course.y, course.x, color=MEASURED, linewidth=1.4)
        axes.set_ylim(0, None)
    else:
        axes.fill_between(
            course.x, course.low, course.high, color=MEASURED, alpha=0.22, linewidth=0
        )
        axes.plot(course.x, course.y, color=MEASURED, linewidth=1.4)
    axes.margins(x=0.01)
    axes.grid(visible=True, axis="y", color=FAINT, alpha=0.3, linewidth=0.6)
    axes.set_axisbelow(True)
    return chart_uri(figure)


def sizes_chart(voxels: npt.NDArray[np.int64], at_seam: npt.NDArray[np.bool_]) -> Markup:
    """Draw how large objects are that touch a seam, and others."""
    figure = new_figure(4.7, 3.2)
    axes: Any = figure.add_subplot()
    draw_seams(axes, voxels, at_seam)
    axes.set_title("", loc="left")
    return chart_uri(figure)


def histogram_chart(values: Sequence[float], x_label: str, y_label: str) -> Markup:
    """Draw how often values are."""
    figure = new_figure(4.7, 3.2)
    axes: Any = figure.add_subplot()
    label_axes(axes, x_label, y_label)
    axes.hist(values, min(max(len(values) // 4, 8), 40), color=MEASURED)
    axes.yaxis.get_major_locator().set_params(integer=True)
    return chart_uri(figure)


def sparkline(values: Sequence[float] | Floats, label: str) -> Markup:
    """Return small bars that stand in a line of text."""
    heights = np.nan_to_num(np.asarray(values, np.float64))
    top = float(heights.max()) if heights.size and heights.max() > 0 else 1.0
    parts = [
        f"M{place} 20v{-20 * height / top:.2f}h1V20"
        for place, height in enumerate(heights.tolist())
        if height > 0
    ]
    width: Any = max(len(heights), 1)
    return Markup(
        '<svg class="spark" role="img" aria-label="{}" viewBox="0 0 {} 20" '
        'preserveAspectRatio="none"><path d="{}"/></svg>'
    ).format(label, width, Markup("".join(parts)))
