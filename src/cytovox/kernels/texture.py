"""Haralick texture of an object, from sparse co-occurrence.

Of the 256 x 256 pairs of grey levels that could be neighbours, an object shows
a few hundred. Only these are visited; and all features but the logarithms are
ratios of integers.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from .arrays import Corrected, Floats, Grey, Integer, Ints
from .jit import kernel

__all__ = ["TEXTURE_NAMES", "grey_levels", "texture_features"]

_BASE = ("asm", "con", "cor", "den", "ent", "f12", "f13", "idm", "sen", "sva", "var")

#: Mean over the four directions and, after each, its range.
TEXTURE_NAMES = tuple(f"tex_{name}_{kind}" for name in _BASE for kind in ("avg", "ptp"))

#: k * log2(k), for the counts that occur most.
_COUNTS = np.arange(2048, dtype=np.float64)
_XLOGX = _COUNTS * np.log2(np.maximum(_COUNTS, 1))


@kernel()
def _xlogx(k: Integer) -> float:
    return _XLOGX[k] if k < 2048 else k * math.log2(k)


@kernel()
def _entropy(counts: npt.NDArray[np.int64], total: Integer) -> float:
    """Return the entropy in bits; of a single value it is exactly 0."""
    lost = 0.0
    for k in range(counts.size):
        if counts[k] != 0:
            lost += _xlogx(counts[k])
    return (_xlogx(total) - lost) / total


@kernel()
def _first_and_second(counts: npt.NDArray[np.int64]) -> tuple[Integer, Integer]:
    """Return the sums of k and of k**2 over all counted k."""
    first = np.int64(0)
    second = np.int64(0)
    for k in range(counts.size):
        first += k * counts[k]
        second += k * k * counts[k]
    return first, second


@kernel()
def grey_levels(corrected: Corrected, place: Ints, patch: Grey) -> int:
    """Write grey levels, the darkest pixel being 1, into an image that is 0 elsewhere.

    Returns the highest level.

    Parameters
    ----------
    corrected
        Values under the mask, int16 of shape (n,).
    place
        Index into `patch` of each value, int32 of shape (n,).
    patch
        Flattened image, uint8 of shape (height * width,). Levels above 255
        wrap, so that 256 counts as outside.
    """
    least = np.int64(corrected[0])
    for k in range(corrected.size):
        least = min(least, np.int64(corrected[k]))
    highest = np.int64(0)
    for k in range(corrected.size):
        level = (np.int64(corrected[k]) - least + 1) & 255
        patch[place[k]] = np.uint8(level)
        highest = max(highest, level)
    return int(highest)


@kernel(division="numpy")
def _direction(
    patch: Grey,
    place: Ints,
    step: Integer,
    highest: Integer,
    counts: Ints,
    seen: Ints,
    margins: npt.NDArray[np.int64],
    out: Floats,
) -> bool:
    """Write the 11 features of one direction; return whether there was any pair."""
    base = np.uint64(highest + 1)
    unique = np.uint64(0)
    pairs = np.int64(0)
    for k in range(place.size):
        here = np.uint64(place[k])
        a = np.uint64(patch[here])
        b = np.uint64(patch[here + np.uint64(step)])
        if a != 0 and b != 0:
            low, high = min(a, b), max(a, b)
            # Close together, so that counts stay in the nearest cache; no branch that
            # cannot be foreseen.
            key = low * base + high
            count = counts[key]
            seen[unique] = low << np.uint64(8) | high
            unique += np.uint64(count == 0)
            counts[key] = count + 1
            pairs += 1
    if pairs == 0:
        return False
    # No more than the levels that there are: their rest is all zeros.
    single = margins[0, : highest + 1]
    plus = margins[1, : 2 * highest + 1]
    minus = margins[2, :highest]
    for k in range(plus.size):
        margins[0, k] = margins[1, k] = margins[2, k] = 0
    squares = np.int64(0)
    product = np.int64(0)
    entropy = 0.0
    for k in range(unique):
        a = np.uint64(seen[k]) >> np.uint64(8)
        b = np.uint64(seen[k]) & np.uint64(255)
        count = np.int64(counts[a * base + b])
        counts[a * base + b] = 0
        single[a] += count
        single[b] += count
        plus[a + b] += count
        minus[b - a] += count
        product += count * np.int64(a * b)
        # A pair of different levels stands for two cells of the matrix.
        if a == b:
            squares += 4 * count * count
            entropy += _xlogx(2 * count)
        else:
            squares += 2 * count * count
            entropy += 2 * _xlogx(count)
    homogeneity = 0.0
    for k in range(minus.size):
        homogeneity += minus[k] / (1 + k * k)
    # Sums of a + b, and of its square and that of a - b, over all pairs.
    first, second = _first_and_second(single)
    sum_second, contrast = second + 2 * product, second - 2 * product
    total = 2 * pairs
    hxy = (_xlogx(total) - entropy) / total
    hx = _entropy(single, total)
    spread = total * second - first * first
    out[0] = squares / total**2
    out[1] = contrast / pairs
    out[2] = (4 * pairs * product - first * first) / spread if spread != 0 else 1.0
    out[3] = _entropy(minus, pairs)
    out[4] = hxy
    out[5] = (hxy - 2 * hx) / hx if hx != 0 else hxy - 2 * hx
    out[6] = math.sqrt(max(0.0, 1 - math.exp(-2 * (2 * hx - hxy))))
    out[7] = homogeneity / pairs
    out[8] = _entropy(plus, pairs)
    out[9] = (pairs * sum_second - first * first) / pairs**2
    out[10] = spread / total**2
    return True


@kernel(division="numpy")
def texture_features(
    patch: Grey,
    stride: Integer,
    place: Ints,
    highest: Integer,
    counts: Ints,
    seen: Ints,
    out: Floats,
) -> None:
    """Compute the features of `TEXTURE_NAMES`.

    Parameters
    ----------
    patch
        Flattened grey levels, uint8 of shape (height * stride,), 0 outside of
        the object, with a margin of at least one pixel on each side.
    stride
        Width of the image, margin included.
    place
        Indices into `patch` of the object's pixels, int32 of shape (n,).
    highest
        Highest grey level in `patch`.
    counts
        Scratch of zeros, int32 of shape (65536,); it is left as zeros.
    seen
        Scratch, int32 of shape (n,) or longer.
    out
        Features to be written, float64 of shape (len(TEXTURE_NAMES),); all NaN
        if a direction has no pair.

    Notes
    -----
    R. M. Haralick, K. Shanmugam and I. Dinstein, "Textural features for image
    classification" (1973). As in mahotas, logarithms are to base 2, also below
    the natural exponential of f13, and sum variance is the true variance.
    Both entropies of the product of the marginals are twice the entropy of the
    marginal, because the co-occurrence matrix is symmetric.
    """
    values = np.empty((4, 11))
    margins = np.zeros((3, 512), np.int64)
    for d in range(4):
        step = (1, stride + 1, stride, stride - 1)[d]
        if not _direction(patch, place, step, highest, counts, seen, margins, values[d]):
            out[:] = math.nan
            return
    for k in range(11):
        low = high = total = values[0, k]
        for d in range(1, 4):
            value = values[d, k]
            total += value
            low = min(low, value)
            high = max(high, value)
        out[2 * k] = total / 4
        out[2 * k + 1] = high - low
