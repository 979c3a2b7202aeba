"""What a recording is called: checksums and measurement identifiers."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

__all__ = [
    "as_count",
    "as_number",
    "as_text",
    "get_measurement_identifier",
    "identifier_fits",
    "is_made_of",
    "md5sum",
    "stated",
]

#: More events than any file has; exact as a floating-point number.
_MOST_EVENTS = 1 << 53
#: Attributes that identify a measurement which has no run identifier.
_PARTS = ("experiment:time", "experiment:date", "setup:identifier")


def as_text(value: Any) -> Any:
    """Return bytes as text and anything else unchanged."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return value


def as_number(value: Any) -> float | None:
    """Return a number that may be stored as text or in an array of its own."""
    try:
        return float(np.asarray(as_text(value)).reshape(())[()])
    except (TypeError, ValueError, OverflowError):
        return None


def as_count(value: Any) -> int | None:
    """Return a number of events, stored in any way; None if it cannot be one."""
    number = as_number(value)
    if number is None or not 0 <= number <= _MOST_EVENTS or number % 1:
        return None
    return int(number)


def stated(attributes: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """Return an attribute; one that is empty is as if it were absent.

    Programs write what they do not know in many ways: as text without
    characters, as an array without values, or as an attribute without data.
    """
    value = as_text(attributes.get(name))
    return default if value is None or _is_empty(value) else value


def _is_empty(value: Any) -> bool:
    if isinstance(value, h5py.Empty):
        return True
    values = np.asarray(value)
    if values.dtype.kind not in "SUO":
        return not values.size
    texts = (as_text(one) for one in values.flat)
    return all(isinstance(text, str) and not text.strip("\0 \t\r\n") for text in texts)


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
    run = str(stated(h5.attrs, "experiment:run identifier", ""))
    if run:
        return run
    return _from_parts([str(stated(h5.attrs, name, "")) for name in _PARTS])


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
