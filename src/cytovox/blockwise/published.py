"""Whether an output that was finished before is still as it was when it got its name.

A chunk file that is gone is read as zeros, so nothing else would show it. The
journal notes the number, names and sizes of chunk files; small outputs are
read in full as well, others if that is asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import CytovoxError, OutputExistsError
from ..read.open_volume import open_volume
from ..run.findings import Verification
from ..run.journal import BlockKey, BlockRecord, Journal
from ..run.progress import Listener, Warned, announce
from .checks import checksum
from .grid import Block, Box
from .verify_array import check_voxels, files_below, open_scales

__all__ = ["as_told", "is_as_published", "note_files", "refuse_damaged", "take_back"]

logger = logging.getLogger(__name__)

#: Outputs of up to this size are read in full [bytes].
_SMALL = 32 << 20
_EVENT = "published"
_CHUNK = re.compile(r"[0-9][0-9._-]*")


def note_files(output: Path, journal: Journal) -> None:
    """Let the journal know the chunk files of an output that has got its name."""
    journal.note(_EVENT, **_files_of(output))


def is_as_published(
    output: Path,
    journal: Journal,
    boxes: Iterable[Box],
    is_same: Callable[[Box, npt.NDArray[Any]], bool],
    *,
    thorough: bool,
) -> bool:
    """Return whether an output can be opened and has the chunk files that it had."""
    noted = [note for note in journal.content.notes if note.get("event") == _EVENT]
    found = Verification(str(output), "volume")
    try:
        now = _files_of(output)
        # Nothing is noted by earlier versions, and after a kill in between.
        last = noted[-1] if noted else now
        if last.get("files") != now["files"]:
            return False
        # Other scales may be made anew by anybody, but do not lose chunks.
        if last.get("scales") == now["scales"] and last.get("coarser") > now["coarser"]:
            return False
        with contextlib.ExitStack() as stack:
            scales = open_scales(output, found)
            for scale in scales:
                stack.callback(scale.close)
            size = sum(int(np.prod(s.shape, dtype=np.int64)) * s.dtype.itemsize for s in scales)
            if noted and not thorough and size > _SMALL:
                return not found.errors

            def look(box: Box, values: npt.NDArray[Any]) -> None:
                if not is_same(box, values):
                    found.error(str(box), "holds other values than were written")

            check_voxels(scales[0], "scale 0", found, boxes=boxes, look=look)
            for number, scale in enumerate(scales[1:], 1):
                check_voxels(scale, f"scale {number}", found)
        if not noted and not found.errors:
            journal.note(_EVENT, **now)
    except (CytovoxError, OSError, ValueError):
        return False
    return not found.errors


def refuse_damaged(output: Path, on_event: Listener | None, *, force: bool) -> None:
    """Say that a finished output was damaged since; raise an error unless it may be mended."""
    what = "was damaged after it was finished"
    if not force:
        raise OutputExistsError(
            f"the output {what}", path=output, hint="give --force to make again what is damaged"
        )
    announce(on_event, Warned(f"{output.name} {what}; what is damaged is made again"), logger)


def take_back(output: Path, making: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
    """Move an output to where it was made, so that only what is damaged is made again.

    It stays where it is, to be replaced, if its metadata are damaged.
    """
    try:
        with open_volume(output) as volume:
            is_usable = (volume.shape, volume.dtype) == (shape, np.dtype(dtype))
    except CytovoxError:
        return
    if is_usable:
        making.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(making, ignore_errors=True)
        os.replace(output, making)


def as_told(
    blocks: Iterable[Block], records: Mapping[BlockKey, BlockRecord]
) -> Callable[[Box, npt.NDArray[Any]], bool]:
    """Return what compares blocks with the checksums that a journal tells."""
    told = {
        block.write: (records[block.index].result or {}).get("written")
        for block in blocks
        if block.index in records
    }
    return lambda box, values: told.get(box) == checksum(values)


def _files_of(output: Path) -> dict[str, Any]:
    """Return what tells the chunk files of the finest scale, and how many others there are."""
    finest, scales = _finest(output)
    files, coarser = hashlib.sha256(), 0
    for file in files_below(output):
        if not _CHUNK.fullmatch(file.name):
            continue
        if file.is_relative_to(finest):
            name = file.relative_to(finest).as_posix()
            files.update(f"{name} {file.stat().st_size}\n".encode())
        else:
            coarser += 1
    return {"files": files.hexdigest(), "scales": scales, "coarser": coarser}


def _finest(output: Path) -> tuple[Path, int]:
    """Return the folder of the finest scale, and the number of scales."""
    found = Verification(str(output), "volume")
    scales = open_scales(output, found)
    for scale in scales:
        scale.close()
    if scales[0].format == "precomputed":
        info = json.loads((output / "info").read_text(encoding="utf-8"))
        return output / info["scales"][0]["key"], len(scales)
    return (output / "0" if scales[0].format.startswith("ome-zarr") else output), len(scales)
