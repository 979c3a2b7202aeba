"""Whether a volume is whole: metadata, voxels, and what a run says of its making."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import CytovoxError, InputNotFoundError
from ..read.open_volume import open_volume
from ..read.permissions import Permissions
from ..read.volume import Volume
from ..read.volume_address import parse_address
from ..run.findings import Verification
from ..run.fingerprint import differences
from ..run.journal import JournalContent, read_journal
from ..run.memory import cpu_count
from .checks import checksum
from .evidence_file import EvidenceFolder
from .grid import Box, Grid
from .lookup import load_lookup
from .object_table import ObjectTable, read_objects
from .recipe import VolumeRecipe, side_folder
from .recipe_file import load_recipe
from .verify_array import check_files, check_voxels, open_scales

__all__ = ["verify_volume"]

_SIDE = ".cytovox"
#: More labels are not counted one by one; 8 bytes each.
_MOST_LABELS = 1 << 27
#: More blocks or labels are not listed one by one.
_LISTED = 5

Counts = npt.NDArray[np.int64]


@dataclass(slots=True)
class _Run:
    """What is known of labels from their run; None or empty where it is gone."""

    recipe: VolumeRecipe
    grid: Grid | None = None
    objects: int | None = None
    written: dict[Any, int] = field(default_factory=dict)
    """Checksum of what each block has written in the end."""


def verify_volume(
    path: str | os.PathLike[str],
    *,
    thorough: bool = True,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    permissions: Permissions | None = None,
) -> Verification:
    """Check a volume, made by this program or another.

    Whether the scales fit together and every chunk and shard can be decoded.
    Of labels that were made here also: whether the journal tells that all
    blocks are done, from the input as it is now; whether each block holds what
    was written; whether labels are 1 to N without a gap and the table of
    objects has a row with the right number of voxels for each.

    Parameters
    ----------
    path
        See `cytovox.read.open_volume`; or the folder ``.cytovox`` beside an
        output.
    thorough
        Whether voxels are read.
    workers
        Number of threads; as many as cores if None.
    on_progress
        Called with the bytes that were read and those to read.
    permissions
        What may be read; what the environment allows if None.

    Returns
    -------
    Verification
        A volume that cannot be opened raises instead.

    Raises
    ------
    CytovoxError
        If there is nothing, or it is not a volume.

    Examples
    --------
    >>> import numpy as np
    >>> path = getfixture("tmp_path") / "a.npy"
    >>> np.save(path, np.zeros((4, 5, 6), np.uint8))
    >>> verify_volume(path).ok
    True
    """
    begin = time.perf_counter()
    text = os.fspath(path)
    if text.rstrip("/" + os.sep).endswith(_SIDE):
        text = text.rstrip("/" + os.sep)[: -len(_SIDE)]
    found = Verification(text, "volume")
    run = None if parse_address(text).remote else _check_run(text, found, permissions)
    with contextlib.ExitStack() as stack:
        try:
            scales = stack.enter_context(open_scales(text, found, permissions))
        except InputNotFoundError:
            if run is None:
                raise
            found.error(text, "the labels are not there yet; the same command as before goes on")
        else:
            _check_scales(scales, found, run, thorough, workers or cpu_count(), on_progress)
    found.seconds = time.perf_counter() - begin
    return found


def _check_run(output: str, found: Verification, permissions: Permissions | None) -> _Run | None:
    """Check journal, input, evidence and lookup of a run; None if there was none on blocks."""
    folder = side_folder(output)
    if not any((folder / name).exists() for name in ("recipe.json", "local.zarr", "blocks")):
        return None  # masks, other arrays and labels over time keep a journal only
    try:
        journal = read_journal(folder / "journal.jsonl")
        made = journal.fingerprint or {}
        if "begin" in (made.get("geometry") or ()) and not (folder / "recipe.json").exists():
            _check_finished(journal, found)  # labels of a region, which have no recipe
            return None
        run = _Run(load_recipe(output, permissions=permissions))
    except CytovoxError as err:
        found.error(folder.name, err.what)
        return None
    if journal.torn:
        found.note("journal", f"{journal.torn} lines were cut off when a run was killed")
    _add_blocks(run, folder, found)
    _check_journal(journal, made, run, found)
    _check_input(made, run.recipe, found)
    _check_evidence(folder, run, found)
    _check_lookup(folder, run, found)
    return run


def _add_blocks(run: _Run, folder: Path, found: Verification) -> None:
    """Learn the blocks from their labels, which have the shape of the output."""
    try:
        with open_volume(folder / "local.zarr") as volume:
            run.grid = Grid(volume.spatial_shape, run.recipe.block, run.recipe.context)
    except CytovoxError as err:
        found.warn("local.zarr", f"the labels of the blocks cannot be read: {err.what}")
        return
    found.counts["blocks"] = len(run.grid)


def _check_journal(
    journal: JournalContent, made: Mapping[str, Any], run: _Run, found: Verification
) -> None:
    for stage in ("segment", "relabel"):
        records = journal.stages.get(stage, {})
        for key, record in [(k, r) for k, r in records.items() if r.state == "failed"][:_LISTED]:
            name = key if isinstance(key, int) else "/".join(map(str, key))
            found.error(f"journal, {stage} of block {name}", f"failed: {record.error}")
        done = {key: record for key, record in records.items() if record.state == "done"}
        if run.grid is not None and len(done) < len(run.grid):
            found.error(f"journal, {stage}", f"{len(done)} of {len(run.grid)} blocks are done")
        told = {key: (record.result or {}).get("written") for key, record in done.items()}
        run.written = {key: check for key, check in told.items() if isinstance(check, int)}
    _check_finished(journal, found)
    geometry = made.get("geometry") or {}
    for name in ("block", "context"):
        wanted = list(getattr(run.recipe, name))
        if name in geometry and list(geometry[name]) != wanted:
            found.error("journal", f"the {name} is {geometry[name]}, but the recipe's is {wanted}")


def _check_finished(journal: JournalContent, found: Verification) -> None:
    if not any(note.get("event") == "finished" for note in journal.notes):
        found.error("journal", "the run was never finished; the same command goes on")


def _check_input(made: Mapping[str, Any], recipe: VolumeRecipe, found: Verification) -> None:
    """Compare the input with what it was; an input that is gone is not a defect of labels."""
    before = made.get("input")
    if before is None:
        return
    if "://" in recipe.input:
        found.note("input", f"{recipe.input} was not looked at")
        return
    try:
        with recipe.open_input() as volume:
            changes = differences(before, volume.fingerprint())
    except CytovoxError as err:
        found.note("input", f"cannot be compared: {err}")
        return
    if changes := [c for c in changes if not c.startswith("url ")]:  # it may have been copied
        found.warn("input", f"is not what it was: {'; '.join(changes[:3])}")


def _check_evidence(folder: Path, run: _Run, found: Verification) -> None:
    evidence = EvidenceFolder(folder / "blocks")
    torn = [block.index for block in run.grid or () if not evidence.is_whole(block.index)]
    if torn:
        what = f"that of {len(torn)} blocks is missing or torn ({_listed(torn)})"
        found.warn("evidence", f"{what}: stitching anew segments them again")


def _check_lookup(folder: Path, run: _Run, found: Verification) -> None:
    try:
        lookup = load_lookup(folder)
        stamp = lookup.stamp
    except CytovoxError as err:
        found.error("lookup", err.what)
        return
    run.objects = lookup.count
    found.counts["objects"] = lookup.count
    if len(lookup.offsets) and int(lookup.offsets[-1]) != lookup.lut.size:
        found.error("lookup", f"has {lookup.lut.size} labels, not {int(lookup.offsets[-1])}")
    try:
        published: Any = json.loads((folder / "published.json").read_bytes())
    except (OSError, ValueError):
        found.error("published.json", "does not tell what the labels were made by")
        return
    if not isinstance(published, list) or not published or published[0] != stamp:
        found.error("lookup", "is not the one that the labels were made by; the run was cut short")


def _check_table(run: _Run, counts: Counts | None, found: Verification) -> None:
    """Compare the table of objects with the labels."""
    if run.recipe.table is None:
        return
    named = Path(run.recipe.table)  # which may have been moved with the labels
    beside = Path(run.recipe.output).absolute().with_name(named.name)
    path = next((path for path in (named, beside) if path.is_file()), None)
    if path is None:
        found.warn("table", f"{run.recipe.table} is not there")
        return
    if path.suffix.lower() != ".parquet":
        found.note("table", f"{path.name} was not compared")
        return
    try:
        table, about = read_objects(path)
    except CytovoxError as err:
        found.error("table", err.what)
        return
    found.counts["rows"] = len(table)
    if "label" in table.columns and run.objects is not None:
        _compare_rows(table, about, run, counts, found)


def _compare_rows(
    table: ObjectTable,
    about: dict[str, Any],
    run: _Run,
    counts: Counts | None,
    found: Verification,
) -> None:
    labels = np.asarray(table["label"]).astype(np.int64)
    number = run.objects or 0
    if about.get("gate") == run.recipe.gate:
        if labels.size != number:
            found.error("table", f"has {labels.size} rows for {number} objects")
        elif not np.array_equal(labels, np.arange(1, number + 1)):
            found.error("table", f"its labels are not 1 to {number}")
    elif labels.size and (
        labels.min() < 1 or labels.max() > number or np.any(labels[1:] <= labels[:-1])
    ):
        found.error("table", f"its labels are not some of 1 to {number}")
    if counts is None or "voxels" not in table.columns or not labels.size:
        return
    if labels.min() < 1 or labels.max() >= counts.size:
        return
    wrong = labels[counts[labels] != np.asarray(table["voxels"]).astype(np.int64)]
    if wrong.size:
        what = f"the voxels of {wrong.size} labels are not as many as it says"
        found.error("table", f"{what}: {_listed(wrong)}")


def _check_scales(
    scales: Sequence[Volume],
    found: Verification,
    run: _Run | None,
    thorough: bool,
    workers: int,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    total = sum(int(np.prod(s.shape, dtype=np.int64)) * s.dtype.itemsize for s in scales)
    found.counts |= {"voxels": int(np.prod(scales[0].shape, dtype=np.int64)), "bytes": total}
    path = Path(found.path)
    if "://" not in found.path and path.is_dir():
        try:
            check_files(scales, path, found)
        except OSError as err:
            found.error(path.name, f"its files cannot be listed: {err.strerror or err}")
    shape = scales[0].spatial_shape
    if run is not None and run.grid is not None and run.grid.shape != shape:
        found.error(found.path, f"has the shape {shape}, but the run's is {run.grid.shape}")
        run = None
    counts = _read_all(scales, found, run, workers, total, on_progress) if thorough else None
    if run is not None:
        _check_table(run, counts, found)


def _read_all(
    scales: Sequence[Volume],
    found: Verification,
    run: _Run | None,
    workers: int,
    total: int,
    on_progress: Callable[[int, int], None] | None,
) -> Counts | None:
    """Read all voxels; return how many each label has, where a run says their number."""
    done = 0

    def count(number: int) -> None:
        nonlocal done
        done += number
        if on_progress is not None:
            on_progress(done, total)

    look = None if run is None else _Labels(run, found)
    bad = 0
    for number, scale in enumerate(scales):
        first = None if number else look
        bad += check_voxels(
            scale,
            f"scale {number}",
            found,
            boxes=(first and first.blocks) or None,
            look=first,
            workers=workers,
            on_box=count,
        )
    found.counts["bytes_checked"] = done
    if look is None:
        return None
    look.tell()
    return look.counts if not bad else None


class _Labels:
    """Looks at the blocks of labels while they are read."""

    def __init__(self, run: _Run, found: Verification) -> None:
        self._run = run
        self._found = found
        self.blocks: dict[Box, int] = {block.write: block.index for block in run.grid or ()}
        self._lock = threading.Lock()
        self._changed: list[int] = []
        self._compared = 0
        self._largest = 0
        number = run.objects
        known = number is not None and number <= _MOST_LABELS
        self.counts = np.zeros((number or 0) + 1, np.int64) if known else None

    def __call__(self, box: Box, values: npt.NDArray[Any]) -> None:
        """Look at a block."""
        block = self.blocks.get(box, -1)
        told = self._run.written.get(block)
        same = told is None or told == checksum(values)
        low, high = int(values.min()), int(values.max())
        part = None
        if self.counts is not None and low >= 0 and high < self.counts.size:
            part = np.bincount((values - values.dtype.type(low)).ravel().astype(np.int64))
        with self._lock:
            self._largest = max(self._largest, high)
            self._compared += told is not None
            if not same:
                self._changed.append(block)
            if part is not None and self.counts is not None:
                self.counts[low : low + part.size] += part

    def tell(self) -> None:
        """Tell what was seen."""
        changed = sorted(self._changed)
        for block in changed[:_LISTED]:
            what = "holds other labels than were written: chunks are lost"
            self._found.error(f"block {block}", what)
        if len(changed) > _LISTED:
            self._found.error("blocks", f"{len(changed) - _LISTED} more hold other labels")
        number = self._run.objects
        if number is not None and self._largest > number:
            self._found.error("labels", f"one is {self._largest}, but there are {number} objects")
        self._found.counts["checksums"] = self._compared
        if self.counts is None:
            return
        self._found.counts["foreground"] = int(self.counts[1:].sum())
        absent = np.flatnonzero(self.counts[1:] == 0) + 1
        if absent.size:
            what = f"{absent.size} of 1 to {number} have no voxel: {_listed(absent)}"
            self._found.error("labels", what)


def _listed(numbers: Any) -> str:
    return ", ".join(map(str, numbers[:_LISTED]))
