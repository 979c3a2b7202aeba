"""Basins: features of a recording that are stored elsewhere.

A file may keep features in a group of its own (internal basin) or refer to
those of another file (file basin), row by row or through a map that is itself
a dataset of the referring file.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ..errors import BasinIdentifierMismatchError, BasinNotFoundError, InputError
from .basin_definitions import (
    extract_basin_dicts,
    find_allowed_file,
    is_readable,
    sort_basin_dicts,
)
from .dataset import read_checked
from .identifier import get_measurement_identifier, identifier_fits, is_made_of
from .mapped import check_mapping, get_mapped_object
from .members import member, members
from .permissions import RefusedInputError, is_on_server
from .recording_file import RecordingFile
from .structure import check_group, features_in

__all__ = ["MAX_BASIN_DEPTH", "Basins"]

#: So many files may refer to each other in a row.
MAX_BASIN_DEPTH = 8

Indices = npt.NDArray[Any] | None
#: Makes an `HDF5Data` of another file and of some rows; None where files refer in a circle.
OpenNested = Callable[[Path, Indices], Any]


class _InternalBasin:
    """Features in a group of the same file."""

    def __init__(
        self, recording: RecordingFile, definition: dict[str, Any], indices: Indices
    ) -> None:
        self._recording = recording
        self.definition = definition
        self.indices = indices
        self._found: dict[str, Any] = {}
        self._place = (definition.get("paths") or ["basin_events"])[0]
        check_group(recording.h5, self._place, recording.permissions, recording.opened)

    def group(self) -> h5py.Group | None:
        """Return the group that holds the features; None if it is missing."""
        found = member(self._recording.h5, self._place)
        return found if isinstance(found, h5py.Group) else None

    def features(self) -> list[str]:
        """Return the names of the features that can be had here."""
        return _listed(self.definition, [name for name, _ in features_in(self.group())])

    def get(self, feat: str) -> Any:
        """Return a feature as dataset or mapped dataset."""
        if feat not in self._found:
            dataset = self._recording.checked(self._recording.h5[self._place][feat])
            self._found[feat] = get_mapped_object(dataset, self.indices)
        return self._found[feat]


class _FileBasin:
    """Features of another file, with what that file has in its own basins."""

    def __init__(
        self,
        recording: RecordingFile,
        definition: dict[str, Any],
        indices: Indices,
        open_nested: OpenNested,
    ) -> None:
        self._recording = recording
        self.definition = definition
        self.indices = indices
        self._permissions = recording.permissions
        self._place = recording.place and recording.place.absolute()
        #: The file, if there is one where it may be; else a place where it may not.
        self.path, self._refused = find_allowed_file(
            definition.get("paths") or [], self._place, recording.permissions
        )
        self._open_nested = open_nested
        self._reader: Any = None
        self._opened = False
        self._name = f"the basin '{str(definition.get('name'))[:80]}'"
        self.problem: InputError | None = None

    @property
    def reader(self) -> Any:
        """The `HDF5Data` of the other file; None if there is none, see `problem`."""
        if not self._opened:
            self._opened = True
            try:
                self._reader = self._connect()
            except InputError as err:
                # many files need nothing of those that they refer to
                self.problem = err.with_traceback(None)
        return self._reader

    def _connect(self) -> Any:
        if self.path is None and self._refused is not None:
            there = self._refused
            folder = there if is_on_server(there) else Path(there).resolve().parent
            raise RefusedInputError(
                f"{self._name} is in {there}, outside of the folder of the recording",
                path=self._place,
                hint=f"if you trust the recording, say --basin-root {folder}",
            )
        if self.path is None:
            paths = ", ".join(self.definition.get("paths") or []) or "its path is not given"
            raise BasinNotFoundError(
                f"{self._name} is a file that cannot be found: {paths}",
                path=self._place,
                hint="bring that file back, or put it beside this one",
            )
        reader = self._open_nested(self.path, self.indices)
        if reader is not None:
            try:
                self._check_identifier(reader.h5)
            except InputError:
                reader.close()
                raise
        return reader

    def _check_identifier(self, h5: h5py.File) -> None:
        expected = self.definition.get("identifier")
        own, found = get_measurement_identifier(self._recording.h5), get_measurement_identifier(h5)
        mapped = self.definition.get("mapping") is not None
        # a file that names no measurement cannot be of another one
        known = self._permissions.unidentified or not found or not own
        if not expected and not known and not is_made_of(own, str(found), mapped):
            raise RefusedInputError(
                f"{self._name} is the file {self.path}, "
                f"but has no identifier that says it is of the measurement '{str(found)[:60]}'",
                path=self._place,
                hint=self._permissions.hint_for("unidentified"),
            )
        if expected and not identifier_fits(h5, expected):
            raise BasinIdentifierMismatchError(
                f"the basin with identifier '{found}' does not match the expected "
                f"identifier '{expected}'",
                path=self.path,
                hint=f"this file belongs to another measurement than {self._place}, "
                "which refers to it; restore the right one",
            )

    def group(self) -> h5py.Group | None:
        """Return the events of the other file; None if it is missing."""
        return None if self.reader is None else member(self.reader.h5, "events")

    @property
    def followed(self) -> list[str]:
        """What has been read of other files because of this basin, in words."""
        if self._reader is None:
            return []
        return [f"a basin is in the file {self.path}", *self._reader.followed]

    @functools.cached_property
    def real_path(self) -> Path | None:
        """The file, without symbolic links on the way there."""
        return None if self.path is None else self.path.resolve()

    @functools.cached_property
    def referred(self) -> set[Path]:
        """The files that the other file refers to, at any depth."""
        return set() if self.reader is None else self.reader.referred()

    def files(self) -> list[Path]:
        """Return the other file, and all that it shows or refers to."""
        if self.reader is not None:
            found: list[Path] = self.reader.files()
            return found
        return [] if self.real_path is None else [self.real_path]

    def why_not(self, feat: str) -> InputError | None:
        """Return why a feature that may be in the other file cannot be read."""
        listed = self.definition.get("features")
        if listed is not None and feat not in listed:
            return None
        return self.problem if self.reader is None else self.reader.why_not(feat)

    def features(self) -> list[str]:
        """Return the names of the features that can be had here."""
        return [] if self.reader is None else _listed(self.definition, self.reader.offered())

    def get(self, feat: str) -> Any:
        """Return a feature as dataset or mapped dataset."""
        if self.indices is not None:
            check_mapping(self.indices, self.reader.stored_length, self._name, self._place)
        return self.reader.locate(feat)

    def close(self) -> None:
        """Close the other file."""
        if self._reader is not None:
            self._reader.close()


def _listed(definition: dict[str, Any], offered: list[str]) -> list[str]:
    """Return those features of a basin that its definition lists."""
    listed, known = definition.get("features"), set(offered)
    return offered if listed is None else [feat for feat in listed if feat in known]


_Basin = _InternalBasin | _FileBasin


class FeatureNotFoundError(InputError, KeyError):
    """A recording does not have this feature."""


class FeatureInMissingBasinError(BasinNotFoundError, KeyError):
    """A recording has this feature only in a file that cannot be found."""


class Basins:
    """The basins of a recording in the order of look-up; their files are opened when needed."""

    def __init__(
        self,
        recording: RecordingFile,
        lock: threading.RLock,
        given: list[dict[str, Any]] | None,
        open_nested: OpenNested,
    ) -> None:
        self._recording = recording
        self._lock = lock
        self._given = given
        self._open_nested = open_nested
        self._found: list[_Basin] | None = None

    def __iter__(self) -> Iterator[_Basin]:
        with self._lock:
            if self._found is None:
                given = self._definitions() if self._given is None else self._given
                self._found = _in_order_of_reference([*map(self._make, sort_basin_dicts(given))])
            return iter(self._found)

    @property
    def _files(self) -> list[_FileBasin]:
        return [basin for basin in self if isinstance(basin, _FileBasin)]

    @property
    def _files_so_far(self) -> list[_FileBasin]:
        return [basin for basin in self._found or () if isinstance(basin, _FileBasin)]

    def _definitions(self, check: bool = True) -> list[dict[str, Any]]:
        recording = self._recording
        return extract_basin_dicts(recording.h5, check, permissions=recording.permissions)

    def _make(self, definition: dict[str, Any]) -> _Basin:
        rows = self._recording.mapping_indices
        if (name := definition.get("mapping")) is not None:
            rows = self._rows_of_map(name, rows)
        if definition.get("type") == "internal":
            return _InternalBasin(self._recording, definition, rows)
        return _FileBasin(self._recording, definition, rows, self._open_nested)

    def _rows_of_map(self, name: str, rows: Indices) -> npt.NDArray[Any]:
        """Return the row of the basin for each row that is shown: ``map[rows[i]]``."""
        recording = self._recording
        # some writers stored the map as a row of a two-dimensional dataset
        stored = member(recording.h5, f"events/{name}")
        hint = "the file is damaged, or was changed by another program"
        if not isinstance(stored, h5py.Dataset):
            what = f"there is no map '{str(name)[:80]}', by which a basin is read"
            raise InputError(what, path=recording.h5.filename, hint=hint)
        mapping: npt.NDArray[Any] = np.ravel(read_checked(recording.checked(stored)))
        if mapping.dtype.kind not in "ui":
            what = f"the map '{name}' does not hold row numbers"
            raise InputError(what, path=recording.h5.filename, hint=hint)
        if rows is None:
            return mapping
        check_mapping(rows, len(mapping), f"the map '{name}'", recording.place)
        taken: npt.NDArray[Any] = mapping[rows]
        return taken

    def locate(self, feat: str) -> Any:
        """Return a feature of the first basin that has it; None if there is none."""
        basin = next((one for one in self if feat in one.features()), None)
        if basin is None:
            return None
        found = basin.get(feat)
        if len(found) != len(self._recording):
            raise InputError(
                f"'{feat}' of the basin '{str(basin.definition.get('name'))[:80]}' has "
                f"{len(found)} rows where there are {len(self._recording)} events",
                path=self._recording.place,
                hint="one of the two files was changed or is damaged",
            )
        return found

    def data_of(self, index: int) -> tuple[h5py.Group | None, list[str], Indices]:
        """Return group, names of the features in it, and rows of a basin."""
        basin = list(self)[index]
        here = None if self._recording.place is None else self._recording.place.resolve()
        if isinstance(basin, _FileBasin) and here is not None and basin.real_path == here:
            group = member(self._recording.h5, "events")  # it refers to itself
            return group, [name for name, _ in members(group or {})], basin.indices
        group = basin.group()
        # a file also offers what it refers to itself
        names = [] if group is None else [n for n in basin.features() if n in group]
        return group, names, basin.indices

    def length(self) -> int | None:
        """Return the number of rows of the first feature; None if there is none."""
        found = (basin.get(feat) for basin in self for feat in basin.features())
        return next(map(len, found), None)

    def referred(self) -> set[Path]:
        """Return the files that are referred to, at any depth."""
        files = self._files
        found = {basin.real_path for basin in files if basin.real_path is not None}
        return found.union(*(basin.referred for basin in files))

    def files(self) -> set[Path]:
        """Return the files that are referred to, and all that those show or refer to."""
        return {path for basin in self._files for path in basin.files()}

    @property
    def followed(self) -> list[str]:
        """What has been read of other files so far, in words."""
        return [text for basin in self._files_so_far for text in basin.followed]

    def unread(self, wanted: set[str]) -> list[str]:
        """Return which basins are left out that may have one of some features, in words."""
        found = []
        for basin in self._files:
            listed = basin.definition.get("features")
            if basin.problem is not None and (listed is None or wanted.intersection(listed)):
                found.append(f"a basin is not read: {basin.problem}")
        return found

    def find(self, paths: list[str]) -> tuple[Path | None, bool]:
        """Return the file that a basin would be read from, and whether it may be."""
        recording = self._recording
        path, refused = find_allowed_file(paths, recording.place, recording.permissions)
        if refused is not None and not is_on_server(refused):
            path = Path(refused)
        return path, refused is None

    def why_not(self, feat: str) -> InputError | None:
        """Return why a feature that may be in another file cannot be read."""
        return next(filter(None, (basin.why_not(feat) for basin in self._files)), None)

    def missing(self, feat: str) -> InputError:
        """Return the error that says where a feature is not, and where it may be."""
        problem = self.why_not(feat)
        if problem is None:
            elsewhere, hint = self._left_out(feat)
            what = f"there is no feature '{feat}'{elsewhere}"
            return FeatureNotFoundError(what, path=self._recording.place, hint=hint)
        if isinstance(problem, BasinNotFoundError):
            what = f"feature '{feat}' not found, and {problem.what}"
            return FeatureInMissingBasinError(what, path=problem.path, hint=problem.hint)
        return problem

    def _left_out(self, feat: str) -> tuple[str, str | None]:
        """Return where a feature may be that is never read, in words, and what to do."""
        for definition in self._definitions(check=False):
            if is_readable(definition) or feat not in (definition.get("features") or [feat]):
                continue
            kind, form = (definition.get(name) for name in ("type", "format"))
            if kind != "remote":
                return (
                    f"; basins of type {kind!a:.40} and format {form!a:.40} are not read",
                    "use the recording that this was made of",
                )
            places = definition.get("urls") or definition.get("paths") or []
            text = ", ".join(str(place)[:200] for place in places[:3])
            return (
                f"; nothing is read over the network, such as {text}",
                "download that file, and put it beside this one",
            )
        return "", None

    def close(self) -> None:
        """Close the files that were opened."""
        for basin in self._files_so_far:
            basin.close()


def _in_order_of_reference(basins: list[_Basin]) -> list[_Basin]:
    """Return basins in the same order, but each before those that its own file refers to.

    A file that was made from another one has the features of its own before
    those of the other, also where a third file refers to both of them.
    """
    ordered: list[_Basin] = []
    for basin in basins:
        later = (i for i, other in enumerate(ordered) if _refers(basin, other))
        ordered.insert(next(later, len(ordered)), basin)
    return ordered


def _refers(one: _Basin, other: _Basin) -> bool:
    """Return whether the file of a basin refers to that of another, but not the other way."""
    if not isinstance(one, _FileBasin) or not isinstance(other, _FileBasin):
        return False
    return other.real_path in one.referred and one.real_path not in other.referred
