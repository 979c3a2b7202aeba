"""Basins: features of a recording that are stored elsewhere.

A file may keep features in a group of its own (internal basin) or refer to
those of another file (file basin), row by row or through a map that is itself
a dataset of the referring file.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ..errors import BasinNotFoundError, InputError
from .basin_definitions import (
    extract_basin_dicts,
    find_allowed_file,
    find_basin_file,
    is_basin_map,
    is_on_server,
    is_readable,
    sort_basin_dicts,
)
from .dataset import checked, read_checked
from .file_basin import FileBasin, Indices, OpenNested
from .identifier import get_measurement_identifier
from .mapped import check_mapping, get_mapped_object
from .members import member, members
from .opening import OpenedFiles
from .permissions import Permissions
from .recording_file import RecordingFile
from .structure import check_group, features_in

__all__ = [
    "MAX_BASIN_DEPTH",
    "Basin",
    "Basins",
    "FeatureInMissingBasinError",
    "FeatureNotFoundError",
    "InternalBasin",
    "extract_basin_dicts",
    "find_allowed_file",
    "find_basin_file",
    "is_basin_map",
]

#: So many files may refer to each other in a row.
MAX_BASIN_DEPTH = 8


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
        found = member(self.h5, paths[0])
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


Basin = InternalBasin | FileBasin


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
        self._found: list[Basin] | None = None

    def __iter__(self) -> Iterator[Basin]:
        with self._lock:
            if self._found is None:
                given = self._definitions() if self._given is None else self._given
                self._found = _in_order_of_reference([*map(self._make, sort_basin_dicts(given))])
            return iter(self._found)

    @property
    def _files(self) -> list[FileBasin]:
        return [basin for basin in self if isinstance(basin, FileBasin)]

    @property
    def _place(self) -> Path | None:
        return None if self._recording.place is None else self._recording.place.absolute()

    def _definitions(self, check: bool = True) -> list[dict[str, Any]]:
        recording = self._recording
        return extract_basin_dicts(recording.h5, check, permissions=recording.permissions)

    def _make(self, definition: dict[str, Any]) -> Basin:
        recording = self._recording
        may, files = recording.permissions, recording.opened
        rows = recording.mapping_indices
        if (name := definition.get("mapping")) is not None:
            rows = self._rows_of_map(name, rows)
        if definition.get("type") == "internal":
            group = (definition.get("paths") or ["basin_events"])[0]
            check_group(recording.h5, group, may, files)
            return InternalBasin(recording.h5, definition, rows, may, files)
        own = get_measurement_identifier(recording.h5)
        return FileBasin(definition, rows, self._place, self._open_nested, may, own)

    def _rows_of_map(self, name: str, rows: Indices) -> npt.NDArray[Any]:
        """Return the row of the basin for each row that is shown: ``map[rows[i]]``."""
        recording = self._recording
        # some writers stored the map as a row of a two-dimensional dataset
        stored = member(recording.h5, f"events/{name}")
        hint = "the file is damaged, or was changed by another program"
        if not isinstance(stored, h5py.Dataset):
            what = f"there is no map '{str(name)[:80]}', by which a basin is read"
            raise InputError(what, path=recording.h5.filename, hint=hint)
        dataset = checked(stored, recording.permissions, recording.opened)
        mapping: npt.NDArray[Any] = np.ravel(read_checked(dataset))
        if mapping.dtype.kind not in "ui":
            what = f"the map '{name}' does not hold row numbers"
            raise InputError(what, path=recording.h5.filename, hint=hint)
        if rows is None:
            return mapping
        check_mapping(rows, len(mapping), f"the map '{name}'")
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
        if isinstance(basin, FileBasin) and here is not None and basin.real_path == here:
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
        return found.union(*(basin.referred() for basin in files))

    def files(self) -> set[Path]:
        """Return the files that are referred to, and all that those show or refer to."""
        return {path for basin in self._files for path in basin.files()}

    @property
    def followed(self) -> list[str]:
        """What has been read of other files so far, in words."""
        return [
            text
            for basin in self._found or ()
            if isinstance(basin, FileBasin)
            for text in basin.followed
        ]

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
        path, refused = find_allowed_file(paths, self._place, self._recording.permissions)
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
            if definition.get("type") == "remote":
                places = definition.get("urls") or definition.get("paths") or []
                text = ", ".join(str(place)[:200] for place in places[:3])
                return (
                    f"; nothing is read over the network, such as {text}",
                    "download that file, and put it beside this one",
                )
            kind = (
                f"type {definition.get('type')!a:.40} and format {definition.get('format')!a:.40}"
            )
            return f"; basins of {kind} are not read", "use the recording that this was made of"
        return "", None

    def close(self) -> None:
        """Close the files that were opened."""
        for basin in self._found or ():
            basin.close()


def _in_order_of_reference(basins: list[Basin]) -> list[Basin]:
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
