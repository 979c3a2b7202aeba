"""Basins: features of a recording that are stored elsewhere.

A file may keep features in a group of its own (internal basin) or refer to
those of another file (file basin), row by row or through a map that is itself
a dataset of the referring file.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import numpy.typing as npt

from ..errors import BasinIdentifierMismatchError, BasinNotFoundError, InputError
from .basin_definitions import (
    extract_basin_dicts,
    files_there,
    find_basin_file,
    is_basin_map,
    is_on_server,
    sort_basin_dicts,
)
from .dataset import checked, read_checked
from .identifier import get_measurement_identifier, identifier_fits, is_made_of
from .mapped import IndexMappingError, check_mapping, get_mapped_object
from .opening import OpenedFiles
from .permissions import Permissions, RefusedInputError
from .structure import check_group, features_in

__all__ = [
    "MAX_BASIN_DEPTH",
    "Basin",
    "FileBasin",
    "InternalBasin",
    "extract_basin_dicts",
    "find_allowed_file",
    "find_basin_file",
    "in_order_of_reference",
    "is_basin_map",
    "make_basin",
    "sort_basin_dicts",
]

#: So many files may refer to each other in a row.
MAX_BASIN_DEPTH = 8

Indices = npt.NDArray[Any] | None


class _Reader(Protocol):
    """What a file basin needs from the reader of the other file."""

    @property
    def h5(self) -> h5py.File: ...
    @property
    def followed(self) -> list[str]: ...
    @property
    def stored_length(self) -> int: ...
    def offered(self) -> list[str]: ...
    def locate(self, feat: str) -> Any: ...
    def referred(self) -> set[Path]: ...
    def files(self) -> list[Path]: ...
    def why_not(self, feat: str) -> InputError | None: ...
    def close(self) -> None: ...


OpenNested = Callable[[Path, Indices], _Reader | None]


def find_allowed_file(
    paths: list[str], place: Path | None, permissions: Permissions
) -> tuple[Path | None, str | None]:
    """Return the first file that exists where it may lie, or a place where it may not."""
    refused = None
    folder, beside = (None, None) if place is None else (place.parent, place.name)
    for path in files_there(paths, folder, beside):
        if permissions.external or permissions.is_allowed_place(path):
            return path, None
        refused = refused or str(path)
    return None, refused or next(filter(is_on_server, paths), None)


class Basin(Protocol):
    """Where features of a recording come from."""

    definition: dict[str, Any]
    indices: Indices

    def features(self) -> list[str]:
        """Return the names of the features that can be had here."""

    def get(self, feat: str) -> Any:
        """Return a feature as dataset or mapped dataset."""

    def group(self) -> h5py.Group | None:
        """Return the group that holds the features; None if it is missing."""

    def close(self) -> None:
        """Close what was opened."""


class InternalBasin:
    """Features in a group of the same file."""

    def __init__(
        self,
        h5: h5py.File,
        definition: dict[str, Any],
        indices: Indices,
        permissions: Permissions | None = None,
        files: OpenedFiles | None = None,
    ) -> None:
        self._allowed = permissions, files
        self.h5 = h5
        self.definition = definition
        self.indices = indices
        self._found: dict[str, Any] = {}

    def group(self) -> h5py.Group | None:
        """Return the group that holds the features; None if it is missing."""
        paths = self.definition.get("paths") or ["basin_events"]
        found = self.h5.get(paths[0])
        return found if isinstance(found, h5py.Group) else None

    def features(self) -> list[str]:
        """Return the names of the features that can be had here."""
        stored = {name for name, _ in features_in(self.group())}
        listed = self.definition.get("features")
        return [feat for feat in (sorted(stored) if listed is None else listed) if feat in stored]

    def get(self, feat: str) -> Any:
        """Return a feature as dataset or mapped dataset."""
        group = self.group()
        if group is None:
            raise KeyError(feat)
        if feat not in self._found:
            dataset = checked(group[feat], *self._allowed)
            self._found[feat] = get_mapped_object(dataset, self.indices)
        return self._found[feat]

    def close(self) -> None:
        """Do nothing: the file belongs to the reader."""


class FileBasin:
    """Features of another file, with what that file has in its own basins."""

    def __init__(
        self,
        definition: dict[str, Any],
        indices: Indices,
        place: Path | None,
        open_nested: OpenNested,
        permissions: Permissions,
        identifier: str | None = None,
    ) -> None:
        self.definition = definition
        self.indices = indices
        self.permissions = permissions
        #: The file, if there is one where it may lie; else a place where it may not.
        self.path, self.refused = find_allowed_file(
            definition.get("paths") or [], place, permissions
        )
        self._open_nested = open_nested
        self._reader: _Reader | None = None
        self._opened = False
        self._referred: set[Path] | None = None
        self._place = place
        self._identifier = identifier
        self.problem: InputError | None = None

    @property
    def name(self) -> str:
        """Name of the basin, for messages."""
        return f"the basin '{str(self.definition.get('name'))[:80]}'"

    def _open(self) -> _Reader | None:
        """Return the reader of the other file; None if there is none, see `problem`."""
        if not self._opened:
            self._opened = True
            try:
                self._reader = self._connect()
            except InputError as err:
                # many a file needs nothing of those that it refers to
                self.problem = err.with_traceback(None)
        return self._reader

    def _connect(self) -> _Reader | None:
        if self.path is None and self.refused is not None:
            raise RefusedInputError(
                f"{self.name} is in {self.refused}, outside of the folder of the recording",
                path=self._place,
                hint=f"if you trust the recording, say --basin-root {_folder_of(self.refused)}",
            )
        if self.path is None:
            paths = ", ".join(self.definition.get("paths") or []) or "its path is not given"
            raise BasinNotFoundError(
                f"{self.name} is a file that cannot be found: {paths}",
                path=self._place,
                hint="bring that file back, or put it beside this one",
            )
        reader = self._open_nested(self.path, self.indices)
        if reader is not None:
            self._check_identifier(reader)
        return reader

    def _check_identifier(self, reader: _Reader) -> None:
        expected = self.definition.get("identifier")
        found = get_measurement_identifier(reader.h5)
        mapped = self.definition.get("mapping") is not None
        # a file that says of no measurement that it is of it cannot be of another one
        known = self.permissions.unidentified or not found or not self._identifier
        if not expected and not known and not is_made_of(self._identifier, str(found), mapped):
            reader.close()
            raise RefusedInputError(
                f"{self.name} is the file {self.path}, "
                f"but has no identifier that says it is of the measurement '{str(found)[:60]}'",
                path=self._place,
                hint=self.permissions.hint_for("unidentified"),
            )
        if expected and not identifier_fits(reader.h5, expected):
            reader.close()
            raise BasinIdentifierMismatchError(
                f"the basin with identifier '{found}' does not match the expected "
                f"identifier '{expected}'",
                path=self.path,
                hint=f"this file belongs to another measurement than {self._place}, "
                "which refers to it; restore the right one",
            )

    def group(self) -> h5py.Group | None:
        """Return the events of the other file; None if it is missing."""
        reader = self._open()
        return None if reader is None else reader.h5.get("events")

    @property
    def followed(self) -> list[str]:
        """What has been read of other files because of this basin, in words."""
        reader = self._reader
        if reader is None:
            return []
        return [f"a basin is in the file {self.path}", *reader.followed]

    @functools.cached_property
    def real_path(self) -> Path | None:
        """The file, without symbolic links on the way there."""
        return None if self.path is None else self.path.resolve()

    def referred(self) -> set[Path]:
        """Return the files that the other file refers to, at any depth."""
        if self._referred is None:
            reader = self._open()
            self._referred = set() if reader is None else reader.referred()
        return self._referred

    def files(self) -> list[Path]:
        """Return the other file, and all that it shows or refers to."""
        reader = self._open()
        if reader is not None:
            return reader.files()
        return [] if self.real_path is None else [self.real_path]

    def why_not(self, feat: str) -> InputError | None:
        """Return why a feature that may be in the other file cannot be read."""
        listed = self.definition.get("features")
        if listed is not None and feat not in listed:
            return None
        reader = self._open()
        return self.problem if reader is None else reader.why_not(feat)

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
        """Return a feature as dataset or mapped dataset."""
        reader = self._open()
        if reader is None:
            raise KeyError(feat)
        if self.indices is not None:
            try:
                check_mapping(self.indices, reader.stored_length, self.name)
            except IndexMappingError as err:
                err.path = err.path or (None if self._place is None else str(self._place))
                raise
        return reader.locate(feat)

    def close(self) -> None:
        """Close the other file."""
        if self._reader is not None:
            self._reader.close()
        self._reader = None
        self._opened = False
        self.problem = None


def make_basin(
    h5: h5py.File,
    definition: dict[str, Any],
    indices: Indices,
    place: Path | None,
    open_nested: OpenNested,
    permissions: Permissions,
    files: OpenedFiles,
) -> Basin:
    """Return the basin for a definition, with the rows that a reader shows.

    The map of the basin is looked up first: the row of event i in the basin
    is ``map[indices[i]]``.
    """
    name = definition.get("mapping")
    if name is not None:
        # some writers stored the map as a row of a two-dimensional dataset
        stored = h5.get(f"events/{name}")
        if not isinstance(stored, h5py.Dataset):
            raise InputError(
                f"there is no map '{str(name)[:80]}', by which a basin is read",
                path=h5.filename,
                hint="the file is damaged, or was changed by another program",
            )
        mapping = np.ravel(read_checked(checked(stored, permissions, files)))
        if mapping.dtype.kind not in "ui":
            raise InputError(
                f"the map '{name}' does not hold row numbers",
                path=h5.filename,
                hint="the file is damaged, or was changed by another program",
            )
        if indices is not None:
            check_mapping(indices, len(mapping), f"the map '{name}'")
            mapping = mapping[indices]
        indices = mapping
    if definition.get("type") == "internal":
        check_group(h5, (definition.get("paths") or ["basin_events"])[0], permissions, files)
        return InternalBasin(h5, definition, indices, permissions, files)
    own = get_measurement_identifier(h5)
    return FileBasin(definition, indices, place, open_nested, permissions, own)


def in_order_of_reference(basins: list[Basin]) -> list[Basin]:
    """Return basins in the same order, but each before those that its own file refers to.

    A file that was made from another one has the features of its own before
    those of the other, also where a third file refers to both of them.
    """
    ordered: list[Basin] = []
    for basin in basins:
        later = (i for i, other in enumerate(ordered) if _refers(basin, other))
        ordered.insert(next(later, len(ordered)), basin)
    return ordered


def _refers(one: Basin, other: Basin) -> bool:
    """Return whether the file of a basin refers to that of another, but not the other way."""
    if not isinstance(one, FileBasin) or not isinstance(other, FileBasin):
        return False
    return other.real_path in one.referred() and one.real_path not in other.referred()


def _folder_of(path: str) -> str:
    return path if is_on_server(path) else str(Path(path).resolve().parent)
