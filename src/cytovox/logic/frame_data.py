"""Where frame data come from, and how they get to the events of the output.

A measured file has events; images, times and the like belong to frames of the
input. Either they are copied to each event, or the output refers to the file
that holds them, through a map from event to frame.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from .. import __version__
from ..errors import InputError
from ..read import HDF5Data, get_measurement_identifier
from ..read.basin_definitions import is_basin_map
from ..read.const import FRAME_FEATURES
from ..read.members import member
from ..read.structure import what_is_odd
from ..run.progress import counting
from ..write import HDF5Writer, copy_basins, copy_features

__all__ = [
    "BasinLacksFeatureError",
    "FramePlan",
    "Source",
    "bring_frame_data",
    "bytes_of",
    "find_source",
    "internal_images",
    "pass_on",
    "paths_to",
    "plan_frame_data",
    "refer_to_sources",
    "what_is_missing",
]

#: Events that are copied at a time.
_BLOCK = 1000


@dataclass(frozen=True, slots=True)
class Source:
    """Where a frame feature of the input is really stored."""

    path: Path
    identifier: str | None  # of the measurement in that file
    mapping: npt.NDArray[np.int64] | None  # row there of each frame; None for 1:1


def find_source(data: HDF5Data, feature: str) -> Source | None:
    """Return where a feature is stored, following basins."""
    stored = data.locate(feature)
    if stored is None or not stored.name.startswith("/events/"):
        return None
    rows = getattr(stored, "mapping_indices", None)
    return Source(Path(stored.file.filename), get_measurement_identifier(stored.file), rows)


def internal_images(
    data: HDF5Data,
) -> tuple[h5py.Dataset, npt.NDArray[np.int64], str, str | None] | None:
    """Return the background images that a file keeps in an internal basin."""
    if member(data.h5, "events/image_bg") is not None:
        return None
    for index, basin in enumerate(data.basins):
        if basin.get("type") == "internal" and "image_bg" in (basin.get("features") or ()):
            group, features, mapping = data.get_basin_data(index)
            if group is None or "image_bg" not in features:
                continue
            images = data.checked(group["image_bg"])
            rows = np.arange(len(images)) if mapping is None else np.asarray(mapping)
            name = str(basin.get("name") or "background")
            return images, rows.astype(np.int64), name, basin.get("description")
    return None


@dataclass(frozen=True, slots=True)
class FramePlan:
    """How each kind of frame data gets into the output."""

    images: Mapping[str, np.dtype[Any]]  # written with the events, in the same pass
    scalars: tuple[str, ...]  # copied to the events
    referred: Mapping[str, Source]  # features that stay where they are
    internal_background: bool  # whether few background images are kept with a map
    makes_offsets: bool = False  # whether events bring their bg_off with them


def plan_frame_data(
    whole: HDF5Data, temp_in: HDF5Data, strategy: str, *, makes_offsets: bool = False
) -> FramePlan:
    """Decide which frame data are copied and which are referred to.

    What was made in this run exists nowhere else and is always copied. The
    rest is copied to drain the input and referred to in order to tap it.
    """
    made = set(temp_in.h5["events"])
    internal = internal_images(temp_in) or (
        internal_images(whole) if "image_bg" not in made else None
    )
    images: dict[str, np.dtype[Any]] = {}
    scalars: list[str] = []
    referred: dict[str, Source] = {}
    elsewhere = {"image_bg"} if internal is not None else set()
    if makes_offsets:
        elsewhere.add("bg_off")
    for feature in ("image", "image_bg", "bg_off", *FRAME_FEATURES):
        if feature not in temp_in or feature in elsewhere:
            continue
        source = None
        if feature not in made and strategy == "tap":
            source = find_source(whole, feature)
        if source is not None:
            referred[feature] = source
        elif feature.startswith("image"):
            images[feature] = temp_in.locate(feature).dtype
        else:
            scalars.append(feature)
    return FramePlan(images, tuple(scalars), referred, internal is not None, makes_offsets)


def bring_frame_data(
    writer: HDF5Writer,
    plan: FramePlan,
    whole: HDF5Data,
    frame_data: HDF5Data,
    mapping: npt.NDArray[Any] | None,
) -> None:
    """Bring frame data to the events of an output, as planned."""
    frames = writer.events["index_unmapped"][:]
    del writer.events["index_unmapped"]
    if mapping is not None:
        frames = np.asarray(mapping)[frames]
    writer.store_mapping(frames)
    for feature, dtype in plan.images.items():
        if feature not in writer.events:  # no frame had an event
            shape = frame_data.locate(feature).shape[1:]
            writer.require_feature(feature, item_shape=shape, feat_dtype=dtype)
    if plan.makes_offsets:
        writer.require_feature("bg_off", item_shape=(), feat_dtype=np.dtype(np.float64))
    for feature in plan.scalars:
        values = np.asarray(frame_data[feature][:])  # of the type in which they are stored
        for start in range(0, max(1, len(frames)), _BLOCK):
            writer.store_feature_chunk(feature, values[frames[start : start + _BLOCK]])
    refer_to_sources(writer, plan.referred, frames)
    if plan.internal_background:
        _store_internal_background(writer, whole, frame_data, frames)


def _store_internal_background(
    writer: HDF5Writer, whole: HDF5Data, temp_in: HDF5Data, frames: npt.NDArray[Any]
) -> None:
    """Keep the few background images in the output, with a map from the events."""
    found = internal_images(temp_in) or internal_images(whole)
    if found is not None:
        images, rows, name, description = found
        writer.store_basin(
            name=name,
            description=description,
            mapping=rows[frames],
            internal_data={"image_bg": images},
        )


def refer_to_sources(
    writer: HDF5Writer,
    sources: Mapping[str, Source],
    frames: npt.NDArray[Any],
) -> None:
    """Let the output refer to the files that hold its frame features."""
    for features, source in _grouped(sources):
        rows = frames if source.mapping is None else source.mapping[frames]
        _refer_to(writer, source.path, features, source.identifier, rows)


def _refer_to(
    writer: HDF5Writer,
    path: Path,
    features: list[str],
    identifier: str | None,
    rows: npt.NDArray[Any] | None = None,
) -> None:
    """Let the output refer to a file, by its path and by the one relative to the output."""
    writer.store_basin(
        name="cytovox basin",
        paths=paths_to(path, Path(writer.h5.filename).resolve().parent),
        features=features,
        description=f"Created with cytovox {__version__}",
        mapping=rows,
        identifier=identifier,
    )


def paths_to(path: Path, folder: Path) -> list[str]:
    """Return the paths by which a file in a folder refers to another: absolute, and relative."""
    paths = [str(path.resolve())]
    with contextlib.suppress(ValueError):  # another drive
        paths.append(os.path.relpath(paths[0], folder))
    return paths


def _grouped(sources: Mapping[str, Source]) -> Iterator[tuple[list[str], Source]]:
    """Yield the features that share a source; images apart from scalars."""
    groups: dict[Any, tuple[list[str], Source]] = {}
    for feature in sorted(sources):
        source = sources[feature]
        key = (source.path, id(source.mapping), feature in FRAME_FEATURES or feature == "bg_off")
        groups.setdefault(key, ([], source))[0].append(feature)
    yield from groups.values()


class BasinLacksFeatureError(InputError):
    """The definition of a basin is damaged, or its file is another one."""


def what_is_missing(data: HDF5Data) -> InputError | None:
    """Return why something that a file refers to cannot be read; None if all of it can."""
    for basin in data.basins:
        for feature in basin.get("features") or [""]:  # any may be in one that lists none
            if basin.get("type") == "file" and feature not in data:
                problem = data.why_not(feature)
                if problem is None and feature:
                    return BasinLacksFeatureError(
                        f"a basin lists '{feature}', which its file does not have",
                        path=data.place,
                        hint="measure the recording again, or restore this file",
                    )
                if problem is not None:
                    return problem
    return None


def pass_on(
    writer: HDF5Writer,
    whole: HDF5Data,
    *,
    copy: bool,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Let an output stand for an input to which nothing has to be done.

    A copy stands alone, unless it would lack what cannot be read now. Bytes that are copied
    from elsewhere, and their number, are told to `on_progress`.
    """
    missing = what_is_missing(whole)
    if isinstance(missing, BasinLacksFeatureError):  # so would the output
        raise missing
    events = whole.h5["events"]
    stored = [name for name in events if not what_is_odd(events[name], "events")]
    own = [name for name in stored if not is_basin_map(name)]
    if copy:
        copy_features(whole.h5, writer.h5, stored, permissions=whole.permissions)
        held = {*own, *_internal_features(whole)}
        others = {feat: whole.locate(feat) for feat in whole.offered() if feat not in held}
        count = counting(on_progress, sum(map(bytes_of, others.values())))
        for feature, source in others.items():
            writer.store_rows(feature, source, on_bytes=count)
    elif own:
        identifier = get_measurement_identifier(whole.h5)
        _refer_to(writer, Path(whole.place or ""), sorted(own), identifier)
    copy_basins(
        whole.h5,
        writer.h5,
        permissions=whole.permissions,
        file_basins=not copy or missing is not None,
    )


def bytes_of(feature: Any) -> int:
    """Return the size of a feature, a dataset or what is mapped from one."""
    return int(math.prod(feature.shape) * feature.dtype.itemsize)


def _internal_features(data: HDF5Data) -> Iterator[str]:
    for index, basin in enumerate(data.basins):
        if basin.get("type") == "internal":
            yield from data.get_basin_data(index)[1]
