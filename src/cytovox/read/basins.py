"""Basins: features of a recording that are stored elsewhere.

A file may keep features in a group of its own (internal basin) or refer to
those of another file (file basin), row by row or through a map that is itself
a dataset of the referring file.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import numpy.typing as npt

from ..errors import BasinIdentifierMismatchError, InputError
from .identifier import as_text, get_measurement_identifier, identifier_fits
from .mapped import check_mapping, get_mapped_object

__all__ = [
    "MAX_BASIN_DEPTH",
    "Basin",
    "FileBasin",
    "InternalBasin",
    "extract_basin_dicts",
    "find_basin_file",
    "is_basin_map",
    "make_basin",
    "sort_basin_dicts",
]

#: So many files may refer to each other in a row.
MAX_BASIN_DEPTH = 8

logger = logging.getLogger(__name__)

Indices = npt.NDArray[Any] | None


class _Reader(Protocol):
    """What a file basin needs from the reader of the other file."""

    @property
    def h5(self) -> h5py.File: ...
    def offered(self) -> list[str]: ...
    def locate(self, feat: str) -> Any: ...
    def close(self) -> None: ...


OpenNested = Callable[[Path, Indices], _Reader | None]


def is_basin_map(feat: str) -> bool:
    """Return whether a feature is the map of a basin.

    Parameters
    ----------
    feat
        Name of the feature.

    Examples
    --------
    >>> is_basin_map("basinmap0"), is_basin_map("deform")
    (True, False)
    """
    return feat.startswith("basinmap")


def extract_basin_dicts(h5: h5py.Group, check: bool = True) -> list[dict[str, Any]]:
    """Return the definitions of all basins of a file, in stored order.

    Parameters
    ----------
    h5
        Opened file.
    check
        Whether to leave out what cannot be used here: other types than
        ``internal`` and ``file``, and basins whose map is missing.

    Raises
    ------
    InputError
        If a definition is not valid JSON.
    """
    basins = []
    for key, dataset in h5.get("basins", {}).items():
        text = "\n".join(str(as_text(line)) for line in dataset[:])
        try:
            definition = json.loads(text)
        except json.JSONDecodeError as err:
            raise InputError(
                f"the definition of basin '{key}' is not valid JSON", path=h5.file.filename
            ) from err
        if not check or _is_usable(h5, definition):
            basins.append(definition)
    return basins


def sort_basin_dicts(basins: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return basin definitions in the order of look-up: internal first, then by name.

    Parameters
    ----------
    basins
        Definitions of basins.
    """
    return sorted(basins, key=lambda b: (b.get("type") != "internal", str(b.get("name"))))


def find_basin_file(paths: list[str], folder: Path | None) -> Path | None:
    """Return the first path that exists, as it is or relative to a folder.

    Parameters
    ----------
    paths
        Where the file may be.
    folder
        Folder of the referring file; None if that is not on a disk.
    """
    for text in paths:
        path = Path(text)
        if not path.is_absolute():
            if folder is None:
                continue
            path = folder / path
        try:
            if path.is_file():
                return path
        except (OSError, ValueError):
            # a path of another operating system may be no path here
            continue
    return None


class Basin(Protocol):
    """Where features of a recording come from."""

    definition: dict[str, Any]
    indices: Indices

    def features(self) -> list[str]:
        """Return the names of the features that can be had here."""

    def get(self, feat: str) -> Any:
        """Return a feature as dataset or mapped dataset.

        Parameters
        ----------
        feat
            Name of the feature.
        """

    def group(self) -> h5py.Group | None:
        """Return the group that holds the features; None if it is missing."""

    def close(self) -> None:
        """Close what was opened."""


class InternalBasin:
    """Features in a group of the same file.

    Parameters
    ----------
    h5
        The file.
    definition
        Definition of the basin.
    indices
        Rows of the group, integers of shape (n,), or None for all.
    """

    def __init__(self, h5: h5py.File, definition: dict[str, Any], indices: Indices) -> None:
        self.h5 = h5
        self.definition = definition
        self.indices = indices

    def group(self) -> h5py.Group | None:
        """Return the group that holds the features; None if it is missing."""
        paths = self.definition.get("paths") or ["basin_events"]
        return self.h5.get(paths[0])

    def features(self) -> list[str]:
        """Return the names of the features that can be had here."""
        group = self.group()
        stored = set() if group is None else set(group)
        listed = self.definition.get("features")
        return [feat for feat in (sorted(stored) if listed is None else listed) if feat in stored]

    def get(self, feat: str) -> Any:
        """Return a feature as dataset or mapped dataset.

        Parameters
        ----------
        feat
            Name of the feature.
        """
        group = self.group()
        if group is None:
            raise KeyError(feat)
        return get_mapped_object(group[feat], self.indices)

    def close(self) -> None:
        """Do nothing: the file belongs to the reader."""


