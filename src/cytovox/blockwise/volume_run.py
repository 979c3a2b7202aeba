"""One run on a volume: blocks, seams, objects, final labels, in this order.

What was done before is found in the journal and not done again. The output
appears under its name only when it is whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputNotFoundError, OptionError, StorageError, UsageError
from ..read.open_volume import open_volume
from ..read.volume import Volume
from ..run.fingerprint import plain
from ..run.journal import BlockKey, Journal, read_journal
from ..run.progress import (
    Listener,
    StageFinished,
    StageProgress,
    StageStarted,
    Warned,
    announce,
)
from ..write.disk import storage_errors
from ..write.pyramid import levels_of_image, write_pyramid
from ..write.volume_creation import create_labels
from ..write.volume_metadata import check_label_place
from .block_preflight import check_gate, check_measures, check_table
from .block_result import RunResult
from .block_tiles import Run, Tiles, TileStore, over_tiles
from .checks import DAMAGED, is_as_written, refuse_changed_input, without_damaged
from .evidence_file import EvidenceFolder
from .grid import Block, Grid
from .lookup import Lookup, SeamReport, drop_objects, load_lookup, load_report
from .measure_tiles import iter_objects
from .object_table import ObjectTable, gate_rows, write_objects
from .published import as_told, is_as_published, refuse_damaged, take_back
from .recipe import VolumeRecipe, side_folder
from .recipe_file import save_recipe
from .seam_report import report_again
from .stitch import stitch as stitch_labels
from .volume_blocks import (
    RelabelPass,
    SegmentPass,
    TellingDamage,
    forget_volumes,
)
from .volume_result import Placement, VolumeResult, publish, refuse_stranger

__all__ = ["VolumeRun"]

logger = logging.getLogger(__name__)


class VolumeRun:
    """One run on a volume."""

    def __init__(
        self,
        recipe: VolumeRecipe,
        placement: Placement,
        on_event: Listener | None = None,
        verify: bool = False,
        force: bool = False,
    ) -> None:
        self.recipe = recipe
        self.placement = placement
        self.on_event = on_event
        self.verify = verify
        self.force = force
        self.folder = side_folder(recipe.output)
        self.output = Path(recipe.output.removeprefix("file://")).absolute()
        self.table = None if recipe.table is None else Path(recipe.table)
        self.local = self.folder / "local.zarr"
        self.evidence = self.folder / "blocks"
        self.tiles = self.folder / "tiles"
        self._stamps: list[int] = []

    def whole(self, resume: bool) -> VolumeResult:
        """Segment what is not segmented yet, and all that follows."""
        begin = time.perf_counter()
        with self.recipe.open_input() as volume:
            grid = self.recipe.grid(volume)
            if not len(grid):
                raise UsageError("the volume has no voxel", path=self.recipe.input)
            refuse_stranger(self.output, self.folder)
            check_measures(self.recipe, volume)
            check_label_place(self.output, self.recipe.format)
            _make_folder(self.evidence)
            check_table(self.table)
            with Journal(self.folder / "journal.jsonl") as journal, self._releasing():
                self._adopt(journal, resume)
                journal.begin(
                    self.recipe.fingerprint(volume),
                    on_change="refuse" if resume else "recompute",
                    resume=resume,
                )
                if (finished := self._finished(grid, journal, begin)) is not None:
                    return finished
                save_recipe(self.folder, self.recipe)
                result = self._once(volume, grid, journal, begin)
                if any(failure.reason == DAMAGED for failure in result.failed):
                    warned = Warned("labels of blocks were damaged and are made again")
                    announce(self.on_event, warned, logger)
                    result = self._once(volume, grid, journal, begin)
                return result

    def _finished(self, grid: Grid, journal: Journal, begin: float) -> VolumeResult | None:
        """Return what came of a run that was finished before, if all is as it was then."""
        notes = [note for note in journal.content.notes if note.get("event") == "finished"]
        stamp, mark = self.folder / "stamp.json", self._published()
        if (
            not notes
            or notes[-1].get("made") != self._made()
            or len(journal.completed("segment")) != len(grid)
            or not stamp.is_file()
            or not _says(mark, stamp.read_text(encoding="utf-8"))
        ):
            return None
        same = as_told(grid, journal.records("relabel"))
        boxes = [block.write for block in grid]
        if not is_as_published(self.output, journal, boxes, same, thorough=self.verify):
            return None
        lookup = load_lookup(self.folder)
        return VolumeResult(
            self.recipe.output,
            lookup.count,
            self.table,
            len(grid),
            report=load_report(self.folder),
            seconds=time.perf_counter() - begin,
            was_finished=True,
        )

    def _made(self) -> list[Any]:
        """Return what tells whether a finished run is asked for again: recipe, and its table."""
        table = None
        if self.table is not None and self.table.is_file():
            state = self.table.stat()
            table = [state.st_size, state.st_mtime_ns]
        text = json.dumps(plain(self.recipe.text()), sort_keys=True)
        return [hashlib.sha256(text.encode()).hexdigest(), table]

    def _once(self, volume: Volume, grid: Grid, journal: Journal, begin: float) -> VolumeResult:
        done = self._segment(volume, grid, journal)
        if not done:
            return self._unfinished(done, begin)
        return self._finish(volume, grid, journal, begin)

    def again(self) -> VolumeResult:
        """Stitch blocks that were all segmented before."""
        begin = time.perf_counter()
        with self.opened_blocks() as (volume, grid):
            self.recipe.check(grid)
            check_table(self.table)
            with Journal(self.folder / "journal.jsonl") as journal, self._releasing():
                missing = len(grid) - len(journal.completed("segment"))
                if missing:
                    raise UsageError(
                        f"{missing} of {len(grid)} blocks are not segmented yet",
                        path=self.output,
                        hint="finish it with: cytovox volume segment",
                    )
                sums = EvidenceFolder(self.evidence).sums(0)
                check_gate(self.recipe, grid.ndim, sums is not None and bool(sums.measured))
                save_recipe(self.folder, self.recipe)
                result = self._finish(volume, grid, journal, begin)
                for failure in result.failed:
                    if failure.reason == DAMAGED:
                        raise StorageError(
                            failure.error,
                            path=self.output,
                            block=int(str(failure.block)),
                            hint="make them anew with: cytovox volume segment",
                        )
                return result

    @contextlib.contextmanager
    def opened_blocks(self) -> Iterator[tuple[Volume, Grid]]:
        """Open the labels of the blocks, which tell all about the volume but its voxels."""
        if not self.local.exists():
            raise InputNotFoundError(
                "the labels of the blocks are gone", path=self.local, hint="segment again"
            )
        with open_volume(self.local, permissions=self.recipe.view.permissions) as volume:
            try:
                grid = self.recipe.grid(volume)
                self._check_geometry()
            except OptionError as err:
                raise StorageError(
                    f"the recipe does not fit its blocks: {err.what}",
                    path=self.output,
                    hint="segment again",
                ) from err
            yield volume, grid

    def _check_geometry(self) -> None:
        """Raise an OptionError if the blocks that are there have another geometry."""
        try:
            made = read_journal(self.folder / "journal.jsonl").fingerprint
        except InputNotFoundError:
            return
        geometry = made.get("geometry") if isinstance(made, dict) else None
        if not isinstance(geometry, dict):
            return
        for name in ("block", "context"):
            told, wanted = geometry.get(name), list(getattr(self.recipe, name))
            if told != wanted:
                raise OptionError(f"{name} is {wanted}, but was {told}")

    def write_table(
        self,
        folder: Path,
        volume: Volume,
        grid: Grid,
        path: Path | None,
        gate: str | None,
        *,
        renumber: bool = True,
    ) -> npt.NDArray[np.bool_]:
        """Write the table of objects that pass a gate; return which do.

        The labels are those of the lookup in `folder`.
        """
        load = EvidenceFolder(self.evidence, shell=False, indexed=True)
        _make_folder(self.tiles)
        parts = iter_objects(
            grid,
            load_lookup(folder),
            load.sums,
            evidence=load,
            store=TileStore(self.tiles),
            loaded=functools.partial(load_lookup, folder),
            run=self._over_tiles("objects"),
            measure=self.recipe.measures,
            voxel_size=volume.voxel_size,
            offset=volume.offset,
            unit=volume.units or "voxel",
            axes=volume.axes[-grid.ndim :],
        )
        kept: list[npt.NDArray[np.bool_]] = []
        gated = _gated(parts, gate, kept, renumber)
        if path is None:
            for _ in gated:
                pass
        else:
            write_objects(path, gated, recipe=self.recipe.text() | {"gate": gate})
        return np.concatenate(kept)

    def _finish(self, volume: Volume, grid: Grid, journal: Journal, begin: float) -> VolumeResult:
        try:
            with storage_errors(self.folder):
                lookup, report = self._stitch(volume, grid, journal)
        finally:
            shutil.rmtree(self.tiles, ignore_errors=True)
        done = self._relabel(volume, grid, lookup, journal)
        if not done:
            return self._unfinished(done, begin)
        made = self._made()
        journal.note("finished", objects=lookup.count, output=str(self.output), made=made)
        return VolumeResult(
            self.recipe.output,
            lookup.count,
            self.table,
            len(grid),
            (),
            report,
            time.perf_counter() - begin,
        )

    def _unfinished(self, done: RunResult, begin: float) -> VolumeResult:
        seconds = time.perf_counter() - begin
        return VolumeResult(
            None, blocks=done.total, failed=done.failed, untried=done.untried, seconds=seconds
        )

    def _adopt(self, journal: Journal, resume: bool) -> None:
        """Go on with evidence that is more than what is needed."""
        before = (journal.content.fingerprint or {}).get("evidence") or {}
        if resume and before.get("keeps") == "owner":
            self.recipe = dataclasses.replace(self.recipe, keeps="owner")

    def _segment(self, volume: Volume, grid: Grid, journal: Journal) -> RunResult:
        recipe = self.recipe
        assert recipe.function is not None
        if any(self.evidence.glob("*.npz")):
            warned = Warned("the run was begun by an earlier version; all blocks are done again")
            announce(self.on_event, warned, logger)
            journal.forget("segment")
        if not journal.completed("segment") or not self.local.exists():
            journal.forget("segment")
            # Whether there can be such an output is known before anything is done.
            try:
                self._labels(self._final, volume, np.uint32, recipe.format)
            except OptionError as err:
                err.path = str(self.output)  # not where it is made
                raise
            self._labels(self.local, volume, np.uint32, "ome-zarr-0.5")
            shutil.rmtree(self.evidence, ignore_errors=True)
            _make_folder(self.evidence)
        before = volume.stamp()
        kept: set[BlockKey] = set()
        evidence = EvidenceFolder(self.evidence)

        def is_done(block: Block) -> bool:
            if found := evidence.is_whole(block.index):
                kept.add(block.index)
            return found

        work = SegmentPass(
            recipe.input,
            recipe.view,
            recipe.fill_value or 0,
            str(self.local),
            str(self.evidence),
            grid,
            recipe.function,
            dict(recipe.parameters),
            recipe.keeps,
            recipe.connectivity,
            recipe.measures,
            self._new_stamp(),
        )
        if len(journal.completed("segment")) < len(grid):
            self._published().unlink(missing_ok=True)
        # What blocks return is in the journal.
        done = self._run(
            grid, work, "segment", journal, check=is_done, on_rows=lambda _block, _rows: None
        )
        if done.done:
            journal.forget("relabel")
            self._published().unlink(missing_ok=True)
            refuse_changed_input(before, recipe.open_input, journal, "segment", kept)
        return done

    def _run(self, grid: Grid, work: Any, stage: str, journal: Journal, **more: Any) -> RunResult:
        return self.placement.run(
            grid,
            work,
            stage,
            journal=journal,
            on_event=self.on_event,
            logs=self.folder / "logs",
            **more,
        )

    def _over_tiles(self, stage: str) -> Run:
        return over_tiles(self.placement, stage, self.on_event, self.folder / "logs")

    def _stitch(
        self, volume: Volume, grid: Grid, journal: Journal
    ) -> tuple[Lookup, SeamReport | None]:
        """Join labels, measure objects, and keep the table of labels."""
        how = self.recipe.stitching
        evidence = EvidenceFolder(self.evidence)
        evidence.sync()
        evidence.save_index()
        shutil.rmtree(self.tiles, ignore_errors=True)
        _make_folder(self.tiles)
        tiles = Tiles.of(grid, evidence.bytes_per_block())
        lookup = stitch_labels(
            how,
            EvidenceFolder(
                self.evidence,
                faces=how.mode == "touch",
                shell=how.mode in ("overlap", "owner"),
                indexed=True,
            ),
            grid,
            folder=self.tiles,
            tiles=tiles,
            run=self._over_tiles("stitch"),
        )
        report = lookup.report
        if self.table is not None or self.recipe.gate is not None:
            gate = self.recipe.gate
            lookup.save(self.tiles)
            kept = self.write_table(self.tiles, volume, grid, self.table, gate)
            if gate is not None:
                lookup = drop_objects(lookup, kept)
                if report is not None:
                    report = report_again(report, lookup, tiles, TileStore(self.tiles))
        if report is not None:
            lookup = lookup.with_report(report)
        forget_volumes(self._stamps)  # which may hold the table that is replaced
        lookup.save(self.folder)
        stamp = _stamp(lookup, self.recipe.format)
        path = self.folder / "stamp.json"
        if not _says(path, stamp):
            journal.forget("relabel")
            path.write_text(stamp, encoding="utf-8")
        return load_lookup(self.folder), report

    def _relabel(self, volume: Volume, grid: Grid, lookup: Lookup, journal: Journal) -> RunResult:
        stamp = _stamp(lookup, self.recipe.format)
        mark = self._published()
        final = self._final
        if self.output.exists() and _says(mark, stamp):
            same = as_told(grid, journal.records("relabel"))
            boxes = [block.write for block in grid]
            if is_as_published(self.output, journal, boxes, same, thorough=self.verify):
                return RunResult("relabel", len(grid), 0, len(grid), (), {}, 0.0)
            refuse_damaged(self.output, self.on_event, force=self.force)
            mark.unlink()
            take_back(self.output, final, volume.spatial_shape, lookup.dtype)
        if not journal.completed("relabel") or not final.exists():
            journal.forget("relabel")
            self._labels(final, volume, lookup.dtype, self.recipe.format)
        work = RelabelPass(str(self.local), str(final), str(self.folder), self._new_stamp())
        damaged: dict[BlockKey, str] = {}

        def take(block: Block, rows: dict[str, Any]) -> None:
            if "damaged" in rows:
                damaged[block.index] = rows["damaged"]

        with self._opened_final(final, journal) as is_done:
            told = TellingDamage(work)
            done = self._run(grid, told, "relabel", journal, check=is_done, on_rows=take)
        done = without_damaged(done, damaged, "segment", journal)
        if done:
            if self.recipe.format != "zarr2":
                with self._stage("pyramid", 1):
                    write_pyramid(final, levels=levels_of_image(self.output))
            forget_volumes(self._stamps)
            mark.unlink(missing_ok=True)
            publish(final, self.output, self.folder / "replaced", journal)
            mark.write_text(stamp, encoding="utf-8")
        return done

    @contextlib.contextmanager
    def _opened_final(self, final: Path, journal: Journal) -> Iterator[Callable[[Block], bool]]:
        """Tell whether the final labels of a block are still as they were written."""
        records = journal.records("relabel")
        with open_volume(final) as made:
            yield lambda block: is_as_written(made, block, records[block.index].result)

    @property
    def _final(self) -> Path:
        """Where the output is made, under the name that it bears in the end."""
        return self.folder / "final" / self.output.name

    def _published(self) -> Path:
        """Return the file that tells what the output was made by."""
        return self.folder / "published.json"

    def _labels(self, path: Path, volume: Volume, dtype: Any, format: str) -> None:
        shutil.rmtree(path, ignore_errors=True)  # perhaps it was made in part only
        create_labels(
            path,
            shape=volume.spatial_shape,
            dtype=dtype,
            voxel_size=volume.voxel_size,
            units=volume.units,
            offset=volume.offset,
            block=self.recipe.block,
            format=format,
        ).close()

    @contextlib.contextmanager
    def _releasing(self) -> Iterator[None]:
        """Let workers live as long as the run, and close what blocks done here have opened."""
        placement = self.placement
        try:
            with placement.kept(self.folder / "logs") as self.placement:
                yield
        finally:
            self.placement = placement
            forget_volumes(self._stamps)

    def _new_stamp(self) -> int:
        self._stamps.append(time.time_ns())
        return self._stamps[-1]

    @contextlib.contextmanager
    def _stage(self, name: str, total: int) -> Iterator[None]:
        begin = time.perf_counter()
        announce(self.on_event, StageStarted(name, total, "blocks"), logger)
        yield
        announce(self.on_event, StageProgress(name, total, total), logger)
        announce(self.on_event, StageFinished(name, time.perf_counter() - begin), logger)


def _stamp(lookup: Lookup, format: str) -> str:
    """Return what tells outputs apart."""
    return json.dumps([lookup.stamp, format])


def _says(path: Path, stamp: str) -> bool:
    """Return whether a file is there and holds just this."""
    return path.is_file() and path.read_bytes() == stamp.encode()


def _gated(
    parts: Iterable[ObjectTable],
    gate: str | None,
    kept: list[npt.NDArray[np.bool_]],
    renumber: bool,
) -> Iterator[ObjectTable]:
    """Yield the objects that pass the gate, and note which those are."""
    label = 1
    for part in parts:
        if gate is None:
            kept.append(np.ones(len(part), np.bool_))
            yield part
            continue
        passed = gate_rows(part.columns, gate)
        kept.append(passed)
        rows = part.rows(passed)
        if renumber:
            rows.columns["label"] = np.arange(label, label + len(rows), dtype=np.uint64)
            label += len(rows)
        yield rows


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise StorageError(f"the folder cannot be made: {err.strerror or err}", path=path) from err
