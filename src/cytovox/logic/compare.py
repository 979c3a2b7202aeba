"""Two results of one recording: which events are in both, and how their features have shifted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from ..errors import InputError, UsageError
from ..read import HDF5Data, get_measurement_identifier
from ..read.basin_definitions import is_basin_map
from ..read.dataset import read_checked
from .origin import frames_of_events
from .record import read_record
from .stated_pipeline import stated_options

__all__ = [
    "Comparison",
    "Shift",
    "compare_results",
    "frames_in_both",
    "recipe_differences",
    "require_one_recording",
]

#: Events of both results whose masks are compared at a time.
_BLOCK = 512
#: Masks of one object share at least this part of their pixels.
_LEAST = 0.1
#: Where there are no masks, objects are one if their centres are nearer than this [um].
_NEAR = 3.0
#: What programs append to the measurement that they have measured.
_MEASURED = re.compile(r"(_dcn-[0-9a-f]{7})+$")

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shift:
    """How a feature of the events that are in both results differs: second less first."""

    feature: str
    changed: int  # number of events
    median: float
    low: float  # 5 % of the shifts are below
    high: float  # 5 % are above
    largest: float
    #: Median of the size of the shift, in units of the quartile range of the feature.
    relative: float


class Unread(NamedTuple):
    """Features that a result has in another file, which cannot be read, and why."""

    features: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What is in both results, and what in one of them; events by their rows, from 0."""

    events: tuple[int, int]
    matched: Rows  # (n, 2), row in the first and in the second
    lost: Rows  # rows of the first
    gained: Rows  # rows of the second
    #: Pixels in both masks over pixels in any of them, (n,); None where there are no masks.
    overlap: Floats | None
    shifts: tuple[Shift, ...]  # the largest first; of features that differ
    compared: int  # number of features that are in both
    only: tuple[tuple[str, ...], tuple[str, ...]]  # features that one of them has
    unread: tuple[Unread, Unread]  # of the first and the second, what the other has

    @property
    def is_equal(self) -> bool:
        """Whether both hold the same events with the same values."""
        same = self.overlap is None or bool(np.all(self.overlap == 1))
        more = any(self.only) or any(one.features for one in self.unread)
        return same and not (len(self.lost) or len(self.gained) or self.shifts or more)


def require_one_recording(first: HDF5Data, second: HDF5Data) -> None:
    """Raise an error if two results are not of the same measurement."""
    one, two = (get_measurement_identifier(data.h5) for data in (first, second))
    if one is None or two is None or _MEASURED.sub("", one) != _MEASURED.sub("", two):
        raise InputError(
            f"it is of the measurement '{two}', the other of '{one}'",
            path=second.place,
            hint="give results of one recording, or --anyway",
        )


def recipe_differences(first: HDF5Data, second: HDF5Data) -> list[tuple[str, str, str]]:
    """Return what differs in the recipes: its name as for ``--set``, and both values."""
    one, two = stated_options(first.meta), stated_options(second.meta)
    one["version"], two["version"] = (
        str(read_record(data).get("cytovox version", "unknown")) for data in (first, second)
    )
    names = dict.fromkeys([*one, *two])
    values = [(name, one.get(name, "not stated"), two.get(name, "not stated")) for name in names]
    return [found for found in values if found[1] != found[2]]


def compare_results(first: HDF5Data, second: HDF5Data) -> Comparison:
    """Match the events of two results by frame and overlap, and compare their features."""
    one, two = first.mask, second.mask
    if one is not None and two is not None and one.image_shape != two.image_shape:
        raise UsageError(
            f"its images have {two.image_shape} pixels, those of the other {one.image_shape}",
            path=second.place,
            hint="give results of one recording",
        )
    frames = frames_in_both(first, second)
    pairs = list(_match(first, second, frames))
    matched = np.array([pair[:2] for pair in pairs], np.int64).reshape(-1, 2)
    order = np.lexsort((matched[:, 1], matched[:, 0]))
    with_masks = one is not None and two is not None
    overlap = np.array([pair[2] for pair in pairs], np.float64)[order] if with_masks else None
    matched = matched[order]
    names, only = _features(first, second)
    unread = _unread(first, only[1]), _unread(second, only[0])
    missing = {name for one in unread for name in one.features}
    return Comparison(
        (len(first), len(second)),
        matched,
        np.setdiff1d(np.arange(len(first)), matched[:, 0]),
        np.setdiff1d(np.arange(len(second)), matched[:, 1]),
        overlap,
        tuple(_shifts(first, second, names, matched)),
        len(names),
        tuple(tuple(n for n in one if n not in missing) for one in only),  # type: ignore[arg-type]
        unread,
    )


def frames_in_both(first: HDF5Data, second: HDF5Data) -> tuple[Rows, Rows]:
    """Return the frame of each event, counted alike in both results."""
    try:
        return frames_of_events(first), frames_of_events(second)
    except InputError:
        if "frame" not in first or "frame" not in second:
            raise
    return _column(first, "frame").astype(np.int64), _column(second, "frame").astype(np.int64)


