"""Lines of text in a file, of which a few bytes can claim any number."""

from __future__ import annotations

import h5py
import numpy as np

from .chunk_guard import checked
from .identifier import as_text
from .permissions import RefusedInputError
from .read_errors import read_errors
from .structure import MAX_TEXT_BYTES

__all__ = ["read_lines"]

#: Lines of variable length that are read at once take no more than this [bytes].
_BLOCK = 1 << 26
#: All lines together, each as long as the longest, take no more than this [bytes].
_WIDE = 1 << 28
_MOST_LINES = 1000


def read_lines(dataset: h5py.Dataset, limit: int | None = None) -> list[str]:
    """Return the lines of a log, decoded.

    Lines of variable length are kept apart from the dataset, and many may be
    the same one; they are read few at a time.
    """
    with read_errors(dataset):
        return _read_lines(dataset, limit)


def _read_lines(dataset: h5py.Dataset, limit: int | None) -> list[str]:
    if not dataset.size:
        return []
    dataset = checked(dataset)
    if not dataset.dtype.hasobject or dataset.ndim != 1:
        return [str(as_text(line)) for line in np.ravel(dataset[()])]
    most = MAX_TEXT_BYTES["logs"] if limit is None else limit
    # no line is longer than the file that holds it
    step = min(_MOST_LINES, max(1, _BLOCK // max(1, dataset.file.id.get_filesize())))
    lines: list[str] = []
    total = longest = 0
    for start in range(0, len(dataset), step):
        block = [str(as_text(line)) for line in dataset[start : start + step]]
        total += sum(map(len, block))
        longest = max(longest, *map(len, block))
        # wherever they are copied to, all lines are as long as the longest
        too_much = total > most or longest * len(dataset) > _WIDE
        if too_much and not dataset.permissions.oversized:
            raise RefusedInputError(
                f"'{str(dataset.name).lstrip('/')}' has more than {most / 1e6:.3g} MB of text",
                path=dataset.file.filename,
                hint="if you trust the file: --allow-oversized",
            )
        lines += block
    return lines
