"""Making files that refer to others, and passing such references on."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .. import __version__
from ..read import HDF5Data, get_measurement_identifier
from ..read.basin_definitions import extract_basin_dicts, files_there, is_basin_map
from ..read.dataset import checked, read_checked
from ..read.members import member
from ..read.opening import OpenedFiles
from ..read.permissions import Permissions
from ..read.structure import features_in
from .copying import copy_metadata
from .writer import HDF5Writer

__all__ = [
    "CreatingFileWithoutBasinWarning",
    "IgnoringBasinTypeWarning",
    "copy_basins",
    "create_with_basins",
]

PathLike = str | os.PathLike[str]


class CreatingFileWithoutBasinWarning(UserWarning):
    """A file of basins is made without any basin."""


class IgnoringBasinTypeWarning(UserWarning):
    """A basin is left out because its type cannot be copied."""


def copy_basins(
    h5_src: h5py.File,
    h5_dst: h5py.File,
    internal_basins: bool = True,
    *,
    permissions: Permissions | None = None,
    file_basins: bool = True,
) -> None:
    """Copy basins with their maps, and the data of internal basins.

    Parameters
    ----------
    h5_src
        Input.
    h5_dst
        Output, opened for writing.
    internal_basins
        Whether to copy internal basins as well.
    permissions
        What the input may do; what is allowed in this process if None.
    file_basins
        Whether to copy references to other files as well.
    """
    writer = HDF5Writer(h5_dst)
    for definition in extract_basin_dicts(h5_src, check=False, permissions=permissions):
        kind = definition.get("type")
        if (kind == "file" and file_basins) or (kind == "internal" and internal_basins):
            _copy_basin(h5_src, writer, definition, permissions)
        elif kind not in ("file", "internal"):
            warnings.warn(
                f"Ignored basin of type '{kind}'", IgnoringBasinTypeWarning, stacklevel=2
            )


def _copy_basin(
    h5_src: h5py.File,
    writer: HDF5Writer,
    definition: dict[str, Any],
    permissions: Permissions | None,
) -> None:
    mapping = None
    name = definition.get("mapping")
    if name is not None:
        if name not in member(h5_src, "events", {}):
            # without its map the basin cannot be used
            return
        mapping = np.ravel(read_checked(checked(h5_src["events"][name], permissions)))
    text = {key: definition.get(key) for key in ("name", "description")}
    if definition["type"] == "file":
        writer.store_basin(
            **text,  # type: ignore[arg-type]
            paths=_still_found(h5_src, writer.h5, definition.get("paths") or []),
            features=definition.get("features"),
            mapping=mapping,
            identifier=definition.get("identifier"),
        )
        return
    stored = dict(features_in(h5_src.get((definition.get("paths") or ["basin_events"])[0])))
    listed = definition.get("features")
    data = {
        feat: checked(stored[feat], permissions)
        for feat in (stored if listed is None else listed)
        if feat in stored
    }
    if data:
        writer.store_basin(**text, mapping=mapping, internal_data=data)  # type: ignore[arg-type]


def _still_found(h5_src: h5py.File, h5_dst: h5py.File, paths: list[str]) -> list[str]:
    """Return paths, preceded by an absolute one unless they lead to the same file."""
    found, again = (
        next(files_there(paths, place.parent, place.name), None)
        for place in (Path(h5.filename).absolute() for h5 in (h5_src, h5_dst))
    )
    if found is None or (again is not None and again.resolve() == found.resolve()):
        return paths
    return [str(found.resolve()), *paths]


def create_with_basins(
    path_out: PathLike,
    basin_paths: Sequence[PathLike] | Sequence[Sequence[PathLike]],
    *,
    permissions: Permissions | None = None,
    opened: OpenedFiles | None = None,
) -> None:
    """Make a file that has no data of its own but refers to others.

    Attributes, logs and tables are copied, and the file basins of the files
    are passed on.

    Parameters
    ----------
    path_out
        File to write; one of this name is replaced.
    basin_paths
        Path of each file, or a list of paths that lead to the same file.
        Relative paths start at the folder of `path_out`, else at the current
        folder (then they are stored as absolute paths).
    permissions
        What these files may do; what is allowed in this process if None.
    opened
        Files that are open already, see `HDF5Data`.
    """
    target = Path(path_out)
    if not basin_paths:
        warnings.warn(
            f"Creating basin-based file '{target}' without any basins, since the list "
            "`basin_paths' is empty!",
            CreatingFileWithoutBasinWarning,
            stacklevel=2,
        )
    with HDF5Writer(target, mode="w") as writer:
        for entry in basin_paths:
            given = [entry] if isinstance(entry, (str, os.PathLike)) else list(entry)
            paths = [_storable(Path(path), target.absolute().parent) for path in given]
            _refer(writer, paths, target.absolute().parent, permissions, opened)


def _internal_groups(h5: h5py.File, permissions: Permissions) -> set[str]:
    """Return the names of the groups in which a file keeps features of internal basins."""
    found = extract_basin_dicts(h5, check=False, permissions=permissions)
    kinds = (d for d in found if d.get("type") == "internal")
    return {"basin_events"}.union((d.get("paths") or ["basin_events"])[0] for d in kinds)


def _storable(path: Path, folder: Path) -> str:
    if not path.is_absolute() and not (folder / path).is_file() and path.is_file():
        return str(path.resolve())
    return str(path)


def _refer(
    writer: HDF5Writer,
    paths: list[str],
    folder: Path,
    permissions: Permissions | None,
    opened: OpenedFiles | None,
) -> None:
    found = next(files_there(paths, folder), None)
    identifier = None
    features: list[str] | None = None
    if found is not None:
        with HDF5Data(found, permissions=permissions, opened=opened) as data:
            source = data.h5
            copy_metadata(source, writer.h5, permissions=data.permissions)
            copy_basins(source, writer.h5, internal_basins=False, permissions=data.permissions)
            identifier = get_measurement_identifier(source)
            groups = (
                member(source, name)
                for name in ("events", *_internal_groups(source, data.permissions))
            )
            names = {name for group in groups for name, _ in features_in(group)}
            features = sorted(name for name in names if not is_basin_map(name)) or None
    writer.store_basin(
        name=Path(paths[0]).name,
        paths=list(paths),
        features=features,
        description=f"Created with cytovox {__version__}",
        identifier=identifier,
    )
