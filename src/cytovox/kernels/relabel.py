"""Labels get other numbers: small ones in a block, final ones in the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .counting import double, find
from .jit import kernel
from .lattice import Ids

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
        uint32, of the shape of `labels`; these themselves if they are
        numbered so already.
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
    largest = int(labels.max()) if labels.size else 0
    # A list is faster than a hash table, but only as long as it is no longer than the labels.
    dense = largest <= min(4 * labels.size, np.iinfo(np.uint32).max)
    keys: Any = np.ascontiguousarray(labels, np.uint32 if dense else np.uint64)
    box = tuple((0, size) for size in labels.shape)
    if dense and (inner is None or tuple(inner) == box):
        count = int(_count_in_order(keys.reshape(-1)))
        if count == largest:
            return keys, count, count
        inner = None
    out = np.empty(labels.shape, np.uint32)
    # The part within is copied so that one kernel serves any dimension.
    part: Any = keys[:0] if inner is None else keys[tuple(slice(*pair) for pair in inner)]
    part = np.ascontiguousarray(part).reshape(-1)
    if dense:
        lut = np.zeros(largest + 1, np.uint32)
        within, seen = _number_by_list(part, keys.reshape(-1), lut, out.reshape(-1))
    else:
        within, seen = _number(part, keys.reshape(-1), out.reshape(-1))
    return out, int(seen if inner is None else within), int(seen)


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
def _count_in_order(labels: Ids) -> np.int64:
    """Count labels that are 1, 2, ... in the order of their appearance; -1 if they are not."""
    n = np.uint32(0)
    for i in range(labels.size):
        if labels[i] > n:
            n += np.uint32(1)
            if labels[i] != n:
                return np.int64(-1)
    return np.int64(n)


@kernel()
def _number_by_list(part: Ids, whole: Ids, lut: Ids, out: Ids) -> tuple[int, int]:
    n = np.uint32(0)
    for i in range(part.size):
        if part[i] != 0 and lut[part[i]] == 0:
            n += np.uint32(1)
            lut[part[i]] = n
    count = n
    for i in range(whole.size):
        label = whole[i]
        if label != 0 and lut[label] == 0:
            n += np.uint32(1)
            lut[label] = n
        out[i] = lut[label]
    return int(count), int(n)


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
