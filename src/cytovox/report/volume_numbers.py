"""The numbers of labels of a volume that a report shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..blockwise.run_state import describe_run, journal_of, recipe_in_words, seam_lines
from ..errors import InputError, InputNotFoundError
from ..read import Permissions
from ..read.open_volume import open_volume
from ..run.journal import JournalContent
from .columns import VOLUME_COLUMNS
from .volume_picture import made_by_blocks, seam_sizes

__all__ = ["VolumeNumbers", "read_volume"]

#: Stage in which the blocks are segmented.
_SEGMENT = "segment"


@dataclass(slots=True, eq=False)
class VolumeNumbers:
    """What a report says of labels of a volume."""

    path: str
    #: See `VOLUME_COLUMNS`; None for what is not known.
    numbers: dict[str, float | int | None]
    #: What the volume is, in words; empty if it is not made yet.
    about: list[tuple[str, str]] = field(default_factory=list)
    recipe: list[tuple[str, str]] = field(default_factory=list)
    #: Stages of the run: name, and what became of its blocks.
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    seams: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    version: str = ""
    #: Whether all blocks were done.
    is_whole: bool = True
    #: Number of voxels of each object, shape (n,), and whether it touches a seam.
    sizes: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    at_seam: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    #: Blocks and the seconds that each took to be segmented, as they came.
    seconds: dict[Any, float] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Return the numbers as values that JSON knows."""
        return {"file": self.path, **self.numbers, "findings": list(self.findings)}


def read_volume(path: Path, permissions: Permissions | None) -> VolumeNumbers:
    """Return the numbers of labels that a run has made, or makes; an error if none has."""
    journal = journal_of(path)
    run = describe_run(path, journal)
    if journal is None or run is None:
        raise InputError(
            "these are not labels of a run",
            path=path,
            hint="segment a volume first: cytovox volume segment",
        )
    found = VolumeNumbers(str(path), dict.fromkeys(column.key for column in VOLUME_COLUMNS))
    found.about = list(_about(path, permissions))
    found.stages = run["stages"]
    found.seconds = _seconds(journal)
    if recipe := run["recipe"]:
        found.recipe = [(name, text) for name, text in recipe_in_words(recipe) if text]
        found.version = str(recipe.get("cytovox", ""))
    if seams := run["seams"]:
        found.seams = seam_lines(seams)
    if made_by_blocks(path):
        found.sizes, found.at_seam = seam_sizes(path)
    found.numbers |= _numbers(run, found)
    found.findings = list(_findings(run, found))
    failed = any(stage["failed"] for stage in found.stages.values())
    found.is_whole = run["finished"] and bool(found.about) and not failed
    return found


def _about(path: Path, permissions: Permissions | None) -> Iterator[tuple[str, str]]:
    try:
        with open_volume(path, permissions=permissions) as volume:
            size = " x ".join(f"{n:g}" for n in volume.voxel_size)
            yield "format", volume.format
            yield "voxels", f"{_by(volume.shape)} ({''.join(volume.axes)}), {volume.dtype}"
            yield "voxel", f"{size} {volume.units or ''}".strip()
            yield "chunk", _by(volume.chunk)
    except InputNotFoundError:  # it is not made yet
        return


def _by(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))


def _seconds(journal: JournalContent) -> dict[Any, float]:
    records = journal.stages.get(_SEGMENT, {})
    return {
        key: record.seconds
        for key, record in records.items()
        if record.state == "done" and record.seconds is not None
    }


def _numbers(run: dict[str, Any], found: VolumeNumbers) -> dict[str, float | int | None]:
    stage = run["stages"].get(_SEGMENT)
    seconds = list(found.seconds.values())
    numbers: dict[str, float | int | None] = {
        "objects": run["objects"],
        "voxels_median": float(np.median(found.sizes)) if found.sizes.size else None,
        "blocks": stage["done"] if stage else None,
        "blocks_failed": stage["failed"] if stage else None,
        "block_seconds": float(np.median(seconds)) if seconds else None,
    }
    for name in ("at_seam", "spanning", "cut"):
        numbers[name] = run["seams"][name] if run["seams"] else None
    return numbers


def _findings(run: dict[str, Any], found: VolumeNumbers) -> Iterator[str]:
    if not run["finished"]:
        yield "the run is not finished; the same command goes on with it"
    failed = sum(stage["failed"] for stage in run["stages"].values())
    if failed:
        yield f"{failed} {'block' if failed == 1 else 'blocks'} failed"
    if run["finished"] and not found.about:
        yield "the volume is missing"
    if run["objects"] == 0:
        yield "there are no objects"
    if not found.recipe:
        yield "the recipe cannot be read; labels over time have one for each point in time"
