"""What each format gives: how an array is described, and its voxels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from .volume_limits import Box

__all__ = [
    "OF_SYSTEM",
    "Described",
    "ReadOnlySource",
    "Source",
    "digest_files",
    "file_identity",
]

#: Names of what the system says of files: when anything of them was changed, and their rights.
OF_SYSTEM = ("changed", "access")


@dataclass(frozen=True, slots=True)
class Described:
    """What a file says about its array; axes are in the order of the file."""

    #: Name of the format.
    format: str
    shape: tuple[int, ...]
    #: Type of a voxel, native byte order.
    dtype: np.dtype[Any]
    #: One-letter names.
    axes: tuple[str, ...]
    #: Voxels along each axis that are decoded together, and written together.
    chunk: tuple[int, ...]
    write_unit: tuple[int, ...]
    #: One number per axis, in `units`; 1 and 0 where the axis is not of space.
    voxel_size: tuple[float, ...]
    offset: tuple[float, ...]
    #: One name per axis, or empty.
    units: tuple[str, ...]
    #: Which image of how many in the file this is, in words; empty if it is the only one.
    series: str = ""
    #: Names of the channels, as far as the file gives them.
    channels: tuple[str, ...] = ()


class Source(Protocol):
    """An opened array in one of the formats."""

    described: Described

    def read_into(self, box: Box, out: npt.NDArray[Any]) -> None:
        """Read a box that is inside of the array; `out` may have any strides."""

    def write(self, box: Box, array: npt.NDArray[Any]) -> None:
        """Write a box of whole write units."""

    def identity(self) -> dict[str, Any]:
        """Return what changes when the voxels change."""

    def close(self) -> None:
        """Release the resources of the operating system."""


class ReadOnlySource:
    """Base of the formats that are only read."""

    def write(self, box: Box, array: npt.NDArray[Any]) -> None:
        """Refuse."""
        raise UsageError("this format is only read", hint="write OME-Zarr with create_labels")


def digest_files(root: Path, files: Iterable[Path], limit: int = 200_000) -> dict[str, Any]:
    """Return number, bytes and a digest of names, sizes and times of files."""
    digest = hashlib.sha256()
    statuses: list[os.stat_result] = []
    number = total = 0
    for file in files:
        if number >= limit:
            break
        try:
            status = file.stat()
        except OSError:
            continue  # a writer replaced it in this moment
        name = os.path.relpath(file, root).replace(os.sep, "/")
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        statuses.append(status)
        number += 1
        total += status.st_size
    found = {"files": number, "bytes": total, "sha256": digest.hexdigest()}
    return found | _system_says(statuses)


def file_identity(path: Path) -> dict[str, Any]:
    """Return size and times of a file."""
    status = path.stat()
    found = {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}
    return found | _system_says([status])


def _system_says(statuses: Iterable[os.stat_result]) -> dict[str, str]:
    """Return what cannot be set back, and what changes it beside the content."""
    changed, access = hashlib.sha256(), hashlib.sha256()
    for status in statuses:
        changed.update(f"{status.st_ctime_ns}\n".encode())
        rights = (status.st_mode, status.st_nlink, status.st_uid, status.st_gid)
        access.update(f"{rights}\n".encode())
    return dict(zip(OF_SYSTEM, (changed.hexdigest(), access.hexdigest()), strict=True))
