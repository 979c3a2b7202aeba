"""How rows and lines are stored: filters, types, attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..read.const import ZSTD

__all__ = [
    "IMAGE_ATTRIBUTES",
    "as_items",
    "fit_items",
    "set_default_filter_kwargs",
    "text_lines",
]

#: By these a viewer recognises images.
IMAGE_ATTRIBUTES = {
    "CLASS": np.bytes_("IMAGE"),
    "IMAGE_VERSION": np.bytes_("1.2"),
    "IMAGE_SUBCLASS": np.bytes_("IMAGE_GRAYSCALE"),
}


def set_default_filter_kwargs(
    ds_kwds: Mapping[str, Any] | None = None, compression: bool = True
) -> dict[str, Any]:
    """Return options for new datasets, with defaults where nothing is said.

    Parameters
    ----------
    ds_kwds
        Options that are already chosen.
    compression
        Whether to compress by default (Zstandard, level 5).

    Examples
    --------
    >>> set_default_filter_kwargs()
    {'compression': 32015, 'compression_opts': (5,), 'fletcher32': True}
    """
    kwds = dict(ds_kwds or {})
    kwds.setdefault("compression", ZSTD if compression else None)
    kwds.setdefault("compression_opts", (5,) if kwds["compression"] == ZSTD else None)
    kwds.setdefault("fletcher32", True)
    return kwds


def as_items(feat: str, data: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return rows as an array; a ``mask`` of truth values becomes 0 and 255."""
    items = np.asarray(data)
    if items.ndim == 0:
        raise TypeError(f"'{feat}' needs an array with a row for each item")
    if feat == "mask" and items.dtype == bool:
        items = np.multiply(items, 255, dtype=np.uint8)
    return items


def fit_items(
    feat: str, items: npt.NDArray[Any], dtype: np.dtype[Any], item_shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    """Return items as the stored type.

    Numbers with a fraction may lose precision, but nothing else.
    """
    if items.shape[1:] != item_shape:
        raise TypeError(
            f"items of shape {items.shape[1:]} do not fit '{feat}', "
            f"which has items of shape {item_shape}"
        )
    with np.errstate(invalid="ignore", over="ignore"):
        fitted = items.astype(dtype, copy=False)
    same = np.can_cast(items.dtype, dtype, "safe") or items.dtype.kind == dtype.kind == "f"
    if not same and not np.array_equal(fitted, items):
        raise TypeError(f"{items.dtype} values do not fit '{feat}', which is stored as {dtype}")
    return fitted


def text_lines(lines: Sequence[Any]) -> npt.NDArray[np.bytes_]:
    """Return lines of text as UTF-8 of a fixed width."""
    encoded = [str(line).encode("utf-8") for line in lines]
    return np.array(encoded, dtype=f"S{max(1, *map(len, encoded))}")
