"""The scalar features of a recording or result as the columns of a table."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import InputError, UsageError
from ..run.extras import require
from .feature_labels import label_of, unit_of
from .mapped import read_rows

__all__ = ["ALWAYS", "event_frame", "read_columns", "table_features", "to_frame"]

#: The number of an event, from 1, as dclab counts them; and the frame that it was found in.
ALWAYS = ("index", "frame")


class Events(Protocol):
    """What a table is made of; `HDF5Data` has it."""

    @property
    def place(self) -> Path | None:
        """Path of the file."""

    def __len__(self) -> int: ...

    def offered(self) -> list[str]:
        """Return the names of all features."""

    def locate(self, feat: str) -> Any:
        """Return a feature as dataset."""

    def why_not(self, feat: str) -> InputError | None:
        """Return why a feature cannot be read."""


def table_features(data: Events, wanted: Iterable[str] | None = None) -> list[str]:
    """Return the features for a table: event and frame, then the chosen ones or all."""
    known = data.offered()
    if wanted is None:
        chosen = [name for name in sorted(known) if data.locate(name).ndim == 1]
    else:
        chosen = [_checked(data, name, known) for name in wanted]
    first = [name for name in ALWAYS if name == "index" or name in known]
    return [*first, *(name for name in dict.fromkeys(chosen) if name not in ALWAYS)]


def _checked(data: Events, name: str, known: list[str]) -> str:
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
    data: Events, features: Iterable[str], rows: slice
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


def event_frame(data: Events, features: Iterable[str] | None) -> Any:
    """Return features as a `pandas.DataFrame`, in the order of the events."""
    names = table_features(data, features)
    columns = read_columns(data, names, slice(0, len(data)))
    if data.locate("index") is None:
        del columns["index"]  # rows are numbered anyway
    units = {name: unit_of(name) for name in columns}
    return to_frame(columns, units, {name: label_of(name) for name in columns})


def to_frame(
    columns: Mapping[str, npt.NDArray[Any]], units: Mapping[str, str], labels: Mapping[str, str]
) -> Any:
    """Return columns as a `pandas.DataFrame` that knows their units and labels."""
    require("pandas", "tables of pandas")
    import pandas as pd

    # pandas takes numbers of this machine's byte order only
    native = {
        name: values.astype(values.dtype.newbyteorder("=")) for name, values in columns.items()
    }
    frame = pd.DataFrame(native)
    frame.attrs = {"units": dict(units), "labels": dict(labels)}
    return frame
