"""One picture that shows whether a measurement is sound."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..read import HDF5Data
from .contact_sheet import draw_contact_sheet
from .scatter import draw_deformation_area
from .style import new_figure, save_figure

__all__ = ["draw_measurement"]


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
