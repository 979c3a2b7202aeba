"""One picture that shows whether a measurement is sound; deformation against size."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ..read import HDF5Data
from .contact_sheet import draw_contact_sheet
from .style import FAINT, INK, MEASURED, TRUE, label_axes, new_figure, save_figure, title

__all__ = [
    "deformation_area_scatter",
    "draw_deformation_area",
    "draw_measurement",
    "show_most",
    "thinned",
]

#: more points than these make a picture slower, not better
_MOST_POINTS = 20000

Floats = npt.NDArray[np.float64]


def draw_measurement(
    measured: HDF5Data | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    truth: Any = None,
    number: int = 24,
) -> Path:
    """Draw events with their outlines, and deformation against size, as one PNG.

    Parameters
    ----------
    measured
        A measured recording or its path.
    out
        Picture to write; an existing one is replaced.
    truth
        True values, if they are known: anything with columns ``area_um`` and
        ``deform``, such as `cytovox.testing.Truth`.
    number
        Number of events to show.

    Returns
    -------
    pathlib.Path
        The picture.

    Raises
    ------
    InputError
        If the recording cannot be read.

    Examples
    --------
    >>> import h5py
    >>> folder = getfixture("tmp_path")
    >>> with h5py.File(folder / "measured.rtdc", "w") as h5:
    ...     h5.attrs.update({"experiment:event count": 2, "imaging:pixel size": 0.34})
    ...     h5["events/area_um"] = [30.0, 60.0]
    ...     h5["events/deform"] = [0.02, 0.08]
    >>> draw_measurement(folder / "measured.rtdc", folder / "picture.png").name
    'picture.png'
    """
    if not isinstance(measured, HDF5Data):
        with HDF5Data(Path(measured)) as data:
            return draw_measurement(data, out, truth=truth, number=number)
    figure = new_figure(14, 5)
    left, right = figure.subplots(1, 2, width_ratios=(2.15, 1))
    draw_contact_sheet(left, measured, number=number)
    draw_deformation_area(right, measured, truth=truth)
    return save_figure(figure, out)


def deformation_area_scatter(
    data: HDF5Data, *, truth: Mapping[str, npt.NDArray[Any]] | Any = None
) -> Figure:
    """Draw deformation against area, one point per event.

    Parameters
    ----------
    data
        A measured recording (features ``area_um`` and ``deform``).
    truth
        True values to draw as rings, if they are known: anything with columns
        ``area_um`` and ``deform``.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import io, h5py
    >>> stream = io.BytesIO()
    >>> with h5py.File(stream, "w") as h5:
    ...     h5.attrs.update({"experiment:event count": 2, "imaging:pixel size": 0.34})
    ...     h5["events/area_um"] = [30.0, 60.0]
    ...     h5["events/deform"] = [0.02, 0.08]
    >>> with HDF5Data(stream) as data:
    ...     figure = deformation_area_scatter(data)
    >>> figure.axes[0].get_xlabel()
    'Area (µm²)'
    """
    figure = new_figure(5.6, 5.4)
    draw_deformation_area(figure.add_subplot(), data, truth=truth)
    return figure


def draw_deformation_area(axes: Any, data: HDF5Data, *, truth: Any = None) -> None:
    """Draw deformation against area into given axes; see `deformation_area_scatter`.

    Parameters
    ----------
    axes
        Axes of matplotlib.
    data
        A measured recording.
    truth
        True values to draw as rings, or None.
    """
    title(axes, "Size and deformation")
    label_axes(axes, "Area (µm²)", "Deformation")
    if not len(data) or "area_um" not in data or "deform" not in data:
        text = "area or deformation was not measured" if len(data) else "no events"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=FAINT, fontsize=11)
        return
    measured = _points(data)
    shown = thinned(measured)
    size = float(np.clip(1500 / np.sqrt(shown.shape[1] + 1) / 4, 3, 18))
    axes.scatter(
        *shown, s=size, color=MEASURED, alpha=0.55, linewidths=0, rasterized=True, zorder=2,
        label=f"measured ({measured.shape[1]})",
    )  # fmt: skip
    everything = measured
    if truth is not None and len(truth["area_um"]):
        true = np.array([truth["area_um"], truth["deform"]], dtype=np.float64)
        everything = np.concatenate([measured, true], axis=1)
        axes.scatter(
            *thinned(true), s=size * 1.8, facecolors="none", edgecolors=TRUE, linewidths=0.7,
            alpha=0.8, rasterized=True, zorder=1, label=f"true ({true.shape[1]})",
        )  # fmt: skip
        axes.text(
            0.99, 0.02, "Outlines follow pixels, which makes cells look more deformed.",
            transform=axes.transAxes, ha="right", color=FAINT, fontsize=8.5,
        )  # fmt: skip
    axes.grid(visible=True, color="#e6e8ea", linewidth=0.7)
    axes.set_axisbelow(True)
    show_most(axes, everything)
    axes.legend(
        loc="upper left", frameon=True, framealpha=0.9, edgecolor="none", fontsize=10,
        labelcolor=INK, handletextpad=0.3, markerscale=1.6,
    )  # fmt: skip


def _points(data: HDF5Data) -> Floats:
    """Return area and deformation of all events that have both, shape (2, n)."""
    points = np.array([data["area_um"][:], data["deform"][:]], dtype=np.float64)
    return np.asarray(points[:, np.isfinite(points).all(axis=0)])


def thinned(points: Floats) -> Floats:
    """Return not more points than help a picture, evenly chosen."""
    step = -(-points.shape[1] // _MOST_POINTS) or 1
    return points[:, ::step]


def show_most(axes: Any, points: Floats, room: float = 0.12) -> None:
    """Show what nearly all points fill, and some room; a few far ones do not set the scale."""
    if not points.shape[1]:
        return
    for values, set_limits in zip(points, (axes.set_xlim, axes.set_ylim), strict=True):
        low, high = np.percentile(values, (0.3, 99.7))
        around = room * (high - low) or 0.5 * abs(high) or 0.5
        set_limits(low - around, high + around)
