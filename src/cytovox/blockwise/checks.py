"""Whether what a run reads and what it has written are still what they were.

A disk that fills up, a power cut, or a hand that tidies up may change files
behind the back of a run. A chunk that is gone is read as zeros by zarr, and one
of another block as labels, so nobody would notice. Hence a checksum of each
block is kept, inputs are looked at again when they were read, and the journal
notes the number, names and sizes of the chunk files of a finished output. Small
outputs are read in full as well, others if that is asked for.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import CytovoxError, InputError, InputNotFoundError, OutputExistsError
from ..read.open_volume import open_volume
from ..read.volume import Volume
from ..read.volume_folder import OF_SYSTEM
from ..run.findings import Verification
from ..run.fingerprint import differences
from ..run.journal import BlockKey, BlockRecord, Journal
from ..run.progress import Listener, Warned, announce
from .block_result import BlockFailure, RunResult
from .grid import Block, Box
from .verify_array import check_voxels, files_below, open_scales

__all__ = [
    "DAMAGED",
    "as_told",
    "checksum",
    "is_as_published",
    "is_as_written",
    "note_files",
    "refuse_changed_input",
    "refuse_damaged",
    "take_back",
    "without_damaged",
]

logger = logging.getLogger(__name__)

#: Reason of a failure: what an earlier stage has written of the block is not there any more.
DAMAGED = "damaged"
#: Outputs of up to this size are read in full [bytes].
_SMALL = 32 << 20
_EVENT = "published"
_CHUNK = re.compile(r"[0-9][0-9._-]*")


def checksum(array: npt.NDArray[Any]) -> int:
    """Return a number that changes with the values of an array."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def is_as_written(volume: Volume, block: Block, told: Mapping[str, Any] | None) -> bool:
    """Return whether a block can be read and has the checksum that the journal tells."""
    try:
        return checksum(volume.read(block.write)) == (told or {}).get("written")
    except InputError:
        return False


def refuse_changed_input(
    before: Mapping[str, Any],
    reopen: Callable[[], Volume],
    journal: Journal,
    stage: str,
    kept: set[BlockKey],
) -> None:
    """Refuse what was done if the input has changed meanwhile, so that it is done again."""
    try:
        with reopen() as volume:
            changes = differences(*_comparable(before, volume.stamp()))
            where = volume.url
    except InputNotFoundError as err:
        # Blocks that came too late have failed, since reading says so.
        raise InputNotFoundError(
            "the input has vanished while it was read",
            path=err.path,
            hint="bring it back, and the same command goes on",
        ) from err
    if not changes:
        return
    # What was read before the change and what after it, nobody can tell.
    journal.forget(stage, sorted(journal.completed(stage) - kept, key=str))
    raise InputError(
        f"the input has changed while it was read: {'; '.join(changes)}",
        path=where,
        hint="bring back what it was, and the same command goes on; or do all again",
    )


def _comparable(*stamps: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Leave out what new rights or names of files change without a change of voxels."""
    same = len({stamp["content"].get("access") for stamp in stamps}) == 1
    left_out = ("access",) if same else OF_SYSTEM
    return [
        {**stamp, "content": {k: v for k, v in stamp["content"].items() if k not in left_out}}
        for stamp in stamps
    ]


def without_damaged(
    done: RunResult, damaged: Mapping[BlockKey, str], earlier: str, journal: Journal
) -> RunResult:
    """Return a result in which blocks have failed whose labels were found to be damaged.

    They are forgotten in both stages, so that they are done again.
    """
    if not damaged:
        return done
    for stage in (earlier, done.stage):
        journal.forget(stage, list(damaged))
    failed = [BlockFailure(block, DAMAGED, why, "", 1) for block, why in damaged.items()]
    every = sorted((*done.failed, *failed), key=lambda failure: failure.block)
    return replace(done, done=done.done - len(failed), failed=tuple(every))


def note_files(output: Path, journal: Journal) -> None:
    """Let the journal know the chunk files of an output that has got its name."""
    with open_scales(output, Verification(str(output), "volume")) as scales:
        journal.note(_EVENT, **_files_of(output, scales))


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
        with open_scales(output, found) as scales:
            now = _files_of(output, scales)
            # Nothing is noted by earlier versions, and after a kill in between.
            last = noted[-1] if noted else now
            if last.get("files") != now["files"]:
                return False
            # Other scales may be made anew by anybody, but do not lose chunks.
            if last.get("scales") == now["scales"] and last.get("coarser") > now["coarser"]:
                return False
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


def _files_of(output: Path, scales: Sequence[Volume]) -> dict[str, Any]:
    """Return what tells the chunk files of the finest scale, and how many others there are."""
    finest = output / "0" if scales[0].format.startswith("ome-zarr") else output
    if scales[0].format == "precomputed":
        info = json.loads((output / "info").read_text(encoding="utf-8"))
        finest = output / info["scales"][0]["key"]
    files, coarser = hashlib.sha256(), 0
    for file in files_below(output):
        if not _CHUNK.fullmatch(file.name):
            continue
        if file.is_relative_to(finest):
            name = file.relative_to(finest).as_posix()
            files.update(f"{name} {file.stat().st_size}\n".encode())
        else:
            coarser += 1
    return {"files": files.hexdigest(), "scales": len(scales), "coarser": coarser}
