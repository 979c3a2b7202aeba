"""Whether what a run left beside its labels is whole, and fits to them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import CytovoxError
from ..read.open_volume import open_volume
from ..read.permissions import Permissions
from ..run.findings import Verification
from ..run.fingerprint import differences
from ..run.journal import BlockKey, BlockRecord, JournalContent, read_journal
from .evidence_file import EvidenceFolder
from .grid import Block, Grid
from .lookup import load_lookup
from .object_table import ObjectTable, read_objects
from .recipe import VolumeRecipe
from .recipe_file import load_recipe

__all__ = ["RunFacts", "check_run", "check_table"]

#: More blocks or labels are not listed one by one.
_LISTED = 5


@dataclass(slots=True)
class RunFacts:
    """What a run tells of its labels.

    Parameters
    ----------
    recipe
        How they were made.
    shape
        Voxels along each axis; None if that is not told any more.
    blocks
        The blocks.
    objects
        Number of objects; None if that is not told.
    written
        Checksum of what each block has written in the end, by its index.
    """

    recipe: VolumeRecipe
    shape: tuple[int, ...] | None = None
    blocks: Sequence[Block] = ()
    objects: int | None = None
    written: dict[int, int] = field(default_factory=dict)


def check_run(
    output: str, folder: Path, found: Verification, permissions: Permissions | None = None
) -> RunFacts | None:
    """Check journal, input, evidence and lookup of a run."""
    try:
        recipe = load_recipe(output, permissions=permissions)
        journal = read_journal(folder / "journal.jsonl")
    except CytovoxError as err:
        found.error(folder.name, err.what)
        return None
    if journal.torn:
        found.note("journal", f"{journal.torn} lines were cut off when a run was killed")
    facts = RunFacts(recipe)
    _add_blocks(facts, folder, found)
    _check_journal(journal, facts, found)
    _check_input(journal, recipe, found)
    _check_evidence(folder, facts, found)
    _check_lookup(folder, facts, found)
    return facts


def _add_blocks(facts: RunFacts, folder: Path, found: Verification) -> None:
    """Learn the blocks from their labels, which have the shape of the output."""
    try:
        with open_volume(folder / "local.zarr") as volume:
            facts.shape = volume.spatial_shape
    except CytovoxError as err:
        found.warn("local.zarr", f"the labels of the blocks cannot be read: {err.what}")
        return
    recipe = facts.recipe
    facts.blocks = list(Grid(facts.shape, recipe.block, recipe.context))
    found.counts["blocks"] = len(facts.blocks)


def _check_journal(journal: JournalContent, facts: RunFacts, found: Verification) -> None:
    for stage in ("segment", "relabel"):
        records = journal.stages.get(stage, {})
        for key, record in [(k, r) for k, r in records.items() if r.state == "failed"][:_LISTED]:
            found.error(f"journal, {stage} of block {_key(key)}", f"failed: {record.error}")
        done = sum(record.state == "done" for record in records.values())
        if facts.blocks and done < len(facts.blocks):
            found.error(f"journal, {stage}", f"{done} of {len(facts.blocks)} blocks are done")
    facts.written = _written(journal.stages.get("relabel", {}))
    if not any(note.get("event") == "finished" for note in journal.notes):
        found.error("journal", "the run was never finished; the same command goes on")
    geometry = (journal.fingerprint or {}).get("geometry") or {}
    recipe = {"block": list(facts.recipe.block), "context": list(facts.recipe.context)}
    for name, value in recipe.items():
        if name in geometry and list(geometry[name]) != value:
            found.error("journal", f"the {name} is {geometry[name]}, but the recipe's is {value}")


def _written(records: dict[BlockKey, BlockRecord]) -> dict[int, int]:
    written = {}
    for key, record in records.items():
        told = (record.result or {}).get("written")
        if isinstance(key, int) and isinstance(told, int) and record.state == "done":
            written[key] = told
    return written


def _check_input(journal: JournalContent, recipe: VolumeRecipe, found: Verification) -> None:
    """Compare the input with what it was; an input that is gone is not a defect of labels."""
    before = (journal.fingerprint or {}).get("input")
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
    # Copied elsewhere it is the same still.
    changes = [change for change in changes if not change.startswith("url ")]
    if changes:
        found.warn("input", f"is not what it was: {'; '.join(changes[:3])}")


def _check_evidence(folder: Path, facts: RunFacts, found: Verification) -> None:
    evidence = EvidenceFolder(folder / "blocks")
    torn = [block.index for block in facts.blocks if not evidence.is_whole(block.index)]
    if torn:
        named = ", ".join(map(str, torn[:_LISTED]))
        found.warn(
            "evidence",
            f"that of {len(torn)} blocks is missing or torn ({named}): stitching anew "
            "segments them again",
        )


def _check_lookup(folder: Path, facts: RunFacts, found: Verification) -> None:
    try:
        lookup = load_lookup(folder)
        stamp = lookup.stamp
    except CytovoxError as err:
        found.error("lookup", err.what)
        return
    facts.objects = lookup.count
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


def check_table(
    facts: RunFacts, counts: npt.NDArray[np.int64] | None, found: Verification
) -> None:
    """Compare the table of objects with the labels."""
    if facts.recipe.table is None:
        return
    path = _find_table(facts.recipe)
    if path is None:
        found.warn("table", f"{facts.recipe.table} is not there")
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
    if "label" not in table.columns or facts.objects is None:
        return
    _compare_rows(table, about, facts, counts, found)


def _compare_rows(
    table: ObjectTable,
    about: dict[str, Any],
    facts: RunFacts,
    counts: npt.NDArray[np.int64] | None,
    found: Verification,
) -> None:
    labels = np.asarray(table["label"]).astype(np.int64)
    number = facts.objects or 0
    if about.get("gate") == facts.recipe.gate:
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
        named = ", ".join(map(str, wrong[:_LISTED]))
        found.error(
            "table", f"the voxels of {wrong.size} labels are not as many as it says: {named}"
        )


def _find_table(recipe: VolumeRecipe) -> Path | None:
    """Return the table where it was written, or beside labels that were moved."""
    named = Path(str(recipe.table))
    beside = Path(recipe.output).absolute().with_name(named.name)
    return next((path for path in (named, beside) if path.is_file()), None)


def _key(key: BlockKey) -> str:
    return str(key) if isinstance(key, int) else "/".join(map(str, key))
