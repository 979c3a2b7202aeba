"""One run on a volume: blocks, seams, objects, final labels, in this order.

What was done before is found in the journal and not done again. The output
appears under its name only when it is whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import InputNotFoundError, OptionError, StorageError, UsageError
from ..read.open_volume import open_volume
from ..read.volume import Volume
from ..run.fingerprint import plain
from ..run.journal import BlockKey, read_journal
from ..run.progress import Listener, Warned, announce
from ..write.disk import storage_errors
from ..write.volume_metadata import check_label_place
from .block_preflight import check_gate, check_measures, check_table
from .block_result import RunResult, VolumeResult
from .block_run import make_folder, says
from .checks import DAMAGED, without_damaged
from .evidence_file import EvidenceFolder
from .grid import Block, Grid
from .label_run import LabelRun
from .lookup import Lookup, load_lookup, load_report
from .placement import Placement
from .recipe import VolumeRecipe, output_path, side_folder
from .recipe_file import save_recipe
from .volume_blocks import RelabelPass, SegmentPass

__all__ = ["segment_whole", "stitch_again", "write_table_again"]

logger = logging.getLogger(__name__)


def segment_whole(
    recipe: VolumeRecipe,
    placement: Placement,
    on_event: Listener | None = None,
    *,
    resume: bool = True,
    verify: bool = False,
    force: bool = False,
) -> VolumeResult:
    """Segment what is not segmented yet, and all that follows."""
    begin = time.perf_counter()
    with recipe.open_input() as volume:
        grid = recipe.grid(volume)
        if not len(grid):
            raise UsageError("the volume has no voxel", path=recipe.input)
        run = LabelRun(recipe, volume, grid, placement, on_event, verify=verify, force=force)
        run.refuse_stranger()
        check_measures(recipe, volume)
        check_label_place(run.output, recipe.format)
        make_folder(run.evidence)
        check_table(run.table)
        with run.working():
            _keep_evidence(run, resume)
            run.begin(run.recipe.fingerprint(volume), resume)
            result = _finished(run)
            if result is None:
                save_recipe(run.folder, run.recipe)
                result = _segment_and_join(run)
                if any(failure.reason == DAMAGED for failure in result.failed):
                    warned = Warned("labels of blocks were damaged and are made again")
                    announce(on_event, warned, logger)
                    result = _segment_and_join(run)
            return _timed(result, begin)


def stitch_again(
    recipe: VolumeRecipe, placement: Placement, on_event: Listener | None
) -> VolumeResult:
    """Stitch blocks that were all segmented before; replace the labels."""
    begin = time.perf_counter()
    with _opened_blocks(recipe) as (volume, grid):
        recipe.check(grid)
        run = LabelRun(recipe, volume, grid, placement, on_event, force=True)
        check_table(run.table)
        with run.working():
            missing = len(grid) - len(run.journal.completed("segment"))
            if missing:
                raise UsageError(
                    f"{missing} of {len(grid)} blocks are not segmented yet",
                    path=run.output,
                    hint="finish it with: cytovox volume segment",
                )
            sums = EvidenceFolder(run.evidence).sums(0)
            check_gate(recipe, grid.ndim, sums is not None and bool(sums.measured))
            save_recipe(run.folder, recipe)
            result = _join(run)
            for failure in result.failed:
                if failure.reason == DAMAGED:
                    raise StorageError(
                        failure.error,
                        path=run.output,
                        block=int(str(failure.block)),
                        hint="make them anew with: cytovox volume segment",
                    )
            return _timed(result, begin)


def write_table_again(recipe: VolumeRecipe, path: Path, gate: str | None) -> int:
    """Write the table of objects of a finished run; return its number of rows."""
    with _opened_blocks(recipe) as (volume, grid):
        run = LabelRun(recipe, volume, grid, Placement(0))
        try:
            EvidenceFolder(run.evidence).save_index()
            rows, _ = run.write_table(run.folder, path, gate, renumber=False)
        finally:
            shutil.rmtree(run.tiles, ignore_errors=True)
    return rows


@contextlib.contextmanager
def _opened_blocks(recipe: VolumeRecipe) -> Iterator[tuple[Volume, Grid]]:
    """Open the labels of the blocks, from which all but the voxels of the volume is known."""
    local = side_folder(recipe.output) / "local.zarr"
    if not local.exists():
        raise InputNotFoundError(
            "the labels of the blocks are gone", path=local, hint="segment again"
        )
    with open_volume(local, permissions=recipe.view.permissions) as volume:
        try:
            grid = recipe.grid(volume)
            _check_geometry(recipe)
        except OptionError as err:
            raise StorageError(
                f"the recipe does not fit its blocks: {err.what}",
                path=output_path(recipe.output),
                hint="segment again",
            ) from err
        yield volume, grid


def _check_geometry(recipe: VolumeRecipe) -> None:
    """Raise an OptionError if the blocks that are there have another geometry."""
    try:
        made = read_journal(side_folder(recipe.output) / "journal.jsonl").fingerprint
    except InputNotFoundError:
        return
    geometry = made.get("geometry") if isinstance(made, dict) else None
    if not isinstance(geometry, dict):
        return
    for name in ("block", "context"):
        told, wanted = geometry.get(name), list(getattr(recipe, name))
        if told != wanted:
            raise OptionError(f"{name} is {wanted}, but was {told}")


def _keep_evidence(run: LabelRun, resume: bool) -> None:
    """Go on with evidence that is more than what is needed."""
    before = (run.journal.content.fingerprint or {}).get("evidence") or {}
    if resume and before.get("keeps") == "owner":
        run.recipe = dataclasses.replace(run.recipe, keeps="owner")


def _finished(run: LabelRun) -> VolumeResult | None:
    """Return what came of a run that was finished before, if all is as it was then."""
    journal, grid = run.journal, run.grid
    notes = [note for note in journal.content.notes if note.get("event") == "finished"]
    stamp = run.folder / "stamp.json"
    if (
        not notes
        or notes[-1].get("made") != _made_by(run)
        or len(journal.completed("segment")) != len(grid)
        or not stamp.is_file()
        or not says(run.mark, stamp.read_text(encoding="utf-8"))
    ):
        return None
    if not run.is_as_told("relabel", grid):
        return None
    report = load_report(run.folder)
    objects = load_lookup(run.folder).count
    return VolumeResult(
        run.recipe.output, objects, run.table, len(grid), report=report, was_finished=True
    )


def _made_by(run: LabelRun) -> list[Any]:
    """Return what tells whether a finished run is asked for again: recipe, and its table."""
    table = None
    if run.table is not None and run.table.is_file():
        state = run.table.stat()
        table = [state.st_size, state.st_mtime_ns]
    text = json.dumps(plain(run.recipe.text()), sort_keys=True)
    return [hashlib.sha256(text.encode()).hexdigest(), table]


def _segment_and_join(run: LabelRun) -> VolumeResult:
    done = _segment(run)
    return _join(run) if done else _unfinished(done)


def _segment(run: LabelRun) -> RunResult:
    recipe, journal = run.recipe, run.journal
    assert recipe.function is not None
    if any(run.evidence.glob("*.npz")):
        warned = Warned("the run was begun by an earlier version; all blocks are done again")
        announce(run.on_event, warned, logger)
        journal.forget("segment")
    run.begin_blocks("segment")
    evidence = EvidenceFolder(run.evidence)
    work = SegmentPass(
        recipe.input,
        recipe.view,
        recipe.fill_value or 0,
        str(run.local),
        str(run.evidence),
        run.grid,
        recipe.function,
        dict(recipe.parameters),
        recipe.keeps,
        recipe.connectivity,
        recipe.measures,
        run.new_stamp(),
    )
    if len(journal.completed("segment")) < len(run.grid):
        run.mark.unlink(missing_ok=True)

    def do(check: Callable[[Block], bool]) -> RunResult:
        # What blocks return is in the journal.
        ignored = {"on_rows": lambda _block, _rows: None}
        done = run.do(run.grid, work, "segment", check=check, **ignored)
        if done.done:
            journal.forget("relabel")
            run.mark.unlink(missing_ok=True)
        return done

    return run.reading(
        run.volume, recipe.open_input, "segment", do, lambda block: evidence.is_whole(block.index)
    )


def _join(run: LabelRun) -> VolumeResult:
    lookup, report = run.stitch()
    done = _relabel(run, lookup)
    if not done:
        return _unfinished(done)
    run.note_finished(lookup, made=_made_by(run))
    return VolumeResult(run.recipe.output, lookup.count, run.table, len(run.grid), report=report)


def _relabel(run: LabelRun, lookup: Lookup) -> RunResult:
    journal, grid = run.journal, run.grid
    told = json.dumps([lookup.stamp, run.recipe.format])
    stamp = run.folder / "stamp.json"
    if not says(stamp, told):
        journal.forget("relabel")
        with storage_errors(stamp):
            stamp.write_text(told, encoding="utf-8")
    work = RelabelPass(
        str(run.local), str(run.making), str(run.folder), run.new_stamp(), tells_damage=True
    )
    damaged: dict[BlockKey, str] = {}

    def take(block: Block, rows: dict[str, Any]) -> None:
        if "damaged" in rows:
            damaged[block.index] = rows["damaged"]

    done: RunResult | None = run.make_labels(
        "relabel",
        lookup,
        lambda check: run.do(grid, work, "relabel", check=check, on_rows=take),
        told,
    )
    if done is None:
        return RunResult("relabel", len(grid), 0, len(grid), (), {}, 0.0)
    done = without_damaged(done, damaged, "segment", journal)
    if done:
        run.write_coarser()
        run.publish(told)
    return done


def _unfinished(done: RunResult) -> VolumeResult:
    return VolumeResult(None, blocks=done.total, failed=done.failed, untried=done.untried)


def _timed(result: VolumeResult, begin: float) -> VolumeResult:
    return dataclasses.replace(result, seconds=time.perf_counter() - begin)
