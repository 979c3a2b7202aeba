"""Run a segmentation function over all blocks of a region, and join what they label."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from funlib.geometry import Roi

from ..errors import InputError, OptionError, UsageError
from ..read.open_volume import open_volume
from ..read.permissions import Permissions, default_permissions
from ..read.volume import Volume
from ..run.cluster import check_placement
from ..run.fingerprint import describe_function
from ..run.journal import Journal
from ..run.progress import Listener
from ..run.unit_worker import UnitLimits
from ..write.pyramid import levels_of_image, write_pyramid
from ..write.volume_creation import create_labels
from ..write.volume_metadata import check_label_place
from . import relabel_worker, segment_worker
from .array_output import check_array, copy_into, is_plain_array
from .block_array import chosen_address
from .block_tiles import Tiles
from .blockwise_task import DaCapoBlockwiseTask
from .evidence_file import EvidenceFolder, StitchMode
from .grid import box_shape
from .lookup import load_lookup
from .recipe import check_parameters, side_folder, takes
from .segment_worker import RegionWork, load_segment_function
from .stitch import Rule, Stitching
from .stitch import stitch as stitch_labels
from .task_result import BlockwiseResult, leftovers
from .task_run import run_tasks
from .volume_blocks import DamagedLabelsError, forget_volumes
from .volume_result import Placement, publish, refuse_stranger

__all__ = ["segment_blockwise"]


def segment_blockwise(
    segment_function_file: str | Path,
    context: Any,
    total_roi: Any,
    read_roi: Any,
    write_roi: Any,
    num_workers: int = 16,
    max_retries: int = 2,
    timeout: float | None = None,
    upstream_tasks: Sequence[Any] | None = None,
    *args: Any,
    input: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    input_array_identifier: Any = None,
    output_array_identifier: Any = None,
    parameters: Mapping[str, Any] | None = None,
    stitch: StitchMode = "overlap",
    connectivity: int | None = None,
    rule: Rule = "iou",
    threshold: float = 0.5,
    min_voxels: int = 1,
    fill_value: float = 0,
    format: str = "ome-zarr-0.5",
    resume: bool = True,
    cluster: Any = None,
    host: str | None = None,
    on_event: Listener | None = None,
    logs: str | Path | None = None,
    keep_tmpdir: bool = False,
    tmp_prefix: str = "",
    permissions: Permissions | None = None,
    **kwargs: Any,
) -> BlockwiseResult:
    """Run a segmentation function in parallel over all blocks of a region.

    Blocks are segmented by themselves and then stitched; see
    `cytovox.segment_volume` for how. What is written is the total region
    without what blocks read beyond what they write; if `read_roi` and
    `write_roi` are the same, all of it.

    Parameters
    ----------
    segment_function_file
        Python file with ``segment_function(input_array, block, **parameters)``
        and, if it likes, ``default_parameters``; or the name of one that
        ships. The function returns labels of the shape of its input, with 0
        for background. Its input is a NumPy array that also knows regions,
        see `cytovox.blockwise.block_array.BlockArray`.
    context
        What is read in addition on each side of a block, in world units. If
        `read_roi` is `write_roi` with this context already, it is not added
        again. If None, it is what `read_roi` has beyond `write_roi`.
    total_roi
        The region to process, in whole world units (``Volume.roi_units``).
    read_roi, write_roi
        What a block reads, without `context`, and writes.
    num_workers
        Number of workers; 0 to do all in this process.
    max_retries
        How often a block is tried again.
    timeout
        Seconds that a block may take; its worker is killed then.
    upstream_tasks
        Tasks that make the input. A block is segmented as soon as what it
        reads is there.
    *args
        None; all that the function needs is in `parameters`.
    input
        Path or URL of the volume to segment.
    output
        Path of the labels to make; a folder of this name with ``.cytovox``
        behind it keeps journal and evidence.
    input_array_identifier, output_array_identifier
        The same as dacapo names arrays: anything with ``container`` and
        ``dataset``. If there is an array of the output already, made for this
        purpose, the labels are written into it, and what it holds in the region
        is replaced.
    parameters
        Keywords of the function; a ``context`` that it does not take is left out.
    stitch, connectivity, rule, threshold, min_voxels
        How labels of neighbouring blocks become one.
    fill_value
        What is read outside of the volume.
    format
        Format of the output.
    resume
        Whether to go on where the same call was stopped; all is done again
        otherwise.
    cluster, host, on_event
        See `run_blockwise`.
    logs
        Folder for what workers print; beside the journal if None.
    keep_tmpdir, tmp_prefix
        Of no effect: what dacapo keeps in a temporary folder is kept beside
        the output.
    permissions
        What may be read beside what is refused by default, by this process and
        by workers wherever they are; what the environment of this process
        allows if None.
    **kwargs
        Further keywords of the function, as in `parameters`.

    Returns
    -------
    BlockwiseResult
        True only if every block is done; then the output is there. The
        same call does only what has failed again.

    Raises
    ------
    FingerprintChangedError
        If the output was begun in another way.
    OutputExistsError
        If there is an output that was not made so.
    UsageError
        If regions cut voxels, or do not fit each other, or the function does
        not take such parameters.
    """
    if args:
        raise UsageError(
            "a segmentation function takes no more positional arguments",
            hint="give parameters={...}",
        )
    if num_workers < 0:
        raise UsageError(f"there cannot be {num_workers} workers")
    how = Stitching(stitch, connectivity, rule, threshold, min_voxels)
    source = chosen_address("input", input, input_array_identifier)
    made = chosen_address("output", output, output_array_identifier)
    folder = side_folder(made)
    target = Path(made).absolute()
    into = output_array_identifier is not None and is_plain_array(target)
    if not into:
        refuse_stranger(target, folder)
        check_label_place(target, format)
    given = {**(parameters or {}), **kwargs}
    segment, defaults = load_segment_function(str(segment_function_file))
    if "context" in given and not takes(segment, "context"):
        del given["context"]
    check_parameters(segment, {**defaults, **given}, arrays=2)
    may = default_permissions() if permissions is None else permissions
    with contextlib.ExitStack() as stack:
        volume = stack.enter_context(open_volume(source, fill_value=fill_value, permissions=may))
        rois = _grown(total_roi, read_roi, write_roi, context)
        region = _region(volume, *rois, stamp=str(folder), permissions=may)
        if into:
            check_array(target, volume, region)
        stack.callback(forget_volumes, [region.stamp])
        check_placement(num_workers, cluster, UnitLimits(timeout))
        (folder / "blocks").mkdir(parents=True, exist_ok=True)
        journal = stack.enter_context(Journal(folder / "journal.jsonl"))
        placement = Placement(num_workers, cluster, host)
        run = _Run(volume, region, folder, journal, placement, on_event)
        run.limits = (max(1, num_workers), max_retries, timeout)
        run.logs = folder / "logs" if logs is None else Path(logs)
        run.format = format
        run.check_format(target)
        journal.begin(
            {
                "input": volume.fingerprint() if not upstream_tasks else {"url": volume.url},
                "function": describe_function(segment),
                "parameters": given,
                "geometry": {
                    **{n: v for n, v in vars(region).items() if n not in ("stamp", "permissions")},
                    "fill_value": fill_value,
                },
                "stitch": {"mode": stitch, "connectivity": connectivity},
            },
            resume=resume,
            on_change="refuse" if resume else "recompute",
        )
        first = run.segment(
            rois,
            list(upstream_tasks or ()),
            function=str(segment_function_file),
            parameters=given,
            stitch=stitch,
            connectivity=connectivity,
            fill_value=fill_value,
        )
        if not first:
            return first
        evidence = EvidenceFolder(folder / "blocks")
        evidence.sync()
        evidence.save_index()
        stack.callback(shutil.rmtree, folder / "tiles", ignore_errors=True)
        (folder / "tiles").mkdir(exist_ok=True)
        lookup = stitch_labels(
            how,
            EvidenceFolder(folder / "blocks", indexed=True),
            region.grid,
            folder=folder / "tiles",
            tiles=Tiles.of(region.grid, evidence.bytes_per_block()),
        )
        lookup.save(folder)
        second = run.relabel(rois, target, into)
        if second:
            journal.note("finished", objects=lookup.count, output=str(target))
        damaged = [f.block for f in second.failed if isinstance(f.exception, DamagedLabelsError)]
        if damaged:  # the next call makes them anew
            journal.forget(first.stages[-1], damaged)
        return _together(first, second, lookup.count)


class _Run:
    """The two passes over the blocks of a region."""

    def __init__(
        self,
        volume: Volume,
        region: RegionWork,
        folder: Path,
        journal: Journal,
        placement: Placement,
        on_event: Listener | None,
    ) -> None:
        self.volume = volume
        self.region = region
        self.folder = folder
        self.journal = journal
        self.placement = placement
        self.on_event = on_event
        self.limits: tuple[int, int, float | None] = (1, 0, None)
        self.logs: Path | None = None
        self.format = ""
        self.local = folder / "local.zarr"

    def check_format(self, target: Path) -> None:
        """See now, not after all blocks, that there can be such an output."""
        probe = self.folder / "probe"
        shutil.rmtree(probe, ignore_errors=True)
        try:
            self._create(probe, "uint32", self.format)
        except OptionError as err:
            err.path = str(target)
            raise
        finally:
            shutil.rmtree(probe, ignore_errors=True)

    def segment(
        self, rois: tuple[Roi, Roi, Roi], upstream: list[Any], **options: Any
    ) -> BlockwiseResult:
        """Let each block have labels of its own."""
        lost = not _is_volume(self.local)
        if lost:
            shutil.rmtree(self.local, ignore_errors=True)
            shutil.rmtree(self.folder / "blocks", ignore_errors=True)
            (self.folder / "blocks").mkdir()
            self._create(self.local, "uint32", "zarr2")
        forget_volumes([self.region.stamp])  # which may be of an earlier run
        return self._pass(
            segment_worker,
            rois,
            upstream,
            lost,
            labels=str(self.local),
            folder=str(self.folder / "blocks"),
            **options,
        )

    def relabel(self, rois: tuple[Roi, Roi, Roi], target: Path, into: bool) -> BlockwiseResult:
        """Make the output, and put it in its place, or into an array, when it is whole."""
        lookup = load_lookup(self.folder)
        region = dataclasses.replace(self.region, stamp=f"{self.folder} {lookup.stamp}")
        making = self.folder / "final" / target.name
        if making.exists():
            shutil.rmtree(making)
        forget_volumes([region.stamp])
        self._create(making, str(lookup.dtype), self.format)
        total, _, write = rois
        start = self.region.grid.context
        voxel = self.volume.roi_voxel_size
        inner = total.grow(*(tuple(-c * v for c, v in zip(start, voxel, strict=True)),) * 2)
        result = self._pass(
            relabel_worker,
            (inner, write, write),
            [],
            True,
            labels=str(self.local),
            output=str(making),
            folder=str(self.folder),
            region=region,
        )
        forget_volumes([region.stamp])
        if result and into:
            copy_into(making, target, region)
            shutil.rmtree(making)
        elif result:
            if self.format != "zarr2":
                write_pyramid(making, levels=levels_of_image(target))
            publish(making, target, self.folder / "replaced", self.journal)
        return result

    def _pass(
        self,
        file: Any,
        rois: tuple[Roi, Roi, Roi],
        upstream: list[Any],
        afresh: bool,
        region: RegionWork | None = None,
        **options: Any,
    ) -> BlockwiseResult:
        workers, retries, timeout = self.limits
        total, read, write = rois
        task = DaCapoBlockwiseTask(
            file.__file__,
            total,
            read,
            write,
            workers,
            retries,
            timeout,
            upstream,
            **vars(region or self.region),
            **options,
        )
        if afresh:
            self.journal.forget(task.run.name)
        for one in task.run.upstream:
            if left := one.leftovers:
                raise UsageError(
                    f"the task {one.name} leaves {', '.join(map(str, left))} out",
                    hint="its fit is 'valid'; 'shrink' and 'overhang' leave nothing",
                )
        if file is segment_worker:
            # What the journal tells as done is so only with its evidence.
            evidence = EvidenceFolder(self.folder / "blocks")
            block_of = self.region.block_of
            task.run.check_before = lambda block: evidence.is_whole(block_of(block).index)
        return run_tasks(
            task.run,
            placement=self.placement,
            journal=self.journal,
            on_event=self.on_event,
            logs=self.logs,
        )

    def _create(self, path: Path, dtype: str, format: str) -> None:
        volume, region = self.volume, self.region
        steps = zip(volume.offset, volume.voxel_size, region.begin, strict=True)
        create_labels(
            path,
            shape=region.shape,
            dtype=dtype,
            voxel_size=volume.voxel_size,
            units=volume.units,
            offset=tuple(o + v * b for o, v, b in steps),
            block=tuple(min(n, b) for n, b in zip(region.shape, region.block, strict=True)),
            format=format,
        ).close()


def _is_volume(path: Path) -> bool:
    """Return whether there is a volume, and not one that was made in part only."""
    try:
        open_volume(path).close()
    except InputError:
        return False
    return True


def _grown(total: Any, read: Any, write: Any, context: Any) -> tuple[Roi, Roi, Roi]:
    if context is None:
        context = write.begin - read.begin
    if read == write.grow(context, context):  # as dacapo's own calls have it
        return total.grow(context, context), read, write
    return total.grow(context, context), read.grow(context, context), write


def _region(volume: Volume, total: Roi, read: Roi, write: Roi, **more: Any) -> RegionWork:
    """Return the region in voxels."""
    leftovers(total, read, write, "shrink")
    low, high = write.begin - read.begin, read.end - write.end
    if low != high:
        raise UsageError(f"blocks read {tuple(low)} before and {tuple(high)} behind, not the same")
    grid = volume.grid
    inner = grid.to_box(total.grow(-low, -low), volume.url)
    voxel = volume.roi_voxel_size
    size = tuple(zip(write.shape, low, voxel, strict=True))
    if any(w % v or c % v for w, c, v in size):
        raise UsageError(
            f"a block of {tuple(write.shape)} with {tuple(low)} around it cuts voxels of "
            f"{tuple(voxel)} {volume.roi_units}"
        )
    return RegionWork(
        input=volume.url,
        begin=tuple(start for start, _ in inner),
        shape=box_shape(inner),
        block=tuple(int(w // v) for w, _, v in size),
        context=tuple(int(c // v) for _, c, v in size),
        **more,
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
