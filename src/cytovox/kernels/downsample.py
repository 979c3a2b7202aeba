"""Coarser label images that hold no label which was not there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from .jit import kernel

__all__ = ["downsample_mean", "downsample_mode", "downsample_nearest"]


def downsample_mode(labels: npt.NDArray[Any], factors: Sequence[int]) -> npt.NDArray[Any]:
    """Return the most frequent label of each window; ties go to the first in it.

    Parameters
    ----------
    labels
        Integers, of any shape.
    factors
        Size of a window along each axis. A window that is cut by the end of an
        axis is filled by repeating its last voxels.

    Returns
    -------
    ndarray
        Same type; the shape is ``ceil(n / factor)`` along each axis.

    Examples
    --------
    >>> downsample_mode(np.array([[1, 1, 5], [2, 1, 0]]), (2, 2))
    array([[1, 5]])
    """
    shape = tuple(-(-n // f) for n, f in zip(labels.shape, factors, strict=True))
    out = np.empty(shape, labels.dtype)
    if not out.size:
        return out
    # Leading axes are as one if they stay as they are, and most of them do.
    lead = max(labels.ndim - 3, 0)
    if any(f != 1 for f in factors[:lead]):
        raise UsageError(f"windows of {tuple(factors)} voxels are not made coarser")
    full = (1,) * (3 - labels.ndim) + tuple(factors[lead:])
    unsigned = f"u{labels.dtype.itemsize}"
    source = np.ascontiguousarray(labels).view(unsigned)
    target = out.view(unsigned)
    for at in np.ndindex(shape[:lead]):
        part, made = source[at], target[at]
        for _ in range(3 - labels.ndim):
            part, made = part[None], made[None]
        _mode(part, np.array(full, np.int64), made)
    return out


@kernel()
def _mode(labels: npt.NDArray[Any], factors: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
    depth, height, width = labels.shape
    fz, fy, fx = factors
    values = np.empty(fz * fy * fx, labels.dtype)
    differ = np.empty(width, labels.dtype)
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            above = labels[z * fz, y * fy]
            differ[:] = 0
            for dz in range(fz):
                for dy in range(fy):
                    row = labels[min(z * fz + dz, depth - 1), min(y * fy + dy, height - 1)]
                    # The compiler makes vector instructions of this.
                    for x in range(width):
                        differ[x] |= row[x] ^ above[x]
            for x in range(out.shape[2]):
                start, stop = x * fx, min(x * fx + fx, width)
                first = above[start]
                other = differ[start]
                for at in range(start + 1, stop):
                    other |= differ[at] | (above[at] ^ first)
                out[z, y, x] = first
                if other == 0:
                    continue
                n = 0
                for dz in range(fz):
                    for dy in range(fy):
                        row = labels[min(z * fz + dz, depth - 1), min(y * fy + dy, height - 1)]
                        for dx in range(fx):
                            values[n] = row[min(start + dx, width - 1)]
                            n += 1
                out[z, y, x] = _most_frequent(values)


@kernel()
def _most_frequent(values: npt.NDArray[Any]) -> Any:
    found = values[0]
    most = 0
    for i in range(values.size):
        count = 0
        for j in range(values.size):
            count += values[j] == values[i]
        if count > most:
            most = count
            found = values[i]
    return found


def _corners(
    array: npt.NDArray[Any], factors: Sequence[int], shape: tuple[int, ...]
) -> Iterator[npt.NDArray[Any]]:
    """Yield each place of the windows as an array; cut windows repeat their end."""
    pad = [(0, n * f - length) for n, f, length in zip(shape, factors, array.shape, strict=True)]
    if any(after for _, after in pad):
        array = np.pad(array, pad, mode="edge")
    for at in itertools.product(*(range(f) for f in factors)):
        yield array[tuple(slice(a, None, f) for a, f in zip(at, factors, strict=True))]


def downsample_nearest(labels: npt.NDArray[Any], factors: Sequence[int]) -> npt.NDArray[Any]:
    """Return the first voxel of each window; fast, and misses small objects.

    Parameters
    ----------
    labels
        Integers, of any shape.
    factors
        Size of a window along each axis.

    Returns
    -------
    ndarray
        Same type; the shape is ``ceil(n / factor)`` along each axis.

    Examples
    --------
    >>> downsample_nearest(np.array([[1, 2, 5], [2, 1, 0]]), (2, 2))
    array([[1, 5]])
    """
    return np.ascontiguousarray(labels[tuple(slice(None, None, f) for f in factors)])


def downsample_mean(image: npt.NDArray[Any], factors: Sequence[int]) -> npt.NDArray[Any]:
    """Return the mean of each window, rounded for integers; not for labels.

    Parameters
    ----------
    image
        Numbers, of any shape.
    factors
        Size of a window along each axis, as for `downsample_mode`.

    Returns
    -------
    ndarray
        Same type; the shape is ``ceil(n / factor)`` along each axis.

    Examples
    --------
    >>> downsample_mean(np.array([[1, 1, 5], [2, 2, 0]], np.uint8), (2, 2))
    array([[2, 2]], dtype=uint8)
    """
    shape = tuple(-(-n // f) for n, f in zip(image.shape, factors, strict=True))
    total = np.zeros(shape, np.float64 if image.dtype.kind != "f" else image.dtype)
    number = 0
    for corner in _corners(image, factors, shape):
        total += corner
        number += 1
    total /= number
    return (np.rint(total) if image.dtype.kind in "iu" else total).astype(image.dtype)
