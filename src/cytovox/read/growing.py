"""A recording that another program still writes, read without getting in its way.

The file is opened anew for each look, and never locked, since the program that
writes it may open it anew, too. What a look finds is what the program has passed
on to the system: nothing else counts as a frame.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .hdf5_data import HDF5Data
from .members import as_count, chunk_infos, member, stated
from .opening import open_unlocked
from .permissions import Permissions
from .recording_file import frame_rate_of
from .structure import features_in

__all__ = ["GrowingRecording", "open_growing"]

_COUNT = "experiment:event count"


@contextlib.contextmanager
def open_growing(
    path: Path,
    pixel_size: float | None = None,
    permissions: Permissions | None = None,
    *,
    is_known: bool = False,
) -> Iterator[GrowingRecording]:
    """Yield the frames of a recording that are there now; it may be known from an earlier look."""
    opened = open_unlocked(path, is_known=is_known)
    try:
        with HDF5Data(opened.h5, pixel_size=pixel_size, permissions=permissions) as data:
            yield GrowingRecording(data, is_marked=opened.is_growing)
    finally:
        opened.h5.close()


class GrowingRecording:
    """The frames that are there; what a background method needs of a recording."""

    def __init__(self, data: HDF5Data, *, is_marked: bool) -> None:
        self.data = data
        self.path, self.meta = data.path, data.meta
        self._length = _frames_there(data.h5)
        #: Whether it was completed: nothing marks it as open, and all that it counts is there.
        self.is_complete = not is_marked and _counted(data.h5) == self._length > 0

    def __len__(self) -> int:
        return self._length

    def __contains__(self, feature: object) -> bool:
        return feature in self.data

    def __getitem__(self, feature: str) -> npt.NDArray[Any]:
        return np.asarray(self.data[feature][: self._length])

    @property
    def image(self) -> _Images | None:
        """Images; a slice ``[a:b]`` gives an array of shape (b - a, H, W)."""
        images = self.data.get_image_cache("image")
        return None if images is None else _Images(images, self._length)

    def seconds(self) -> npt.NDArray[np.float64]:
        """Return when each frame was taken, in seconds; NaN if that is unknown."""
        if "time" in self:
            return self["time"].astype(np.float64)
        rate = frame_rate_of(self.meta, self.data.place)
        return np.arange(self._length) / rate if rate else np.full(self._length, np.nan)


@dataclass(frozen=True, slots=True)
class _Images:
    cache: Any
    length: int

    def __getitem__(self, part: slice) -> npt.NDArray[Any]:
        start, stop, _ = part.indices(self.length)
        images = np.empty((max(0, stop - start), *self.cache.image_shape), np.uint8)
        self.cache.read_into(start, images)
        return images


def _counted(h5: h5py.File) -> int | None:
    """Return how many frames the file says it has, which is written last."""
    return as_count(stated(h5.attrs, _COUNT))


def _frames_there(h5: h5py.File) -> int:
    """Return the number of frames of which everything is in the file."""
    lengths = [_rows_there(dataset) for _, dataset in features_in(member(h5, "events"))]
    if not lengths:
        raise InputError("there are no events yet", path=h5.filename)
    return min(lengths)


def _rows_there(dataset: Any) -> int:
    """Return the number of rows before the first chunk that was never written."""
    if not isinstance(dataset, h5py.Dataset) or not dataset.shape or not dataset.chunks:
        return len(dataset)
    rows = int(dataset.chunks[0])
    pairs = zip(dataset.shape, dataset.chunks, strict=True)
    if dataset.id.get_num_chunks() == math.prod(-(-n // c) for n, c in pairs):
        return len(dataset)  # without a look at each
    written = {info.chunk_offset[0] // rows for info in chunk_infos(dataset.id)}
    whole = next(n for n in range(len(written) + 1) if n not in written)
    return min(int(dataset.shape[0]), whole * rows)
