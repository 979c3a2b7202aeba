"""Results whose frame data move: into the result, or back to its input.

What `cytovox.logic.frame_data` does at the end of a run is done here for results
that exist already.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError, UsageError
from ..read import HDF5Data, Permissions
from ..read.const import FRAME_FEATURES
from ..read.mapped import check_mapping, get_mapped_object, read_rows
from ..read.permissions import default_permissions
from ..read.structure import what_is_odd
from ..run.progress import counting
from ..write import HDF5Writer, copy_basins, copy_features, copy_metadata
from .frame_data import Source, bytes_of, find_source, pass_on, refer_to_sources, what_is_missing
from .origin import check_measurement, find_origin, frames_of_events
from .run_folder import new_output

__all__ = ["drain_result", "tap_result"]

#: Bytes of a feature that are compared at a time.
_BLOCK_BYTES = 1 << 24
#: What belongs to frames; images first, since they are why a result is tapped.
_OF_FRAMES = ("image", "image_bg", "bg_off", *FRAME_FEATURES)


def drain_result(
    path: Path,
    path_out: Path,
    *,
    force: bool = False,
    permissions: Permissions | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Write a result that stands alone; return the features that were copied from elsewhere."""
    with HDF5Data(path, permissions=permissions) as data:
        if all(basin.get("type") != "file" for basin in data.basins):
            raise UsageError(
                "it refers to no other file", path=path, hint="it stands alone already"
            )
        if (problem := what_is_missing(data)) is not None:
            raise problem
        _refuse_inputs(path_out, data.files())
        with (
            new_output(path_out, data.files(), len(data), force=force) as temporary,
            HDF5Writer(temporary) as writer,
        ):
            copy_metadata(data.h5, writer.h5, permissions=data.permissions)
            pass_on(writer, data, copy=True, on_progress=on_progress)
            return sorted(feat for feat in writer.events if feat not in data.h5["events"])


def tap_result(
    path: Path,
    path_out: Path,
    *,
    origin: Path | None = None,
    force: bool = False,
    permissions: Permissions | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, list[str]]:
    """Write a result that refers to its input; return the input and what is left there.

    Every value that is left out of the result was compared with that of the input.
    """
    with contextlib.ExitStack() as stack:
        data = stack.enter_context(HDF5Data(path, permissions=permissions))
        place = find_origin(data, origin)
        may = (permissions or default_permissions()).within(place.absolute().parent)
        there = stack.enter_context(HDF5Data(place, permissions=may, opened=data.opened))
        check_measurement(data, there)
        rows = frames_of_events(data)
        check_mapping(rows, len(there), "the recording", place)
        sources = dict(_alike(data, there, rows, on_progress))
        inputs = list(dict.fromkeys([*data.files(), *there.files()]))
        _refuse_inputs(path_out, inputs)
        out = new_output(path_out, inputs, len(data), force=force, permissions=may)
        writer = stack.enter_context(HDF5Writer(stack.enter_context(out)))
        copy_metadata(data.h5, writer.h5, permissions=data.permissions)
        events = data.h5["events"]
        kept = [n for n in events if n not in sources and not what_is_odd(events[n], "events")]
        copy_features(data.h5, writer.h5, kept, permissions=data.permissions)
        copy_basins(data.h5, writer.h5, permissions=data.permissions)
        refer_to_sources(writer, sources, rows)
        return place, sorted(sources)


def _refuse_inputs(path_out: Path, inputs: Sequence[Path]) -> None:
    """Raise an error if an output would replace what it is made of."""
    place = Path(os.path.realpath(path_out))
    if any(place == Path(os.path.realpath(one)) for one in inputs):
        hint = "choose another name with -o"
        raise UsageError("the output would replace its input", path=path_out, hint=hint)


def _alike(
    data: HDF5Data,
    there: HDF5Data,
    rows: npt.NDArray[Any],
    on_progress: Callable[[int, int], None] | None,
) -> Iterator[tuple[str, Source]]:
    """Yield the features of a result that its recording has as well, value by value."""
    stored = data.h5["events"]
    if "image" not in stored:
        raise UsageError("the result holds no images", path=data.place, hint="it is small already")
    features = [feature for feature in _OF_FRAMES if feature in stored and feature in there]
    count = counting(on_progress, sum(bytes_of(data.locate(feature)) for feature in features))
    for feature in features:
        own, other = data.locate(feature), get_mapped_object(there.locate(feature), rows)
        event = _first_difference(own, other, count)
        source = find_source(there, feature)
        if event is None and source is not None:
            yield feature, source
        elif feature == "image":
            raise InputError(
                f"the image of event {event} is not that of frame {rows[event or 0]} of the "
                f"recording {there.place} (both counted from 0)",
                path=data.place,
                hint="give the recording that the result was made of",
            )


def _first_difference(own: Any, other: Any, count: Callable[[int], None]) -> int | None:
    """Return the first row in which two features differ; None if there is none."""
    if own.dtype != other.dtype or own.shape != other.shape:
        return 0
    row_bytes = max(1, int(np.prod(own.shape[1:])) * own.dtype.itemsize)
    step = max(1, _BLOCK_BYTES // row_bytes)
    for start in range(0, len(own), step):
        rows = slice(start, start + step)
        one, two = read_rows(own, rows), read_rows(other, rows)
        same = one == two
        if one.dtype.kind == "f":
            same |= np.isnan(one) & np.isnan(two)
        differs = ~same.reshape(len(same), -1).all(axis=1)
        if differs.any():
            return start + int(np.argmax(differs))
        count(one.nbytes)
    return None
