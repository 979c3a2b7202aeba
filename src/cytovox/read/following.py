"""What links and views of a file lead to, and whether that is allowed.

HDF5 looks for other files itself, in several places, and reads zeros where it
finds none. Here they are looked for in the same places and in the same order,
so that what is checked is what HDF5 opens. Readers of recordings and of volumes
say what they want of a dataset; where it may be is the same for both.
"""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np

from .opening import Examination, OpenedFile, OpenedFiles
from .permissions import Permissions, RefusedInputError, is_on_server

__all__ = [
    "Follower",
    "VirtualPart",
    "decoded",
    "file_name",
    "find_other",
    "folders_of",
    "virtual_parts",
]

#: Environment variables of HDF5 that name folders in which it looks first.
_PREFIXES = {"link": "HDF5_EXT_PREFIX", "view": "HDF5_VDS_PREFIX"}
_MAX_LINKS = 8
_MAX_FILES_IN_A_ROW = 8
_MAX_VIEWS_IN_A_ROW = 8
#: So many ways through three views and more are looked at; a small file can have billions.
_MAX_WAYS = 10_000
_BRING_BACK = "bring that file back, or put it beside this one"


@dataclass(frozen=True, slots=True)
class VirtualPart:
    """A part of a virtual dataset."""

    #: Where the values are, as it is stored; the same file is ``"."``.
    file: str
    dataset: str
    #: Number of values; None if that depends on the other dataset.
    size: int | None
    #: First row here and there, and the one after the last; None for all.
    rows: tuple[int, int] | None
    source_rows: tuple[int, int] | None
    #: Least shape that the other dataset must have.
    stop: tuple[int, ...]

    @property
    def is_pattern(self) -> bool:
        """Whether it stands for as many files or datasets as there are."""
        return "%b" in self.file or "%b" in self.dataset


