"""Whether what a file refers to is there, belongs to it, and has the rows it names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ..errors import CytovoxError
from ..read.basin_definitions import is_readable
from ..read.basins import find_allowed_file
from ..read.dataset import checked, read_checked, read_lines
from ..read.identifier import get_measurement_identifier, identifier_fits, is_made_of
from ..read.opening import OpenedFiles
from ..read.permissions import Permissions
from ..read.structure import examine
from ..run.findings import Verification

__all__ = ["check_basins"]

#: Larger maps are not read [rows].
_MAX_ROWS = 1 << 26
#: Longer definitions are not read [characters].
_MAX_TEXT = 1 << 24


def check_basins(
    h5: h5py.File,
    path: Path,
    files: OpenedFiles,
    permissions: Permissions,
    found: Verification,
    count: int | None,
) -> None:
    """Check all basins of a file and their maps."""
    number = 0
    for key, definition in _definitions(h5, permissions, found):
        number += 1
        where = f"basins/{key}"
        rows = _rows_wanted(h5, permissions, definition, where, found, count)
        kind = definition.get("type")
        if not is_readable(definition):
            what = f"type {kind} and format {definition.get('format')}"
            found.note(where, f"is of the {what}, which is not looked at")
        elif kind == "internal":
            _check_internal(h5, definition, where, found, rows)
        else:
            own = get_measurement_identifier(h5)
            _check_file(path, files, permissions, definition, where, found, rows, own)
    found.counts["basins"] = number


def _definitions(
    h5: h5py.File, permissions: Permissions, found: Verification
) -> Iterator[tuple[str, dict[str, Any]]]:
    group = h5.get("basins") if isinstance(h5.get("basins", getlink=True), h5py.HardLink) else None
    if not isinstance(group, h5py.Group):
        return
    for key in group:
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            continue
        try:
            lines = read_lines(checked(group[key], permissions), _MAX_TEXT)
            definition = json.loads("\n".join(lines))
        except CytovoxError as err:
            found.error(f"basins/{key}", f"its definition cannot be read: {err.what}")
            continue
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as err:
            found.error(f"basins/{key}", f"its definition cannot be read: {_short(err)}")
            continue
        if isinstance(definition, dict):
            yield key, definition
        else:
            found.error(f"basins/{key}", "its definition is no table of names and values")


def _rows_wanted(
    h5: h5py.File,
    permissions: Permissions,
    definition: dict[str, Any],
    where: str,
    found: Verification,
    count: int | None,
) -> npt.NDArray[Any] | int | None:
    """Return the rows that events have in a basin; their number where there is no map."""
    name = definition.get("mapping")
    if name is None or name == "same":
        return count
    stored = h5.get(f"events/{name}") if isinstance(name, str) else None
    if not isinstance(stored, h5py.Dataset) or stored.dtype.kind not in "ui":
        found.error(where, f"its map '{name}' is missing")
        return None
    if stored.size > _MAX_ROWS:
        found.warn(where, f"its map '{name}' is too large to be read")
        return None
    try:
        rows: npt.NDArray[Any] = np.ravel(read_checked(checked(stored, permissions)))
    except CytovoxError as err:
        found.error(where, f"its map '{name}' cannot be read: {err.what}")
        return None
    except (OSError, RuntimeError, ValueError) as err:
        found.error(where, f"its map '{name}' cannot be read: {_short(err)}")
        return None
    if stored.ndim != 1:
        found.warn(f"events/{name}", "the map is stored as a table, which not all readers take")
    if rows.size and int(rows.min()) < 0:
        found.error(where, f"its map '{name}' names row {int(rows.min())}")
        return None
    return rows


def _check_internal(
    h5: h5py.File,
    definition: dict[str, Any],
    where: str,
    found: Verification,
    rows: npt.NDArray[Any] | int | None,
) -> None:
    paths = definition.get("paths") or ["basin_events"]
    group = h5.get(str(paths[0]))
    if not isinstance(group, h5py.Group):
        found.error(where, f"the group '{paths[0]}' is missing")
        return
    for feature in definition.get("features") or []:
        if feature not in group:
            found.error(where, f"'{feature}' is missing in '{paths[0]}'")
        else:
            _check_range(rows, len(group[feature]), f"{paths[0]}/{feature}", where, found)


def _check_file(
    path: Path,
    files: OpenedFiles,
    permissions: Permissions,
    definition: dict[str, Any],
    where: str,
    found: Verification,
    rows: npt.NDArray[Any] | int | None,
    own: str | None,
) -> None:
    paths = [str(text) for text in definition.get("paths") or []]
    place = path.absolute()
    file, refused = find_allowed_file(
        paths, place, permissions.within(place.parent, place.resolve().parent)
    )
    if refused is not None:
        found.note(where, f"{refused} is outside of the folder and was not looked at")
        return
    if file is None:
        found.warn(where, f"its file cannot be found: {' or '.join(paths) or 'none is named'}")
        return
    try:
        other = files.open(file, permissions)
        examine(other, permissions, files)
        _check_other(other.h5, file, definition, where, found, rows, own)
    except CytovoxError as err:
        found.error(where, f"its file cannot be used: {err}")


def _check_other(
    other: h5py.File,
    file: Path,
    definition: dict[str, Any],
    where: str,
    found: Verification,
    rows: npt.NDArray[Any] | int | None,
    own: str | None,
) -> None:
    expected = definition.get("identifier")
    stated = get_measurement_identifier(other)
    if not expected and not is_made_of(own, stated or "", not isinstance(rows, int)):
        found.note(where, f"no identifier tells whether {file} is the right file")
    elif expected and not identifier_fits(other, str(expected)):
        found.error(where, f"{file} holds the measurement '{stated}', not '{expected}'")
        return
    events = other.get("events")
    stored = set(events) if isinstance(events, h5py.Group) else set()
    for feature in definition.get("features") or []:
        if feature in stored and isinstance(events[feature], h5py.Dataset):
            _check_range(rows, len(events[feature]), f"'{feature}' of {file}", where, found)
        elif "basins" not in other:
            found.error(where, f"{file} has no '{feature}'")


def _check_range(
    rows: npt.NDArray[Any] | int | None, length: int, what: str, where: str, found: Verification
) -> None:
    if isinstance(rows, int):
        if rows != length:
            found.error(where, f"{what} has {length} rows where there are {rows} events")
    elif rows is not None and rows.size and int(rows.max()) >= length:
        found.error(where, f"its map names row {int(rows.max())}, but {what} has {length} rows")


def _short(err: BaseException) -> str:
    return " ".join(str(err).split())[:200]
