"""Run a segmentation function over all blocks of a region, and join what they label."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from funlib.geometry import Roi

from ..errors import UsageError
from ..read.open_volume import open_volume
from ..read.permissions import Permissions, default_permissions
from ..read.volume import Volume
from ..read.volume_view import VolumeView
from ..run.cluster import check_placement
from ..run.fingerprint import describe_function
from ..run.progress import Listener
from ..run.unit_worker import UnitLimits
from .block_array import chosen_address
from .block_run import make_folder
from .evidence_file import StitchMode
from .functions import check_parameters, takes
from .grid import box_shape
from .placement import Placement
from .recipe import Stitching, VolumeRecipe
from .region_run import RegionRun
from .segment_worker import RegionWork, load_segment_function
from .stitch import Rule
from .task_result import BlockwiseResult, leftovers

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
    source = chosen_address("input", input, input_array_identifier)
    made = chosen_address("output", output, output_array_identifier)
    given = {**(parameters or {}), **kwargs}
    segment, defaults = load_segment_function(str(segment_function_file))
    if "context" in given and not takes(segment, "context"):
        del given["context"]
    check_parameters(segment, {**defaults, **given}, arrays=2)
    check_placement(num_workers, cluster, UnitLimits(timeout))
    may = default_permissions() if permissions is None else permissions
    how = Stitching(stitch, connectivity, rule, threshold, min_voxels)
    rois = _grown(total_roi, read_roi, write_roi, context)
    with open_volume(source, fill_value=fill_value, permissions=may) as volume:
        region = _region(volume, *rois, permissions=may)
        recipe = VolumeRecipe(
            source,
            made,
            None,
            None,
            region.block,
            region.context,
            given,
            how,
            measures=None,
            view=VolumeView(permissions=may),
            fill_value=fill_value,
            format=format,
        )
        limits = (max(1, num_workers), max_retries, timeout)
        place = Placement(num_workers, cluster, host)
        run = RegionRun(recipe, volume, region, rois, limits, place, on_event)
        run.logs = run.folder / "logs" if logs is None else Path(logs)
        run.check_output(into=output_array_identifier is not None)
        make_folder(run.evidence)
        with run.working():
            run.begin(run.fingerprint(describe_function(segment), upstream_tasks), resume)
            return run.segment_and_join(str(segment_function_file), list(upstream_tasks or ()))


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
