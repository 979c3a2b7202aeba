"""What each step does to the objects of a frame, in words; and whether a result says the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..read import HDF5Data
from ..run.rows import CAUSES
from .fates import KEPT, Analysis, clean_up_steps
from .job import DCNumPipelineJob
from .origin import frames_of_events

__all__ = [
    "Step",
    "Stored",
    "compare_with_result",
    "mask_of",
    "nearest_object",
    "steps_of",
    "trail_of",
]

#: Values that differ by less, relatively, are equal: files of other programs hold float32.
_EQUAL = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A step, and what it leaves of the objects of a frame."""

    name: str
    sentence: str
    before: npt.NDArray[np.uint16]  # (H, W), labels
    after: npt.NDArray[np.uint16]  # (H, W), labels
    cause: int | None = None  # under which it loses objects, index into `CAUSES`


def steps_of(analysis: Analysis, row: int, job: DCNumPipelineJob) -> list[Step]:
    """Return the steps from the mask to the events of a frame, in order."""
    objects = analysis.objects
    here = objects.frame == row
    lost = {name: int(np.sum(here & (objects.cause == i))) for i, name in enumerate(CAUSES)}
    before = analysis.raw_labels[row]
    steps = [Step("segmentation", _of_segmentation(analysis, row, job), before, before)]
    for name, after in clean_up_steps(analysis, row):
        sentence, cause = _of_clean_up(name, analysis.clean_up[name], before, after, lost)
        steps.append(Step(name, sentence, before, after, CAUSES.index(cause)))
        before = after
    gate = analysis.extractor.gate
    smallest = gate.size_thresh_mask
    for cause, sentence in (
        ("size", f"{_objects(lost['size'])} lost; kept are those of more than {smallest:g} px"),
        ("gate", f"{_objects(lost['gate'])} lost; gated: {', '.join(gate.features) or 'nothing'}"),
        ("contour", f"{_objects(lost['contour'])} lost, whose outline has no area"),
        ("repeated", f"{_objects(lost['repeated'])} lost, since the frame equals the one before"),
    ):
        gone = here & (objects.cause == CAUSES.index(cause)) & (objects.label > 0)
        after = np.where(np.isin(before, objects.label[gone]), 0, before).astype(np.uint16)
        if lost[cause] or cause == "size" or (cause == "gate" and gate.features):
            steps.append(Step(cause, sentence, before, after, CAUSES.index(cause)))
        before = after
    return steps


def _of_segmentation(analysis: Analysis, row: int, job: DCNumPipelineJob) -> str:
    """Say what is in the mask; by which number, if the segmenter is a threshold."""
    pixels = int(np.count_nonzero(analysis.mask[row]))
    found = f"{_objects(int(analysis.raw_labels[row].max()))} of {pixels} px"
    options = {"thresh": -6.0} | job["segmenter_kwargs"]
    corrected = difference(analysis, row)
    if job["segmenter_code"] != "thresh" or corrected is None:
        return f"{found}, found by {job['segmenter_code']}"
    return (
        f"{found}: where the difference is below {options['thresh']:g}; "
        f"the lowest is {corrected.min():.4g}"
    )


def difference(analysis: Analysis, row: int) -> npt.NDArray[Any] | None:
    """Return a frame less its background, and less the offset of that; None without one."""
    frames = analysis.frames
    if frames.image_corr is None:
        return None
    offset = 0 if frames.bg_off is None else frames.bg_off[row]
    return np.asarray(frames.image_corr[row] - offset)


def _of_clean_up(
    name: str,
    value: Any,
    before: npt.NDArray[np.uint16],
    after: npt.NDArray[np.uint16],
    lost: dict[str, int],
) -> tuple[str, str]:
    """Say what a step of the clean-up does, and under which cause it loses objects."""
    gone = int(np.count_nonzero((before > 0) & (after == 0)))
    new = int(np.count_nonzero((before == 0) & (after > 0)))
    if name == "clear_border":
        size = f" of {gone} px" if lost["border"] else ""
        return _done(value, f"{_objects(lost['border'])}{size} lost"), "border"
    if name == "fill_holes":
        merged = f"; {_objects(lost['merged'])} merged" if lost["merged"] else ""
        return _done(value, f"{new} px filled{merged}"), "merged"
    text = f"by a disk of radius {value}: {gone} px removed, {_objects(lost['opening'])} lost"
    return _done(value, text), "opening"


