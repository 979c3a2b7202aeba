"""Definitions of basins: what a recording says about features kept elsewhere."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from ..errors import InputError
from .members import members
from .permissions import is_on_server
from .structure import MAX_TEXT_BYTES
from .text import read_lines

__all__ = [
    "extract_basin_dicts",
    "files_there",
    "find_basin_file",
    "is_basin_map",
    "is_on_server",
    "sort_basin_dicts",
]

logger = logging.getLogger(__name__)


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
        If a definition is not valid JSON, or says what no basin can be.
    """
    basins = []
    for key, dataset in members(h5.get("basins", {})):
        text = "\n".join(read_lines(dataset, MAX_TEXT_BYTES["basins"]))
        try:
            definition = json.loads(text)
        except (ValueError, RecursionError) as err:
            raise InputError(
                f"the definition of basin '{key}' is not valid JSON",
                path=h5.file.filename,
                hint="the file is damaged",
            ) from err
        _check_definition(definition, key, h5)
        if not check or _is_usable(h5, definition):
            basins.append(definition)
    return basins


def _check_definition(definition: Any, key: str, h5: h5py.Group) -> None:
    wrong = _what_is_wrong(definition) if isinstance(definition, dict) else "it is no object"
    if wrong:
        raise InputError(
            f"the definition of basin '{key}' cannot be used: {wrong}",
            path=h5.file.filename,
            hint="the file is damaged, or was made to harm",
        )


def _what_is_wrong(definition: dict[str, Any]) -> str:
    """Tell of values of a wrong type, and of names that are paths."""
    for name in ("type", "mapping", "identifier"):
        if not isinstance(definition.get(name) or "", str):
            return f"its {name} is no text"
    for name in ("paths", "features"):
        texts = definition.get(name) or []
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            return f"its {name} are no list of texts"
    if "/" in (definition.get("mapping") or ""):
        return "its mapping is no name of a map"
    if any("/" in feature for feature in definition.get("features") or []):
        return "its features are no names"
    groups = definition.get("paths") or [] if definition.get("type") == "internal" else []
    if any(group in ("", ".") or "/" in group for group in groups):
        return "its group is none of the file"
    return ""


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
    return next(files_there(paths, folder), None)


def files_there(paths: list[str], folder: Path | None) -> Iterator[Path]:
    """Yield the paths that exist, as they are or relative to a folder.

    Parameters
    ----------
    paths
        Where the file may be; other computers are not asked.
    folder
        Folder of the referring file; None if that is not on a disk.
    """
    for text in paths:
        path = Path(text)
        if is_on_server(text) and (folder is None or Path(text).drive != folder.drive):
            # merely to look would send the user's name and a proof of the password there
            continue
        if not path.is_absolute():
            if folder is None:
                continue
            path = folder / path
        try:
            if path.is_file():
                yield path
        except (OSError, ValueError):
            # a path of another operating system may be no path here
            continue


def _is_usable(h5: h5py.Group, definition: Any) -> bool:
    if not isinstance(definition, dict) or definition.get("type") not in ("internal", "file"):
        logger.info("ignored a basin of a type that cannot be read here")
        return False
    mapping = definition.get("mapping")
    return mapping is None or (isinstance(mapping, str) and mapping in h5.get("events", {}))
