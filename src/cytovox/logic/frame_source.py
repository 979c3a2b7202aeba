"""Any frame of a recording, with the background that a run would give it."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..kernels.threshold import subtract
from ..read import HDF5Data
from ..read.opening import OpenedFiles
from .background_step import add_background
from .job import DCNumPipelineJob
from .record import tasks_for
from .run_folder import RunFolder
from .run_input import RunInput

__all__ = ["FrameSource", "Frames", "spread_frames"]


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """Some frames, as a slot of the conveyor would hold them."""

    numbers: npt.NDArray[np.int64]  # (n,), in the recording, from 0
    image: npt.NDArray[np.uint8]  # (n, H, W)
    image_bg: npt.NDArray[np.uint8] | None  # (n, H, W)
    image_corr: npt.NDArray[np.int16] | None  # (n, H, W), image less background
    bg_off: npt.NDArray[np.float64] | None  # (n,), offset of the background
    duplicate: npt.NDArray[np.bool_]  # (n,), frames that equal their predecessor

    def __len__(self) -> int:
        return len(self.numbers)


class FrameSource:
    """Reads frames of the input of a job, with the background that the job computes.

    Use it in a ``with`` statement. Nothing is written beside the input or the
    output of the job; a temporary folder holds the background.
    """

    def __init__(
        self,
        job: DCNumPipelineJob,
        *,
        opened: OpenedFiles | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> None:
        self.job = job
        self._opened = opened
        self._on_progress = on_progress
        self._stack = contextlib.ExitStack()

    @classmethod
    def of_run(cls, job: DCNumPipelineJob, inputs: RunInput) -> FrameSource:
        """Return the frames of a run that has its background, without opening anything."""
        source = cls(job)
        source._inputs = inputs
        return source

    def __enter__(self) -> FrameSource:
        with contextlib.ExitStack() as stack:
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix="cytovox-"))
            folder = RunFolder(Path(name) / "frames.rtdc", "frames")
            self._inputs = inputs = RunInput(self.job, folder, self._opened)
            stack.callback(inputs.close)
            ids = self.job.get_ppid(ret_dict=True)[1]
            if tasks_for(inputs.raw, ids).background:
                add_background(
                    self.job,
                    inputs,
                    ids["bg_id"],
                    defer_offset=True,
                    on_progress=self._on_progress,
                )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def data(self) -> HDF5Data:
        """The whole recording, with its background."""
        return self._inputs.frame_data

    def __len__(self) -> int:
        return len(self.data)

    def chosen(self) -> npt.NDArray[np.int64]:
        """Return the numbers of the frames that the job measures."""
        chosen = self._inputs.raw.mapping_indices
        return np.arange(len(self)) if chosen is None else np.asarray(chosen, np.int64)

    def read(self, numbers: Sequence[int] | npt.NDArray[np.integer[Any]]) -> Frames:
        """Return frames by their numbers in the recording, from 0; an error if there is none."""
        wanted: npt.NDArray[Any] = np.asarray(numbers).reshape(-1)
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(self):
            wrong = wanted[(wanted < 0) | (wanted >= len(self))][0]
            raise UsageError(
                f"there is no frame {wrong}",
                path=self._inputs.path,
                hint=f"the frames of this recording are 0 to {len(self) - 1}"
                if len(self)
                else "this recording has no frames",
            )
        wanted = wanted.astype(np.int64)
        image, duplicate = self._images(wanted)
        return Frames(wanted, image, *self._background(wanted, image), duplicate)

    def _images(
        self, wanted: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Return images, and which of them equal the one that a run reads before.

        Consecutive frames are read at once, with the one before.
        """
        images = self.data.require_images("image")
        image = np.empty((len(wanted), *images.image_shape), np.uint8)
        duplicate = np.zeros(len(wanted), np.bool_)
        previous, other = self._before(wanted), np.empty((1, *images.image_shape), np.uint8)
        begins = np.flatnonzero(np.diff(wanted, prepend=-2) != 1).tolist()
        for begin, end in itertools.pairwise([*begins, len(wanted)]):
            start = max(0, int(wanted[begin]) - 1)
            span = np.empty((int(wanted[end - 1]) + 1 - start, *images.image_shape), np.uint8)
            images.read_into(start, span)
            image[begin:end] = span[begin - end :]
            for row in range(begin, end):
                before = int(previous[row])
                if not start <= before < start + len(span) and before >= 0:
                    images.read_into(before, other)
                    duplicate[row] = np.array_equal(image[row], other[0])
                elif before >= 0:
                    duplicate[row] = np.array_equal(image[row], span[before - start])
        return image, duplicate

    def _before(self, wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return which frame a run reads before each of these; -1 for none."""
        before = wanted - 1
        if (chosen := self._inputs.raw.mapping_indices) is not None:
            order = np.append(chosen, -1).astype(np.int64)  # before the first is the last
            for row in np.flatnonzero(np.isin(wanted, chosen)):
                before[row] = order[np.argmax(order == wanted[row]) - 1]
        return before

    def _background(
        self, wanted: npt.NDArray[np.int64], image: npt.NDArray[np.uint8]
    ) -> tuple[Any, Any, Any]:
        """Return backgrounds, corrected images and offsets, or None for what there is not."""
        data, offsets = self.data, self._inputs.offsets
        image_bg = image_corr = bg_off = None
        if (backgrounds := data.get_image_cache("image_bg")) is not None:
            image_bg = np.empty_like(image)
            for row, number in enumerate(wanted.tolist()):
                backgrounds.read_into(number, image_bg[row : row + 1])
            image_corr = np.empty(image.shape, np.int16)
            subtract(image, image_bg, image_corr)
        if offsets is not None:
            each = [offsets(image[row : row + 1], n)[0] for row, n in enumerate(wanted.tolist())]
            bg_off = np.array(each, np.float64)
        elif "bg_off" in data:
            bg_off = np.asarray(data["bg_off"][:], np.float64)[wanted]
        return image_bg, image_corr, bg_off


def spread_frames(length: int, number: int) -> npt.NDArray[np.int64]:
    """Return the numbers of frames that are spread evenly over a recording, in order."""
    return np.unique(np.linspace(0, max(length - 1, 0), min(number, length)).round()).astype(
        np.int64
    )
