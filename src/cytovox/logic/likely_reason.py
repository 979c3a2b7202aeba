"""Why a recording gives no or few events, as far as some of its frames tell."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .fates import KEPT, Analysis, analyse, fate_of, verdict
from .frame_source import Frames, FrameSource
from .frame_steps import difference
from .job import DCNumPipelineJob

__all__ = ["is_few", "likely_reason"]

logger = logging.getLogger(__name__)
#: Frames that are looked at, in so many places of the recording.
_FRAMES, _PLACES = 200, 20
#: Fewer events than one in so many frames are few.
_FEW = 100
#: Thresholds that are tried, relative to the present one: those that find more come first.
_OTHERS = (2 / 3, 1 / 2, 1 / 3, 3 / 2, 2, 3)


def is_few(events: int, frames: int) -> bool:
    """Return whether a recording has no events, or fewer than one in a hundred frames."""
    return events * _FEW < frames


def likely_reason(source: FrameSource, job: DCNumPipelineJob) -> str | None:
    """Say why there are few events, and which threshold would give more; None if unknown.

    Only for the built-in threshold, which is fast; other segmenters may take long.
    """
    if job["segmenter_code"] != "thresh":
        return None
    try:
        frames = source.read(_some(source.chosen()))
        threshold = float(job["segmenter_kwargs"].get("thresh", -6))
        found = analyse(frames, job, source.data)
        return "; ".join([_why(found, threshold), *_other(frames, job, source, found, threshold)])
    except Exception:
        logger.debug("it is not known why there are few events", exc_info=True)
        return None


def _some(chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return frames in some places of a recording; consecutive ones, which are read quickly."""
    if len(chosen) <= _FRAMES:
        return chosen
    length = _FRAMES // _PLACES
    starts = np.linspace(0, len(chosen) - length, _PLACES).round().astype(np.int64)
    return chosen[np.unique(starts[:, None] + np.arange(length))]


def _why(found: Analysis, threshold: float) -> str:
    """Say what happens to most objects, by the largest of them."""
    objects, number = found.objects, len(found.frames)
    repeated = int(found.frames.duplicate.sum())
    if repeated > number / 2:
        return f"{repeated} of {number} frames equal the frame before"
    if not len(objects):
        corrected = (difference(found, row) for row in range(number))
        lowest = min((one.min() for one in corrected if one is not None), default=0.0)
        below = f"no pixel is below {threshold:g}"
        return f"in {number} frames {below}: the lowest difference is {lowest:.3g}"
    lost = np.flatnonzero(objects.cause != KEPT)
    if not len(lost):
        return f"in {number} frames {len(objects)} objects are found"
    causes, counts = np.unique(objects.cause[lost], return_counts=True)
    most = lost[objects.cause[lost] == causes[np.argmax(counts)]]
    largest = int(most[np.argmax(objects.raw_size[most])])
    return (
        f"in {number} frames {len(objects)} objects are found at {threshold:g}, "
        f"{counts.max()} are lost to {fate_of(found, largest)}; the largest of these is "
        f"{verdict(found, largest)}"
    )


def _other(
    frames: Frames,
    job: DCNumPipelineJob,
    source: FrameSource,
    found: Analysis,
    threshold: float,
) -> Iterator[str]:
    """Yield which threshold would give more than few events, if there is one."""
    before = int(np.count_nonzero(found.objects.cause == KEPT))
    for share in _OTHERS:
        other = float(round(threshold * share)) or threshold
        if other in (threshold, 0.0):
            continue
        kept = np.count_nonzero(_with(frames, job, source, other).objects.cause == KEPT)
        if kept > before and not is_few(int(kept), len(frames)):
            yield f"{other:g} would give {kept} events in {len(frames)} frames"
            return


def _with(
    frames: Frames, job: DCNumPipelineJob, source: FrameSource, threshold: float
) -> Analysis:
    options: dict[str, Any] = job["segmenter_kwargs"] | {"thresh": threshold}
    changed = DCNumPipelineJob(**{**job.__getstate__(), "segmenter_kwargs": options})
    return analyse(frames, changed, source.data)
