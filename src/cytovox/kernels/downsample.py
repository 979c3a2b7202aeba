"""Coarser label images that hold no label which was not there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["downsample_mean", "downsample_mode", "downsample_nearest"]

#: voxels of the result that are made at once, to keep what is compared in cache
_SLAB = 2**16


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
    rows = max(1, _SLAB // max(1, int(np.prod(shape[1:]))))
    for start in range(0, shape[0], rows):
        stop = min(start + rows, shape[0])
        part = labels[start * factors[0] : stop * factors[0]]
        out[start:stop] = _mode(part, factors, (stop - start, *shape[1:]))
    return out


def _mode(
    labels: npt.NDArray[Any], factors: Sequence[int], shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    corners = list(_corners(labels, factors, shape))
    best: npt.NDArray[Any] = corners[0].copy()
    uniform = np.ones(shape, bool)
    for corner in corners[1:]:
        uniform &= corner == best
    if uniform.all():
        return best
    # only windows with several labels need counting
    mixed = np.nonzero(~uniform)
    values = np.stack([corner[mixed] for corner in corners])
    most = np.zeros(values.shape[1], np.int16)
    winner = values[0].copy()
    for value in values:
        count = np.zeros(values.shape[1], np.int16)
        for other in values:
            count += other == value
        better = count > most
        most[better] = count[better]
        winner[better] = value[better]
    best[mixed] = winner
    return best


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
