"""A background on its way into a file that may be its own input."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from ...background.base import BackgroundResult, empty_images
from ...read.members import member, members

__all__ = ["forget", "is_same", "kept_aside", "rechunked"]

_WRITTEN = ("image_bg", "bg_off")


def is_same(path: Path, other: Path) -> bool:
    """Return whether both are the same existing file."""
    try:
        return path.samefile(other)
    except OSError:  # one of them does not exist
        return False


def kept_aside(result: BackgroundResult) -> BackgroundResult:
    """Return a result that needs its recording no more; many images go to a temporary file."""
    if result.blocks is None:
        return result
    first = next(result.blocks)
    images = empty_images((result.length, *first.shape[1:]))
    stop = 0
    for block in itertools.chain([first], result.blocks):
        start, stop = stop, stop + len(block)
        images[start:stop] = block
    return replace(result, blocks=iter([images]))


def rechunked(
    blocks: Iterator[npt.NDArray[np.uint8]], size: int
) -> Iterator[npt.NDArray[np.uint8]]:
    """Return the same images in blocks of `size`; the last may be smaller."""
    waiting: list[npt.NDArray[np.uint8]] = []
    count = 0
    for block in blocks:
        waiting.append(block)
        count += len(block)
        while count >= size:
            whole = np.concatenate(waiting)
            yield whole[:size]
            waiting, count = [whole[size:]], count - size
    if count:
        yield np.concatenate(waiting)


def forget(h5: h5py.File) -> None:
    """Remove an earlier background, and what says in which basin it is."""
    for place in (f"{group}/{feat}" for group in ("events", "basin_events") for feat in _WRITTEN):
        if place in h5:
            del h5[place]
    for key, lines in members(member(h5, "basins", {})):
        with contextlib.suppress(ValueError):
            text = "\n".join(line.decode("utf-8") for line in lines[:])
            definition = json.loads(text)
            if definition.get("type") == "internal" and definition.get("features"):
                left = [feat for feat in definition["features"] if feat not in _WRITTEN]
                if not left:
                    del h5["basins"][key]
