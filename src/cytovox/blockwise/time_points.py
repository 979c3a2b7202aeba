"""Volumes over time: each moment is segmented by itself, and all become one output."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from ..read.open_volume import open_volume
from ..run.progress import Listener
from ..write.pyramid import tiles, write_pyramid
from .block_result import VolumeResult
from .block_run import BlockRun, Layout, says
from .checks import refuse_damaged
from .grid import Box
from .object_table import ObjectTable, read_objects, write_objects
from .placement import Placement
from .recipe import VolumeRecipe, side_folder
from .recipe_file import TIME_POINTS, remove_recipe
from .volume_run import segment_whole

__all__ = ["segment_time_points"]


def segment_time_points(
    recipe: VolumeRecipe,
    count: int,
    placement: Placement,
    on_event: Listener | None,
    resume: bool,
    verify: bool,
    force: bool,
) -> VolumeResult:
    """Segment each point in time, and write labels with the axis t."""
    begin = time.perf_counter()
    if recipe.format == "precomputed":
        raise OptionError(
            "precomputed volumes cannot hold an axis of time",
            path=recipe.output,
            hint="take another format, or one point in time",
        )
    run = BlockRun(recipe.output, placement, on_event, verify=verify, force=force or not resume)
    run.refuse_stranger()
    with run.working():
        remove_recipe(run.folder)  # of one point in time, which was made here before
        parts = [_moment(recipe, run.folder, number) for number in range(count)]
        results = [
            # Labels of one point are nobody's result, and are made again unasked.
            segment_whole(part, placement, on_event, resume=resume, verify=verify, force=True)
            for part in parts
        ]
        whole = _all(recipe, results, begin)
        if whole:
            stamps = [(side_folder(part.output) / "stamp.json").read_text() for part in parts]
            told = json.dumps([stamps, recipe.format, recipe.table])
            is_there = run.output.exists() and says(run.mark, told)
            if is_there and not (is_there := _is_joined(run, parts)):
                refuse_damaged(run.output, on_event, force=run.force)
            if not is_there:
                _join_labels(recipe, parts, run.making)
                if recipe.table is not None:
                    write_objects(recipe.table, _with_time(parts), recipe=recipe.text())
                run.publish(told)
    return whole


def _all(recipe: VolumeRecipe, results: list[VolumeResult], begin: float) -> VolumeResult:
    """Return what came of all points in time."""
    failed = (
        replace(failure, error=f"{failure.error} (time point {number})", time=number)
        for number, result in enumerate(results)
        for failure in result.failed
    )
    return VolumeResult(
        recipe.output if all(results) else None,
        sum(result.objects for result in results),
        None if recipe.table is None else Path(recipe.table),
        sum(result.blocks for result in results),
        tuple(failed),
        seconds=time.perf_counter() - begin,
        untried=sum(result.untried for result in results),
    )


def _moment(recipe: VolumeRecipe, folder: Path, number: int) -> VolumeRecipe:
    """Return the recipe of one point in time, with an output of its own."""
    place = folder / TIME_POINTS / f"{number:05d}"
    return replace(
        recipe,
        output=f"{place}.zarr",
        format="ome-zarr-0.5",
        table=None if recipe.table is None else f"{place}.parquet",
        view=replace(recipe.view, time=number),
    )


def _is_joined(run: BlockRun, parts: list[VolumeRecipe]) -> bool:
    """Return whether an output that was finished still holds the labels of all times."""
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(open_volume(part.output)) for part in parts]
        boxes = tiles(tuple((0, n) for n in opened[0].shape), opened[0].write_unit)

        def is_same(box: Box, values: npt.NDArray[Any]) -> bool:
            every = zip(opened, values, strict=True)
            return all(np.array_equal(volume.read(box), labels) for volume, labels in every)

        return run.is_as_made(boxes, is_same)


def _join_labels(recipe: VolumeRecipe, parts: list[VolumeRecipe], making: Path) -> None:
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(open_volume(part.output)) for part in parts]
        first = opened[0]
        layout = Layout.of(
            first, (1, *recipe.block), shape=(len(parts), *first.shape), axes=("t", *first.axes)
        )
        dtype = np.result_type(*(volume.dtype for volume in opened))
        joined = stack.enter_context(layout.made(making, dtype, recipe.format))
        for number, volume in enumerate(opened):
            for box in tiles(tuple((0, n) for n in volume.shape), joined.write_unit[1:]):
                labels = volume.read(box).astype(joined.dtype, copy=False)
                joined.write(((number, number + 1), *box), labels[np.newaxis])
    if recipe.format != "zarr2":
        write_pyramid(making)


def _with_time(parts: list[VolumeRecipe]) -> Iterator[ObjectTable]:
    for number, part in enumerate(parts):
        table = read_objects(str(part.table))[0]
        columns = {"t": np.full(len(table), number, np.uint32), **table.columns}
        yield ObjectTable(columns, {"t": "1", **table.units})
