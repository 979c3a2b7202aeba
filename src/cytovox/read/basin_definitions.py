"""Definitions of basins: what a recording says about features kept elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import Any

import h5py

from ..errors import InputError
from .const import MAX_TEXT_BYTES
from .dataset import CheckedDataset, checked, read_lines
from .members import member, members
from .permissions import Permissions, is_on_server

__all__ = [
    "extract_basin_dicts",
    "files_there",
    "find_allowed_file",
    "is_basin_map",
    "is_readable",
    "read_definition",
    "sort_basin_dicts",
]

#: Formats in which basins of each type are read; others are left out.
_FORMATS = {"file": ("hdf5",), "internal": ("h5dataset", "hdf5")}

_TEXTS = ("type", "mapping", "identifier")
_LISTS = ("paths", "features")


def is_basin_map(feat: str) -> bool:
    """Return whether a feature is the map of a basin."""
    return feat.startswith("basinmap")


def extract_basin_dicts(
    h5: h5py.Group, check: bool = True, *, permissions: Permissions | None = None
) -> list[dict[str, Any]]:
    """Return the definitions of all basins of a file, in stored order.

    Parameters
    ----------
    h5
        Opened file.
    check
        Whether to leave out what cannot be used here: other types than
        ``internal`` and ``file``, other formats, and basins whose map is missing.
    permissions
        What the file may do; what is allowed in this process if None.

    Raises
    ------
    InputError
        If a definition is not valid JSON, or has values that a basin cannot have.
    """
    found = members(member(h5, "basins", {}))
    basins = [read_definition(checked(dataset, permissions), key) for key, dataset in found]
    if not check:
        return basins
    maps = member(h5, "events", {})
    names = [basin.get("mapping") for basin in basins]
    return [
        basin
        for basin, name in zip(basins, names, strict=True)
        if is_readable(basin) and (name is None or name in maps)
    ]


def read_definition(dataset: CheckedDataset, key: str) -> dict[str, Any]:
    """Return the definition of one basin, whatever its type; see `extract_basin_dicts`."""
    text = "\n".join(read_lines(dataset, MAX_TEXT_BYTES["basins"]))
    try:
        definition = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise InputError(
            f"the definition of basin '{key}' is not valid JSON",
            path=dataset.file.filename,
            hint="the file is damaged",
        ) from err
    wrong = _what_is_wrong(definition) if isinstance(definition, dict) else "it is not an object"
    if wrong:
        raise InputError(
            f"the definition of basin '{key}' cannot be used: {wrong}",
            path=dataset.file.filename,
            hint="the file is damaged, or its basins are of a kind that is not read",
        )
    for name, value in definition.items():
        if name in _TEXTS or name in _LISTS and value != []:
            definition[name] = value or None  # what is empty may be of any type
    if definition.get("mapping") == "same":  # so others say that there is no map
        definition["mapping"] = None
    found: dict[str, Any] = definition
    return found


def _what_is_wrong(definition: dict[str, Any]) -> str:
    """Describe values of a wrong type, and names that are paths."""
    for name in _TEXTS:
        if not isinstance(definition.get(name) or "", str):
            return f"its {name} is not a text"
    for name in _LISTS:
        texts = definition.get(name) or []
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            return f"its {name} are not a list of texts"
    if "/" in (definition.get("mapping") or ""):
        return "its mapping is not the name of a map"
    if any("/" in feature for feature in definition.get("features") or []):
        return "its features are not names"
    groups = definition.get("paths") or [] if definition.get("type") == "internal" else []
    if any(group in ("", ".") or "/" in group for group in groups):
        return "its group is not one of the file"
    return ""


def sort_basin_dicts(basins: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return basin definitions in the order of look-up: internal first, then by name."""
    return sorted(basins, key=lambda b: (b.get("type") != "internal", str(b.get("name"))))


def files_there(
    paths: list[str], folder: Path | None, beside: str | None = None
) -> Iterator[Path]:
    """Yield the files that are there, as their paths say or relative to a folder.

    Paths of Windows are understood everywhere; other computers are not asked.
    If the name of the referring file is given as `beside`, paths are also
    relative to the folder that it is in after all symbolic links. If no path
    leads to a file, those of the same names in both folders are taken, but not
    itself. The folder of a file that is not on a disk is None.
    """
    folders = [] if folder is None else [folder]
    itself = {beside}
    if folder is not None and beside is not None:
        real = (folder / beside).resolve()
        folders, itself = list(dict.fromkeys((folder, real.parent))), {beside, real.name}
    places = [
        local / form
        for local in folders or [Path()]
        for text in paths
        # merely to look would send the user's name and a proof of the password there
        if not is_on_server(text) or (folder is not None and Path(text).drive == folder.drive)
        for form in dict.fromkeys((text, text.replace("\\", "/")))
        if folder is not None or Path(form).is_absolute()
    ]
    found = False
    for place in filter(_is_file, dict.fromkeys(places)):
        found = True
        yield place
    if not found and beside is not None:
        names = dict.fromkeys(PureWindowsPath(text).name for text in paths)
        beneath = (local / name for local in folders for name in names if name not in itself)
        yield from filter(_is_file, beneath)


def find_allowed_file(
    paths: list[str], place: Path | None, permissions: Permissions
) -> tuple[Path | None, str | None]:
    """Return the first file that exists where it may be, or a place where it may not."""
    refused = None
    folder, beside = (None, None) if place is None else (place.absolute().parent, place.name)
    for path in files_there(paths, folder, beside):
        if permissions.external or permissions.is_allowed_place(path):
            return path, None
        refused = refused or str(path)
    return None, refused or next(filter(is_on_server, paths), None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False  # a path of another operating system may not be one here


def is_readable(definition: dict[str, Any]) -> bool:
    """Return whether basins of this type and format are read here."""
    formats = _FORMATS.get(str(definition.get("type")), ())
    return definition.get("format") in (None, *formats) and bool(formats)
