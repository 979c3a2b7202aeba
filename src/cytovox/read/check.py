"""What must be true of a recording before work begins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from ..errors import BasinNotFoundError, InputError
from .const import PROTECTED_FEATURES
from .kinds import features_in
from .mapped import IndexMappingError

if TYPE_CHECKING:
    from .hdf5_data import HDF5Data

__all__ = ["check_recording"]

#: So many images of another type than uint8 are looked at.
_SAMPLE = 32


def check_recording(
    data: HDF5Data, need_images: bool = True, need_background: bool = True
) -> None:
    """Make sure that a run on a recording can succeed; reads a few images at most."""
    path = data.path if isinstance(data.path, Path) else None
    if not isinstance(data.h5.get("events"), h5py.Group):
        raise InputError("there are no events", path=path, hint="give a recording (.rtdc)")
    read = ["image", *["image_bg"] * need_background, *PROTECTED_FEATURES]
    is_result = "pipeline:dcnum hash" in data.meta
    _check_lengths(data.h5, data.stored_length, path, None if is_result else read)
    _check_virtual(data)
    length = len(data)  # also checks the index mapping
    try:
        for feat in read[1:]:
            if not feat.startswith("userdef") or feat in data:
                data.locate(feat)  # also checks the map of a basin
    except IndexMappingError as err:
        err.path = err.path or (None if path is None else str(path))
        raise
    if need_images:
        _check_images(data, length, path, ("image", "image_bg")[: 1 + need_background])


def _check_lengths(h5: h5py.File, length: int, path: Path | None, read: list[str] | None) -> None:
    """Refuse features of another length; only those that are read, if they are given."""
    for feat, dataset in features_in(h5["events"]):
        if feat.startswith("basinmap") or (read is not None and feat not in read):
            continue
        if len(dataset) != length:
            raise InputError(
                f"'{feat}' has {len(dataset)} rows, but the event count of the file is {length}",
                path=path,
                hint="the recording was not completed or was damaged",
            )


def _check_virtual(data: HDF5Data) -> None:
    # HDF5 reads zeros from a virtual dataset whose source is gone
    for _, dataset in features_in(data.h5["events"]):
        if dataset.is_virtual:
            data.checked(dataset).find_sources()


def _check_images(
    data: HDF5Data, length: int, path: Path | None, features: tuple[str, ...]
) -> None:
    image = data.locate("image")
    if image is None:
        try:
            _ = data["image"]
        except InputError as err:
            # tells which file is missing, if one is
            if isinstance(err, BasinNotFoundError) or err.hint:
                raise
        raise InputError("there are no images", path=path, hint="record with images")
    for feat in features:
        dataset = data.locate(feat)
        if dataset is None:
            continue
        if len(dataset.shape) != 3 or dataset.dtype.kind not in "ui":
            raise InputError(
                f"'{feat}' does not hold grey images",
                path=path,
                hint="images must have one channel of whole numbers",
            )
        if dataset.shape != (length, *image.shape[1:]):
            raise InputError(
                f"'{feat}' has shape {dataset.shape}, but {length} images "
                f"of {image.shape[1:]} are expected",
                path=path,
                hint="the recording was not completed or was damaged",
            )
        if dataset.dtype != np.uint8:
            frame = np.empty((1, *image.shape[1:]), np.uint8)
            for row in np.unique(np.linspace(0, length - 1, min(_SAMPLE, length)).astype(int)):
                data.require_images(feat).read_into(int(row), frame)
    if not data.pixel_size > 0:
        raise InputError("the pixel size is unknown", path=path, hint="give a pixel size in µm")
