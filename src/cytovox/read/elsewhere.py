"""Other files that a recording shows parts of: links and virtual datasets.

HDF5 looks for such files itself, in several places, and reads zeros where it
finds none. Here they are looked for in the same places and in the same order,
so that what is checked is what HDF5 opens.
"""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py

from .permissions import is_on_server

__all__ = ["VirtualPart", "find_other", "folders_of", "virtual_parts"]

#: Environment variables of HDF5 that name folders in which it looks first.
_PREFIXES = {"link": "HDF5_EXT_PREFIX", "view": "HDF5_VDS_PREFIX"}


@dataclass(frozen=True, slots=True)
class VirtualPart:
    """A part of a virtual dataset.

    Parameters
    ----------
    file, dataset
        Where the values are, as it is stored; the same file is ``"."``.
    size
        Number of values; None if that depends on the other dataset.
    rows, source_rows
        First row here and there, and the one after the last; None for all.
    stop
        Least shape that the other dataset must have.
    """

    file: str
    dataset: str
    size: int | None
    rows: tuple[int, int] | None
    source_rows: tuple[int, int] | None
    stop: tuple[int, ...]

    @property
    def is_pattern(self) -> bool:
        """Whether it stands for as many files or datasets as there are."""
        return "%b" in self.file or "%b" in self.dataset


def virtual_parts(dataset: h5py.Dataset) -> list[VirtualPart]:
    """Return what a virtual dataset is put together of; nothing for any other."""
    if not dataset.is_virtual:
        return []
    atexit.unregister(_free_views)
    atexit.register(_free_views)
    parts = []
    for source in dataset.virtual_sources():
        here, there = source.vspace, source.src_space
        bounds = _bounds(here), _bounds(there)
        parts.append(
            VirtualPart(
                str(source.file_name),
                str(source.dset_name),
                None if bounds[0] is None else int(here.get_select_npoints()),
                None if bounds[0] is None else (bounds[0][0][0], bounds[0][1][0]),
                None if bounds[1] is None else (bounds[1][0][0], bounds[1][1][0]),
                () if bounds[1] is None else bounds[1][1],
            )
        )
    return parts


def _free_views() -> None:
    """Free virtual datasets that errors keep; HDF5 crashes if there are any at its end."""
    gc.unfreeze()
    gc.collect()


def _bounds(space: h5py.h5s.SpaceID) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the first index of a selection and the one after the last; None if it is open."""
    if not space.get_simple_extent_ndims():
        return None
    if space.get_select_type() == h5py.h5s.SEL_HYPERSLABS and space.is_regular_hyperslab():
        _, _, count, block = space.get_regular_hyperslab()
        if h5py.h5s.UNLIMITED in (*count, *block):
            return None
    first, last = space.get_select_bounds()
    return tuple(map(int, first)), tuple(int(index) + 1 for index in last)


def folders_of(h5: h5py.File) -> tuple[Path, ...]:
    """Return the folder of a file, also after all symbolic links; none for a stream."""
    if h5.driver == "fileobj":
        return ()
    path = Path(_text(h5.filename))
    return tuple(dict.fromkeys((path.absolute().parent, path.resolve().parent)))


def find_other(name: str, referring: h5py.File, kind: str) -> Path | None:
    """Return the file that HDF5 would open for a link or a view; None if there is none."""
    for path in _places(name.replace("%%", "%"), referring, _PREFIXES[kind]):
        try:
            if path.exists():
                return path
        except (OSError, ValueError):
            continue  # a path of another system may be no path here
    return None


def _places(name: str, referring: h5py.File, variable: str) -> Iterator[Path]:
    """Yield the places of a file in the order in which HDF5 looks there."""
    folders = folders_of(referring)
    path = Path(name)
    if not folders or (is_on_server(name) and path.drive != folders[0].drive):
        return  # merely to look would send the user's name to the other computer
    if path.is_absolute():
        yield path
        path = Path(path.name)
    prefixes = os.environ.get(variable, "").replace("${ORIGIN}", str(folders[0]))
    for prefix in filter(None, prefixes.split(os.pathsep)):
        yield Path(prefix) / path
    yield folders[0] / path
    yield path
    yield folders[-1] / path


def _text(name: str | bytes) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name
