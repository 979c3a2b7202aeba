"""Names for the arrays that kernels take, and how to make one of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError

__all__ = [
    "Corrected",
    "Floats",
    "Grey",
    "Integer",
    "Ints",
    "Labels",
    "contiguous",
    "fitting",
    "plain",
]

_EIGHT_BIT = "convert the images to 8 bit, for example divide those of a 12-bit camera by 16"

#: Images, uint8.
Grey = npt.NDArray[np.uint8]
#: Images from which the background was subtracted, int16.
Corrected = npt.NDArray[np.int16]
#: Labels of objects in frames, uint16; 0 is background.
Labels = npt.NDArray[np.uint16]
#: Numbers and places, int32.
Ints = npt.NDArray[np.int32]
#: Measured values, float64.
Floats = npt.NDArray[np.float64]
#: One whole number, of Python or of NumPy.
Integer = int | np.integer[Any]


def fitting(array: Any, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an array as a type of whole numbers, unless that would change a value.

    Parameters
    ----------
    array
        Anything that NumPy can make an array of, of any shape.
    dtype
        Type of the result.

    Returns
    -------
    numpy.ndarray
        Of the same shape; the array itself if it has this type.

    Raises
    ------
    UsageError
        If a value is out of range or not a whole number.

    Examples
    --------
    >>> import numpy as np
    >>> fitting(np.array([255], np.uint16), np.uint8)
    array([255], dtype=uint8)
    """
    given, target = np.asarray(array), np.dtype(dtype)
    with np.errstate(invalid="ignore"):
        found = given.astype(target, copy=False)
    if not np.can_cast(given.dtype, target, "safe") and not np.array_equal(found, given):
        low, high = np.iinfo(target).min, np.iinfo(target).max
        raise UsageError(
            f"there are values from {given.min()} to {given.max()} ({given.dtype}), "
            f"but only whole numbers from {low} to {high} can be used",
            hint=_EIGHT_BIT if target == np.uint8 else None,
        )
    return found


def plain(array: Any, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an array as kernels want it: of one type, contiguous, writeable.

    Each other kind of array would be compiled for anew. Only what is not yet
    like this is copied; a read-only array is.

    Parameters
    ----------
    array
        Anything that NumPy can make an array of, of any shape.
    dtype
        Type of the result.

    Returns
    -------
    numpy.ndarray
        Of the same shape.

    Raises
    ------
    UsageError
        If whole numbers are wanted, and a value does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> plain(np.zeros((4, 6), np.uint8)[:, ::2], np.int16).flags.c_contiguous
    True
    """
    if np.dtype(dtype).kind in "iu":
        array = fitting(array, dtype)
    return np.require(array, dtype, ["C_CONTIGUOUS", "WRITEABLE", "ALIGNED"])


@contextmanager
def contiguous(out: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """Give a contiguous array to be filled in place of one that may not be.

    Parameters
    ----------
    out
        Array of any shape that holds in the end what was filled in.

    Examples
    --------
    >>> import numpy as np
    >>> every_other = np.zeros(6)[::2]
    >>> with contiguous(every_other) as target:
    ...     target[:] = 1
    >>> every_other.tolist()
    [1.0, 1.0, 1.0]
    """
    target = out if out.flags.c_contiguous else np.empty(out.shape, out.dtype)
    yield target
    if target is not out:
        out[...] = target
