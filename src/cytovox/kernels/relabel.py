"""Labels get other numbers: small ones in a block, final ones in the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .jit import kernel
from .lattice import Ids
from .table import double, find

__all__ = ["first_appearance", "relabel"]


def first_appearance(
    labels: npt.NDArray[Any], inner: tuple[tuple[int, int], ...] | None = None
) -> tuple[Ids, int, int]:
    """Give labels the numbers 1, 2, ... in raster order of their first appearance.

    Parameters
    ----------
    labels
        Labels of any integer type without negative values, of any shape;
        0 is background and stays 0.
    inner
        (start, stop) along each axis. Labels within come first; those that
        are only outside get the numbers after them. None for everything.

    Returns
    -------
    labels : numpy.ndarray
        uint32, of the shape of `labels`.
    count : int
        Number of labels within `inner`.
    seen : int
        Number of all labels.

    Raises
    ------
    InputError
        If there are negative values, or values that are not integers.

    Examples
    --------
    >>> import numpy as np
    >>> out, count, seen = first_appearance(np.array([9, 0, 70, 9, 5]), ((2, 4),))
    >>> out.tolist(), count, seen
    ([2, 0, 1, 2, 3], 2, 3)
    """
    if labels.dtype.kind not in "ui":
        raise InputError(f"labels must be integers, not {labels.dtype}")
    if labels.dtype.kind == "i" and labels.size and labels.min() < 0:
        raise InputError(f"a label is negative ({labels.min()})", hint="0 is background")
    keys = np.ascontiguousarray(labels, np.uint64 if labels.dtype.itemsize > 4 else np.uint32)
    out = np.empty(labels.shape, np.uint32)
    window = slice(None) if inner is None else tuple(slice(*pair) for pair in inner)
    # The part within is copied so that one kernel serves any dimension.
    part = np.ascontiguousarray(keys[window]).ravel()
    count, seen = _number(part, keys.ravel(), out.reshape(-1))
    return out, int(count), int(seen)


def relabel(
    labels: npt.NDArray[Any], lut: npt.NDArray[Any], out: npt.NDArray[Any] | None = None
) -> npt.NDArray[Any]:
    """Replace each label by the entry of a list at its place.

    Parameters
    ----------
    labels
        Labels of an unsigned type, of any shape.
    lut
        New labels, of shape (n + 1,), where n is the largest label.
    out
        Where to write, of the shape of `labels` and the type of `lut`;
        may be `labels` itself.

    Returns
    -------
    numpy.ndarray
        Of the shape of `labels` and the type of `lut`.

    Raises
    ------
    InputError
        If a label has no entry.

    Examples
    --------
    >>> import numpy as np
    >>> relabel(np.array([[0, 2]], np.uint32), np.array([0, 5, 7], np.uint32)).tolist()
    [[0, 7]]
    """
    largest = int(labels.max()) if labels.size else 0
    if largest >= lut.size:
        raise InputError(
            f"label {largest} is not one of the {lut.size - 1} that were counted",
            hint="the block was changed after it was counted; segment it again",
        )
    # Clipping only spares NumPy the copy that it makes to be able to refuse.
    result: npt.NDArray[Any] = np.take(lut, labels, out=out, mode="clip")
    return result


@kernel()
def _number(part: npt.NDArray[Any], whole: npt.NDArray[Any], out: Ids) -> tuple[int, int]:
    keys = np.zeros(1024, np.uint64)
    numbers = np.zeros(1024, np.int64)
    n = 0
    last = np.uint64(0)
    for i in range(part.size):
        key = np.uint64(part[i])
        if key == 0 or key == last:
            continue
        last = key
        slot = find(keys, key)
        if keys[slot] == 0:
            n += 1
            keys[slot] = key
            numbers[slot] = n
            if 2 * n > keys.size:
                keys, numbers = double(keys, numbers)
    count = n
    last = np.uint64(0)
    number = np.int64(0)
    for i in range(whole.size):
        key = np.uint64(whole[i])
        if key != last:
            last = key
            number = np.int64(0)
            if key != 0:
                slot = find(keys, key)
                if keys[slot] == 0:
                    n += 1
                    keys[slot] = key
                    numbers[slot] = n
                number = numbers[slot]
                if 2 * n > keys.size:
                    keys, numbers = double(keys, numbers)
        out[i] = number
    return count, n
