"""Whether a recording is what it seems: nothing of strangers, no impossible sizes.

Everything that a reader may touch is looked at once, when the file is opened:
the root, the groups ``events``, ``basin_events``, ``basins``, ``logs`` and
``tables``, and what lies directly in them; also in the recordings of which it
shows parts. No data are read for that.
"""

from __future__ import annotations

import math
from typing import Any

import h5py
import numpy as np

from .elsewhere import OtherFiles, virtual_parts
from .filters import Pipeline
from .kinds import what_is_odd
from .permissions import Permissions, RefusedInputError

__all__ = [
    "MAX_CHUNK_BYTES",
    "MAX_FRAMES",
    "MAX_FRAME_BYTES",
    "MAX_TEXT_BYTES",
    "check_group",
    "check_structure",
]

#: Largest chunk of a dataset, unpacked [bytes]; less than that of volumes, since
#: several features of a recording are read at a time.
MAX_CHUNK_BYTES = 1 << 28
#: Largest image [bytes].
MAX_FRAME_BYTES = 1 << 26
#: Most rows of any feature.
MAX_FRAMES = 1 << 28
#: Largest log, table or definition of a basin [bytes].
MAX_TEXT_BYTES = {"logs": 1 << 26, "tables": 1 << 28, "basins": 1 << 22}
#: Features up to this size need not be stored at all [bytes].
_SMALL = 1 << 28
_MAX_MEMBERS = {"basins": 256, "logs": 10_000, "tables": 10_000}
_MAX_ATTRIBUTES = 4096
_MAX_ATTRIBUTE_BYTES = 1 << 20
_MAX_CHUNKS_PER_FRAME = 4096
_MAX_LINKS = 8
_MAX_FILES_IN_A_ROW = 8
_GROUPS = ("events", "basin_events", "basins", "logs", "tables")
_NOT_DONE = "the recording was not completed, is damaged, or is of a kind that is not read"
_BRING_BACK = "bring that file back, or put it beside the recording"


def check_structure(h5: h5py.File, permissions: Permissions, others: OtherFiles) -> list[str]:
    """Look at all that a reader may touch."""
    look = _Look(h5, permissions, others)
    look.file()
    return look.followed


def check_group(
    h5: h5py.File, name: str, permissions: Permissions, others: OtherFiles
) -> list[str]:
    """Look at another group that holds features, such as one of an internal basin."""
    look = _Look(h5, permissions, others)
    look.group(name)
    return look.followed


