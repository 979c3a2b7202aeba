"""Images of a recording, read in chunks and kept for a while."""

from __future__ import annotations

import abc
import numbers
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ..errors import InputError, UsageError
from ..kernels.arrays import fitting
from .dataset import checked
from .mapped import MappedHDF5Dataset
from .opening import read_errors

__all__ = [
    "BaseImageChunkCache",
    "EmptyDatasetWarning",
    "HDF5ImageCache",
    "ImageCorrCache",
]


class EmptyDatasetWarning(UserWarning):
    """A dataset of images has no images."""


class BaseImageChunkCache(abc.ABC):
    """Images that are read in chunks; the last few chunks are kept.

    It is indexed like a numpy array of its shape, and several threads may do
    so at once. Single images are views of the kept chunk: copy what you change.
    """

    def __init__(
        self, shape: tuple[int, ...], chunk_size: int = 1000, cache_size: int = 2
    ) -> None:
        self.shape = tuple(int(size) for size in shape)
        self.chunk_size = max(0, min(self.shape[0], int(chunk_size)))
        self.cache_size = cache_size
        #: File, and what the images are called there, for messages.
        self._place: tuple[str | None, str] = (None, "the images")
        self.cache: OrderedDict[int, npt.NDArray[Any]] = OrderedDict()
        self._lock = threading.RLock()

    @property
    @abc.abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""

    @abc.abstractmethod
    def _fill(self, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        """Read the frames from `start` to `stop` into `out`."""

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape (rows, columns) of an image."""
        return self.shape[1:]

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def num_chunks(self) -> int:
        """Number of chunks; the last one may be shorter."""
        return -(-self.shape[0] // self.chunk_size) if self.chunk_size else 0

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        for index in range(len(self)):
            yield self[index]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Return all images as one array."""
        if copy is False:
            raise ValueError("the images are in a file: an array of them is always a copy")
        return np.asarray(self[:], dtype=dtype)

    def __getitem__(self, index: Any) -> Any:
        head, rest = _split_index(index, self.ndim)
        if isinstance(head, numbers.Integral):
            return self._one(int(head))[rest]
        taken: Any = slice(None)
        if isinstance(head, slice):
            frames = range(len(self))[head]
            wanted = np.asarray(frames, dtype=np.int64)
        else:
            wanted = np.arange(len(self))[head]  # so numpy judges what is no index
            taken = np.arange(wanted.size).reshape(wanted.shape)
        images = np.empty((wanted.size, *self.image_shape), self.dtype)
        if isinstance(head, slice) and frames.step == 1:
            self.copy_span(frames.start, frames.start + len(frames), images)
        else:
            for position in np.argsort(wanted, axis=None, kind="stable"):
                images[position] = self._one(int(wanted.flat[position]))
        return images[(taken, *rest)]

    def _one(self, index: int) -> npt.NDArray[Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(
                f"Index {index} out of bounds for {type(self).__name__} of size {len(self)}"
            )
        chunk_index, sub_index = divmod(index % len(self), self.chunk_size)
        image: npt.NDArray[Any] = self.get_chunk(chunk_index)[sub_index]
        return image

    def get_chunk(self, chunk_index: int) -> npt.NDArray[Any]:
        """Return the frames of a chunk, shape (frames, rows, columns), which are kept."""
        chunk = self.get_chunk_slice(chunk_index)
        with self._lock:
            if chunk_index in self.cache:
                return self.cache[chunk_index]
            while self.cache and len(self.cache) >= max(1, self.cache_size):
                self.cache.popitem(last=False)
            data = np.empty((chunk.stop - chunk.start, *self.image_shape), self.dtype)
            self._fill(chunk.start, chunk.stop, data)
            if self.cache_size > 0:
                self.cache[chunk_index] = data
            return data

    def get_chunk_slice(self, chunk_index: int) -> slice:
        """Return the frames of a chunk, which must exist, as a slice."""
        if not 0 <= chunk_index < self.num_chunks:
            raise IndexError(
                f"there is no chunk {chunk_index}: the recording only has {self.num_chunks} chunks"
            )
        start = chunk_index * self.chunk_size
        return slice(start, min(start + self.chunk_size, len(self)), None)

    def get_chunk_size(self, chunk_index: int) -> int:
        """Return the number of frames of a chunk."""
        chunk = self.get_chunk_slice(chunk_index)
        return int(chunk.stop - chunk.start)

    def iter_chunks(self) -> Iterator[int]:
        """Yield the numbers of all chunks."""
        yield from range(self.num_chunks)

    def read_into(self, start: int, out: npt.NDArray[Any]) -> None:
        """Read consecutive frames straight into an array of whole numbers, past the cache."""
        stop = start + len(out)
        if start < 0 or stop > len(self):
            raise IndexError(f"frames {start} to {stop} are not in a recording of {len(self)}")
        self._fill(start, stop, out)

    def copy_span(self, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        """Copy frames that exist into `out`, from kept chunks where possible."""
        while start < stop:
            chunk_index = start // self.chunk_size
            chunk = self.get_chunk_slice(chunk_index)
            end = min(stop, chunk.stop)
            part, out = out[: end - start], out[end - start :]
            with self._lock:
                kept = self.cache.get(chunk_index)
            if kept is not None:
                self._put(kept[start - chunk.start : end - chunk.start], part, start)
            else:
                self._fill(start, end, part)
            start = end

    def _put(self, images: npt.NDArray[Any], out: npt.NDArray[Any], start: int) -> None:
        """Write images from `start` on into an array that may be of another type."""
        try:
            out[...] = fitting(images, out.dtype)
        except UsageError as err:
            path, name = self._place
            last = start + len(images) - 1
            frames = f"frame {start}" if last == start else f"frames {start} to {last}"
            what = f"in {frames} of {name} {err.what}"
            raise InputError(what, path=path, hint=err.hint) from err


class HDF5ImageCache(BaseImageChunkCache):
    """Images of a dataset, possibly seen through an index mapping.

    Parameters
    ----------
    h5ds
        Dataset of shape (frames, rows, columns).
    chunk_size
        Number of frames of a chunk.
    cache_size
        Number of chunks to keep.
    boolean
        Whether the images are masks: every value but 0 is True.

    Examples
    --------
    >>> import io
    >>> h5 = h5py.File(io.BytesIO(), "w")
    >>> h5["image"] = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    >>> images = HDF5ImageCache(h5["image"], chunk_size=2)
    >>> images.num_chunks, images[-1].tolist()
    (2, [[8, 9], [10, 11]])
    """

    def __init__(
        self,
        h5ds: h5py.Dataset | MappedHDF5Dataset,
        chunk_size: int = 1000,
        cache_size: int = 2,
        boolean: bool = False,
    ) -> None:
        super().__init__(h5ds.shape, chunk_size, cache_size)
        self.h5ds = h5ds if isinstance(h5ds, MappedHDF5Dataset) else checked(h5ds)
        self.boolean = boolean
        path = h5ds.file.filename
        name = str(h5ds.name).lstrip("/").removeprefix("events/")
        self._place = (path if isinstance(path, str) else None, f"'{name}'")
        if not len(self):
            warnings.warn(
                f"Input image '{h5ds.name}' in file {h5ds.file.filename} has zero length",
                EmptyDatasetWarning,
                stacklevel=2,
            )

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel; bool for masks."""
        return np.dtype(bool) if self.boolean else np.dtype(self.h5ds.dtype)

    def _fill(self, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        with read_errors(self.h5ds, (start, stop)):
            if not self.boolean:
                self._read(start, stop, out)
            elif self.h5ds.dtype == np.uint8 and out.dtype == bool:
                pixels = out.view(np.uint8)
                self._read(start, stop, pixels)
                np.not_equal(pixels, 0, out=out)
            else:
                stored = np.empty(out.shape, self.h5ds.dtype)
                self._read(start, stop, stored)
                np.not_equal(stored, 0, out=out)

    def _read(self, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        stored = out
        if out.dtype != self.h5ds.dtype:
            stored = np.empty(out.shape, self.h5ds.dtype)
        if isinstance(self.h5ds, MappedHDF5Dataset):
            self.h5ds.read_span(start, stop, stored)
        else:
            self.h5ds.read_rows(start, stop, stored)
        if stored is not out:
            self._put(stored, out, start)


class ImageCorrCache(BaseImageChunkCache):
    """Images minus their background, as signed 16-bit integers.

    Parameters
    ----------
    image, image_bg
        Images and backgrounds of the same shape.

    Raises
    ------
    InputError
        If the shapes differ.
    """

    def __init__(self, image: BaseImageChunkCache, image_bg: BaseImageChunkCache) -> None:
        if image.shape != image_bg.shape:
            raise InputError(
                f"images have shape {image.shape}, but their background {image_bg.shape}",
                hint="compute the background again",
            )
        super().__init__(image.shape, image.chunk_size, image.cache_size)
        self.image = image
        self.image_bg = image_bg

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel: int16."""
        return np.dtype(np.int16)

    def _fill(self, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        small = self.image.dtype.itemsize == self.image_bg.dtype.itemsize == 1
        shape = (2, stop - start, *self.image_shape)
        images, background = np.empty(shape, np.int16 if small else np.int64)
        self.image.copy_span(start, stop, images)
        self.image_bg.copy_span(start, stop, background)
        self._put(np.subtract(images, background, out=images), out, start)


def _split_index(index: Any, ndim: int) -> tuple[Any, tuple[Any, ...]]:
    """Split an index into the part for the frames and the part for the pixels."""
    index = index if isinstance(index, tuple) else (index,)
    if not index or index[0] is Ellipsis:
        index = (*[slice(None)] * (ndim + 1 - max(1, len(index))), *index[1:])
    if index[0] is None:
        raise IndexError("the axis of frames must come first")
    return index[0], index[1:]
