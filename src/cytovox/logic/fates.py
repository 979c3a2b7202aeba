"""What becomes of each object of some frames, and why: the run's own steps, one by one.

The definitions are those of decision 13; the counts equal those of a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..feat import QueueEventExtractor
from ..kernels.event_boxes import Events, find_events
from ..kernels.labels import label_frames, process_frames
from ..read import HDF5Data
from ..run.rows import CAUSES, no_objects
from ..segm import Segmenter
from .frame_source import Frames
from .job import DCNumPipelineJob, extractor_of, segmenter_of

__all__ = ["KEPT", "Analysis", "Objects", "analyse", "clean_up_steps", "fate_of", "verdict"]

#: What `Objects.cause` holds for an event, in place of an index into `CAUSES`.
KEPT = -1
_MERGED, _OPENING = CAUSES.index("merged"), CAUSES.index("opening")
#: More than the highest label.
_LABELS = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """The objects of some frames, in order of frame; all arrays have a row for each.

    An object that the opening divides is a row for each piece.
    """

    frame: npt.NDArray[np.int64]  # row of its frame in the `Frames`
    raw_label: npt.NDArray[np.int64]  # in the mask as segmented; 0 if no pixel was in it
    label: npt.NDArray[np.int64]  # after the clean-up; 0 if nothing is left
    raw_size: npt.NDArray[np.int64]  # pixels as segmented
    size: npt.NDArray[np.int64]  # pixels after the clean-up
    box: npt.NDArray[np.int64]  # (n, 4), first and past-last row, first and past-last column
    cause: npt.NDArray[np.int64]  # why it is lost, index into `CAUSES`, or `KEPT`
    features: dict[str, npt.NDArray[np.float64]]  # NaN for what was not measured

    def __len__(self) -> int:
        return len(self.frame)

    def counts(self, frames: int) -> npt.NDArray[np.int64]:
        """Return how many were found in each frame, and lost by cause, as `FrameRows.objects`."""
        counts = no_objects(frames)
        lost = self.cause != KEPT
        np.add.at(counts[:, 0], self.frame, 1)
        np.add.at(counts.reshape(-1), self.frame[lost] * counts.shape[1] + 1 + self.cause[lost], 1)
        return counts


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """Some frames and what was found in them."""

    frames: Frames
    mask: npt.NDArray[np.bool_]  # (n, H, W), as segmented
    raw_labels: npt.NDArray[np.uint16]  # (n, H, W), labels of the mask
    labels: npt.NDArray[np.uint16]  # (n, H, W), after the clean-up
    objects: Objects
    clean_up: dict[str, Any]  # options of the clean-up; empty without
    extractor: QueueEventExtractor


def analyse(frames: Frames, job: DCNumPipelineJob, data: HDF5Data) -> Analysis:
    """Segment and measure frames as a run of the job does, and keep every step.

    `data` is the recording, for its metadata.
    """
    segmenter = segmenter_of(job)
    extractor = extractor_of(job, data)
    mask = np.zeros(frames.image.shape, np.bool_)
    raw = np.zeros(frames.image.shape, np.uint16)
    try:
        if len(frames):
            segmenter.segment_into(*segmenter.input_of(frames, 0, len(frames)), mask)
            label_frames(mask, raw)
    finally:
        segmenter.close()
    options = _clean_up_options(segmenter)
    labels = raw.copy()
    if options:
        process_frames(labels, **options)
    objects = _follow(raw, labels, options)
    _measure(objects, frames, labels, extractor)
    return Analysis(frames, mask, raw, labels, objects, options, extractor)


def clean_up_steps(analysis: Analysis, row: int) -> list[tuple[str, npt.NDArray[np.uint16]]]:
    """Return the labels of a frame after each step of the clean-up, by name of its option."""
    steps = []
    done: dict[str, Any] = dict.fromkeys(analysis.clean_up, 0)
    for name, value in analysis.clean_up.items():
        done[name] = value
        labels = analysis.raw_labels[row : row + 1].copy()
        process_frames(labels, **done)
        steps.append((name, labels[0]))
    return steps


def fate_of(analysis: Analysis, index: int) -> str:
    """Return what became of an object in one word: kept, or one of the causes."""
    cause = int(analysis.objects.cause[index])
    return "kept" if cause == KEPT else CAUSES[cause]


def verdict(analysis: Analysis, index: int) -> str:
    """Say what became of an object, with the number that decided."""
    found, gate = analysis.objects, analysis.extractor.gate
    cause, size, before = (int(a[index]) for a in (found.cause, found.size, found.raw_size))
    if cause == KEPT:
        return f"kept: {size} px"
    name = CAUSES[cause]
    if name == "gate":
        return f"lost to the gate: {_failed_gates(analysis, index)}"
    radius = analysis.clean_up.get("closing_disk")
    return {
        "border": f"lost at the border: one of its {before} px is in the first or last row or "
        "column of the image",
        "merged": f"merged: its {before} px lie in a hole of another object, which was filled",
        "opening": f"lost to opening: a disk of radius {radius} fits nowhere into its {before} px",
        "size": f"lost to its size: {before} px, after the clean-up {size} px, which is not more "
        f"than {gate.size_thresh_mask:g}",
        "contour": f"lost: the outline of its {size} px has no area",
        "repeated": "lost: its frame equals the frame before",
    }[name]


def _failed_gates(analysis: Analysis, index: int) -> str:
    """Name the gated features whose values are out of range."""
    failed = []
    for feature, (low, high) in analysis.extractor.gate.box_gates.items():
        value = float(analysis.objects.features[feature][index])
        if low is not None and not value >= low:
            failed.append(f"{feature} is {value:.4g}, below {low:g}")
        elif high is not None and not value <= high:
            failed.append(f"{feature} is {value:.4g}, above {high:g}")
    return ", ".join(failed)


def _clean_up_options(segmenter: Segmenter) -> dict[str, Any]:
    if not segmenter.mask_postprocessing:
        return {}
    kwargs = segmenter.kwargs_mask
    return {
        "clear_border": bool(kwargs["clear_border"]),
        "fill_holes": bool(kwargs["fill_holes"]),
        "closing_disk": int(kwargs["closing_disk"] or 0),
    }


def _follow(
    raw: npt.NDArray[np.uint16], clean: npt.NDArray[np.uint16], options: dict[str, Any]
) -> Objects:
    """Find out which piece of the clean labels each object of the raw ones has become."""
    before = find_events(raw, 0).table.astype(np.int64)
    after = find_events(clean, 0).table.astype(np.int64)
    before_key = before[:, 0] * _LABELS + before[:, 2]
    after_key = after[:, 0] * _LABELS + after[:, 2]
    at_border = _lost_at_border(raw, before, options)
    owner, reached = _owners(raw, clean, before_key[~at_border], after_key)
    cause = np.where(at_border, CAUSES.index("border"), _OPENING)
    cause[~at_border & np.isin(before_key, reached)] = _MERGED
    lost = ~np.isin(before_key, owner)
    row_of_owner = np.searchsorted(before_key, owner)
    has_owner = owner % _LABELS != 0
    owner_size = np.zeros(len(after), np.int64)
    owner_size[has_owner] = before[row_of_owner[has_owner], 3]
    none = np.zeros(np.count_nonzero(lost), np.int64)
    columns: dict[str, tuple[Any, Any]] = {
        "frame": (before[lost, 0], after[:, 0]),
        "raw_label": (before[lost, 2], owner % _LABELS),
        "label": (none, after[:, 2]),
        "raw_size": (before[lost, 3], owner_size),
        "size": (none, after[:, 3]),
        "box": (before[lost, 4:8], after[:, 4:8]),
        "cause": (cause[lost], np.full(len(after), KEPT)),
    }
    joined: dict[str, npt.NDArray[np.int64]] = {
        name: np.concatenate(parts) for name, parts in columns.items()
    }
    order = np.lexsort((joined["label"], joined["raw_label"], joined["frame"]))
    return Objects(**{name: column[order] for name, column in joined.items()}, features={})


def _lost_at_border(
    raw: npt.NDArray[np.uint16], table: npt.NDArray[np.int64], options: dict[str, Any]
) -> npt.NDArray[np.bool_]:
    """Return which objects touch the border, or lie in what filling makes background."""
    height, width = raw.shape[1:]
    top, bottom, left, right = table[:, 4:8].T
    lost = np.zeros(len(table), np.bool_)
    if options.get("clear_border"):
        lost |= (top == 0) | (bottom == height) | (left == 0) | (right == width)
    if options.get("fill_holes"):
        for row in np.flatnonzero((bottom <= 2) & ~lost):
            pixels = raw[table[row, 0], :2] == table[row, 2]
            pixels[0] = False
            pixels[1:, :2] = False
            lost[row] = not pixels.any()
    return lost


def _owners(
    raw: npt.NDArray[np.uint16],
    clean: npt.NDArray[np.uint16],
    left: npt.NDArray[np.int64],
    pieces: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the object to which each piece belongs, and those that have pixels in any.

    A piece belongs to the lowest label in it, which is the outermost, and to label 0
    if it has no pixel of an object. Objects are ``frame * _LABELS + label``.
    """
    frame, y, x = np.nonzero(clean)
    base = frame.astype(np.int64) * _LABELS
    inside, piece = base + raw[frame, y, x], base + clean[frame, y, x]
    known = np.isin(inside, left)
    inside, piece = inside[known], piece[known]
    # As in the run, the only object of a frame has all that is left of it.
    frames, number = np.unique(left // _LABELS, return_counts=True)
    alone = left[np.isin(left // _LABELS, frames[number == 1])]
    of_alone = np.isin(pieces // _LABELS, alone // _LABELS)
    owner = pieces // _LABELS * _LABELS
    lowest = np.full(len(pieces), np.iinfo(np.int64).max)
    np.minimum.at(lowest, np.searchsorted(pieces, piece), inside)
    owner = np.where(lowest < np.iinfo(np.int64).max, lowest, owner)
    owner[of_alone] = alone[np.searchsorted(alone // _LABELS, pieces[of_alone] // _LABELS)]
    return owner, np.unique(np.concatenate([inside, owner]))


def _measure(
    objects: Objects,
    frames: Frames,
    labels: npt.NDArray[np.uint16],
    extractor: QueueEventExtractor,
) -> None:
    """Measure what is large enough, and note why the rest, or what the gate removes, is lost."""
    large = (objects.label > 0) & (objects.size > extractor.gate.size_thresh_mask)
    objects.cause[(objects.label > 0) & ~large] = CAUSES.index("size")
    rows = np.flatnonzero(large)
    table = np.empty((len(rows), 8), np.int32)
    table[:, 0] = table[:, 1] = objects.frame[rows]
    table[:, 2], table[:, 3] = objects.label[rows], objects.size[rows]
    table[:, 4:8] = objects.box[rows]
    columns, passed, valid = extractor.measure_objects(
        Events(table),
        labels,
        (frames.image, frames.image_bg, frames.image_corr, frames.bg_off),
        extractor.extract_kwargs,
    )
    objects.cause[rows[~passed]] = CAUSES.index("gate")
    objects.cause[rows[passed & ~valid]] = CAUSES.index("contour")
    objects.cause[frames.duplicate[objects.frame]] = CAUSES.index("repeated")
    for name, values in columns.items():
        objects.features[name] = np.full(len(objects), np.nan)
        objects.features[name][rows] = values