class _Look:
    def __init__(
        self,
        h5: h5py.File,
        permissions: Permissions,
        others: OtherFiles,
        above: tuple[h5py.File, ...] = (),
    ) -> None:
        self.followed: list[str] = []
        self._h5 = h5
        self._may = permissions
        self._others = others
        #: Files on the way here.
        self._above = above
        #: Virtual datasets on the way to what is looked at.
        self._views: list[tuple[str, str]] = []

    def file(self) -> None:
        """Look at the root and at all groups that are read."""
        self.attributes(self._h5, "")
        for name in _GROUPS:
            self.group(name)

    def _refuse(self, what: str, kind: str = "", hint: str = _NOT_DONE) -> None:
        """Refuse, unless this kind is allowed; what is external is noted."""
        if kind and getattr(self._may, kind):
            if kind == "external":
                self._note(what)
            return
        if kind == "external":
            hint = self._may.hint_for(kind)
        elif kind:
            hint = f"{hint}; {self._may.hint_for(kind)}"
        raise RefusedInputError(what, path=_file_name(self._h5), hint=hint)

    def _note(self, what: str) -> None:
        if what not in self.followed:
            self.followed.append(what)

    def group(self, name: str) -> None:
        """Look at a group of the root, if there is one, and at its members."""
        link = self._h5.get(name, getlink=True)
        if link is None:
            return
        self._link(self._h5, name, name)
        group = self._h5.get(name)
        if not isinstance(group, h5py.Group):
            if name not in ("events", "basin_events"):
                self._refuse(f"'{name}' is no group")
            return
        if len(group) > _MAX_MEMBERS.get(name, math.inf):
            self._refuse(f"'{name}' has {len(group):,} members", "oversized")
        for member in group:
            self._member(group, name, member)

    def _member(self, group: h5py.Group, name: str, member: str | bytes) -> None:
        where = f"{name}/{_decoded(member)}"
        if isinstance(member, bytes):
            self._refuse(f"the name '{where}' is no text")
            return
        self._link(group, member, where)
        try:
            found = group.get(member)
        except (OSError, RuntimeError, KeyError) as err:
            self._refuse(f"'{where}' cannot be opened: {str(err)[:200]}")
        if isinstance(found, h5py.Dataset):
            self._dataset(found, name, where)
        elif found is None:
            self._refuse(f"'{where}' cannot be found")
        elif name == "basins" and isinstance(found, h5py.Group):
            self._refuse(f"'{where}' is a group, not the definition of a basin")
        elif name == "basins":
            self._refuse(f"'{where}' is a type, not the definition of a basin")

    def _link(self, group: h5py.Group, name: str, where: str) -> None:
        """Refuse what leads to another file, at whatever step of the way."""
        steps = list(reversed(name.split("/")))
        followed = 0
        while steps:
            step = steps.pop()
            link = group.get(step, getlink=True) if step not in ("", ".") else None
            if isinstance(link, h5py.SoftLink | h5py.ExternalLink):
                followed += 1
                if followed > _MAX_LINKS:
                    self._refuse(f"'{where}' is a chain of more than {_MAX_LINKS} links")
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
                self._refuse(f"'{where}' is a link to nothing")
            elif link is not None and steps:
                below = group.get(step)
                if not isinstance(below, h5py.Group):
                    self._refuse(f"'{where}' is a link to nothing")
                group = below

    def _dataset(self, dataset: h5py.Dataset, name: str, where: str) -> None:
        if odd := what_is_odd(dataset, name):
            if name == "basins" or self._views:
                self._refuse(f"'{where}' {odd}")
            return  # nobody reads it
        outside = self._elsewhere(dataset, name, where)
        dtype = dataset.dtype
        self.attributes(dataset, where)
        if dataset.shape is None:
            return
        if name in MAX_TEXT_BYTES:
            self._text(dataset, dtype, name, where)
        else:
            self._feature(dataset, dtype, where)
        if not outside:
            self._stored(dataset, dtype, where)

    def _other(self, name: str, referring: h5py.File, what: str, kind: str) -> h5py.File | None:
        """Return another recording that may be read; None if there is no such file."""
        path = self._others.find(name, referring, kind)
        if path is None:
            if kind == "link":
                self._refuse(f"{what} {name}, which cannot be found", hint=_BRING_BACK)
            return None  # who reads the view is told so
        what = f"{what} {path}"
        if not self._may.is_allowed_place(path):
            self._refuse(what, "external")
        self._note(what)
        h5, known = self._others.open(path, growing=self._may.growing)
        if not known:
            if len(self._above) >= _MAX_FILES_IN_A_ROW:
                self._refuse(f"more than {_MAX_FILES_IN_A_ROW} files refer to each other in a row")
            look = _Look(h5, self._may, self._others, (*self._above, self._h5))
            look.file()
            for followed in look.followed:
                self._note(followed)
        if not isinstance(h5.get("events"), h5py.Group):
            self._refuse(f"{what}, which is not a recording", "external")
        return h5

    def _elsewhere(self, dataset: h5py.Dataset, name: str, where: str) -> bool:
        """Look at what is kept in other datasets and files; return whether anything is."""
        files, parts = _external_files(dataset), virtual_parts(dataset)
        if files:
            self._refuse(f"'{where}' is kept in the file {', '.join(files)}", "external")
        if (files or parts) and name == "basins":
            self._refuse(f"'{where}' is kept elsewhere", hint="definitions of basins never are")
        here = (_file_name(dataset.file), str(dataset.name))
        if here in self._views:
            self._refuse(f"'{where}' is a view of itself")
        self._views.append(here)
        for file, inner, pattern in sorted({(p.file, p.dataset, p.is_pattern) for p in parts}):
            if pattern:
                self._refuse(f"'{where}' is a view of all files {file}", "external")
                continue
            what = f"'{where}' is a view of the file"
            other = dataset.file
            if file != ".":
                other = self._other(file, dataset.file, what, "view")
            if other is not None:
                self._view(other, inner, dataset, name, where)
        self._views.pop()
        return bool(files or parts)

    def _view(self, h5: h5py.File, inner: str, view: h5py.Dataset, name: str, where: str) -> None:
        """Look at a dataset of which another one is a view."""
        self._link(h5, inner, where)
        source = h5.get(inner)
        if isinstance(source, h5py.Dataset):
            self._dataset(source, name, where)
            if view.ndim == 3 and not np.can_cast(source.dtype, view.dtype):
                self._refuse(
                    f"'{where}' shows images of {source.dtype} as {view.dtype}, "
                    "which cuts their values off",
                    hint=f"make the virtual dataset with the type {source.dtype}",
                )

    def _feature(self, dataset: h5py.Dataset, dtype: np.dtype[Any], where: str) -> None:
        if dataset.shape[0] > MAX_FRAMES:
            self._refuse(f"'{where}' has {dataset.shape[0]:,} rows", "oversized")
        row = math.prod(dataset.shape[1:]) * dtype.itemsize
        if row > MAX_FRAME_BYTES:
            self._refuse(
                f"a row of '{where}', of shape {dataset.shape[1:]}, takes {row / 1e9:.3g} GB",
                "oversized",
            )
        if dataset.ndim > 1 and dataset.shape[0] and not row:
            self._refuse(f"'{where}' has no pixels")

    def _text(self, dataset: h5py.Dataset, dtype: np.dtype[Any], name: str, where: str) -> None:
        size = math.prod(dataset.shape) * dtype.itemsize
        if size > MAX_TEXT_BYTES[name]:
            self._refuse(f"'{where}' takes {size / 1e9:.3g} GB", "oversized")

    def _stored(self, dataset: h5py.Dataset, dtype: np.dtype[Any], where: str) -> None:
        if self._may.oversized:
            return
        if not dataset.chunks:
            self._all_there(dataset, dataset.id.get_storage_size, where)
            return
        chunk = math.prod(dataset.chunks) * dtype.itemsize
        if chunk > MAX_CHUNK_BYTES:
            self._refuse(
                f"a chunk of '{where}' takes {chunk / 1e9:.3g} GB",
                "oversized",
                "store it again in smaller chunks (h5repack)",
            )
        pairs = list(zip(dataset.shape, dataset.chunks, strict=True))
        if math.prod(-(-n // c) for n, c in pairs[1:]) > _MAX_CHUNKS_PER_FRAME:
            self._refuse(
                f"'{where}' is cut into chunks of {dataset.chunks}",
                "oversized",
                "store it again in larger chunks (h5repack)",
            )
        Pipeline.of(dataset)
        self._all_there(dataset, lambda: dataset.id.get_num_chunks() * chunk, where)

    def _all_there(self, dataset: h5py.Dataset, stored: Any, where: str) -> None:
        """Refuse a large dataset most of which was never written."""
        if dataset.nbytes <= _SMALL or dataset.is_virtual:
            return
        if 2 * (there := int(stored())) < dataset.nbytes:
            self._refuse(
                f"'{where}' claims {dataset.nbytes / 1e9:.3g} GB, of which {there / 1e9:.3g} GB "
                "were written",
                "oversized",
            )

    def attributes(self, owner: h5py.HLObject, where: str) -> None:
        """Look at the attributes of a file or dataset."""
        place = f"attribute of '{where}'" if where else "attribute"
        count = h5py.h5a.get_num_attrs(owner.id)
        if count > _MAX_ATTRIBUTES:
            self._refuse(f"there are {count:,} {place.replace('ute', 'utes', 1)}", "oversized")
        for index in range(min(count, _MAX_ATTRIBUTES)):
            opened = h5py.h5a.open(owner.id, index=index)
            # HDF5 fails to tell the size of what is empty
            size = opened.get_storage_size() if _has_values(opened) else 0
            if size > _MAX_ATTRIBUTE_BYTES:
                name = _decoded(opened.name)
                self._refuse(f"the {place} '{name}' takes {size / 1e6:.3g} MB", "oversized")


def _has_values(attribute: h5py.h5a.AttrID) -> bool:
    return bool(attribute.get_space().get_simple_extent_npoints())


def _external_files(dataset: h5py.Dataset) -> list[str]:
    """Return the first files of raw values; no handle of HDF5 is kept."""
    plist = dataset.id.get_create_plist()
    count = min(plist.get_external_count(), 3)
    return [_decoded(plist.get_external(index)[0]) for index in range(count)]


def _decoded(name: bytes | str) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


def _file_name(h5: h5py.File) -> str:
    return _decoded(h5.filename)
