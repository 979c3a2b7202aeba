"""The part of the pipeline identifier that states how a recording is read."""

from __future__ import annotations

import hashlib
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

from .mapped import IndexMapping

__all__ = [
    "CODE",
    "get_ppid_from_ppkw",
    "get_ppid_index_mapping",
    "get_ppkw_from_ppid",
    "round_pixel_size",
]

#: Code of recordings in the pipeline identifier.
CODE = "hdf"


def round_pixel_size(pixel_size: float) -> float:
    """Return a pixel size [µm] with the eight decimals of the identifier.

    Examples
    --------
    >>> round_pixel_size(0.123456789)
    0.12345679
    """
    return float(f"{pixel_size:.8f}")


def get_ppid_index_mapping(index_mapping: IndexMapping) -> str:
    """Return the text that stands for an index mapping.

    Parameters
    ----------
    index_mapping
        Number of rows, slice, row numbers of shape (n,), or None.

    Examples
    --------
    >>> [get_ppid_index_mapping(m) for m in (None, 5, slice(1, 4), [3, 5, 6, 7])]
    ['0', '5', '1-4-n', 'h-6e582938']
    """
    if index_mapping is None:
        return "0"
    if isinstance(index_mapping, numbers.Integral):
        return str(int(index_mapping))
    if isinstance(index_mapping, slice):
        parts = (index_mapping.start, index_mapping.stop, index_mapping.step)
        return "-".join("n" if part is None else str(part) for part in parts)
    if isinstance(index_mapping, (list, np.ndarray)):
        rows = np.array(index_mapping, dtype=np.uint32)
        return "h-" + hashlib.md5(rows.tobytes(), usedforsecurity=False).hexdigest()[:8]
    return "unknown"


def get_ppid_from_ppkw(kwargs: Mapping[str, Any]) -> str:
    """Return the data part of an identifier for reader options.

    Parameters
    ----------
    kwargs
        ``pixel_size`` [µm] and, if any, ``index_mapping``.

    Examples
    --------
    >>> get_ppid_from_ppkw({"pixel_size": 0.34})
    'hdf:p=0.34^i=0'
    """
    pixel_size = f"{kwargs['pixel_size']:.8f}".rstrip("0")
    return f"{CODE}:p={pixel_size}^i={get_ppid_index_mapping(kwargs.get('index_mapping'))}"


def get_ppkw_from_ppid(dat_ppid: str) -> dict[str, Any]:
    """Return the reader options that a data part of an identifier stands for.

    Parameters
    ----------
    dat_ppid
        The data part of an identifier.

    Raises
    ------
    ValueError
        If the text is of another kind, or the index mapping was hashed.

    Examples
    --------
    >>> get_ppkw_from_ppid("hdf:p=0.2645^i=1-4-n")
    {'pixel_size': 0.2645, 'index_mapping': slice(1, 4, None)}
    """
    code, _, options = dat_ppid.partition(":")
    if code != CODE:
        raise ValueError(f"Could not find data method '{code}'!")
    kwargs: dict[str, Any] = {}
    for pair in options.split("^"):
        key, _, value = pair.partition("=")
        if key == "p":
            kwargs["pixel_size"] = float(value)
        elif key == "i":
            kwargs["index_mapping"] = _parse_mapping(value)
        else:
            raise ValueError(f"Invalid parameter '{key}'!")
    return kwargs


def _parse_mapping(text: str) -> int | slice | None:
    if text == "0":
        return None
    if text.startswith("h-") or text == "unknown":
        raise ValueError(f"Cannot invert index mapping {text}")
    if "-" not in text:
        return int(text)
    start, stop, step = (None if part == "n" else int(part) for part in text.split("-"))
    return slice(start, stop, step)
