"""What is refused before memory is taken for it: shapes, chunks, boxes, documents.

A few bytes of metadata can promise any size. Everything that a file says about
itself passes through here before an array is made from it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError, UsageError
from .const import MAX_CHUNK_BYTES

__all__ = [
    "MAX_BOX_BYTES",
    "MAX_DOCUMENT_BYTES",
    "Box",
    "box_shape",
    "check_box",
    "check_chunk",
    "check_dtype",
    "check_fill",
    "check_index",
    "check_known",
    "check_numbers",
    "check_shape",
    "intersect",
    "slices",
]

#: Start and stop per axis, voxels; may reach outside of the volume.
Box = tuple[tuple[int, int], ...]

#: Largest box that is read at once, unless the caller says otherwise.
MAX_BOX_BYTES = 2**32
#: Largest description (JSON) of an array or group.
MAX_DOCUMENT_BYTES = 2**24
_MAX_DIMENSIONS = 8
_MAX_LENGTH = 2**48

Where = str | os.PathLike[str]


def check_shape(shape: Any, where: Where) -> tuple[int, ...]:
    """Return the shape of an array as integers."""
    good = (
        isinstance(shape, (list, tuple))
        and 1 <= len(shape) <= _MAX_DIMENSIONS
        and all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in shape)
        and all(0 < n <= _MAX_LENGTH for n in shape)
        and math.prod(int(n) for n in shape) < 2**62
    )
    if not good:
        raise InputError(
            f"an array of shape {_short(shape)} cannot be",
            path=where,
            hint=f"1 to {_MAX_DIMENSIONS} dimensions of at least 1 voxel are read",
        )
    return tuple(int(n) for n in shape)


def check_known(name: Any, known: Collection[str], what: str, where: Where) -> str:
    """Return the name of a way to store voxels, if it is one that is read."""
    if not isinstance(name, str) or name not in known:
        raise InputError(
            f"{what} {str(name)[:40]!r} is not read",
            path=where,
            hint=f"store it again with one of {', '.join(sorted(known))}",
        )
    return name


def check_dtype(dtype: Any, where: Where) -> np.dtype[Any]:
    """Return the type of the voxels in the byte order of this computer."""
    try:
        known = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError):
        known = np.dtype(object)
    if known.kind not in "biuf" or known.itemsize > 8:
        raise InputError(
            f"voxels of type {_short(dtype)} are not read",
            path=where,
            hint="give integers or floating-point numbers of up to 64 bits",
        )
    plain: np.dtype[Any] = np.dtype(known.newbyteorder("="))
    return plain


def check_chunk(
    chunk: Any, shape: Sequence[int], dtype: npt.DTypeLike, where: Where
) -> tuple[int, ...]:
    """Return the shape of a chunk, if one fits into memory."""
    checked = check_shape(chunk, where)
    if len(checked) != len(shape):
        raise InputError(f"chunks of {len(checked)} dimensions in {len(shape)}", path=where)
    size = math.prod(checked) * np.dtype(dtype).itemsize
    if size > MAX_CHUNK_BYTES:
        raise InputError(
            f"a chunk of {checked} voxels takes {size / 2**30:.1f} GiB",
            path=where,
            hint=f"store it again in chunks of at most {MAX_CHUNK_BYTES // 2**20} MiB",
        )
    return checked


def check_box(box: Iterable[Sequence[int]], dimensions: int, where: Where) -> Box:
    """Return a box as pairs of integers."""
    try:
        checked = tuple((int(start), int(stop)) for start, stop in box)
    except (TypeError, ValueError) as err:
        raise UsageError(
            f"{_short(box)} is not a box", path=where, hint="give (start, stop) for each axis"
        ) from err
    if len(checked) != dimensions:
        raise UsageError(f"a box of {len(checked)} axes for a volume of {dimensions}", path=where)
    if any(stop < start for start, stop in checked):
        raise UsageError(f"box {checked} stops before it starts", path=where)
    return checked


def box_shape(box: Box) -> tuple[int, ...]:
    """Return the number of voxels of a box along each axis."""
    return tuple(max(stop - start, 0) for start, stop in box)


def intersect(a: Box, b: Box) -> Box | None:
    """Return what two boxes share, or None."""
    common = tuple((max(p[0], q[0]), min(p[1], q[1])) for p, q in zip(a, b, strict=True))
    return common if all(start < stop for start, stop in common) else None


def slices(box: Box, within: Box) -> tuple[slice, ...]:
    """Return where a box is in an array that holds another box."""
    return tuple(
        slice(start - origin, stop - origin)
        for (start, stop), (origin, _) in zip(box, within, strict=True)
    )


def check_numbers(
    values: Any, count: int, what: str, where: Where, *, positive: bool = False
) -> tuple[float, ...]:
    """Return so many finite numbers."""
    if isinstance(values, np.ndarray):
        values = values.tolist()
    numbers = values if isinstance(values, (list, tuple)) else ()
    good = len(numbers) == count and all(
        isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) < 1e300 for v in numbers
    )
    if not good or (positive and any(v <= 0 for v in numbers)):
        kind = "positive " if positive else ""
        raise InputError(f"{what} is {_short(values)}, not {count} {kind}numbers", path=where)
    return tuple(float(v) for v in numbers)


def check_fill(value: Any, dtype: np.dtype[Any], where: Where) -> Any:
    """Return a fill value as voxels have it."""
    try:
        with np.errstate(all="ignore"):
            fitting = np.asarray(value).astype(dtype)[()]
        missing = dtype.kind == "f" and value != value
        fits = missing or bool(fitting == value)
        fits = fits or (dtype.kind == "f" and math.isfinite(fitting))
    except (TypeError, ValueError, OverflowError):
        fits = False
    if not fits:
        raise UsageError(f"voxels of {dtype} cannot be {value!r}", path=where, hint="see dtype")
    return fitting


def check_index(key: Any, length: int, where: Where) -> tuple[int, int]:
    """Return start and stop of a slice or number along an axis."""
    try:
        taken = range(length)[key]
    except TypeError:
        raise UsageError(f"{key!r} is not a slice or number", path=where) from None
    except IndexError:
        raise UsageError(f"index {key} is outside of {length} voxels", path=where) from None
    if not isinstance(taken, range):
        return taken, taken + 1
    if taken.step != 1:
        raise UsageError(
            "slices with steps are not read", path=where, hint="take steps of what was read"
        )
    return taken.start, max(taken.start, taken.stop)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
