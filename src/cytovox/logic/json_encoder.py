"""JSON of things that occur in job descriptions."""

from __future__ import annotations

import dataclasses
import json
import numbers
import pathlib
from typing import Any

import numpy as np

__all__ = ["ExtendedJSONEncoder"]


class ExtendedJSONEncoder(json.JSONEncoder):
    """A JSON encoder that also knows paths, numpy values, slices and errors.

    Paths become text, whole and real numbers of any kind become numbers,
    numpy truth values become true or false, numpy arrays become lists, and a
    slice becomes ``["PYTHON-SLICE", [start, stop, step]]``; a dataclass becomes an
    object.

    Examples
    --------
    >>> json.dumps({"a": slice(1, 5, None), "b": np.arange(2)}, cls=ExtendedJSONEncoder)
    '{"a": ["PYTHON-SLICE", [1, 5, null]], "b": [0, 1]}'
    """

    def default(self, o: Any) -> Any:
        """Return something that JSON knows, standing for ``o``."""
        if isinstance(o, pathlib.PurePath):
            return str(o)
        if isinstance(o, np.bool_):
            return bool(o)
        if isinstance(o, numbers.Integral):
            return int(o)
        if isinstance(o, numbers.Real):
            return float(o)
        if isinstance(o, slice):
            return ["PYTHON-SLICE", [o.start, o.stop, o.step]]
        if isinstance(o, np.ndarray):
            return o.tolist()
        if isinstance(o, bytes):
            return o.decode("utf-8", errors="replace")
        if dataclasses.is_dataclass(o) and not isinstance(o, type):
            return {item.name: getattr(o, item.name) for item in dataclasses.fields(o)}
        return super().default(o)
