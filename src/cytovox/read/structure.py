"""Whether a recording is what it seems: nothing of other files, no impossible sizes.

Everything that a reader may touch is looked at once, when the file is opened:
the root, the groups ``events``, ``basin_events``, ``basins``, ``logs`` and
``tables``, and what is directly in them; also in the recordings of which it
shows parts. No data are read for that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np

from ..errors import BasinNotFoundError, CytovoxError, InputError
from .const import (
    MAX_FRAME_BYTES,
    MAX_FRAMES,
    MAX_RECORDED_CHUNK_BYTES,
    MAX_TEXT_BYTES,
    PROTECTED_FEATURES,
)
from .filters import Pipeline
from .following import Follower, decoded, folders_of
from .members import is_within, member, members, unknown_attributes
from .opening import OpenedFile, OpenedFiles
from .permissions import Permissions

__all__ = [
    "check_group",
    "check_recording",
    "examine",
    "features_in",
    "left_alone",
    "rows_of",
    "what_is_odd",
]

#: Features up to this size need not be stored at all [bytes].
_SMALL = 1 << 28
_MAX_MEMBERS = {"basins": 256, "logs": 10_000, "tables": 10_000}
_MAX_ATTRIBUTES = 4096
_MAX_ATTRIBUTE_BYTES = 1 << 20
_MAX_CHUNKS_PER_FRAME = 4096
#: So many images of another type than uint8 are looked at.
_SAMPLE = 32
_GROUPS = ("events", "basin_events", "basins", "logs", "tables")


def examine(
    file: OpenedFile,
    permissions: Permissions,
    files: OpenedFiles,
    listed: Mapping[str, h5py.Dataset] = MappingProxyType({}),
) -> list[str]:
    """Look at all that a reader of a recording may touch; return what is read from elsewhere.

    What was examined with no more permissions than these is not looked at again. Datasets that
    were `listed` by their paths are not opened again.
    """
    may = permissions.within(*folders_of(file.h5))
    try:
        with files.lock:
            look = _Look(file.h5, may, files)
            look.listed = listed
            found = look.once(file)
    except CytovoxError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError) as err:
        raise InputError(
            f"what is in the file cannot be listed: {str(err)[:200]}",
            path=file.h5.filename if isinstance(file.h5.filename, str) else None,
            hint="the file is damaged; copy it again",
        ) from err
    files.others |= found.others
    return found.followed


def check_group(
    h5: h5py.File, name: str, permissions: Permissions, files: OpenedFiles
) -> list[str]:
    """Look at another group that holds features, such as one of an internal basin."""
    look = _Look(h5, permissions, files)
    look.group(name)
    return look.followed


class _Look(Follower):
    hint = "the recording was not completed, is damaged, or is of a kind that is not read"

    #: Datasets that are open already, by their paths.
    listed: Mapping[str, h5py.Dataset] = MappingProxyType({})

    def file(self) -> None:
        """Look at the root and at all groups that are read."""
        self.attributes(self.h5, "")
        for name in _GROUPS:
            self.group(name)

    def group(self, name: str) -> None:
        """Look at a group of the root, if there is one, and at its members."""
        if not self.h5.id.links.exists(name.encode()):
            return
        self.link(self.h5, name, name)
        group = member(self.h5, name)
        if not isinstance(group, h5py.Group):
            if name not in ("events", "basin_events"):
                self.refuse(f"'{name}' is not a group")
            return
        if len(group) > _MAX_MEMBERS.get(name, math.inf):
            self.refuse(f"'{name}' has {len(group):,} members", "oversized")
        for key in group:
            self._member(group, name, key)

    def _member(self, group: h5py.Group, name: str, key: str | bytes) -> None:
        where = f"{name}/{decoded(key)}"
        if isinstance(key, bytes):
            self.refuse(f"the name '{where}' is not text")
            return
        if not is_within(group, key):
            self.link(group, key, where)
        try:
            found = self.listed[where] if where in self.listed else group[key]
        except (OSError, RuntimeError, KeyError) as err:
            self.refuse(f"'{where}' cannot be opened: {str(err)[:200]}")
        if isinstance(found, h5py.Dataset):
            self.dataset(found, name, where)
        elif name == "basins":
            kind = "group" if isinstance(found, h5py.Group) else "type"
            self.refuse(f"'{where}' is a {kind}, not the definition of a basin")

    def require(self, h5: h5py.File, what: str) -> None:
        """Refuse what is not a recording."""
        if not isinstance(member(h5, "events"), h5py.Group):
            self.refuse(f"{what}, which is not a recording", "external")

    def dataset(self, dataset: h5py.Dataset, name: str, where: str) -> None:
        """Look at a feature, log, table or definition of a basin."""
        if odd := what_is_odd(dataset, name):
            if name == "basins" or self.views:
                self.refuse(f"'{where}' {odd}")
            return  # it is not read
        outside = self.elsewhere(dataset, name, where)
        if outside and name == "basins":
            self.refuse(f"'{where}' is kept elsewhere", hint="definitions of basins never are")
        dtype = dataset.dtype
        self.attributes(dataset, where)
        if dataset.shape is None:
            return
        nbytes = math.prod(dataset.shape) * dtype.itemsize
        if name not in MAX_TEXT_BYTES:
            self._feature(dataset, dtype, where)
        elif nbytes > MAX_TEXT_BYTES[name]:
            self.refuse(f"'{where}' takes {nbytes / 1e9:.3g} GB", "oversized")
        if not outside and not self.may.oversized:
            self._stored(dataset, dtype, nbytes, where)

    def _feature(self, dataset: h5py.Dataset, dtype: np.dtype[Any], where: str) -> None:
        if dataset.shape[0] > MAX_FRAMES:
            self.refuse(f"'{where}' has {dataset.shape[0]:,} rows", "oversized")
        row = math.prod(dataset.shape[1:]) * dtype.itemsize
        if row > MAX_FRAME_BYTES:
            self.refuse(
                f"a row of '{where}', of shape {dataset.shape[1:]}, takes {row / 1e9:.3g} GB",
                "oversized",
            )
        if len(dataset.shape) > 1 and dataset.shape[0] and not row:
            self.refuse(f"'{where}' has no pixels")

    def _stored(
        self, dataset: h5py.Dataset, dtype: np.dtype[Any], nbytes: int, where: str
    ) -> None:
        chunks = dataset.chunks
        if not chunks:
            if nbytes > _SMALL:
                self._all_there(dataset, dataset.id.get_storage_size(), where)
            return
        chunk = math.prod(chunks) * dtype.itemsize
        if chunk > MAX_RECORDED_CHUNK_BYTES:
            self.refuse(
                f"a chunk of '{where}' takes {chunk / 1e9:.3g} GB",
                "oversized",
                "store it again in smaller chunks (h5repack)",
            )
        pairs = list(zip(dataset.shape, chunks, strict=True))
        if math.prod(-(-n // c) for n, c in pairs[1:]) > _MAX_CHUNKS_PER_FRAME:
            self.refuse(
                f"'{where}' is cut into chunks of {chunks}",
                "oversized",
                "store it again in larger chunks (h5repack)",
            )
        Pipeline.of(dataset)
        if nbytes > _SMALL:
            self._all_there(dataset, dataset.id.get_num_chunks() * chunk, where)

    def _all_there(self, dataset: h5py.Dataset, there: int, where: str) -> None:
        """Refuse a large dataset most of which was never written."""
        if not dataset.is_virtual and 2 * there < dataset.nbytes:
            self.refuse(
                f"'{where}' claims {dataset.nbytes / 1e9:.3g} GB, of which {there / 1e9:.3g} GB "
                "were written",
                "oversized",
            )

    def attributes(self, owner: h5py.HLObject, where: str) -> None:
        """Look at the attributes of a file or dataset."""
        place = f"attribute of '{where}'" if where else "attribute"
        count = h5py.h5a.get_num_attrs(owner.id)
        if count > _MAX_ATTRIBUTES:
            self.refuse(f"there are {count:,} {place.replace('ute', 'utes', 1)}", "oversized")
        for index in range(min(count, _MAX_ATTRIBUTES)):
            opened = h5py.h5a.open(owner.id, index=index)
            # HDF5 fails to give the size of what is empty
            size = opened.get_storage_size() if _has_values(opened) else 0
            if size > _MAX_ATTRIBUTE_BYTES:
                name = decoded(opened.name)
                self.refuse(f"the {place} '{name}' takes {size / 1e6:.3g} MB", "oversized")


def _has_values(attribute: h5py.h5a.AttrID) -> bool:
    return bool(attribute.get_space().get_simple_extent_npoints())


def what_is_odd(item: Any, place: str) -> str:
    """Return why a member of a group is not read; nothing if it is, or is a group."""
    if isinstance(item, h5py.Group):
        return ""
    if not isinstance(item, h5py.Dataset):
        return "is a type, not data"
    try:
        dtype = item.dtype
    except (TypeError, ValueError) as err:
        return f"holds values of an unknown type: {err}"
    if item.shape is None:
        return "" if place == "logs" else "has no values"
    if place == "tables":
        kinds = [dtype[name] for name in dtype.names] if dtype.names else [dtype]
        objects = any(kind.hasobject and h5py.check_string_dtype(kind) is None for kind in kinds)
        return f"holds {str(dtype)[:80]}, which is not read" if objects else ""
    if place in ("logs", "basins"):
        text = dtype.kind in "SU" or h5py.check_string_dtype(dtype) is not None
        empty = place == "logs" and not item.size
        return "" if text or empty else f"holds {str(dtype)[:80]} instead of text"
    if dtype.kind not in "biuf":
        return f"holds {str(dtype)[:80]} instead of numbers"
    return "" if item.shape else "has no rows"


def features_in(group: Any) -> list[tuple[str, h5py.Dataset]]:
    """Return names and datasets of the features in a group."""
    found = members(group) if isinstance(group, h5py.Group) else []
    return [
        (name, item)
        for name, item in found
        if isinstance(item, h5py.Dataset) and not what_is_odd(item, "events")
    ]


def rows_of(name: str, dataset: h5py.Dataset) -> int:
    """Return the number of rows of a feature."""
    # some writers stored the map of a basin as a table of one row
    return int(dataset.size) if name.startswith("basinmap") else len(dataset)


def left_alone(h5: h5py.File, length: int) -> list[str]:
    """Return what in a recording is not read, in words."""
    unread = [f"the attribute {unknown}" for unknown in unknown_attributes(h5).values()]
    for place in ("events", "logs", "tables"):
        group = member(h5, place)
        for name, item in members(group) if isinstance(group, h5py.Group) else []:
            odd = what_is_odd(item, place)
            if not odd and place == "events" and isinstance(item, h5py.Dataset):
                rows = rows_of(name, item)
                odd = f"has {rows} rows instead of {length}" if rows != length else ""
            if odd:
                unread.append(f"'{place}/{name}' {odd}")
    return unread


def check_recording(data: Any, need_images: bool = True, need_background: bool = True) -> None:
    """Make sure that a run on an `HDF5Data` can succeed; reads a few images at most."""
    path = data.place
    if not isinstance(member(data.h5, "events"), h5py.Group):
        raise InputError("there are no events", path=path, hint="give a recording (.rtdc)")
    read = ["image", *["image_bg"] * need_background, *PROTECTED_FEATURES]
    is_result = "pipeline:dcnum hash" in data.meta
    _check_lengths(data.h5, data.stored_length, path, None if is_result else read)
    for _, dataset in features_in(data.h5["events"]):
        if dataset.is_virtual:  # HDF5 reads zeros if a source is missing
            data.checked(dataset).find_sources()
    length = len(data)  # also checks the index mapping
    for feat in read[1:]:
        if not feat.startswith("userdef") or feat in data:
            data.locate(feat)  # also checks the map of a basin
    if need_images:
        _check_images(data, length, path, ("image", "image_bg")[: 1 + need_background])


def _check_lengths(h5: h5py.File, length: int, path: Path | None, read: list[str] | None) -> None:
    """Refuse features of another length; only those that are read, if they are given."""
    for feat, dataset in features_in(h5["events"]):
        if feat.startswith("basinmap") or (read is not None and feat not in read):
            continue
        if len(dataset) != length:
            raise InputError(
                f"'{feat}' has {len(dataset)} rows, but the event count of the file is {length}",
                path=path,
                hint="the recording was not completed or was damaged",
            )


def _check_images(data: Any, length: int, path: Path | None, features: tuple[str, ...]) -> None:
    image = data.locate("image")
    if image is None:
        try:
            _ = data["image"]
        except InputError as err:
            # reports which file is missing, if one is
            if isinstance(err, BasinNotFoundError) or err.hint:
                raise
        raise InputError("there are no images", path=path, hint="record with images")
    for feat in features:
        dataset = data.locate(feat)
        if dataset is None:
            continue
        if len(dataset.shape) != 3 or dataset.dtype.kind not in "ui":
            raise InputError(
                f"'{feat}' does not hold grey images",
                path=path,
                hint="images must have one channel of whole numbers",
            )
        if dataset.shape != (length, *image.shape[1:]):
            raise InputError(
                f"'{feat}' has shape {dataset.shape}, but {length} images "
                f"of {image.shape[1:]} are expected",
                path=path,
                hint="the recording was not completed or was damaged",
            )
        if dataset.dtype != np.uint8:
            frame = np.empty((1, *image.shape[1:]), np.uint8)
            for row in np.unique(np.linspace(0, length - 1, min(_SAMPLE, length)).astype(int)):
                data.require_images(feat).read_into(int(row), frame)
    if not data.pixel_size > 0:
        raise InputError("the pixel size is unknown", path=path, hint="give a pixel size in µm")
