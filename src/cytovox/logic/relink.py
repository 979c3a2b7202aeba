"""Results whose input has moved: their basins get the new paths."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from ..errors import InputError, InputNotFoundError, UsageError
from ..read import HDF5Data, Permissions, get_measurement_identifier
from ..read.basin_definitions import read_definition
from ..read.const import MAX_TEXT_BYTES
from ..read.dataset import checked, read_checked, read_lines
from ..read.identifier import identifier_fits, is_made_of
from ..read.members import member, members
from ..write import HDF5Writer
from .frame_data import paths_to
from .record import read_record, recorded_input
from .run_folder import new_output

__all__ = ["Relinked", "relink_result"]


@dataclass(frozen=True, slots=True)
class Relinked:
    """What has become of one basin."""

    name: str
    #: The file that it refers to now; None if it was left as it is.
    path: Path | None
    #: Why it was left.
    why: str = ""
    #: Whether it can be read now.
    found: bool = True


def relink_result(
    path: Path, target: Path, *, permissions: Permissions | None = None
) -> list[Relinked]:
    """Let a result refer to where its input is now, a file or one of its name in a folder.

    The new paths come first; the old ones are kept after them. Nothing else of
    the file is changed.
    """
    path = path.resolve()  # a link stays one
    if not target.exists():
        raise InputNotFoundError("there is no such file or folder", path=target)
    done: list[Relinked] = []
    changed: dict[str, dict[str, Any]] = {}
    with HDF5Data(path, permissions=permissions) as data:
        events = len(data)
        problems: list[InputError] = []
        for key, definition in _file_basins(data):
            name = str(definition.get("name"))
            try:
                found = _new_place(data, definition, target)
            except InputError as err:
                problems.append(err)
                now, _ = data.find_basin(definition.get("paths") or [])
                done.append(Relinked(name, None, str(err), now is not None))
            else:
                changed[key] = _with_paths(data, key, paths_to(found, path.parent))
                done.append(Relinked(name, found))
    if not done:
        raise UsageError(
            "it refers to no other file", path=path, hint="there is nothing to relink"
        )
    if not changed:
        raise problems[0]
    with new_output(path, [path], events, force=True, permissions=permissions) as temporary:
        shutil.copyfile(path, temporary)
        with HDF5Writer(temporary) as writer:
            for key, new in changed.items():
                writer.replace_basin(key, new)
        shutil.copymode(path, temporary)
    return done


def _file_basins(data: HDF5Data) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, dataset in members(member(data.h5, "basins", {})):
        definition = read_definition(checked(dataset, data.permissions), key)
        if definition.get("type") == "file":
            yield key, definition


def _new_place(data: HDF5Data, definition: dict[str, Any], target: Path) -> Path:
    """Return where the file of a basin is now, if that is the same measurement."""
    if target.is_dir():
        names = [PureWindowsPath(text).name for text in definition.get("paths") or []]
        found = next((target / name for name in names if name and (target / name).is_file()), None)
        if found is None:
            what = f"the folder holds no file named {' or '.join(dict.fromkeys(names))}"
            raise InputNotFoundError(what, path=target, hint="name the file itself")
    else:
        found = target
    found = found.resolve()
    if found == data.place:
        raise InputError("a result cannot refer to itself", path=found, hint="name its input")
    may = data.permissions.within(found.parent)
    with HDF5Data(found, permissions=may, opened=data.opened) as there:
        _check_identifier(data, definition, there)
        _check_frames(data, definition, there)
        lacking = set(definition.get("features") or ()).difference(there.keys())
        if lacking:
            what = f"the file has no {', '.join(sorted(lacking))}, which the result refers to"
            raise InputError(what, path=found, hint="give the file that the result was made of")
    return found


def _check_identifier(data: HDF5Data, definition: dict[str, Any], there: HDF5Data) -> None:
    expected = definition.get("identifier")
    found = get_measurement_identifier(there.h5)
    if expected:
        fits = identifier_fits(there.h5, expected)
    else:
        expected = get_measurement_identifier(data.h5)
        mapped = definition.get("mapping") is not None
        fits = found is not None and is_made_of(expected, found, mapped)
    if not fits:
        raise InputError(
            f"the file is of the measurement '{found}', the result refers to '{expected}'",
            path=there.place,
            hint="give the file that the result was made of",
        )


def _check_frames(data: HDF5Data, definition: dict[str, Any], there: HDF5Data) -> None:
    """Make sure that a file has all rows of a basin, and as many as the run has read."""
    name = definition.get("mapping")
    needed = len(data)
    if name is not None:
        stored = member(data.h5, f"events/{name}")
        if stored is None:
            raise InputError(f"there is no map '{name}'", path=data.place)
        rows = np.ravel(read_checked(data.checked(stored)))
        needed = int(rows.max()) + 1 if rows.size else 0
    fits = len(there) >= needed if name is not None else len(there) == needed
    recorded = _recorded_frames(data, definition)
    if not fits or (recorded is not None and len(there) != recorded):
        number = recorded if recorded is not None else needed
        raise InputError(
            f"the file has {len(there)} frames, the result refers to one of {number}",
            path=there.place,
            hint="give the file that the result was made of",
        )


def _recorded_frames(data: HDF5Data, definition: dict[str, Any]) -> int | None:
    """Return how many frames the run has read, if this basin is what it has read."""
    read = read_record(data).get("read")
    is_input = recorded_input(data) in (definition.get("paths") or [])
    if not is_input or not isinstance(read, dict) or read.get("growing"):
        return None
    frames = read.get("frames")
    return frames if isinstance(frames, int) else None


def _with_paths(data: HDF5Data, key: str, new: list[str]) -> dict[str, Any]:
    """Return the definition of a basin as it is stored, with paths put before the others."""
    lines = read_lines(checked(data.h5["basins"][key], data.permissions), MAX_TEXT_BYTES["basins"])
    definition: dict[str, Any] = json.loads("\n".join(lines))
    definition["paths"] = list(dict.fromkeys([*new, *(definition.get("paths") or [])]))
    return definition
