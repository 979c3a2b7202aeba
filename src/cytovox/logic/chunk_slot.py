"""A slot of the conveyor: holds one chunk of a recording at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..errors import StageError
from ..kernels.threshold import equal_to_previous, subtract
from ..read import HDF5Data
from .chunk_slot_data import ChunkSlotData, Monitor

__all__ = ["ChunkSlot", "FrameReader", "Offsets"]

#: Function of images and the number of the first of them that returns the
#: offset of each from its background.
Offsets = Callable[[npt.NDArray[np.uint8], int], npt.NDArray[np.float64]]


def stored_rows(data: HDF5Data) -> int:
    """Return how many frames the file keeps in one piece; 0 if that is not so."""
    images = data.locate("image")
    chunks = getattr(getattr(images, "h5ds", images), "chunks", None)
    return int(chunks[0]) if chunks else 0


class FrameReader:
    """Reads frames for the slots of a register.

    Where two slots share what is stored in one piece, it reads for one of them at a
    time, so that this is unpacked once.
    """

    def __init__(self, data: HDF5Data) -> None:
        self._data = data
        stored = stored_rows(data)
        aligned = data.mapping_indices is None and stored
        shares = not aligned or data.require_images("image").chunk_size % stored
        self._reading: Any = threading.Lock() if shares else contextlib.nullcontext()
        self._lock = threading.Lock()
        #: The last frames that were read, by the number of the frame that follows, and
        #: chunks by their first frame that were read before the one that they follow.
        self._last: dict[int, npt.NDArray[np.uint8]] = {}
        self._early: set[int] = set()

    def __reduce__(self) -> Any:
        return FrameReader, (self._data,)

    def read(self, start: int, out: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Read frames, and return which of them equal the one before, shape (n,)."""
        images = self._data.require_images("image")
        with self._reading:
            images.read_into(start, out)
        with self._lock:
            before = self._last.pop(start, None)
            if before is None:
                self._early.add(start)
            if (stop := start + len(out)) not in self._early:
                self._last[stop] = out[-1].copy()
        if before is None and start:
            before = np.empty((1, *out.shape[1:]), dtype=np.uint8)
            images.read_into(start - 1, before)
            before = before[0]
        return equal_to_previous(out, before)


class ChunkSlot(ChunkSlotData):
    """Arrays for a chunk, and how to fill them from a recording.

    Parameters
    ----------
    job
        The job, which names the segmenter.
    data
        The recording, with background.
    is_remainder
        Whether this slot only takes the last chunk, which may be shorter.
    monitor
        Lock that is shared with the other slots of a register.
    reader
        Reads the frames; the slots of a register share it.
    offsets
        Computes the background offset of frames, in place of one that the
        data have.
    private
        Whether only threads of this process work on the slot.
    """

    #: Number of slots that have been made in this process.
    _instance_counter: ClassVar[int] = 0

    def __init__(
        self,
        job: Any,
        data: HDF5Data,
        is_remainder: bool = False,
        *,
        monitor: Monitor | None = None,
        reader: FrameReader | None = None,
        offsets: Offsets | None = None,
        private: bool = False,
    ) -> None:
        self._offsets = offsets
        self._reader = reader or FrameReader(data)
        self.index = ChunkSlot._instance_counter
        ChunkSlot._instance_counter += 1
        self.job = job
        self.data = data
        self.is_remainder = is_remainder
        self.seg_cls = job.get_segmenter_class()
        images = data.require_images("image")
        length = images.chunk_size
        if is_remainder and images.num_chunks:
            length = images.get_chunk_size(images.num_chunks - 1)
        features = [f for f in ("image_bg", "bg_off") if f in data]
        if offsets is not None:
            features.append("bg_off")
        super().__init__(
            shape=(length, images.image_shape[0], images.image_shape[1]),
            available_features=features,
            monitor=monitor,
            private=private,
        )

    def load(
        self, idx: int
    ) -> tuple[
        npt.NDArray[np.uint8],
        npt.NDArray[np.uint8] | None,
        npt.NDArray[np.int16] | None,
        npt.NDArray[np.float64] | None,
    ]:
        """Fill the arrays with a chunk of the recording.

        Parameters
        ----------
        idx
            Number of the chunk.

        Returns
        -------
        tuple
            The views `image`, `image_bg`, `image_corr`, of shape (n, H, W), and
            `bg_off`, of shape (n,).

        Raises
        ------
        StageError
            If the file cannot be read; it says which frames.
        """
        frames = self.data.require_images("image").get_chunk_slice(idx)
        try:
            self._load_frames(frames.start, frames.stop)
        except Exception as err:
            raise StageError(
                "load",
                f"frames {frames.start} to {frames.stop - 1} cannot be read: {err}",
                path=self.data.place,
                frame=frames.start,
                hint=getattr(err, "hint", None) or "is the file complete and readable?",
            ) from err
        self.chunk = idx
        return self.image, self.image_bg, self.image_corr, self.bg_off

    def _load_frames(self, start: int, stop: int) -> None:
        self.duplicate[:] = self._reader.read(start, self.image)
        if self.image_bg is not None and self.image_corr is not None:
            self.data.require_images("image_bg").read_into(start, self.image_bg)
            subtract(self.image, self.image_bg, self.image_corr)
        if self.bg_off is not None and self._offsets is not None:
            self.bg_off[:] = self._offsets(self.image, start)
        elif self.bg_off is not None:
            self.bg_off[:] = self.data["bg_off"][start:stop]

    def __repr__(self) -> str:
        return super().__repr__().replace("<ChunkSlot", f"<ChunkSlot {self.index},", 1)
