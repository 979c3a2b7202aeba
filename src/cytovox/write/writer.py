"""Writing features, logs and basins into an HDF5 file."""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import h5py

# Importing it registers the compression filters that are used here.
import hdf5plugin  # noqa: F401
import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..read.basin_definitions import extract_basin_dicts
from ..read.dataset import checked, read_checked
from ..read.mapped import get_mapping_indices
from ..read.members import member
from .disk import Sink, open_output, storage_errors
from .packing import IMAGE_ATTRIBUTES, as_items, fit_items, set_default_filter_kwargs, text_lines

__all__ = ["HDF5Writer"]

#: A stored chunk aims at this many bytes.
_CHUNK_BYTES = 2**20
#: Bytes that are copied at a time.
_COPY_BYTES = 2**24


class HDF5Writer:
    """Writes features, logs and basins; rows are always appended.

    Parameters
    ----------
    obj
        Path, or opened file, or file object that was made for HDF5; what was
        opened elsewhere is not closed here.
    mode
        How to open a path: ``"a"`` keeps what is there, ``"w"`` does not.
    ds_kwds
        Options for new datasets; compressed and with checksums by default.

    Raises
    ------
    StorageError
        Here and in all methods, if the storage refuses.

    Examples
    --------
    >>> import io
    >>> with HDF5Writer(h5py.File(io.BytesIO(), "w")) as writer:
    ...     writer.store_feature_chunk("deform", np.array([0.1, 0.2]))
    ...     writer.store_feature_chunk("deform", np.array([0.3]))
    ...     writer.events["deform"].shape
    (3,)
    """

    def __init__(
        self,
        obj: h5py.File | Path | str | Sink,
        mode: str = "a",
        ds_kwds: Mapping[str, Any] | None = None,
    ) -> None:
        self._sink: Sink | None = None
        self._opened: list[h5py.File | Sink] = []
        if isinstance(obj, (str, os.PathLike)):
            with storage_errors(obj):
                self.h5, self._sink = open_output(Path(obj), mode)
            self._opened = [self.h5] if self._sink is None else [self.h5, self._sink]
        elif isinstance(obj, Sink):
            self._sink = obj
            with storage_errors(obj.path):
                self.h5 = obj.open_hdf5()
            self._opened = [self.h5]
        else:
            self.h5 = obj
        self.path = Path(self.h5.filename) if isinstance(self.h5.filename, str) else None
        self.ds_kwds = set_default_filter_kwargs(ds_kwds)
        with self.guard():
            self.events: h5py.Group = self.h5.require_group("events")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Flush, and close the file if it was opened here; may be called again."""
        if not self.h5:
            return
        with self.guard():
            try:
                self.h5.flush()
            finally:
                for opened in self._opened:
                    opened.close()

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Raise whatever the storage refuses meanwhile."""
        with storage_errors(self.path):
            yield
            if self._sink is not None and self._sink.error is not None:
                raise self._sink.error

    @staticmethod
    def get_best_nd_chunks(
        item_shape: tuple[int, ...], feat_dtype: npt.DTypeLike = np.float64
    ) -> tuple[int, ...]:
        """Return the shape of a stored chunk: 1 MiB, but 10 to 1000 items.

        Parameters
        ----------
        item_shape
            Shape of one item, e.g. (H, W) of an image, () of a number.
        feat_dtype
            Type of the items.

        Examples
        --------
        >>> HDF5Writer.get_best_nd_chunks((80, 320), np.uint8)
        (40, 80, 320)
        """
        item_bytes = math.prod(item_shape) * np.dtype(feat_dtype).itemsize
        items = min(1000, max(10, _CHUNK_BYTES // max(1, item_bytes)))
        return (items, *item_shape)

    def require_feature(
        self,
        feat: str,
        item_shape: tuple[int, ...],
        feat_dtype: npt.DTypeLike,
        ds_kwds: Mapping[str, Any] | None = None,
        group_name: str = "events",
    ) -> tuple[h5py.Dataset, int]:
        """Return the dataset of a feature and its length; make it if need be.

        Parameters
        ----------
        feat
            Name of the feature.
        item_shape
            Shape of one item: ``()`` for a scalar, ``(80, 320)`` for an image.
        feat_dtype
            Type of a new dataset; an existing one keeps its own.
        ds_kwds
            Options instead of those of the writer.
        group_name
            Group of the dataset.
        """
        with self.guard():
            group = self.events if group_name == "events" else self.h5.require_group(group_name)
            if feat in group:
                dataset = group[feat]
            else:
                dataset = group.create_dataset(
                    feat,
                    shape=(0, *item_shape),
                    dtype=feat_dtype,
                    maxshape=(None, *item_shape),
                    chunks=self.get_best_nd_chunks(item_shape, feat_dtype),
                    **(self.ds_kwds if ds_kwds is None else dict(ds_kwds)),
                )
                if len(item_shape) == 2:
                    dataset.attrs.update(IMAGE_ATTRIBUTES)
            return dataset, len(dataset)

    def store_feature_chunk(
        self, feat: str, data: npt.ArrayLike, group_name: str = "events"
    ) -> None:
        """Append items to a feature.

        Parameters
        ----------
        feat
            Name of the feature.
        data
            Items, shape (n, ...). A boolean ``mask`` is stored as 0 and 255.
        group_name
            Group of the dataset.

        Raises
        ------
        TypeError
            If shape or type do not fit what is stored already; nothing is
            changed then.
        """
        dataset, items = self.prepare_items(feat, data, group_name)
        if not len(items):
            return
        with self.guard():
            length = len(dataset)
            dataset.resize(length + len(items), axis=0)
            dataset[length:] = items

    def prepare_items(
        self, feat: str, data: npt.ArrayLike, group_name: str = "events"
    ) -> tuple[h5py.Dataset, npt.NDArray[Any]]:
        """Return the dataset of a feature, and items in the form it stores.

        Parameters
        ----------
        feat
            Name of the feature.
        data
            Items to be appended, of shape (n, ...).
        group_name
            Group of the file.

        Returns
        -------
        tuple
            The dataset, of shape (N, ...), and the items, of shape (n, ...).

        Raises
        ------
        TypeError
            If shape or type do not fit what is stored already.
        """
        items = as_items(feat, data)
        dataset, _ = self.require_feature(
            feat, items.shape[1:], items.dtype, group_name=group_name
        )
        return dataset, fit_items(feat, items, dataset.dtype, dataset.shape[1:])

    def store_rows(
        self,
        feat: str,
        data: Any,
        group_name: str = "events",
        *,
        on_bytes: Callable[[int], None] | None = None,
    ) -> None:
        """Append all items of a dataset or array, some MiB at a time.

        Parameters
        ----------
        feat
            Name of the feature.
        data
            Items to be appended, an array or a dataset, of shape (n, ...).
        group_name
            Group of the file.
        on_bytes
            Called with the number of bytes after each part.
        """
        item_bytes = math.prod(data.shape[1:]) * data.dtype.itemsize
        step = max(1, _COPY_BYTES // max(1, item_bytes))
        stored = isinstance(data, h5py.Dataset)
        data = checked(data) if stored else data
        for start in range(0, max(1, len(data)), step):
            rows = slice(start, start + step)
            values = read_checked(data, rows) if stored else data[rows]
            self.store_feature_chunk(feat, values, group_name)
            if on_bytes is not None:
                on_bytes(values.nbytes)

    def store_log(self, log: str, data: Sequence[str], override: bool = False) -> h5py.Dataset:
        """Store lines of text as a log.

        Parameters
        ----------
        log
            Name of the log.
        data
            Lines; stored as UTF-8.
        override
            Whether to replace a log of this name.

        Raises
        ------
        UsageError
            If there is such a log already, or there are no lines.
        """
        if isinstance(data, str) or not len(data):
            raise UsageError(f"the log '{log}' must be a list of lines that is not empty")
        with self.guard():
            logs = self.h5.require_group("logs")
            if log in logs:
                if not override:
                    raise UsageError(f"Log '{log}' already exists in {self.path}!")
                del logs[log]
            return logs.create_dataset(log, data=text_lines(data), **set_default_filter_kwargs())

    def store_mapping(self, mapping: npt.ArrayLike) -> str:
        """Store a basin map, or find an equal one, and return its name.

        Parameters
        ----------
        mapping
            Row of the basin for each event, whole numbers of shape (n,).

        Raises
        ------
        UsageError
            If there are already ten other maps.
        """
        rows = np.asarray(mapping)
        if rows.dtype.kind == "f" and np.array_equal(rows, np.rint(rows)):
            rows = rows.astype(np.int64)
        if rows.dtype.kind not in "ui" or rows.ndim != 1:
            raise UsageError("a basin map has one whole number for each event")
        for number in range(10):
            name = f"basinmap{number}"
            if name not in self.events:
                self.store_feature_chunk(name, rows)
                return name
            stored = self.events[name]
            if stored.shape == rows.shape and np.array_equal(stored[:], rows):
                return name
        raise UsageError(
            "You have exhausted the usage of mapped basins: only ten maps are possible"
        )

    def store_basin(
        self,
        name: str,
        paths: Sequence[str | os.PathLike[str]] | None = None,
        features: Sequence[str] | None = None,
        description: str | None = None,
        mapping: Any = None,
        internal_data: Mapping[str, Any] | None = None,
        identifier: str | None = None,
    ) -> None:
        """Store a basin: features that are kept elsewhere.

        Parameters
        ----------
        name
            Name of the basin; need not be unique.
        paths
            Where the other file is; None for internal data.
        features
            Features of the other file; None for all.
        description
            What a person should know.
        mapping
            Row of the basin for each event; None if rows correspond.
        internal_data
            Arrays or datasets by feature, for an internal basin.
        identifier
            Measurement identifier of the other file.

        Raises
        ------
        UsageError
            If paths and internal data are both given or both missing, or a
            feature is already in another internal basin.
        """
        _check_basin(self.h5, paths, features, internal_data)
        definition: dict[str, Any] = {"description": description, "name": name}
        if internal_data is None:
            definition["format"] = "hdf5"
            definition["paths"] = [os.fspath(path) for path in paths or []]
            definition["type"] = "file"
            definition["identifier"] = identifier
            if features is not None:
                definition["features"] = list(features)
        else:
            if identifier is not None:
                warnings.warn("an internal basin has no identifier", UserWarning, stacklevel=2)
            definition["format"] = "h5dataset"
            definition["paths"] = ["basin_events"]
            definition["type"] = "internal"
            definition["features"] = sorted(internal_data)
        if mapping is not None:
            is_array = isinstance(mapping, np.ndarray)
            rows = mapping if is_array else get_mapping_indices(mapping)
            definition["mapping"] = self.store_mapping(rows)
        for feat, data in (internal_data or {}).items():
            stored = data if isinstance(data, h5py.Dataset) else np.asarray(data)
            self.store_rows(feat, stored, group_name="basin_events")
        self._store_basin_text(json.dumps(definition, indent=2))

    def replace_basin(self, key: str, definition: Mapping[str, Any]) -> None:
        """Store the definition of a basin in place of another one.

        Parameters
        ----------
        key
            Name of the one to replace in the group ``basins``.
        definition
            What is stored as JSON.
        """
        with self.guard():
            del self.h5["basins"][key]
        self._store_basin_text(json.dumps(dict(definition), indent=2))

    def _store_basin_text(self, text: str) -> None:
        key = hashlib.md5(text.encode("utf-8"), usedforsecurity=False).hexdigest()
        with self.guard():
            basins = self.h5.require_group("basins")
            if key not in basins:
                basins.create_dataset(key, data=text_lines(text.split("\n")), **self.ds_kwds)


def _check_basin(
    h5: h5py.File, paths: Any, features: Any, internal_data: Mapping[str, Any] | None
) -> None:
    if internal_data is None:
        if paths is None or isinstance(paths, str):
            raise UsageError("`paths` must be a list when storing external basin features")
        return
    for name, value in (("paths", paths), ("features", features)):
        if value is not None:
            raise UsageError(f"`{name}` must be set to None when storing internal basin features")
    taken = {*_internal_features(h5), *member(h5, "basin_events", ())}
    for feat in internal_data:
        if feat in taken:
            raise UsageError(f"Feature '{feat}' is already defined as an internal basin feature")


def _internal_features(h5: h5py.File) -> Iterator[str]:
    for definition in extract_basin_dicts(h5, check=False):
        if definition.get("type") == "internal":
            yield from definition.get("features") or []