def virtual_parts(dataset: h5py.Dataset) -> list[VirtualPart]:
    """Return the parts of a virtual dataset; nothing for any other."""
    if not dataset.is_virtual:
        return []
    atexit.unregister(_free_views)
    atexit.register(_free_views)
    parts = []
    for source in dataset.virtual_sources():
        here, there = _bounds(source.vspace), _bounds(source.src_space)
        parts.append(
            VirtualPart(
                str(source.file_name),
                str(source.dset_name),
                here and int(source.vspace.get_select_npoints()),
                here and (here[0][0], here[1][0]),
                there and (there[0][0], there[1][0]),
                there[1] if there else (),
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
    path = Path(file_name(h5))
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


class Follower:
    """Looks at one file, and at others that it leads to."""

    #: What to do about a file that is not what it should be.
    hint: ClassVar[str] = "the file is damaged, or of a kind that is not read"

    def __init__(
        self,
        h5: h5py.File,
        permissions: Permissions,
        files: OpenedFiles,
        above: tuple[h5py.File, ...] = (),
    ) -> None:
        self.found = Examination(permissions)
        self.h5 = h5
        self.may = permissions
        self._files = files
        #: Files on the way here.
        self._above = above
        #: Virtual datasets on the way to what is looked at.
        self.views: list[tuple[str, str]] = []
        self._ways = 0

    # ------------------------------------------------------ what readers say

    def file(self) -> None:
        """Look at a file that was not looked at before."""

    def require(self, h5: h5py.File, what: str) -> None:
        """Refuse another file that is of a kind that is not wanted."""

    def dataset(self, dataset: h5py.Dataset, name: str, where: str) -> None:
        """Look at a dataset of any file."""
        raise NotImplementedError

    # ------------------------------------------------------------- following

    @property
    def followed(self) -> list[str]:
        """What is read from elsewhere, in words."""
        return self.found.followed

    def done_before(self, file: OpenedFile) -> Examination | None:
        """Return what was found when a file was looked at with no more permissions."""
        return next((e for e in file.examined if self.may.include(e.permissions)), None)

    def once(self, file: OpenedFile) -> Examination:
        """Look at a file, unless that was done."""
        if (found := self.done_before(file)) is not None:
            return found
        # before it is done, since files may lead to each other
        file.examined.append(self.found)
        try:
            self.file()
        except BaseException:
            file.examined.remove(self.found)
            raise
        return self.found

    def refuse(self, what: str, kind: str = "", hint: str = "") -> None:
        """Refuse, unless this kind is allowed; what is external is noted."""
        if kind and getattr(self.may, kind):
            if kind == "external":
                self.note(what)
            return
        hint = hint or self.hint
        if kind == "external":
            hint = self.may.hint_for(kind)
        elif kind:
            hint = f"{hint}; {self.may.hint_for(kind)}"
        raise RefusedInputError(what, path=file_name(self.h5), hint=hint)

    def note(self, what: str) -> None:
        """Add something to `followed`, once."""
        if what not in self.followed:
            self.followed.append(what)

    def link(self, group: h5py.Group, name: str, where: str) -> None:
        """Refuse what leads to another file, at whatever step of the way."""
        steps = list(reversed(name.split("/")))
        followed = 0
        while steps:
            step = steps.pop()
            link = group.get(step, getlink=True) if step not in ("", ".") else None
            if isinstance(link, h5py.SoftLink | h5py.ExternalLink):
                followed += 1
                if followed > _MAX_LINKS:
                    self.refuse(f"'{where}' is a chain of more than {_MAX_LINKS} links")
                steps.extend(reversed(link.path.split("/")))
                if isinstance(link, h5py.ExternalLink):
                    what = f"'{where}' is a link to {link.path} in the file"
                    other = self._other(link.filename, group.file, what, "link")
                    if other is None:
                        return
                    group = other
                elif link.path.startswith("/"):
                    group = group.file
            elif link is None and step not in ("", "."):
                self.refuse(f"'{where}' is a link to nothing")
            elif link is not None and steps:
                below = group.get(step)
                if not isinstance(below, h5py.Group):
                    self.refuse(f"'{where}' is a link to nothing")
                group = below

    def elsewhere(self, dataset: h5py.Dataset, name: str, where: str) -> bool:
        """Look at what is kept in other datasets and files; return whether anything is."""
        files, parts = _external_files(dataset), virtual_parts(dataset)
        if files:
            self.refuse(f"'{where}' is kept in the file {', '.join(files)}", "external")
        self._bound(where)
        if not parts:
            return bool(files)
        here = (file_name(dataset.file), str(dataset.name))
        if here in self.views:
            self.refuse(f"'{where}' is a view of itself")
        self.views.append(here)
        for file, inner, pattern in sorted({(p.file, p.dataset, p.is_pattern) for p in parts}):
            if pattern:
                self.refuse(f"'{where}' is a view of all files {file}", "external")
                continue
            what = f"'{where}' is a view of the file"
            other = dataset.file
            if file != ".":
                other = self._other(file, dataset.file, what, "view")
            if other is not None:
                self._view(other, inner, dataset, name, where)
        self.views.pop()
        return True

    def _bound(self, where: str) -> None:
        """Refuse views of views without end, in depth or number."""
        if len(self.views) > _MAX_VIEWS_IN_A_ROW:
            self.refuse(f"'{where}' has more than {_MAX_VIEWS_IN_A_ROW} views in a row")
        self._ways += len(self.views) > 2
        if self._ways > _MAX_WAYS:
            self.refuse(f"'{where}' shows others in more than {_MAX_WAYS:,} ways")

    def _other(self, name: str, referring: h5py.File, what: str, kind: str) -> h5py.File | None:
        """Return another file that may be read; None if there is no such file."""
        path = find_other(name, referring, kind)
        if path is None:
            if kind == "link":
                self.refuse(f"{what} {name}, which cannot be found", hint=_BRING_BACK)
            return None  # the reader of the view reports it
        what = f"{what} {path}"
        if not self.may.is_allowed_place(path):
            self.refuse(what, "external")
        self.note(what)
        file = self._files.open_other(path, self.may)
        look = type(self)(file.h5, self.may, self._files, (*self._above, self.h5))
        if look.done_before(file) is None and len(self._above) >= _MAX_FILES_IN_A_ROW:
            self.refuse(f"more than {_MAX_FILES_IN_A_ROW} files refer to each other in a row")
        found = look.once(file)
        self.found.others |= {path.resolve(), *found.others}
        for text in found.followed:
            self.note(text)
        self.require(file.h5, what)
        return file.h5

    def _view(self, h5: h5py.File, inner: str, view: h5py.Dataset, name: str, where: str) -> None:
        """Look at a dataset of which another one is a view."""
        self.link(h5, inner, where)
        source = h5.get(inner)
        if isinstance(source, h5py.Dataset):
            self.dataset(source, name, where)
            if view.ndim >= 2 and not np.can_cast(source.dtype, view.dtype):
                self.refuse(
                    f"'{where}' shows {source.dtype} as {view.dtype}, which cuts their values off",
                    hint=f"make the virtual dataset with the type {source.dtype}",
                )


def _external_files(dataset: h5py.Dataset) -> list[str]:
    """Return the first files of raw values; no handle of HDF5 is kept."""
    plist = dataset.id.get_create_plist()
    count = min(plist.get_external_count(), 3)
    return [decoded(plist.get_external(index)[0]) for index in range(count)]


def decoded(name: bytes | str) -> str:
    """Return a name as text."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


def file_name(h5: h5py.File) -> str:
    """Return the name of a file as text."""
    return decoded(h5.filename)
