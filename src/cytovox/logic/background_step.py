"""The background beside the output: written, and kept for a run that resumes."""

from __future__ import annotations

import dataclasses
import logging
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..background import BackgroundSparseMed
from ..background.base import OFFSET_ROWS, BackgroundKind, BackgroundResult
from ..background.sparse_median import KnownBursts
from ..errors import InputError
from ..read import HDF5Data
from ..read.const import ZSTD
from ..read.members import member
from ..recipe.identity import DCNUM_PPID_GENERATION
from ..write import HDF5Writer
from ..write.disk import storage_errors
from .chunk_slot import Offsets
from .frame_data import internal_images
from .job import DCNumPipelineJob
from .run_folder import FolderState, RunFolder, sync_content
from .run_input import RunInput

__all__ = [
    "TEMPORARY_FILTERS",
    "add_background",
    "keep_background",
    "kept_background",
    "offsets_of_kept",
    "sign_background",
    "store_background",
]

#: Filters of what lives only as long as the run: fast rather than small.
TEMPORARY_FILTERS = {"fletcher32": True, "compression": ZSTD, "compression_opts": (1,)}
_BLOCK = 200
_READ = 1 << 20


def add_background(
    job: DCNumPipelineJob,
    inputs: RunInput,
    bg_id: str,
    *,
    defer_offset: bool,
    known: KnownBursts | None = None,
    on_progress: Callable[[float], None] | None = None,
    logger: logging.Logger | None = None,
) -> BackgroundResult:
    """Compute the background and write it into the temporary input.

    Its offset can wait until frames are loaded. What is `known` is not computed again.
    """
    path = inputs.make_temporary()
    method = job.get_background_class()(
        inputs.whole,
        num_workers=job["num_procs"],
        on_progress=on_progress,
        logger=logger,
        **job["background_kwargs"],
    )
    if isinstance(method, BackgroundSparseMed):
        method.known = known
    result = method.compute(defer_offset=defer_offset)
    if result.has_offset and result.bg_off is None:
        inputs.offsets = dataclasses.replace(result, images=None).offsets_of
    store_background(result, inputs.whole, path, bg_id)
    return result


def store_background(
    result: BackgroundResult,
    data: HDF5Data,
    path: Path,
    bg_id: str,
    filters: Mapping[str, Any] = TEMPORARY_FILTERS,
) -> None:
    """Write a background into the temporary input."""
    with HDF5Writer(path, mode="a", ds_kwds=dict(filters)) as writer:
        if result.kind is BackgroundKind.COPY:
            _copy_background(writer, data)
        elif result.kind is BackgroundKind.MAPPED:
            writer.store_basin(
                name="background images",
                description=f"Pipeline identifier: {bg_id}",
                mapping=result.mapping,
                internal_data={"image_bg": result.images},
            )
        else:
            for block in result.blocks or ():
                writer.store_feature_chunk("image_bg", block)
        if result.bg_off is not None:
            writer.store_feature_chunk("bg_off", result.bg_off)


def sign_background(path: Path, bg_id: str) -> None:
    """Write beside a background in a file which method has made it, as dcnum does."""
    with h5py.File(path, "a") as h5:
        for name in ("image_bg", "bg_off"):
            for group in ("events", "basin_events"):
                if (dataset := member(h5, f"{group}/{name}")) is not None:
                    dataset.attrs["dcnum ppid background"] = bg_id
                    dataset.attrs["dcnum ppid generation"] = DCNUM_PPID_GENERATION


def _copy_background(writer: HDF5Writer, data: HDF5Data) -> None:
    if "image_bg" not in data:
        raise InputError(
            "there is no background image to copy",
            path=data.place,
            hint="choose another background method, e.g. sparsemed",
        )
    internal = internal_images(data)
    if internal is None:
        images = data.require_images("image_bg")
        for start in range(0, len(images), _BLOCK):
            writer.store_feature_chunk("image_bg", images[start : start + _BLOCK])
    else:
        images, rows, name, description = internal
        writer.store_basin(
            name=name, description=description, mapping=rows, internal_data={"image_bg": images[:]}
        )
    if "bg_off" in data:
        values: Any = np.asarray(data["bg_off"][:])
        writer.store_feature_chunk("bg_off", values)


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
    with storage_errors(path):
        sync_content(path)
    size, crc32 = _checksum_of(path)
    folder.background = {"size": size, "crc32": crc32, **more}
    folder.note("background", **folder.background)


def _checksum_of(path: Path) -> tuple[int, str]:
    """Return size and CRC-32 of a file."""
    check = size = 0
    with path.open("rb") as file:
        while block := file.read(_READ):
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