class FileBasin:
    """Features of another file, with what that file has in its own basins.

    Parameters
    ----------
    definition
        Definition of the basin.
    indices
        Rows of the other file, integers of shape (n,), or None for all.
    folder
        Folder of the referring file.
    open_nested
        Function that opens a reader for a path and rows; it returns None if
        the file must not be followed.
    """

    def __init__(
        self,
        definition: dict[str, Any],
        indices: Indices,
        folder: Path | None,
        open_nested: OpenNested,
    ) -> None:
        self.definition = definition
        self.indices = indices
        self.path = find_basin_file(definition.get("paths") or [], folder)
        self._open_nested = open_nested
        self._reader: _Reader | None = None
        self._opened = False

    def _open(self) -> _Reader | None:
        if not self._opened and self.path is not None:
            reader = self._open_nested(self.path, self.indices)
            if reader is not None:
                self._check_identifier(reader)
            self._reader = reader
            self._opened = True
        return self._reader

    def _check_identifier(self, reader: _Reader) -> None:
        expected = self.definition.get("identifier")
        if expected and not identifier_fits(reader.h5, expected):
            found = get_measurement_identifier(reader.h5)
            reader.close()
            raise BasinIdentifierMismatchError(
                f"the basin with identifier '{found}' does not match the expected "
                f"identifier '{expected}'",
                path=self.path,
                hint="this file belongs to another measurement; restore the right one",
            )

    def group(self) -> h5py.Group | None:
        """Return the events of the other file; None if it is missing."""
        reader = self._open()
        return None if reader is None else reader.h5.get("events")

    def features(self) -> list[str]:
        """Return the names of the features that can be had here."""
        reader = self._open()
        if reader is None:
            return []
        offered = reader.offered()
        listed = self.definition.get("features")
        if listed is None:
            return offered
        known = set(offered)
        return [feat for feat in listed if feat in known]

    def get(self, feat: str) -> Any:
        """Return a feature as dataset or mapped dataset.

        Parameters
        ----------
        feat
            Name of the feature.
        """
        reader = self._open()
        if reader is None:
            raise KeyError(feat)
        return reader.locate(feat)

    def close(self) -> None:
        """Close the other file."""
        if self._reader is not None:
            self._reader.close()
        self._reader = None
        self._opened = False


def make_basin(
    h5: h5py.File,
    definition: dict[str, Any],
    indices: Indices,
    folder: Path | None,
    open_nested: OpenNested,
) -> Basin:
    """Return the basin for a definition, with the rows that a reader shows.

    The map of the basin is looked up first: the row of event i in the basin
    is ``map[indices[i]]``.

    Parameters
    ----------
    h5
        The referring file.
    definition
        Definition of the basin.
    indices
        Events that the reader shows, integers of shape (n,), or None for all.
    folder
        Folder of the referring file.
    open_nested
        Function that opens a reader for a path and rows; it returns None if
        the file must not be followed.
    """
    name = definition.get("mapping")
    if name is not None:
        # some writers stored the map as a row of a two-dimensional dataset
        mapping = np.ravel(h5["events"][name][:])
        if indices is not None:
            check_mapping(indices, len(mapping), f"the map '{name}'")
            mapping = mapping[indices]
        indices = mapping
    if definition.get("type") == "internal":
        return InternalBasin(h5, definition, indices)
    return FileBasin(definition, indices, folder, open_nested)


def _is_usable(h5: h5py.Group, definition: Any) -> bool:
    if not isinstance(definition, dict) or definition.get("type") not in ("internal", "file"):
        logger.info("ignored a basin of a type that cannot be read here")
        return False
    mapping = definition.get("mapping")
    return mapping is None or mapping in h5.get("events", {})
