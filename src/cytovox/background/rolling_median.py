"""Background of each frame as the median of the frames that follow it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
import numpy.typing as npt

from ..errors import InputError, OptionError
from ..kernels.median import rolling_upper_median
from ..recipe.options import Within, check_options, options_of
from .base import Background, BackgroundKind, BackgroundResult, BandPool, load_images, place_of

__all__ = ["BackgroundRollMed"]

#: bytes of frames that a block should hold, where the window allows; what has more
#: than 32 MiB is returned to the system as soon as it is not needed
_BLOCK_BYTES = 36 * 2**20


class BackgroundRollMed(Background):
    """Rolling median over the following frames (one background per frame)."""

    @staticmethod
    def check_user_kwargs(
        *,
        kernel_size: Annotated[int, Within(least=2, most=10**9)] = 100,
        batch_size: Annotated[int, Within(least=3, most=10**9)] = 10000,
    ) -> None:
        """Check the options of the rolling median.

        Parameters
        ----------
        kernel_size
            Number of frames in the window, even and above 0.
        batch_size
            Number of frames to compute at once at most, above `kernel_size`. It
            has no effect on the numbers.

        Raises
        ------
        OptionError
            If a value is not allowed.
        """
        given = locals()
        check_options("rollmed", options_of(BackgroundRollMed.check_user_kwargs), given)
        if kernel_size % 2:
            raise OptionError(
                f"rollmed: kernel_size {kernel_size} is not even", hint="give an even number"
            )
        if batch_size <= kernel_size:
            raise OptionError(
                f"rollmed: batch_size is {batch_size}",
                hint=f"it must be above kernel_size, which is {kernel_size}",
            )

    def compute(self, *, defer_offset: bool = False) -> BackgroundResult:
        """Prepare the stream of backgrounds.

        The background of frame i is the upper median of frames i to i + K - 1;
        the last K frames take that of frame N - K - 1.

        Returns
        -------
        BackgroundResult
            Of kind ``STREAM``. The work is done while its blocks are taken; the
            progress function is called and may raise meanwhile.

        Raises
        ------
        InputError
            If there are no more frames than the window is long.
        """
        number = self._checked_length()
        kernel_size = self.kwargs["kernel_size"]
        if number <= kernel_size:
            raise InputError(
                f"{number} frames are too few for a rolling median over {kernel_size}",
                path=place_of(self.data),
                hint="choose a smaller kernel_size or background 'sparsemed'",
            )
        return BackgroundResult(
            BackgroundKind.STREAM, number, blocks=self._blocks(number, kernel_size)
        )

    def _blocks(self, number: int, kernel_size: int) -> Iterator[npt.NDArray[np.uint8]]:
        self._report(0.0)
        frames = load_images(self.data, 0, kernel_size - 1)
        height, width = frames.shape[1:]
        pixels = height * width
        tail = frames.reshape(kernel_size - 1, pixels)
        count = number - kernel_size
        step = min(max(_BLOCK_BYTES // pixels, kernel_size), self.kwargs["batch_size"])
        with BandPool(self.num_workers) as pool:
            fresh = load_images(self.data, *_span(0, step, count, kernel_size))
            for start in range(0, count, step):
                window = np.concatenate([tail, fresh.reshape(-1, pixels)])
                out = np.empty((min(step, count - start), pixels), np.uint8)

                def job(
                    a: int,
                    b: int,
                    window: npt.NDArray[np.uint8] = window,
                    out: npt.NDArray[np.uint8] = out,
                ) -> None:
                    rolling_upper_median(window, kernel_size, a, b, out)

                waiting = pool.start(pixels, job)
                if start + step < count:
                    # The next frames are read while the threads compute.
                    fresh = load_images(self.data, *_span(start + step, step, count, kernel_size))
                pool.wait(waiting)
                tail, last = window[len(out) :].copy(), out[-1].reshape(height, width).copy()
                del window, job, waiting
                yield out.reshape(-1, height, width)
                del out  # before there is another window
                self._report(min(start + step, count) / number)
        yield from _repeated(last, kernel_size, step)
        self._report(1.0)


def _span(start: int, step: int, count: int, kernel_size: int) -> tuple[int, int]:
    """Return the frames that the block at `start` has to read anew."""
    return start + kernel_size - 1, min(start + step, count) + kernel_size - 1


def _repeated(
    image: npt.NDArray[np.uint8], times: int, step: int
) -> Iterator[npt.NDArray[np.uint8]]:
    for start in range(0, times, step):
        yield np.repeat(image[np.newaxis], min(step, times - start), axis=0)
