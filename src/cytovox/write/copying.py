"""Copying features and metadata from one HDF5 file to another."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from .. import __version__
from ..errors import InputError, UsageError
from ..read.chunks import find_defects
from ..read.const import MAX_TEXT_BYTES
from ..read.dataset import CheckedDataset, checked, read_checked, read_lines
from ..read.mapped import MappedHDF5Dataset, check_mapping, get_mapping_indices
from ..read.members import copy_attributes, member, members, stated
from ..read.opening import read_errors
from ..read.permissions import Permissions
from ..read.structure import what_is_odd
from .disk import storage_errors
from .packing import set_default_filter_kwargs, text_lines
from .writer import HDF5Writer

__all__ = ["FeatureIsGroupError", "copy_features", "copy_metadata"]


logger = logging.getLogger(__name__)


class FeatureIsGroupError(InputError, NotImplementedError):
    """A feature is a group of others, such as traces."""


def copy_metadata(
    h5_src: h5py.File,
    h5_dst: h5py.File,
    *,
    software: str = f"cytovox {__version__}",
    permissions: Permissions | None = None,
) -> None:
    """Copy attributes, tables and logs; what exists already is kept.

    Copied logs and tables say in their attribute ``software`` that they were
    copied. Empty ones are left out, and what cannot be copied is named in a
    warning.

    Parameters
    ----------
    h5_src
        Input.
    h5_dst
        Output, opened for writing.
    software
        Name and version of the program that copies.
    permissions
        What the input may do; what is allowed in this process if None.
    """
    with storage_errors(h5_dst.filename):
        left_out = copy_attributes(h5_src, h5_dst)
        for name in ("logs", "tables"):
            for key, dataset in members(member(h5_src, name, {})):
                group = h5_dst.require_group(name)
                if key in group or not isinstance(dataset, h5py.Dataset) or not dataset.size:
                    continue
                source = checked(dataset, permissions)
                if what_is_odd(source, name) and not _is_plain(source, MAX_TEXT_BYTES[name]):
                    left_out.append(f"{name}/{key}")
                else:
                    left_out += _copy_text_or_table(source, group, key, software)
    if left_out:
        logger.warning("%s: not copied: %s", h5_src.filename, ", ".join(map(repr, left_out)))


def _is_plain(dataset: CheckedDataset, most: int) -> bool:
    """Return whether a dataset that is not read can be copied as it is."""
    try:
        dtype = dataset.dtype
        plain = not (dtype.hasobject or dataset.is_virtual or dataset.external)
        if plain and dataset.nbytes <= most:
            dataset.check()
            return bool(h5py.h5t.py_create(dtype, logical=True) == dataset.id.get_type())
    except (TypeError, ValueError, InputError):
        return False
    return False


def _copy_text_or_table(
    dataset: h5py.Dataset, group: h5py.Group, key: str, software: str
) -> list[str]:
    """Copy a log or table; return the names of its attributes that cannot be copied."""
    values: Any
    if dataset.dtype.kind == "O":
        values = text_lines(read_lines(dataset))
    else:
        values = read_checked(dataset)
    kwds = set_default_filter_kwargs()
    if dataset.shape == ():
        kwds = {}
    elif dataset.chunks:
        # Those of a log that has become shorter may be longer than it is.
        kwds["chunks"] = tuple(map(min, dataset.chunks, dataset.shape))
    copied = group.create_dataset(key, data=values, **kwds)
    left_out = copy_attributes(dataset, copied)
    before = stated(dataset.attrs, "software")
    copied.attrs["software"] = software if before is None else f"{before} | {software}"
    return left_out


def copy_features(
    h5_src: h5py.File,
    h5_dst: h5py.File,
    features: Iterable[str],
    mapping: Any = None,
    ds_kwds: dict[str, Any] | None = None,
    *,
    permissions: Permissions | None = None,
) -> None:
    """Copy features; those of the output are never changed.

    Parameters
    ----------
    h5_src
        Input.
    h5_dst
        Output, opened for writing.
    features
        Names of features in the input's group ``events``. A scalar feature
        that the output has with the same values is left alone.
    mapping
        Rows of the input in the order of the output, any order; None copies
        the stored bytes as they are.
    ds_kwds
        Options for new datasets; only used where values are stored anew.
    permissions
        What the input may do; what is allowed in this process if None.

    Raises
    ------
    KeyError
        If the input lacks a feature.
    FeatureIsGroupError
        If a feature is a group; it is a NotImplementedError.
    InputError
        If what is stored is damaged.
    IndexMappingError
        If the mapping names rows that do not exist; nothing is written then.
    UsageError
        If the output has other data under that name.
    """
    rows: npt.NDArray[Any] | None = None
    if mapping is not None:
        rows = mapping if isinstance(mapping, np.ndarray) else get_mapping_indices(mapping)
    wanted = [feat for feat in features if _must_copy(h5_src, h5_dst, feat, rows, permissions)]
    writer = HDF5Writer(h5_dst, ds_kwds=ds_kwds)
    for feat in wanted:
        dataset = checked(h5_src["events"][feat], permissions)
        with storage_errors(h5_dst.filename):
            if rows is None and not _copy_stored(dataset, writer.events, feat):
                writer.store_rows(feat, dataset)
            elif rows is not None:
                writer.store_rows(feat, MappedHDF5Dataset(dataset, rows))


def _must_copy(
    h5_src: h5py.File,
    h5_dst: h5py.File,
    feat: str,
    rows: npt.NDArray[Any] | None,
    permissions: Permissions | None,
) -> bool:
    dataset = h5_src["events"][feat]
    if not isinstance(dataset, h5py.Dataset):
        raise FeatureIsGroupError(
            f"only dataset-based features are supported, and '{feat}' is a group",
            path=h5_src.filename,
            hint="measure the recording that this was made from",
        )
    if rows is not None:
        check_mapping(rows, len(dataset), f"'{feat}'")
    present = member(h5_dst, f"events/{feat}")
    if present is None:
        return True
    if dataset.ndim == 1 and present.ndim == 1:
        stored = read_checked(checked(dataset, permissions), slice(None))
        values, there = stored if rows is None else stored[rows], present[:]
        both_float = values.dtype.kind == there.dtype.kind == "f"
        if np.array_equal(values, there, equal_nan=both_float):
            return False
    raise UsageError(
        f"Output file {h5_dst.filename} already contains the feature {feat}.",
        hint="it holds other data; choose a new output",
    )


def _refuse_damaged(dataset: CheckedDataset) -> None:
    """Raise an error if chunks are not as they were written, or are beyond the file."""
    path = Path(dataset.file.filename)
    if dataset.file.driver == "fileobj" or dataset.file.mode != "r" or not path.is_file():
        return  # a reader of the copy will find out
    with read_errors(dataset):
        for defect in find_defects(dataset.index.chunks):
            raise InputError(
                f"{defect.chunk.where}, {defect.what}",
                path=path,
                hint="the file is damaged; copy it again",
            )


def _storage_of(dataset: h5py.Dataset) -> Any:
    """Return chunks, filters and fill value of a dataset, without its format version.

    The input may be of a later format than the output may be.
    """
    old = dataset.id.get_create_plist()
    new = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    new.set_chunk(dataset.chunks)
    if old.fill_value_defined() == h5py.h5d.FILL_VALUE_USER_DEFINED:
        value = np.zeros((), dataset.dtype)
        old.get_fill_value(value)
        new.set_fill_value(value)
    for number in range(old.get_nfilters()):
        code, flags, options, _ = old.get_filter(number)
        new.set_filter(code, flags, options)
    return new


def _copy_stored(dataset: CheckedDataset, group: h5py.Group, feat: str) -> bool:
    """Copy stored chunks without unpacking them; return whether that is possible.

    The library's own object copy is not used: it can crash while another
    handle of the same process has some of the chunks in memory.
    """
    if not dataset.chunks or dataset.is_virtual or dataset.dtype.hasobject:
        return False
    # Made anew, since that of the input may be of a later format than the output.
    dtype = h5py.h5t.py_create(dataset.dtype, logical=True)
    if dtype != dataset.id.get_type():
        return False
    _refuse_damaged(dataset)
    target = h5py.h5d.create(
        group.id,
        feat.encode("utf-8"),
        dtype,
        dataset.id.get_space(),
        dcpl=_storage_of(dataset),
    )
    if dataset.file.mode != "r":
        dataset.flush()
    with read_errors(dataset):
        stored = sorted(dataset.index.places)
    for offset in stored:
        if any(start >= size for start, size in zip(offset, dataset.shape, strict=True)):
            continue
        with read_errors(dataset):
            filter_mask, data = dataset.id.read_direct_chunk(offset)
        target.write_direct_chunk(offset, data, filter_mask)
    copied = h5py.Dataset(target)
    copy_attributes(dataset, copied)
    return True
