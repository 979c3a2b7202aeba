"""What a recording is called: measurement, and its part of the pipeline identifier."""

from __future__ import annotations

import hashlib
import numbers
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .mapped import IndexMapping
from .members import stated

__all__ = [
    "CODE",
    "get_measurement_identifier",
    "get_ppid_from_ppkw",
    "get_ppid_index_mapping",
    "get_ppkw_from_ppid",
    "identifier_fits",
    "is_made_of",
    "md5sum",
    "round_pixel_size",
]

#: Code of recordings in the pipeline identifier.
CODE = "hdf"
#: Attributes that identify a measurement which has no run identifier.
_PARTS = ("experiment:time", "experiment:date", "setup:identifier")


def get_measurement_identifier(h5: h5py.Group) -> str | None:
    """Return the identifier of the measurement that a file belongs to.

    This is the run identifier; where there is none, it is made from time,
    date and name of the set-up.

    Parameters
    ----------
    h5
        Opened file.

    Returns
    -------
    str or None
        None if the file has neither.

    Examples
    --------
    >>> import h5py, io
    >>> h5 = h5py.File(io.BytesIO(), "w")
    >>> h5.attrs["experiment:time"] = "12:01"
    >>> h5.attrs["experiment:date"] = "2024-06-23"
    >>> h5.attrs["setup:identifier"] = "RC-peter-pan-and-friends"
    >>> get_measurement_identifier(h5)
    'f0cfdc6f-93c7-c093-d135-a20f3e5bdbfa'
    """
    attributes = h5.attrs  # h5py makes this anew each time, which takes a while for files
    run = str(stated(attributes, "experiment:run identifier", ""))
    if run:
        return run
    return _from_parts([str(stated(attributes, name, "")) for name in _PARTS])


def identifier_fits(h5: h5py.Group, expected: str) -> bool:
    """Return whether a file belongs to the measurement of this identifier.

    Some programs make the identifier of byte strings without decoding them,
    so that it contains ``b'...'``; what they wrote is understood as well.
    """
    if get_measurement_identifier(h5) == expected:
        return True
    if stated(h5.attrs, "experiment:run identifier"):
        return False
    if not all(stated(h5.attrs, name) for name in _PARTS):
        return False
    parts = [h5.attrs[name] for name in _PARTS]
    raw = [str(bytes(p)) if isinstance(p, bytes) else str(p) for p in parts]
    return _from_parts(raw) == expected


def is_made_of(own: str | None, origin: str, mapped: bool) -> bool:
    """Return whether an identifier says that a file is of a measurement, or was made of it.

    Programs that choose or measure events append something to the identifier.
    """
    return own == origin or (mapped and own is not None and own.startswith(f"{origin}_"))


def _from_parts(parts: list[str]) -> str | None:
    if not all(parts):
        return None
    digest = hashlib.md5("_".join(parts).encode("utf-8"), usedforsecurity=False)
    return str(uuid.UUID(hex=digest.hexdigest()))


def md5sum(path: str | os.PathLike[str], blocksize: int = 65536, count: int = 0) -> str:
    """Return the MD5 checksum (32 hexadecimal digits) of a file.

    Parameters
    ----------
    path
        File to read.
    blocksize
        Number of bytes that are read at a time.
    count
        Number of blocks to read from the start; 0 reads the whole file.
    """
    digest = hashlib.md5(usedforsecurity=False)
    done = 0
    with Path(path).open("rb") as stream:
        while block := stream.read(blocksize):
            digest.update(block)
            done += 1
            if done == count:
                break
    return digest.hexdigest()


def round_pixel_size(pixel_size: float) -> float:
    """Return a pixel size [µm] with the eight decimals of the identifier."""
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