def _features(
    first: HDF5Data, second: HDF5Data
) -> tuple[list[str], tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return the scalar features of both, and those of one of them."""
    one, two = ({n for n in data.keys() if _is_scalar(data, n)} for data in (first, second))  # noqa: SIM118
    return sorted(one & two), (tuple(sorted(one - two)), tuple(sorted(two - one)))


def _unread(data: HDF5Data, names: tuple[str, ...]) -> Unread:
    errors = {name: error for name in names if (error := data.why_not(name)) is not None}
    reasons = dict.fromkeys(error.what for error in errors.values())
    return Unread(tuple(errors), "; ".join(reasons))


def _is_scalar(data: HDF5Data, name: str) -> bool:
    found = None if is_basin_map(name) else data.locate(name)
    return found is not None and found.ndim == 1


def _column(data: HDF5Data, name: str) -> npt.NDArray[Any]:
    """Return a feature, which the reader need not keep."""
    found = data.locate(name)
    return np.asarray(
        read_checked(found, slice(None)) if isinstance(found, h5py.Dataset) else found[:]
    )


def _shifts(first: HDF5Data, second: HDF5Data, names: list[str], matched: Rows) -> list[Shift]:
    found = []
    for name in names if len(matched) else ():
        one = _column(first, name)[matched[:, 0]].astype(np.float64)
        two = _column(second, name)[matched[:, 1]].astype(np.float64)
        changed = (one != two) & ~(np.isnan(one) & np.isnan(two))
        if not changed.any():
            continue
        shift = (two - one)[np.isfinite(two - one)]
        low, median, high = np.quantile(shift, (0.05, 0.5, 0.95)) if len(shift) else [np.nan] * 3
        largest = shift[np.argmax(np.abs(shift))] if len(shift) else np.nan
        quarter, three = np.nanquantile(one, (0.25, 0.75))
        size = float(np.median(np.abs(shift))) if len(shift) else np.nan
        relative = size / (three - quarter) if three > quarter else (np.inf if size else 0.0)
        numbers = (median, low, high, largest, relative)
        found.append(Shift(name, int(changed.sum()), *map(float, numbers)))
    return sorted(found, key=lambda one: (-one.relative, -one.changed, one.feature))


def _match(
    first: HDF5Data, second: HDF5Data, frames: tuple[Rows, Rows]
) -> Iterator[tuple[int, int, float]]:
    """Yield row in the first, row in the second, and their overlap."""
    with_masks = first.mask is not None and second.mask is not None
    pairs_of = _overlaps if with_masks else _distances
    for rows in _blocks(*frames):
        here = tuple(one[part] for one, part in zip(frames, rows, strict=True))
        one, two, score = pairs_of((first, second), rows, here)
        taken: tuple[set[int], set[int]] = (set(), set())
        for pair in np.argsort(-score, kind="stable").tolist():
            i, j = int(one[pair]), int(two[pair])
            if i not in taken[0] and j not in taken[1]:
                taken[0].add(i)
                taken[1].add(j)
                yield int(rows[0][i]), int(rows[1][j]), float(score[pair])


def _blocks(one: Rows, two: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Yield rows of both results, of whole frames that both have, in order of frame."""
    orders = [np.argsort(frames, kind="stable") for frames in (one, two)]
    ordered = [frames[order] for frames, order in zip((one, two), orders, strict=True)]
    shared = np.intersect1d(one, two)
    starts = [np.searchsorted(frames, shared) for frames in ordered]
    stops = [np.searchsorted(frames, shared, side="right") for frames in ordered]
    numbers = sum(stop - start for start, stop in zip(starts, stops, strict=True))
    block = np.cumsum(numbers) // _BLOCK if len(shared) else np.empty(0, np.int64)
    for value in np.unique(block):
        places = np.flatnonzero(block == value)
        yield tuple(  # type: ignore[misc]
            np.concatenate([order[starts[k][p] : stops[k][p]] for p in places])
            for k, order in enumerate(orders)
        )


def _overlaps(
    data: tuple[HDF5Data, HDF5Data], rows: tuple[Rows, Rows], frames: tuple[Rows, ...]
) -> tuple[Rows, Rows, Floats]:
    """Return pairs of events whose masks overlap enough, and by how much."""
    masks = [np.asarray(one.mask[part]) for one, part in zip(data, rows, strict=True)]  # type: ignore[index]
    places = {frame: place for place, frame in enumerate(np.unique(frames[0]).tolist())}
    one, two = (np.array([places[n] for n in part.tolist()], np.int64) for part in frames)
    event = np.zeros((len(places), *masks[0].shape[1:]), np.int32)
    j, y, x = np.nonzero(masks[1])
    event[two[j], y, x] = j + 1
    i, y, x = np.nonzero(masks[0])
    both = event[one[i], y, x].astype(np.int64)
    keys, shared = np.unique((i * (len(two) + 1) + both)[both > 0], return_counts=True)
    first, second = keys // (len(two) + 1), keys % (len(two) + 1) - 1
    size = [mask.reshape(len(mask), -1).sum(axis=1, dtype=np.int64) for mask in masks]
    overlap = shared / (size[0][first] + size[1][second] - shared)
    enough = overlap >= _LEAST
    return first[enough], second[enough], overlap[enough]


def _distances(
    data: tuple[HDF5Data, HDF5Data], rows: tuple[Rows, Rows], frames: tuple[Rows, ...]
) -> tuple[Rows, Rows, Floats]:
    """Return pairs of events of a frame whose centres are near, and how near, negative."""
    places = []
    for one, part in zip(data, rows, strict=True):
        if "pos_x" not in one or "pos_y" not in one:
            raise InputError(
                "there are neither masks nor positions of events",
                path=one.place,
                hint="give results of runs",
            )
        places.append(np.stack([one["pos_x"][part], one["pos_y"][part]], axis=1))
    pairs = [
        (i, j)
        for frame in np.unique(frames[0])
        for i in np.flatnonzero(frames[0] == frame)
        for j in np.flatnonzero(frames[1] == frame)
    ]
    i, j = np.array(pairs, np.int64).reshape(-1, 2).T
    distance = np.hypot(*(places[0][i] - places[1][j]).T)
    near = distance < _NEAR
    return i[near], j[near], -distance[near]
