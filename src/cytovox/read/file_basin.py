"""A basin in another file: features of a recording that are stored there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy.typing as npt

from ..errors import BasinIdentifierMismatchError, BasinNotFoundError, InputError
from .basin_definitions import find_allowed_file, is_on_server
from .identifier import get_measurement_identifier, identifier_fits, is_made_of
from .mapped import IndexMappingError, check_mapping
from .members import member
from .permissions import Permissions, RefusedInputError

__all__ = ["FileBasin", "Indices", "OpenNested"]

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
        #: The file, if there is one where it may be; else a place where it may not.
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
                # many files need nothing of those that they refer to
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
        # a file that names no measurement cannot be of another one
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
        return None if reader is None else member(reader.h5, "events")

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


def _folder_of(path: str) -> str:
    return path if is_on_server(path) else str(Path(path).resolve().parent)
