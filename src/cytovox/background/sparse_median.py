"""Background from short bursts of frames, taken at intervals of time.

Formulas follow dcnum's method of the same code; see `select_images` and
`assign_frames` for its oddities, which decide stored numbers.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from ..kernels.median import upper_median
from ..recipe.options import Within, check_options, options_of
from .base import Background, BackgroundResult, BandPool, empty_images, load_images, place_of
from .timing import assign_frames, find_bursts, recording_times

__all__ = ["BackgroundSparseMed", "KnownBursts", "ranges_of", "select_images"]

#: two bursts are held in memory, one read ahead, unless one is larger than this
_READ_AHEAD_BYTES = 64 * 2**20
#: up to this many images, one is kept for each step as by dcnum, though there are fewer frames
_FEW_STEPS = 1000
#: bytes of frames read at once for the offset
_OFFSET_BYTES = 16 * 2**20

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
#: Image of a burst, and its range of grey values per row.
KnownBursts = dict[int, tuple[Images, Images]]


class BackgroundSparseMed(Background):
    """Sparse median: one background per second from a burst of frames."""

    #: Of bursts by first frame, if a caller keeps them from one time to the next: those that
    #: need not be computed; then all that were used.
    known: KnownBursts | None = None
    #: First frame of the burst of each image of the result, int64 (M,).
    starts: npt.NDArray[np.int64] = np.empty(0, np.int64)

    @staticmethod
    def check_user_kwargs(
        *,
        kernel_size: Annotated[int, Within(least=1, most=10**9)] = 200,
        split_time: Annotated[float, Within(above=0, most=1_000_000)] = 1.0,
        thresh_cleansing: Annotated[float, Within(least=0, most=10**9)] = 0,
        frac_cleansing: Annotated[float, Within(above=0, most=1)] = 0.8,
        offset_correction: bool = True,
    ) -> None:
        """Check the options of the sparse median.

        Parameters
        ----------
        kernel_size
            Number of successive frames for one background image, above 0.
        split_time
            Seconds between background images, above 0.
        thresh_cleansing
            Threshold above which an image is sorted out as bad, relative to the
            variance; larger removes more. 0 leaves it to `frac_cleansing`.
        frac_cleansing
            Share of the images to keep at least, above 0 and up to 1; 1 keeps all.
        offset_correction
            Whether to correct each frame's brightness by that of its top rows;
            for light sources that flicker.

        Raises
        ------
        OptionError
            If a value is not allowed.
        """
        given = locals()
        check_options("sparsemed", options_of(BackgroundSparseMed.check_user_kwargs), given)

    def compute(self, *, defer_offset: bool = False) -> BackgroundResult:
        """Compute the background images and which frame uses which.

        Returns
        -------
        BackgroundResult
            Of kind ``MAPPED``.

        Raises
        ------
        InputError
            If there are no frames or the time axis is not usable.
        """
        number = self._checked_length()
        self._report(0.0)
        offset = self.kwargs["offset_correction"]
        deferred = defer_offset or not offset
        split_time = self.kwargs["split_time"]
        times, warnings = recording_times(self.data, number)
        length = min(self.kwargs["kernel_size"], number)
        bursts = find_bursts(times, split_time, length, path=place_of(self.data))
        images, ranges = self._images(number, bursts.starts, 1.0 if deferred else 0.5)
        burst, steps, weights = bursts.positions(max(number, _FEW_STEPS))
        kept = self._kept(ranges[burst], weights)
        if weights is not None:  # the last step of each burst is enough
            kept = kept[np.append(burst[kept][1:] != burst[kept][:-1], True)]
        self.starts = bursts.starts[burst[kept]]
        images = _take(images, burst[kept])
        mapping = assign_frames(times, steps[kept] * split_time, split_time)
        result = BackgroundResult.mapped(images, mapping, offset=offset)
        result = replace(result, warnings=warnings)
        if not deferred:
            result = replace(result, bg_off=self._offsets(result))
        self._report(1.0)
        return result

    def _images(
        self, number: int, starts: npt.NDArray[np.int64], share: float
    ) -> tuple[Images, npt.NDArray[np.uint8]]:
        """Return one image per burst and its range of grey values per row."""
        length = min(self.kwargs["kernel_size"], number)
        known = self.known or {}
        todo = [k for k, start in enumerate(starts.tolist()) if start not in known]
        begin = int(starts[todo[0] if todo else 0])
        burst = load_images(self.data, begin, begin + (length if todo else 1))
        images = empty_images((len(starts), *burst.shape[1:]))
        ranges = np.empty(images.shape[:2], np.uint8)
        for k in set(range(len(starts))).difference(todo):
            images[k], ranges[k] = known[int(starts[k])]
        if todo:
            self._compute(images, starts, todo, burst, share)
        for k in todo:
            ranges[k] = ranges_of(images[k])
        if self.known is not None:  # copies, since the cleansing moves images
            new = {int(starts[k]): (images[k].copy(), ranges[k].copy()) for k in todo}
            self.known = {
                start: (new if start in new else known)[start] for start in starts.tolist()
            }
        return images, ranges

    def _compute(
        self,
        images: Images,
        starts: npt.NDArray[np.int64],
        todo: list[int],
        burst: Images,
        share: float,
    ) -> None:
        """Compute the images that are still to do, of which the first burst has been read."""
        with BandPool(self.num_workers) as pool:
            for k, following in zip(todo, [*todo[1:], None], strict=True):
                out = np.empty(burst[0].size, np.uint8)
                waiting = pool.start(out.size, _burst_job(burst, out))
                if burst.nbytes > _READ_AHEAD_BYTES:
                    pool.wait(waiting)
                if following is not None:
                    # The next burst is read while the threads compute.
                    burst = self._next_burst(burst, int(starts[k]), int(starts[following]))
                pool.wait(waiting)
                images[k] = out.reshape(images.shape[1:])
                self._report(share * (k + 1) / len(starts))

    def _next_burst(self, burst: Images, start: int, following: int) -> Images:
        """Return the burst at `following`; frames in both are not read again."""
        if following == start:
            return burst
        stop = following + len(burst)
        shared = burst[following - start :] if following > start else burst[:0]
        fresh = load_images(self.data, stop - len(burst) + len(shared), stop)
        return np.concatenate([shared, fresh]) if len(shared) else fresh

    def _kept(
        self, ranges: npt.NDArray[np.uint8], weights: npt.NDArray[np.int64] | None
    ) -> npt.NDArray[np.int64]:
        if self.kwargs["frac_cleansing"] == 1:
            return np.arange(len(ranges))
        kept = np.flatnonzero(
            select_images(
                ranges,
                thresh_cleansing=self.kwargs["thresh_cleansing"],
                frac_cleansing=self.kwargs["frac_cleansing"],
                weights=weights,
            )
        )
        self.logger.info("kept %d of %d background images", len(kept), len(ranges))
        return kept

    def _offsets(self, result: BackgroundResult) -> Floats:
        assert result.images is not None  # noqa: S101 (for the type checker)
        offsets = np.empty(result.length)
        block = max(1, _OFFSET_BYTES // max(1, result.images[0].nbytes))
        for start in range(0, result.length, block):
            stop = min(start + block, result.length)
            offsets[start:stop] = result.offsets_of(load_images(self.data, start, stop), start)
            self._report(0.5 + 0.5 * stop / result.length)
        return offsets


def ranges_of(image: Images) -> Images:
    """Return the range of grey values in each row."""
    return np.asarray(image.max(axis=1) - image.min(axis=1))


def select_images(
    ranges: npt.NDArray[np.uint8],
    *,
    thresh_cleansing: float = 0,
    frac_cleansing: float = 0.8,
    weights: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.bool_]:
    """Return which background images are free of cells.

    A cell that stood still during a burst widens the range of grey values in
    the rows around the middle of the channel.

    For H < 40 the first row of the window is negative and counts from the end,
    so that only the last rows are looked at. This is dcnum's, and kept, since
    it decides which images are stored.
    """
    height = ranges.shape[1]
    middle, half = height // 2, max(20, height // 4)
    deviation = ranges - _quantile(ranges, 0.5, weights)
    contrast = np.mean(deviation[:, middle - half : middle + half], axis=1)
    flat = contrast - _running_median(contrast)
    residue = np.abs(flat - _quantile(flat, 0.5, weights))
    if thresh_cleansing:
        mean = np.average(residue, weights=weights)
        variance = np.average((residue - mean) ** 2, weights=weights)
        kept = residue <= 150 * variance / thresh_cleansing
        if 1 - np.average(~kept, weights=weights) >= frac_cleansing:
            return np.asarray(kept)
    return np.asarray(residue <= _quantile(residue, frac_cleansing, weights))


def _quantile(
    values: npt.NDArray[Any], share: float, weights: npt.NDArray[np.int64] | None
) -> npt.NDArray[np.float64]:
    """Return a quantile over the first axis, as if each row were there `weights` times."""
    if weights is None:
        return np.asarray(
            np.median(values, axis=0) if share == 0.5 else np.quantile(values, share)
        )
    order = np.argsort(values, axis=0, kind="stable")
    ends = np.cumsum(weights[order], axis=0)
    place = (int(weights.sum()) - 1) * share
    ranks = [math.floor(place), math.ceil(place)]
    rows = np.stack([np.sum(ends <= rank, axis=0) for rank in ranks])
    pair = np.take_along_axis(values, np.take_along_axis(order, rows, axis=0), axis=0)
    if share == 0.5:
        return np.asarray(np.mean(pair, axis=0))
    return np.asarray(np.quantile(pair, place - ranks[0], axis=0))


def _running_median(values: Floats) -> Floats:
    """Return the upper median over 5 values before and 4 after, edges mirrored."""
    padded = np.pad(values, (5, 4), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 10)
    return np.asarray(np.sort(windows, axis=1)[:, 5])


def _take(images: Images, index: npt.NDArray[np.int64]) -> Images:
    """Return the images of an index that does not fall; in place if none is there twice."""
    out = images
    if len(np.unique(index)) < len(index):
        out = empty_images((len(index), *images.shape[1:]))
    for new, old in enumerate(index.tolist()):
        out[new] = images[old]
    return out[: len(index)]


def _burst_job(frames: Images, out: Images) -> Any:
    stack = frames.reshape(len(frames), -1)
    return lambda a, b: upper_median(stack, a, b, out)
