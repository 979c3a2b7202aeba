"""Events of a recording or result in files of other programs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..kernels.arrays import fitting
from ..read import HDF5Data
from ..read.event_table import read_columns, table_features
from ..read.feature_labels import label_of, unit_of
from ..read.mapped import read_rows
from ..run.folder_sync import replaced_file
from .disk import storage_errors
from .image_files import write_avi, write_tiff
from .table_files import ObjectTable, write_objects

__all__ = ["export_images", "export_table"]

#: Events of a table that are written at a time.
_EVENTS = 1 << 15
#: Bytes of images that are read at a time.
_BLOCK_BYTES = 1 << 24


def export_table(
    data: HDF5Data,
    path: str | os.PathLike[str],
    *,
    features: Iterable[str] | None = None,
    events: slice | None = None,
) -> int:
    """Write scalar features of events as CSV, TSV, Parquet or FCS.

    The first columns are ``index``, the number of the event from 1, and
    ``frame``, if the file has it. Parquet and FCS hold labels and units; beside
    CSV and TSV they are in a file with ``-metadata.json`` behind the name.
    Values are those of the file, but FCS has 32-bit floating-point numbers.

    Parameters
    ----------
    data
        A recording or result.
    path
        File to write; its end says as what: ``.csv``, ``.tsv``, ``.parquet`` or
        ``.fcs``. An existing one is replaced when all is written.
    features
        Names of the columns; all scalar features if None.
    events
        Which events, counted from 0; all if None.

    Returns
    -------
    int
        Number of events.

    Raises
    ------
    UsageError
        If there is no such feature, or it is not a number for each event.
    StorageError
        If the file cannot be written.

    Examples
    --------
    >>> import h5py, io
    >>> stream = io.BytesIO()
    >>> with h5py.File(stream, "w") as h5:
    ...     h5["events/deform"] = [0.1, 0.25]
    >>> path = getfixture("tmp_path") / "a.csv"
    >>> with HDF5Data(stream) as data:
    ...     export_table(data, path)
    2
    >>> path.read_text().split()
    ['index,deform', '1,0.1', '2,0.25']
    """
    names = table_features(data, features)
    start, stop, _ = (events or slice(None)).indices(len(data))
    labels = {name: label_of(name) for name in names}
    units = {name: unit_of(name) for name in names}

    def parts() -> Iterator[ObjectTable]:
        for begin in range(start, max(stop, start + 1), _EVENTS):
            rows = slice(begin, min(begin + _EVENTS, stop))
            yield ObjectTable(read_columns(data, names, rows), units, labels)

    return write_objects(path, parts(), recipe=_made_by(data))


def _made_by(data: HDF5Data) -> dict[str, str]:
    """Return what a file says of its making."""
    wanted = ("pipeline:", "experiment:run identifier", "experiment:sample")
    return {key: str(value) for key, value in data.meta.items() if key.startswith(wanted)}


def export_images(
    data: HDF5Data,
    path: str | os.PathLike[str],
    *,
    feature: str = "image",
    events: slice | None = None,
) -> int:
    """Write images of events as TIFF or AVI.

    Parameters
    ----------
    data
        A recording or result.
    path
        File to write; its end says as what: ``.tif``, ``.tiff`` or ``.avi``. An
        existing one is replaced when all is written. Each page of a TIFF has the
        number of its event, from 1, and its frame as text; a film is of 8 bit
        and uncompressed, so that all pixels stay as they are.
    feature
        ``"image"``, ``"image_bg"`` or ``"mask"``.
    events
        Which events, counted from 0; all if None.

    Returns
    -------
    int
        Number of events.

    Raises
    ------
    UsageError
        If this is not an image, or the film would be too long.
    InputError
        If there are no images, or they do not fit into 8 bit.
    StorageError
        If the file cannot be written.

    Examples
    --------
    >>> import h5py, io
    >>> stream = io.BytesIO()
    >>> with h5py.File(stream, "w") as h5:
    ...     h5["events/image"] = np.zeros((3, 8, 16), np.uint8)
    >>> with HDF5Data(stream) as data:
    ...     export_images(data, getfixture("tmp_path") / "a.avi", events=slice(0, 2))
    2
    """
    final = Path(path)
    suffix = final.suffix.lower()
    if suffix not in (".tif", ".tiff", ".avi"):
        hint = "take .tiff or .avi"
        raise UsageError(f"no images are written as '{final.suffix}'", hint=hint)
    start, stop, _ = (events or slice(None)).indices(len(data))
    number = max(0, stop - start)
    if not number:
        raise UsageError("there are no events to write", path=data.place)
    data.require_images(feature)  # or an error says what is wrong
    stored = data.locate(feature)
    images = _images(stored, start, stop, np.uint8 if suffix == ".avi" else None)
    with storage_errors(final), replaced_file(final) as file:
        if suffix == ".avi":
            write_avi(file, images, number, stored.shape[1:])
        else:
            nbytes = number * (512 + int(np.prod(stored.shape[1:])) * stored.dtype.itemsize)
            write_tiff(file, images, _texts(data, start, stop), nbytes)
    return number


def _images(
    stored: Any, start: int, stop: int, dtype: type[np.uint8] | None
) -> Iterator[npt.NDArray[Any]]:
    step = max(1, _BLOCK_BYTES // max(1, int(np.prod(stored.shape[1:])) * stored.dtype.itemsize))
    for begin in range(start, stop, step):
        block = read_rows(stored, slice(begin, min(begin + step, stop)))
        if block.dtype == bool:
            block = block.astype(np.uint8) * 255
        yield from block if dtype is None else fitting(block, np.dtype(dtype))


def _texts(data: HDF5Data, start: int, stop: int) -> Iterator[str]:
    """Yield the text of each page."""
    names = table_features(data, ())
    columns = read_columns(data, names, slice(start, stop))
    for values in zip(*columns.values(), strict=True):
        yield " ".join(f"{n}={v}" for n, v in zip(columns, values, strict=True))
