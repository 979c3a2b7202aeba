"""The scalar features of a recording or result as the columns of a table."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from .hdf5_data import HDF5Data
from .mapped import read_rows

__all__ = ["ALWAYS", "read_columns", "table_features"]

#: The number of an event, from 1, as dclab counts them; and the frame that it was found in.
ALWAYS = ("index", "frame")


def table_features(data: HDF5Data, wanted: Iterable[str] | None = None) -> list[str]:
    """Return the features for a table: event and frame, then the chosen ones or all."""
    known = data.offered()
    if wanted is None:
        chosen = [name for name in sorted(known) if data.locate(name).ndim == 1]
    else:
        chosen = [_checked(data, name, known) for name in wanted]
    first = [name for name in ALWAYS if name == "index" or name in known]
    return [*first, *(name for name in dict.fromkeys(chosen) if name not in ALWAYS)]


def _checked(data: HDF5Data, name: str, known: list[str]) -> str:
    if name not in known and name not in ALWAYS:
        if (problem := data.why_not(name)) is not None:
            raise problem
        close = difflib.get_close_matches(name, known, 3)
        hint = f"did you mean {' or '.join(close)}?" if close else "cytovox info shows what it has"
        raise UsageError(f"there is no feature '{name}'", path=data.place, hint=hint)
    if name in known and data.locate(name).ndim != 1:
        hint = "export images as tiff or avi"
        raise UsageError(f"'{name}' is not a number for each event", path=data.place, hint=hint)
    return name


def read_columns(
    data: HDF5Data, features: Iterable[str], rows: slice
) -> dict[str, npt.NDArray[Any]]:
    """Return some rows of features, as they are stored."""
    columns: dict[str, npt.NDArray[Any]] = {}
    for name in features:
        stored = data.locate(name)
        if stored is None and name == "index":
            columns[name] = np.arange(rows.start + 1, rows.stop + 1)
        else:
            columns[name] = read_rows(stored, rows)
    return columns
