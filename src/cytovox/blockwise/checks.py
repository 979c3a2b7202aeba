"""Whether what a run reads and what it has written are still what they were.

A disk that fills up, a power cut, or a hand that tidies up may change files
behind the back of a run. A chunk that is gone is read as zeros by zarr, and one
of another block as labels, so nobody would notice. Hence a
checksum of each block is kept, and inputs are looked at again when they were read.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError, InputNotFoundError
from ..read.volume import Volume
from ..read.volume_folder import OF_SYSTEM
from ..run.fingerprint import differences
from ..run.journal import BlockKey, Journal
from .block_result import BlockFailure, RunResult
from .grid import Block

__all__ = ["DAMAGED", "checksum", "is_as_written", "refuse_changed_input", "without_damaged"]

#: Reason of a failure: what an earlier stage has written of the block is not there any more.
DAMAGED = "damaged"


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
