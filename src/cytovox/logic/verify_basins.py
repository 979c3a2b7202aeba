"""Whether what a file refers to is there, belongs to it, and has the rows it names."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ..read.basin_definitions import is_readable, read_definition
from ..read.basins import find_allowed_file
from ..read.dataset import read_checked
from ..read.identifier import get_measurement_identifier, identifier_fits, is_made_of
from ..read.members import member
from ..read.structure import examine
from ..run.findings import Finding
from .verify_file import FAILURES, FileToVerify, Findings, error, note, reason, warning

__all__ = ["check_basins"]

#: Larger maps are not read [rows].
_MAX_ROWS = 1 << 26

#: The row of each event in a basin; their number where there is no map.
_Rows = npt.NDArray[Any] | int | None


@dataclass(frozen=True, slots=True, eq=False)
class _Basin:
    where: str
    definition: dict[str, Any]
    rows: _Rows

    @property
    def paths(self) -> list[str]:
        """What it names: files, or a group."""
        return list(self.definition.get("paths") or [])


def check_basins(file: FileToVerify) -> Findings:
    """Check all basins of a file and their maps."""
    number = 0
    for key, dataset in file.members("basins"):
        where = f"basins/{key}"
        try:
            definition = read_definition(dataset, key)
        except FAILURES as err:
            yield error(where, f"its definition cannot be read: {reason(err)}")
            continue
        number += 1
        rows = yield from _read_rows(file, definition.get("mapping"), where)
        basin = _Basin(where, definition, rows)
        kind = definition.get("type")
        if not is_readable(definition):
            what = f"type {kind} and format {definition.get('format')}"
            yield note(where, f"is of the {what}, which is not looked at")
        elif kind == "internal":
            yield from _check_internal(file, basin)
        else:
            yield from _check_file(file, basin)
    file.counts["basins"] = number


def _read_rows(
    file: FileToVerify, name: str | None, where: str
) -> Generator[Finding, None, _Rows]:
    if name is None:
        return file.events
    stored = member(file.h5, f"events/{name}")
    if not isinstance(stored, h5py.Dataset) or stored.dtype.kind not in "ui":
        yield error(where, f"its map '{name}' is missing")
        return None
    if stored.size > _MAX_ROWS:
        yield warning(where, f"its map '{name}' is too large to be read")
        return None
    try:
        rows: npt.NDArray[Any] = np.ravel(read_checked(file.checked(stored)))
    except FAILURES as err:
        yield error(where, f"its map '{name}' cannot be read: {reason(err)}")
        return None
    if stored.ndim != 1:
        yield warning(f"events/{name}", "the map is stored as a table, which not all readers take")
    if rows.size and int(rows.min()) < 0:
        yield error(where, f"its map '{name}' names row {int(rows.min())}")
        return None
    return rows


def _check_internal(file: FileToVerify, basin: _Basin) -> Findings:
    place = (basin.paths or ["basin_events"])[0]
    group = member(file.h5, place)
    if not isinstance(group, h5py.Group):
        yield error(basin.where, f"the group '{place}' is missing")
        return
    for feature in basin.definition.get("features") or []:
        if isinstance(dataset := member(group, feature), h5py.Dataset):
            yield from _check_range(basin, len(dataset), f"{place}/{feature}")
        else:
            yield error(basin.where, f"'{feature}' is missing in '{place}'")


def _check_file(file: FileToVerify, basin: _Basin) -> Findings:
    place = file.path.absolute()
    allowed = file.permissions.within(place.parent, place.resolve().parent)
    path, refused = find_allowed_file(basin.paths, place, allowed)
    if refused is not None:
        yield note(basin.where, f"{refused} is outside of the folder and was not looked at")
    elif path is None:
        named = " or ".join(basin.paths) or "none is named"
        yield warning(basin.where, f"its file cannot be found: {named}")
    else:
        try:
            other = file.files.open(path, file.permissions)
            examine(other, file.permissions, file.files)
            own = get_measurement_identifier(file.h5)
            yield from _check_other(other.h5, path, basin, own)
        except FAILURES as err:
            yield error(basin.where, f"its file cannot be used: {err}")


def _check_other(other: h5py.File, path: Path, basin: _Basin, own: str | None) -> Findings:
    expected = basin.definition.get("identifier")
    found = get_measurement_identifier(other)
    if not expected and not is_made_of(own, found or "", not isinstance(basin.rows, int)):
        yield note(basin.where, f"no identifier shows whether {path} is the right file")
    elif expected and not identifier_fits(other, str(expected)):
        yield error(basin.where, f"{path} holds the measurement '{found}', not '{expected}'")
        return
    events = member(other, "events")
    for feature in basin.definition.get("features") or []:
        dataset = member(events, feature) if isinstance(events, h5py.Group) else None
        if isinstance(dataset, h5py.Dataset):
            yield from _check_range(basin, len(dataset), f"'{feature}' of {path}")
        elif "basins" not in other:
            yield error(basin.where, f"{path} has no '{feature}'")


def _check_range(basin: _Basin, length: int, what: str) -> Findings:
    rows = basin.rows
    if isinstance(rows, int):
        if rows != length:
            yield error(basin.where, f"{what} has {length} rows where there are {rows} events")
    elif rows is not None and rows.size and int(rows.max()) >= length:
        yield error(
            basin.where, f"its map names row {int(rows.max())}, but {what} has {length} rows"
        )
