"""Resuming a run of the same job that was stopped: what is taken over, what is refused."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..background.base import OFFSET_ROWS, BackgroundResult
from ..errors import (
    CytovoxError,
    InterruptedRunError,
    OutputExistsError,
    StageError,
    StorageError,
)
from ..read import HDF5Data, get_measurement_identifier
from ..run.fingerprint import FileStamp, differences
from ..write.disk import DISK, storage_error
from .chunk_slot import Offsets
from .frame_data import internal_images
from .job import DCNumPipelineJob
from .run_folder import TEMPORARY_FILES, RunFolder, remove_files
from .states import FolderState

__all__ = [
    "fingerprint_of",
    "is_damage",
    "is_resumable",
    "keep_background",
    "kept_background",
    "offsets_of_kept",
    "take_over",
]

_BLOCK = 1 << 20


def is_resumable(error: BaseException) -> bool:
    """Return whether the same command may succeed after this error.

    That is so if the run was stopped from outside, if the storage was full, or
    if a worker was lost; not if the input or the options are wrong.
    """
    if isinstance(error, StageError):
        return error.stage == "worker"
    if isinstance(error, CytovoxError):
        return isinstance(error, (InterruptedRunError, StorageError))
    return isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError, OSError))


def is_damage(error: BaseException) -> bool:
    """Return whether a file is damaged, as far as an error shows.

    HDF5 reports an inconsistent file in the same way as a failing disk, but
    then the system gives no reason.
    """
    cause = error.__cause__
    if not isinstance(error, StorageError) or error.errno is not None:
        return False
    return (
        isinstance(cause, (OSError, RuntimeError, KeyError))
        and getattr(cause, "errno", None) is None
    )


def fingerprint_of(
    job: DCNumPipelineJob, data: HDF5Data, ids: Mapping[str, str]
) -> dict[str, Any]:
    """Return all that decides about the bytes of the output."""
    path = Path(job["path_in"]).absolute()
    others = {str(other): _marks(other) for other in data.files()[1:]}
    return {
        "input": {
            "path": str(path),
            **_marks(path),
            "identifier": get_measurement_identifier(data.h5),
            "frames": len(data),
            **({"files": others} if others else {}),
        },
        "recipe": {
            **{name.removesuffix("_id"): text for name, text in ids.items()},
            "segmenter file": job.segmenter_source(),
            "basins": job["basin_strategy"],
            "compression": job["compression"],
        },
        "version": {
            name: importlib.metadata.version(name) for name in ("h5py", "numpy", "zstandard")
        }
        | {"cytovox": __version__},
    }


def _marks(path: Path) -> dict[str, Any]:
    """Return the properties of a file that must be the same when another run resumes."""
    stamp = FileStamp.of(path)
    return {"size": stamp.size, "mtime_ns": stamp.mtime_ns, "content": stamp.content}


def take_over(folder: RunFolder, fingerprint: Mapping[str, Any], *, force: bool) -> list[str]:
    """Take over what dead runs have left in a locked folder, or remove it, and begin.

    Returns what has changed, so that their run cannot be resumed.
    """
    changes: list[str] = []
    is_left = folder.suffix in folder.left
    if is_left and not force:
        _refuse_other_settings(folder, fingerprint)
    for suffix in folder.left:
        if suffix != folder.suffix:
            remove_files(folder.path_out, suffix)
    if is_left:
        changes = _inherit(folder, fingerprint)
    folder.begin(fingerprint)
    return changes


def _refuse_other_settings(folder: RunFolder, fingerprint: Mapping[str, Any]) -> None:
    """Raise an error if a dead run could be resumed with the settings that it had."""
    content = folder.left_journal()
    has_background = any(note.get("event") == "background" for note in content.notes)
    if content.fingerprint is None or not (has_background or folder.path("ledger").is_file()):
        return
    changes = differences(content.fingerprint, fingerprint)
    if changes and all(change.startswith("recipe") for change in changes):
        raise OutputExistsError(
            f"a run that was stopped had other settings: {'; '.join(changes)}",
            path=folder.path_out,
            hint="give its settings to resume it, --force to give it up, or another output",
        )


def _inherit(folder: RunFolder, fingerprint: Mapping[str, Any]) -> list[str]:
    """Take over the files of a dead run, or delete them."""
    content = folder.left_journal()
    old = content.fingerprint
    changes = [] if old is None else differences(old, fingerprint)
    if old is None or changes:
        remove_files(folder.path_out, folder.suffix, but="log")
    else:
        notes = (note for note in reversed(content.notes) if note.get("event") == "background")
        folder.background = next(notes, None)
    folder.own(*(k for k in TEMPORARY_FILES if k != "log" and folder.path(k).is_file()))
    if folder.background is None:  # then it is unknown whether it was finished
        folder.discard("input")
    return changes


def kept_background(folder: RunFolder) -> Mapping[str, Any] | None:
    """Return the journal's record of a background that is still there and whole."""
    record, path = folder.background, folder.path("input")
    is_whole = (
        record is not None
        and folder.has("input")
        and (record.get("size"), record.get("crc32")) == _checksum_of(path)
    )
    if not is_whole:
        folder.discard("input")
    return record if is_whole else None


def keep_background(folder: RunFolder, **more: Any) -> None:
    """Note that the background is done, so that it need not be done again."""
    if folder.state is not FolderState.BEGUN:
        return
    path = folder.path("input")
    try:
        file = DISK.open(path, "r+b")
        try:
            file.sync()
        finally:
            file.close()
    except OSError as err:
        raise storage_error(err, path) from err
    size, crc32 = _checksum_of(path)
    folder.background = {"size": size, "crc32": crc32, **more}
    folder.note("background", **folder.background)


def _checksum_of(path: Path) -> tuple[int, str]:
    """Return size and CRC-32 of a file."""
    check = size = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            check, size = zlib.crc32(block, check), size + len(block)
    return size, f"{check:08x}"


def offsets_of_kept(data: HDF5Data) -> Offsets | None:
    """Return what computes the background offsets of frames, from a kept background."""
    found = internal_images(data)
    if found is None:
        return None
    images, rows, *_ = found
    top = np.asarray(images[:, :OFFSET_ROWS])
    result = BackgroundResult.mapped(top, rows, offset=True)
    return dataclasses.replace(result, images=None).offsets_of
