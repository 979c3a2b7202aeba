"""Computing the background and keeping it beside the output for the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..background.base import BackgroundKind, BackgroundResult
from ..errors import InputError
from ..read import HDF5Data
from ..read.const import ZSTD
from ..read.members import member
from ..recipe.identity import DCNUM_PPID_GENERATION
from ..write import HDF5Writer
from .frame_data import internal_images

__all__ = ["TEMPORARY_FILTERS", "sign_background", "store_background"]

#: Filters of what lives only as long as the run: fast rather than small.
TEMPORARY_FILTERS = {"fletcher32": True, "compression": ZSTD, "compression_opts": (1,)}
_BLOCK = 200


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
