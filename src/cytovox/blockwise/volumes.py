"""Segment a volume that does not fit in memory: one call, from array to objects.

1. ``segment``: each block by itself, with context; it leaves labels of its
   own, evidence for its neighbours and sums over its objects.
2. stitch: from the evidence, which labels of different blocks are one object.
3. measure: the sums of all blocks become a table of objects; a gate may drop
   some.
4. ``relabel``: each block by itself gets the final labels.

Everything on the way is kept in a folder beside the output, so that a run that
was stopped goes on where it was, and labels can be stitched in another way
without segmenting again.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ..errors import UsageError
from ..read.permissions import Permissions, default_permissions
from ..read.volume_view import VolumeView
from ..run.progress import Listener
from ..write.table_files import is_table, refuse_foreign_table
from .block_array import stored_input
from .block_result import VolumeResult
from .evidence import Measures
from .placement import Placement
from .recipe import Stitching, VolumeRecipe, output_path
from .recipe_file import load_recipe
from .time_points import segment_time_points
from .volume_run import segment_whole, stitch_again, write_table_again

__all__ = [
    "Placement",
    "VolumeResult",
    "measure_volume",
    "restitch_volume",
    "segment_volume",
]


def segment_volume(
    input: Any,
    output: str | os.PathLike[str],
    function: Callable[..., Any] | str,
    *,
    block: Sequence[int] | int,
    context: Sequence[int] | int,
    stitch: Literal["touch", "overlap", "owner", "none"] = "overlap",
    workers: int | None = None,
    parameters: Mapping[str, Any] | None = None,
    objects: str | os.PathLike[str] | bool | None = None,
    cluster: Any = None,
    resume: bool = True,
    verify: bool = False,
    force: bool = False,
    connectivity: int | None = None,
    rule: Literal["iou", "mutual"] = "iou",
    threshold: float = 0.5,
    min_voxels: int = 1,
    reach: int | None = None,
    gate: str | None = None,
    measures: Measures | None = None,
    scale: int | str | None = None,
    series: int | str | None = None,
    channel: int | str | None = None,
    time: int | None = None,
    axes: str | None = None,
    voxel_size: float | Sequence[float] | None = None,
    units: str | None = None,
    fill_value: float | None = None,
    format: str = "ome-zarr-0.5",
    timeout: float | None = None,
    retries: int = 2,
    memory: int | None = None,
    host: str | None = None,
    on_event: Listener | None = None,
    permissions: Permissions | None = None,
) -> VolumeResult:
    """Segment a volume block by block and measure its objects.

    Parameters
    ----------
    input
        Path or URL of an array, see `cytovox.read.open_volume`; or a NumPy, Dask
        or zarr array. What is not stored on a disk yet is written beside the
        output, some slices at a time.
    output
        Path of the labels to make. A folder of this name with ``.cytovox``
        behind it keeps what is needed to go on or to stitch again.
    function
        ``f(array, **parameters) -> labels`` of the same shape, 0 for
        background; the name of an installed function; or ``"file.py:name"``.
        It gets a block with its context, channels first if there are any and
        none is chosen. Functions that take one channel, such as ``"label"``,
        get the first one if none is chosen, which a warning says.
    block, context
        Voxels that a block writes, and that it reads beyond on either side,
        along each axis of space.
    stitch
        How labels of neighbouring blocks become one: ``"touch"``, exact for
        connected components; ``"overlap"``, if they agree in the context;
        ``"owner"``, for compact objects; ``"none"``.
    workers
        How many do blocks at once; one a core if None. They are processes, or
        threads of this one if the function allows it, as ``"label"`` does; see
        `cytovox.blockwise.threads.uses_threads`. With 0 there is nobody else.
    parameters
        Keywords of the function.
    objects
        File for the table of objects, ``.parquet`` or ``.csv``; beside the
        output if None. If False there is no table, and nothing is measured
        that one could be made from later, unless `gate` or `measures` is given.
    cluster
        Where workers are if not on this machine: ``"dask:tcp://host:8786"``, a
        `distributed.Client`, another executor of `concurrent.futures`, or a
        command such as ``"srun -n1 {command}"`` that starts Dask workers.
    resume
        Whether to go on where a run of the same recipe was stopped. If False,
        all is done again and an output that was made here is replaced.
    verify
        Whether labels of any size that were finished are read in full; of more
        than 32 MiB, only metadata and sizes of chunk files are compared by
        default.
    force
        Whether what was damaged of finished labels is made again; it is an
        error if False.
    connectivity
        Neighbours of a voxel for ``"touch"``, e.g. 6, 18 or 26; None for those
        that share a face.
    rule
        How labels agree, for ``"overlap"``: ``"iou"``, by intersection over
        union, or ``"mutual"``, if each is the best of the other, by the
        intersection over the smaller.
    threshold
        Labels must agree by more than this, from 0 to 1. For ``"owner"``, the
        intersection over the smaller must.
    min_voxels
        In that many voxels at least.
    reach
        How many voxels from the seam labels are compared, for ``"overlap"``,
        along each axis of space; an eighth of the context if None.
    gate
        Which objects are kept, e.g. ``"voxels > 100"``; the others become
        background.
    measures
        What is measured.
    scale
        Scale of a pyramid to read.
    series, axes, voxel_size, units
        Which image of the file, and what it does not say or says wrong; with a
        voxel size, its offset does not count. See `cytovox.read.open_volume`.
    channel
        Number or name of the channel that is segmented and measured. For
        functions that need all channels, such as ``"mutex_watershed"``, the one
        that is measured.
    time
        Only this point in time. By default all of them, one after the other;
        the labels then have the axis t, and the table a column ``t``. Labels of
        different times are independent.
    fill_value
        What is read outside of the volume. If None, blocks at its ends are
        given less context, so that the function sees the end of the volume as
        it would if it were given the whole.
    format
        Format of the output: ``"ome-zarr-0.5"``, ``"ome-zarr-0.4"``, ``"zarr2"`` or
        ``"precomputed"``.
    timeout, retries, memory
        Limits of a block: seconds, further attempts, bytes. A limit of time or
        memory needs workers that are processes.
    host
        Address of this machine at which workers that a command starts reach it.
    on_event
        Function that is told what happens.
    permissions
        What may be read beside what is refused by default, by this process and
        by workers wherever they are; what the environment of this process
        allows if None.

    Returns
    -------
    VolumeResult
        True only if every voxel was done. Blocks that failed are listed; the
        same call does only those again.

    Raises
    ------
    FingerprintChangedError
        If the output was begun with another input, function or geometry.
    OutputExistsError
        If there is an output that was not made so, or was damaged since.
    CytovoxError
        If the job cannot be done as a whole.

    Examples
    --------
    >>> import numpy as np
    >>> folder = getfixture("tmp_path")
    >>> image = np.zeros((20, 30), np.uint8)
    >>> image[5:15, 10:20] = 200
    >>> np.save(folder / "image.npy", image)
    >>> result = segment_volume(folder / "image.npy", folder / "labels.zarr", "label",
    ...     block=16, context=0, stitch="touch", workers=0, parameters={"threshold": 100})
    >>> bool(result), result.objects
    (True, 1)
    """
    address = stored_input(input, output)
    size = (
        voxel_size
        if voxel_size is None or isinstance(voxel_size, (int, float))
        else tuple(voxel_size)
    )
    if measures is None and (objects is not False or gate is not None):
        measures = Measures()
    may = default_permissions() if permissions is None else permissions
    recipe = VolumeRecipe.make(
        address,
        output,
        function,
        block=block,
        context=context,
        parameters=parameters,
        stitching=Stitching(stitch, connectivity, rule, threshold, min_voxels, reach),
        measures=measures,
        view=VolumeView(scale, series, channel, time, axes, size, units, may),
        fill_value=fill_value,
        format=format,
        gate=gate,
        table=_table_path(objects, output),
    )
    placement = Placement(workers, cluster, host, timeout, retries, memory)
    with recipe.open_input() as volume:
        moments = volume.shape[0] if "t" in volume.axes else None
    if moments is None:
        return segment_whole(
            recipe, placement, on_event, resume=resume, verify=verify, force=force
        )
    return segment_time_points(recipe, moments, placement, on_event, resume, verify, force)


def restitch_volume(
    output: str | os.PathLike[str],
    *,
    stitch: Literal["touch", "overlap", "owner", "none"] | None = None,
    connectivity: int | None = None,
    rule: Literal["iou", "mutual"] | None = None,
    threshold: float | None = None,
    min_voxels: int | None = None,
    reach: int | None = None,
    gate: str | None = None,
    objects: str | os.PathLike[str] | bool | None = None,
    workers: int | None = None,
    cluster: Any = None,
    host: str | None = None,
    on_event: Listener | None = None,
    permissions: Permissions | None = None,
) -> VolumeResult:
    """Stitch the blocks of a finished run in another way, without segmenting.

    Parameters
    ----------
    output
        The output of `segment_volume`, which is replaced when all is done.
    stitch, connectivity, rule, threshold, min_voxels, reach, gate
        As for `segment_volume`; what is None stays as it was. An empty gate
        keeps all objects.
    objects, workers, cluster, host, on_event, permissions
        As for `segment_volume`; the table is where it was if None.

    Returns
    -------
    VolumeResult
        True if the labels are replaced.

    Raises
    ------
    InputNotFoundError
        If nothing was segmented there.
    UsageError
        If the blocks are not all segmented, or kept too little for this way
        to stitch.
    """
    recipe = load_recipe(output, permissions=permissions)
    given: dict[str, Any] = {
        "mode": stitch,
        "connectivity": connectivity,
        "rule": rule,
        "threshold": threshold,
        "min_voxels": min_voxels,
        "reach": reach,
    }
    changed = {name: value for name, value in given.items() if value is not None}
    how = dataclasses.replace(recipe.stitching, **changed)
    if how.keeps == "owner" and recipe.keeps != "owner":
        raise UsageError(
            f"the blocks were segmented for stitch='{recipe.stitching.mode}' and did not keep "
            "what they saw in their context",
            path=os.fspath(output),
            hint=f"segment with stitch='{how.mode}'",
        )
    recipe = dataclasses.replace(
        recipe,
        stitching=how,
        gate=recipe.gate if gate is None else gate.strip() or None,
        table=recipe.table if objects is None else _table_path(objects, output),
    )
    return stitch_again(recipe, Placement(workers, cluster, host), on_event)


def measure_volume(
    output: str | os.PathLike[str],
    *,
    objects: str | os.PathLike[str] | None = None,
    gate: str | None = None,
    permissions: Permissions | None = None,
) -> tuple[Path, int]:
    """Write the table of objects of a finished run again; labels stay as they are.

    Parameters
    ----------
    output
        The output of `segment_volume`.
    objects
        File to write, ``.parquet`` or ``.csv``; where it was if None.
    gate
        Which objects are in the table; all if None.
    permissions
        As for `segment_volume`.

    Returns
    -------
    path, count
        The file and its number of rows.

    Raises
    ------
    InputNotFoundError
        If nothing was segmented there.
    """
    recipe = load_recipe(output, permissions=permissions)
    named = _table_path(objects, output) if objects or recipe.table is None else recipe.table
    path = Path(str(named))
    return path, write_table_again(recipe, path, gate)


def _table_path(
    objects: str | os.PathLike[str] | bool | None, output: str | os.PathLike[str]
) -> str | None:
    if objects is False:
        return None
    path = output_path(output)
    if objects is None or objects is True:
        name = path.name.removesuffix(".zarr").removesuffix(".ome")
        table = path.with_name(f"{name}.objects.parquet")
    else:
        table = Path(objects).absolute()
    if not is_table(table):
        raise UsageError(
            f"no table is written as '{table.suffix}'",
            path=table,
            hint="name it .parquet or .csv",
        )
    refuse_foreign_table(table)
    return str(table)
