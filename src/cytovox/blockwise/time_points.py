"""Volumes over time: each moment is segmented by itself, and all become one output."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from ..read.open_volume import open_volume
from ..read.volume import Volume
from ..run.journal import Journal
from ..run.progress import Listener
from ..write.pyramid import tiles, write_pyramid
from ..write.volume_creation import create_labels
from .grid import Box
from .object_table import ObjectTable, read_objects, write_objects
from .published import is_as_published, refuse_damaged
from .recipe import VolumeRecipe, side_folder
from .recipe_file import TIME_POINTS, remove_recipe
from .volume_result import Placement, VolumeResult, publish, refuse_stranger
from .volume_run import VolumeRun

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
    folder = side_folder(recipe.output)
    output = Path(recipe.output.removeprefix("file://")).absolute()
    refuse_stranger(output, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with Journal(folder / "journal.jsonl") as journal:  # one run at a time
        remove_recipe(folder)  # of one point in time, which was made here before
        parts = [_moment(recipe, folder, number) for number in range(count)]
        results = [
            # Labels of one point are nobody's result, and are made again unasked.
            VolumeRun(part, placement, on_event, verify, force=True).whole(resume)
            for part in parts
        ]
        whole = VolumeResult(
            recipe.output if all(results) else None,
            sum(result.objects for result in results),
            None if recipe.table is None else Path(recipe.table),
            sum(result.blocks for result in results),
            tuple(
                dataclasses.replace(
                    failure, error=f"{failure.error} (time point {number})", time=number
                )
                for number, result in enumerate(results)
                for failure in result.failed
            ),
            None,
            time.perf_counter() - begin,
            sum(result.untried for result in results),
        )
        if whole:
            stamps = [(side_folder(part.output) / "stamp.json").read_text() for part in parts]
            stamp = json.dumps([stamps, recipe.format, recipe.table])
            mark = folder / "published.json"
            if output.exists() and mark.is_file() and mark.read_text() == stamp:
                if _is_joined(parts, output, journal, verify):
                    return whole
                refuse_damaged(output, on_event, force=force or not resume)
            mark.unlink(missing_ok=True)
            _join(recipe, parts, folder, output, journal)
            mark.write_text(stamp)
    return whole


def _moment(recipe: VolumeRecipe, folder: Path, number: int) -> VolumeRecipe:
    """Return the recipe of one point in time, with an output of its own."""
    place = folder / TIME_POINTS / f"{number:05d}"
    return dataclasses.replace(
        recipe,
        output=f"{place}.zarr",
        format="ome-zarr-0.5",
        table=None if recipe.table is None else f"{place}.parquet",
        view=dataclasses.replace(recipe.view, time=number),
    )


def _join(
    recipe: VolumeRecipe, parts: list[VolumeRecipe], folder: Path, output: Path, journal: Journal
) -> None:
    """Write labels and objects of all points in time as one."""
    making = folder / "final" / output.name
    shutil.rmtree(making, ignore_errors=True)
    _join_labels(recipe, parts, making)
    if recipe.table is not None:
        write_objects(recipe.table, _with_time(parts), recipe=recipe.text())
    publish(making, output, folder / "replaced", journal)


def _is_joined(parts: list[VolumeRecipe], output: Path, journal: Journal, thorough: bool) -> bool:
    """Return whether an output that was finished still holds the labels of all times."""
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(open_volume(part.output)) for part in parts]
        boxes = tiles(tuple((0, n) for n in opened[0].shape), opened[0].write_unit)

        def is_same(box: Box, values: npt.NDArray[Any]) -> bool:
            every = zip(opened, values, strict=True)
            return all(np.array_equal(volume.read(box), labels) for volume, labels in every)

        return is_as_published(output, journal, boxes, is_same, thorough=thorough)


def _join_labels(recipe: VolumeRecipe, parts: list[VolumeRecipe], making: Path) -> None:
    opened = [open_volume(part.output) for part in parts]
    try:
        first = opened[0]
        with create_labels(
            making,
            shape=(len(parts), *first.shape),
            dtype=np.result_type(*(volume.dtype for volume in opened)),
            voxel_size=first.voxel_size,
            units=first.units,
            offset=first.offset,
            block=(1, *recipe.block),
            axes=("t", *first.axes),
            format=recipe.format,
        ) as joined:
            for number, volume in enumerate(opened):
                _copy(volume, joined, number)
    finally:
        for volume in opened:
            volume.close()
    if recipe.format != "zarr2":
        write_pyramid(making)


def _copy(volume: Volume, joined: Volume, number: int) -> None:
    for box in tiles(tuple((0, n) for n in volume.shape), joined.write_unit[1:]):
        labels = volume.read(box).astype(joined.dtype, copy=False)
        joined.write(((number, number + 1), *box), labels[np.newaxis])


def _with_time(parts: list[VolumeRecipe]) -> Iterator[ObjectTable]:
    for number, part in enumerate(parts):
        table = read_objects(str(part.table))[0]
        columns = {"t": np.full(len(table), number, np.uint32), **table.columns}
        yield ObjectTable(columns, {"t": "1", **table.units})
