"""The steps of a run that makes labels: labels of blocks, seams, objects, final labels."""

from __future__ import annotations

import functools
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..read.open_volume import open_volume
from ..read.volume import Volume
from ..run.progress import Listener
from ..write.disk import storage_errors
from ..write.pyramid import levels_of_image, write_pyramid
from .block_run import BlockRun, Layout, make_folder
from .block_tiles import Tile, Tiles, TileStore, over_tiles
from .evidence_file import EvidenceFolder
from .grid import Block, Grid
from .lookup import Lookup, SeamReport, drop_objects, load_lookup
from .measure_tiles import iter_objects
from .object_table import ObjectTable, gate_rows, write_objects
from .placement import Placement
from .recipe import VolumeRecipe
from .seam_report import report_again
from .stitch import stitch as stitch_labels
from .volume_blocks import forget_volumes

__all__ = ["LabelRun"]

logger = logging.getLogger(__name__)


class LabelRun(BlockRun):
    """A run that makes labels of what `grid` covers of a volume."""

    def __init__(
        self,
        recipe: VolumeRecipe,
        volume: Volume,
        grid: Grid,
        placement: Placement,
        on_event: Listener | None = None,
        *,
        layout: Layout | None = None,
        verify: bool = False,
        force: bool = False,
    ) -> None:
        super().__init__(recipe.output, placement, on_event, verify=verify, force=force)
        self.recipe = recipe
        self.volume = volume
        self.grid = grid
        self.layout = layout or Layout.of(volume, recipe.block)
        self.table = None if recipe.table is None else Path(recipe.table)
        #: Labels of the blocks, and what their neighbours need to know.
        self.local = self.folder / "local.zarr"
        self.evidence = self.folder / "blocks"
        self.tiles = self.folder / "tiles"

    def begin_blocks(self, stage: str, format: str = "ome-zarr-0.5") -> None:
        """Make what takes the labels of the blocks, unless some are there already."""
        if self.journal.completed(stage) and _is_volume(self.local):
            return
        self.journal.forget(stage)
        # Whether there can be such an output is known before anything is done.
        self.make_empty(self.layout, np.uint32, self.recipe.format)
        self.layout.made(self.local, np.uint32, format).close()
        shutil.rmtree(self.evidence, ignore_errors=True)
        make_folder(self.evidence)

    def stitch(self) -> tuple[Lookup, SeamReport | None]:
        """Join labels, measure objects, and keep the table of labels."""
        shutil.rmtree(self.tiles, ignore_errors=True)
        try:
            with storage_errors(self.folder):
                return self._stitch()
        finally:
            shutil.rmtree(self.tiles, ignore_errors=True)

    def _stitch(self) -> tuple[Lookup, SeamReport | None]:
        how, gate = self.recipe.stitching, self.recipe.gate
        evidence = EvidenceFolder(self.evidence)
        evidence.sync()
        evidence.save_index()
        make_folder(self.tiles)
        tiles = Tiles.of(self.grid, evidence.bytes_per_block())
        lookup = stitch_labels(
            how,
            EvidenceFolder(
                self.evidence,
                faces=how.mode == "touch",
                shell=how.mode in ("overlap", "owner"),
                indexed=True,
            ),
            self.grid,
            folder=self.tiles,
            tiles=tiles,
            run=over_tiles(self.placement, "stitch", self.on_event, self.logs),
        )
        report = lookup.report
        if self.table is not None or gate is not None:
            lookup.save(self.tiles)
            if gate is None:  # else the table is changed where it is
                lookup = load_lookup(self.tiles)  # of which nothing is in memory yet
            _, kept = self.write_table(self.tiles, self.table, gate)
            if gate is not None:
                lookup = drop_objects(lookup, kept)
                if report is not None:
                    report = report_again(report, lookup, tiles, TileStore(self.tiles))
        if report is not None:
            lookup = lookup.with_report(report)
        forget_volumes(self.stamps)  # which may hold the table that is replaced
        lookup.save(self.folder)
        return load_lookup(self.folder), report

    def write_table(
        self, folder: Path, path: Path | None, gate: str | None, *, renumber: bool = True
    ) -> tuple[int, npt.NDArray[np.bool_]]:
        """Write the table of objects that pass a gate; return how many do, and which.

        The labels are those of the lookup in `folder`.
        """
        load = EvidenceFolder(self.evidence, shell=False, indexed=True)
        make_folder(self.tiles)
        parts = iter_objects(
            self.grid,
            load_lookup(folder),
            load.sums,
            evidence=load,
            store=TileStore(self.tiles),
            loaded=functools.partial(load_lookup, folder),
            run=over_tiles(self.placement, "objects", self.on_event, self.logs),
            measure=self.recipe.measures,
            voxel_size=self.volume.voxel_size,
            offset=self.volume.offset,
            unit=self.volume.units or "voxel",
            axes=self.volume.axes[-self.grid.ndim :],
        )
        kept: list[npt.NDArray[np.bool_]] = []
        if gate is not None:  # without, nobody asks which do
            parts = _gated(parts, gate, kept, renumber)
        if path is None:
            rows = sum(len(part) for part in parts)
        else:
            rows = write_objects(path, parts, recipe=self.recipe.text() | {"gate": gate})
        return rows, np.concatenate([np.empty(0, np.bool_), *kept])

    def make_labels(
        self,
        stage: str,
        lookup: Lookup,
        do: Callable[[Callable[[Block], bool]], Any],
        told: str | None = None,
    ) -> Any:
        """Do the pass that writes the final labels; None if they are there and as they were."""
        format = self.recipe.format
        return self.make(stage, self.grid, self.layout, lookup.dtype, format, do, told)

    def write_coarser(self) -> None:
        """Add coarser scales to the final labels."""
        if self.recipe.format == "zarr2":
            return
        work = _Coarser(str(self.making), levels_of_image(self.output))
        run = over_tiles(self.placement, "pyramid", self.on_event, self.logs)
        run(Tiles.of(Grid((1,), (1,), (0,))), work)

    def note_finished(self, lookup: Lookup, **more: Any) -> None:
        """Let the journal know that all is done."""
        self.journal.note("finished", objects=lookup.count, output=str(self.output), **more)


@dataclass(frozen=True, slots=True)
class _Coarser:
    """Add coarser scales, as if all were one tile."""

    path: str
    levels: int | None

    uses_threads: ClassVar[bool] = True

    def __call__(self, tile: Tile) -> dict[str, Any]:
        write_pyramid(self.path, levels=self.levels)
        return {"blocks": tile.blocks}


def _is_volume(path: Path) -> bool:
    """Return whether there is a volume, and not one that was made in part only."""
    try:
        open_volume(path).close()
    except InputError:
        return False
    return True


def _gated(
    parts: Iterable[ObjectTable],
    gate: str,
    kept: list[npt.NDArray[np.bool_]],
    renumber: bool,
) -> Iterator[ObjectTable]:
    """Yield the objects that pass the gate, and note which those are."""
    label = 1
    for part in parts:
        passed = gate_rows(part.columns, gate)
        kept.append(passed)
        rows = part.rows(passed)
        if renumber:
            rows.columns["label"] = np.arange(label, label + len(rows), dtype=np.uint64)
            label += len(rows)
        yield rows
