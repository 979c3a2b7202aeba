"""A run over a region, whose two passes are documented tasks."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Roi

from ..errors import InputError, UsageError
from ..read.open_volume import open_volume
from ..read.volume import Volume
from ..run.progress import Listener
from ..write.volume_metadata import check_label_place
from . import relabel_worker, segment_worker
from .block_run import Check, Layout
from .blockwise_task import DaCapoBlockwiseTask
from .evidence_file import EvidenceFolder
from .grid import Box, intersect, slices
from .label_run import LabelRun
from .lookup import Lookup
from .placement import Placement
from .recipe import VolumeRecipe
from .segment_worker import RegionWork
from .task_result import BlockwiseResult
from .task_run import run_tasks
from .task_work import TaskBlock
from .volume_blocks import DamagedLabelsError, forget_volumes

__all__ = ["RegionRun"]


class RegionRun(LabelRun):
    """A run over a region, whose passes are documented tasks."""

    def __init__(
        self,
        recipe: VolumeRecipe,
        volume: Volume,
        region: RegionWork,
        rois: tuple[Roi, Roi, Roi],
        limits: tuple[int, int, float | None],
        placement: Placement,
        on_event: Listener | None,
    ) -> None:
        steps = zip(volume.offset, volume.voxel_size, region.begin, strict=True)
        layout = Layout.of(
            volume,
            tuple(min(n, b) for n, b in zip(region.shape, region.block, strict=True)),
            shape=region.shape,
            offset=tuple(o + v * b for o, v, b in steps),
        )
        # Seams are looked at here; the tasks have workers of their own.
        super().__init__(recipe, volume, region.grid, Placement(0), on_event, layout=layout)
        self.region = dataclasses.replace(region, stamp=str(self.folder))
        self.rois = rois
        self.limits = limits
        self.place = placement
        #: Whether the output is an array that somebody has made for the labels.
        self.into = False
        self.stamps.append(self.region.stamp)

    def check_output(self, *, into: bool) -> None:
        """Check that there can be labels where they are wanted."""
        self.into = into and _is_plain_array(self.output)
        if self.into:
            _check_array(self.output, self.volume, self.region)
        else:
            self.refuse_stranger()
            check_label_place(self.output, self.recipe.format)

    def fingerprint(self, function: Any, upstream: Any) -> dict[str, Any]:
        """Return what the labels of the blocks depend on."""
        region = vars(self.region).items()
        how = self.recipe.stitching
        return {
            "input": {"url": self.volume.url} if upstream else self.volume.fingerprint(),
            "function": function,
            "parameters": self.recipe.parameters,
            "geometry": {
                **{n: v for n, v in region if n not in ("stamp", "permissions")},
                "fill_value": self.recipe.fill_value,
            },
            "stitch": {"mode": how.mode, "connectivity": how.connectivity},
        }

    def segment_and_join(self, file: str, upstream: list[Any]) -> BlockwiseResult:
        """Segment what is not segmented yet, and all that follows."""
        first = self._segment(file, upstream)
        if not first:
            return first
        lookup, _ = self.stitch()
        second = self._relabel(lookup)
        if second:
            self.note_finished(lookup)
        damaged = [f.block for f in second.failed if isinstance(f.exception, DamagedLabelsError)]
        if damaged:  # the next call makes them anew
            self.journal.forget(first.stages[-1], damaged)
        return _together(first, second, lookup.count)

    def _segment(self, file: str, upstream: list[Any]) -> BlockwiseResult:
        recipe = self.recipe
        task = self._task(
            segment_worker,
            self.rois,
            upstream,
            self.region,
            labels=str(self.local),
            folder=str(self.evidence),
            function=file,
            parameters=recipe.parameters,
            stitch=recipe.stitching.mode,
            connectivity=recipe.stitching.connectivity,
            fill_value=recipe.fill_value,
        )
        self.begin_blocks(task.run.name, "zarr2")
        forget_volumes(self.stamps)  # which may be of an earlier run
        for one in task.run.upstream:
            if left := one.leftovers:
                raise UsageError(
                    f"the task {one.name} leaves {', '.join(map(str, left))} out",
                    hint="its fit is 'valid'; 'shrink' and 'overhang' leave nothing",
                )
        evidence = EvidenceFolder(self.evidence)

        def is_done(block: Any) -> bool:
            # What the journal tells as done is so only with its evidence.
            return evidence.is_whole(self.region.block_of(block).index)

        def do(check: Check) -> BlockwiseResult:
            task.run.check_before = check
            return self._run(task)

        if upstream:  # which make the input meanwhile
            return do(is_done)
        return self.reading(
            self.volume,
            recipe.open_input,
            task.run.name,
            do,
            is_done,
            lambda block: TaskBlock.of(block).index,
        )

    def _relabel(self, lookup: Lookup) -> BlockwiseResult:
        """Make the output, and put it in its place, or into an array, when it is whole."""
        region = dataclasses.replace(self.region, stamp=f"{self.folder} {lookup.stamp}")
        self.stamps.append(region.stamp)
        forget_volumes(self.stamps)
        total, _, write = self.rois
        context = zip(region.context, self.volume.roi_voxel_size, strict=True)
        low = tuple(-c * v for c, v in context)
        task = self._task(
            relabel_worker,
            (total.grow(low, low), write, write),
            [],
            region,
            labels=str(self.local),
            output=str(self.making),
            folder=str(self.folder),
        )
        self.journal.forget(task.run.name)
        done: BlockwiseResult = self.make_labels(task.run.name, lookup, lambda _: self._run(task))
        if done and self.into:
            forget_volumes(self.stamps)
            _copy_into(self.making, self.output, region)
            shutil.rmtree(self.making)
        elif done:
            self.write_coarser()
            self.publish()
        return done

    def _task(
        self,
        file: Any,
        rois: tuple[Roi, Roi, Roi],
        upstream: list[Any],
        region: RegionWork,
        **options: Any,
    ) -> DaCapoBlockwiseTask:
        given = {**vars(region), **options}
        return DaCapoBlockwiseTask(file.__file__, *rois, *self.limits, upstream, **given)

    def _run(self, task: DaCapoBlockwiseTask) -> BlockwiseResult:
        return run_tasks(
            task.run,
            placement=self.place,
            journal=self.journal,
            on_event=self.on_event,
            logs=self.logs,
        )


def _together(first: BlockwiseResult, second: BlockwiseResult, objects: int) -> BlockwiseResult:
    return BlockwiseResult(
        total=first.total + second.total,
        done=first.done + second.done,
        skipped=first.skipped + second.skipped,
        failed=first.failed + second.failed,
        undone=first.undone + second.undone,
        leftovers={**first.leftovers, **second.leftovers},
        seconds=first.seconds + second.seconds,
        stages=first.stages + second.stages,
        objects=objects,
    )


def _is_plain_array(path: Path) -> bool:
    """Return whether there is an array that is not a scale of an image."""
    try:
        with open_volume(path) as volume:
            return not volume.format.startswith(("ome-zarr", "precomputed"))
    except InputError:
        return False


def _check_array(path: Path, source: Volume, region: RegionWork) -> None:
    """Check that labels of a region can be written into an array."""
    with open_volume(path, writable=True) as array:
        box = _box_in(array, source, region)
        whole = tuple((0, n) for n in array.shape)
        if array.dtype.kind not in "iu" or intersect(box, whole) != box:
            raise UsageError(
                f"an array of {array.dtype} and {array.shape} voxels cannot hold the labels of "
                f"voxels {box}",
                path=path,
                hint="make it of uint64, with the voxel size and offset of the input",
            )


def _box_in(array: Volume, source: Volume, region: RegionWork) -> Box:
    """Return the voxels of an array that a region of another one is."""
    box = tuple((b, b + n) for b, n in zip(region.begin, region.shape, strict=True))
    if array.voxel_size != source.voxel_size or array.ndim != len(box):
        raise UsageError(
            f"it has voxels of {array.voxel_size} and {array.ndim} axes, but the input voxels of "
            f"{source.voxel_size} and {len(box)} axes of space",
            path=array.url,
        )
    steps = zip(source.offset, array.offset, array.voxel_size, strict=True)
    shifts = [round((o - a) / v) for o, a, v in steps]
    return tuple((a + shift, b + shift) for (a, b), shift in zip(box, shifts, strict=True))


def _copy_into(made: Path, path: Path, region: RegionWork) -> None:
    """Write labels into an array, whole write units at once."""
    with (
        open_volume(made) as labels,
        open_volume(region.input, permissions=region.permissions) as source,
        open_volume(path, writable=True) as array,
    ):
        box = _box_in(array, source, region)
        ranges = [
            range(a // unit * unit, b, unit)
            for (a, b), unit in zip(box, array.write_unit, strict=True)
        ]
        for start in itertools.product(*ranges):
            steps = zip(start, array.write_unit, array.shape, strict=True)
            unit = tuple((a, min(a + u, n)) for a, u, n in steps)
            part = intersect(unit, box)
            if part is None:
                continue
            corner = [a for a, _ in box]
            read = tuple((a - c, b - c) for (a, b), c in zip(part, corner, strict=True))
            new = labels.read(read)
            if new.size and int(new.max()) > np.iinfo(array.dtype).max:
                raise UsageError(
                    f"{array.dtype} cannot hold the label {new.max()}",
                    path=path,
                    hint="make the array of uint64",
                )
            kept = array.read(unit)  # what is outside of the region
            kept[slices(part, unit)] = new
            array.write(unit, kept)
