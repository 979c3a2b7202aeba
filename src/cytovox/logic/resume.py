"""Going on where another run of the same job was stopped."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..background.base import OFFSET_ROWS, BackgroundResult
from ..errors import CytovoxError, InterruptedRunError, StageError, StorageError
from ..read import HDF5Data, get_measurement_identifier
from ..run.fingerprint import FileStamp
from .chunk_slot import Offsets
from .frame_data import internal_images
from .job import DCNumPipelineJob

__all__ = ["fingerprint_of", "is_damage", "is_resumable", "offsets_of_kept"]


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
    """Return whether a file is damaged, as far as an error tells.

    HDF5 complains of a file that does not fit together in the same way as of a
    disk, but then the system gives no reason.
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
    """Return what of a file must be the same when another run goes on."""
    stamp = FileStamp.of(path)
    return {"size": stamp.size, "mtime_ns": stamp.mtime_ns, "content": stamp.content}


def offsets_of_kept(data: HDF5Data) -> Offsets | None:
    """Return what computes the background offsets of frames, from a kept background."""
    found = internal_images(data)
    if found is None:
        return None
    images, rows, *_ = found
    top = np.asarray(images[:, :OFFSET_ROWS])
    result = BackgroundResult.mapped(top, rows, offset=True)
    return dataclasses.replace(result, images=None).offsets_of