def _done(value: Any, text: str) -> str:
    return text if value else "left out"


def _objects(number: int) -> str:
    return f"{number} object" if number == 1 else f"{number} objects"


def nearest_object(analysis: Analysis, row: int, x: int, y: int) -> int | None:
    """Return which object of a frame is nearest to a pixel; None if there is none."""
    objects = analysis.objects
    best: tuple[float, int] | None = None
    for index in np.flatnonzero(objects.frame == row).tolist():
        rows, columns = np.nonzero(mask_of(analysis, index))
        distance = float(np.min((rows - y) ** 2 + (columns - x) ** 2))
        if best is None or distance < best[0]:
            best = distance, index
    return None if best is None else best[1]


def mask_of(analysis: Analysis, index: int) -> npt.NDArray[np.bool_]:
    """Return the pixels of an object (H, W): of the event, or as it was segmented if lost."""
    found = analysis.objects
    row = int(found.frame[index])
    if found.label[index]:
        return np.asarray(analysis.labels[row] == found.label[index])
    return np.asarray(analysis.raw_labels[row] == found.raw_label[index])


def trail_of(analysis: Analysis, steps: Sequence[Step], index: int) -> list[int]:
    """Return how many pixels of an object each step leaves, up to the one that decides."""
    found = analysis.objects
    own = analysis.raw_labels[found.frame[index]] == found.raw_label[index]
    if not found.raw_label[index]:
        own = mask_of(analysis, index)
    unfinished = ["segmentation", *analysis.clean_up][: len(analysis.clean_up)]
    left: list[int] = []
    for step in steps:
        if step.cause is not None and step.cause == found.cause[index]:
            return [*left, 0]
        labels = np.unique(step.after[own]) if step.name in unfinished else found.label[index]
        left.append(int(np.count_nonzero(np.isin(step.after, labels) & (step.after > 0))))
    return left


@dataclass(frozen=True, slots=True)
class Stored:
    """What a result holds of a frame."""

    #: Row in the result, from 0, of each object of the analysis that is an event there.
    rows: dict[int, int] = field(default_factory=dict)
    #: How the result and the analysis differ.
    differences: tuple[str, ...] = ()


def compare_with_result(analysis: Analysis, row: int, result: HDF5Data) -> Stored:
    """Find the events of a frame in a result, and whether they are what the analysis finds."""
    number = int(analysis.frames.numbers[row])
    stored = np.flatnonzero(frames_of_events(result) == number)
    objects = analysis.objects
    kept = np.flatnonzero((objects.frame == row) & (objects.cause == KEPT))
    kept = kept[np.argsort(objects.label[kept], kind="stable")]
    if len(stored) != len(kept):
        events = "1 event" if len(stored) == 1 else f"{len(stored)} events"
        text = f"the result has {events} in frame {number}, the analysis {len(kept)}"
        return Stored(differences=(text,))
    rows = dict(zip(kept.tolist(), stored.tolist(), strict=True))
    return Stored(rows, tuple(_differences(analysis, rows, result)))


def _differences(analysis: Analysis, rows: dict[int, int], result: HDF5Data) -> Iterator[str]:
    masks = result.mask
    for index, event in rows.items():
        if masks is not None:
            other = np.count_nonzero(masks[event : event + 1][0] != mask_of(analysis, index))
            if other:
                yield f"the mask of event {event} differs in {other} px"
        for name, values in analysis.objects.features.items():
            if name not in result:
                continue
            here, there = float(values[index]), float(result[name][event])
            if not np.isclose(here, there, rtol=_EQUAL, atol=0, equal_nan=True):
                yield f"{name} of event {event} is {there:.6g} in the result, {here:.6g} here"
                break
