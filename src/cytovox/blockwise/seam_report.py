"""What can be said about the quality of stitching without knowing the truth."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..kernels.lattice import Int64s
from .block_tiles import Tiles, TileStore
from .evidence_file import StitchMode
from .lookup import Lookup, SeamReport, label_numbers, places

__all__ = ["NODE", "report_again", "report_seams"]

#: What is kept of each label of a tile.
NODE = np.dtype(
    [("root", "i8"), ("size", "u8"), ("seam", "?"), ("clipped", "?"), ("owned", "?")], align=True
)
#: What is known of an object.
_OBJECT = np.dtype(
    [
        ("id", "i8"),
        ("size", "u8"),
        ("blocks", "i8"),
        ("seam", "?"),
        ("clipped", "?"),
        ("contested", "?"),
    ],
    align=True,
)


def _no_voxels(ids: Int64s) -> npt.NDArray[Any]:
    found = np.zeros(ids.size, _OBJECT)
    found["id"] = ids
    return found


def _of_tile(final: Int64s, nodes: Any, block: Int64s) -> npt.NDArray[Any]:
    """Return what is known of objects from the labels of a tile, in ascending order of objects."""
    real = final > 0
    ids, at = np.unique(final[real], return_inverse=True)
    found = _no_voxels(ids)
    np.add.at(found["size"], at, nodes["size"][real])
    for name in ("seam", "clipped"):
        found[name][at[nodes[name][real]]] = True
    # Labels of a block follow each other.
    order = np.lexsort((block[real], at))
    sorted_at, sorted_block = at[order], block[real][order]
    new = np.ones(order.size, np.bool_)
    new[1:] = (sorted_at[1:] != sorted_at[:-1]) | (sorted_block[1:] != sorted_block[:-1])
    found["blocks"] = np.bincount(sorted_at[new], minlength=ids.size)
    found["contested"][sorted_at[~new]] = True
    return found


def _add(known: npt.NDArray[Any], found: npt.NDArray[Any], at: Int64s) -> None:
    """Add what a tile knows to what is known of the objects at these places."""
    for name in ("size", "blocks"):
        known[name][at] += found[name]
    for name in ("seam", "clipped", "contested"):
        known[name][at] |= found[name]


class _Summary:
    """What is left of objects that are known in full."""

    def __init__(self) -> None:
        self.at_seam = self.spanning = 0
        self._ids: dict[str, list[Int64s]] = {"cut": [], "contested": [], "clipped": []}
        self._sizes: dict[bool, dict[int, int]] = {True: {}, False: {}}

    def take(self, found: npt.NDArray[Any]) -> None:
        """Take objects."""
        seam, several = found["seam"], found["blocks"] > 1
        self.at_seam += int(np.count_nonzero(seam))
        self.spanning += int(np.count_nonzero(several))
        self._ids["cut"].append(found["id"][seam & ~several])
        for name in ("contested", "clipped"):
            self._ids[name].append(found["id"][found[name]])
        for touches, counts in self._sizes.items():
            values, times = np.unique(found["size"][seam == touches], return_counts=True)
            for value, number in zip(values.tolist(), times.tolist(), strict=True):
                counts[value] = counts.get(value, 0) + number

    def ids(self, name: str) -> Int64s:
        """Return the numbers of objects in ascending order."""
        return np.sort(np.concatenate([np.empty(0, np.int64), *self._ids[name]]))

    def median(self, touches: bool) -> float:
        """Return the median size of those that touch a seam, or of the others."""
        counts = self._sizes[touches]
        if not counts:
            return float("nan")
        values = np.sort(np.array(list(counts), np.uint64))
        ends = np.cumsum([counts[value] for value in values.tolist()])
        middle = [(ends[-1] - 1) // 2, ends[-1] // 2]
        return float(np.mean(values[np.searchsorted(ends, middle, side="right")]))


def report_seams(
    mode: StitchMode, lookup: Lookup, tiles: Tiles, store: TileStore, doubtful: int
) -> SeamReport:
    """Count what tells how well labels fit together at the seams."""
    shared = _no_voxels(lookup.shared)
    summary = _Summary()
    dropped = 0
    for index in range(len(tiles)):
        own = tiles.own(tiles[index])
        block, _ = label_numbers(own, lookup.offsets)
        final = lookup.labels_of(own)
        nodes = np.array(store.get("nodes", index))
        if nodes.size != final.size:
            raise InputError("the evidence of blocks has changed meanwhile", block=int(own[0]))
        found = _of_tile(final, nodes, block)
        dropped += int(np.count_nonzero(final == 0))
        at = places(lookup.shared, found["id"])
        across = at >= 0
        _add(shared, found[across], at[across])
        summary.take(found[~across])
    summary.take(shared)
    exceeding = summary.ids("clipped") if mode in ("overlap", "owner") else np.empty(0, np.int64)
    return SeamReport(
        mode=mode,
        blocks=len(lookup.offsets) - 1,
        labels=int(lookup.offsets[-1]),
        objects=lookup.count,
        dropped=dropped,
        doubtful=doubtful,
        at_seam=summary.at_seam,
        spanning=summary.spanning,
        cut=summary.ids("cut"),
        contested=summary.ids("contested"),
        exceeding=exceeding,
        seam_median=summary.median(True),
        interior_median=summary.median(False),
    )


def report_again(report: SeamReport, lookup: Lookup, tiles: Tiles, store: TileStore) -> SeamReport:
    """Return the report for the objects that a gate has left."""
    mode = cast("StitchMode", report.mode)
    left = report_seams(mode, lookup, tiles, store, report.doubtful)
    # Labels of objects that did not pass were dropped for another reason.
    return dataclasses.replace(left, dropped=report.dropped)
