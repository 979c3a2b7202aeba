"""An opened recording: its file, attributes, logs and tables."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import h5py
import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .dataset import CheckedDataset, checked, read_checked, read_lines
from .identifier import md5sum, round_pixel_size
from .mapped import IndexMapping, check_mapping, check_span, get_mapping_indices
from .members import as_count, as_number, member, members, stated, text_names, unknown_attributes
from .opening import OpenedFile, OpenedFiles, open_file, read_error
from .permissions import Permissions, default_permissions
from .structure import examine, features_in, rows_of, what_is_odd

__all__ = ["RecordingFile", "find_pixel_size", "frame_rate_of"]

#: How the identifiers of devices begin that are known to store a wrong pixel size.
_MAKER = "RC-"
#: Pixel sizes [µm] that one can have: these are taken as they are stored.
_PLAUSIBLE = (0.255, 0.275)
#: Pixel size [µm] of the camera of each device.
_OF_DEVICE = {"naiad 1.0": 0.2645, "naiad 1.1": 0.2675}
#: The log that names the device, how its line begins, and the device if no line does.
_LOG, _LINE, _OLDEST = "cytoshot-acquisition", "device name:", "naiad 1.0"


class RecordingFile:
    """The file of a recording; opened when needed, and again after pickling.

    `state` is what the caller said in place of the stored contents, the rows to
    show, and what subclasses keep. Files of the lender are not opened again.
    """

    def __init__(
        self,
        path: Path | str | h5py.File | BinaryIO,
        state: dict[str, Any],
        permissions: Permissions | None = None,
        lender: OpenedFiles | None = None,
    ) -> None:
        self._state = state
        self._lender = lender
        #: Files on the way here; one that refers back to them is not followed.
        self._chain: tuple[Path, ...] = ()
        self._given: h5py.File | None = None
        if isinstance(path, h5py.File):
            self._given = path
            path = Path(path.filename)
        self.path: Path | BinaryIO = Path(path) if isinstance(path, str) else path
        #: What this file may do; basins may be in its own folder.
        self.permissions = default_permissions() if permissions is None else permissions
        if isinstance(self.path, Path):
            folders = self.path.absolute().parent, self.path.resolve().parent
            self.permissions = self.permissions.within(*folders)
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._closed = False
        self._file = None if self._given is None else OpenedFile(self._given)
        #: The file, and those of which it shows parts.
        self.opened = OpenedFiles(self._lender)
        self._cached: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._closed = False
        return self

    def __len__(self) -> int:
        indices = self.mapping_indices
        return self.stored_length if indices is None else len(indices)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        path: Any = self.path
        if isinstance(path, io.BytesIO):
            path = io.BytesIO(path.getvalue())
        kept = {"_state": self._state, "_chain": self._chain, "permissions": self.permissions}
        return {"path": path, **kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._given = self._lender = None
        self._reset()

    def close(self) -> None:
        """Close the file; may be called again."""
        with self._lock:
            if self._file is not None and not isinstance(self.path, Path):
                self._file.h5.close()
            self.opened.close()
            self._reset()
            self._closed = True

    @property
    def h5(self) -> h5py.File:
        """The opened file."""
        return self.file.h5

    @property
    def file(self) -> OpenedFile:
        """The opened file, with what is known of it."""
        with self._lock:
            if self._file is None:
                if self._closed:
                    raise InputError("the reader is closed", path=self.place)
                if isinstance(self.path, Path):
                    self._file = self.opened.open(self.path, self.permissions)
                else:
                    self._file = open_file(self.path, self.permissions)
            if "followed" not in self._cached:
                try:
                    self._cached["followed"] = examine(self._file, self.permissions, self.opened)
                except BaseException:
                    self.close()
                    raise
            return self._file

    @property
    def followed(self) -> list[str]:
        """What is read from elsewhere because that is allowed, in words."""
        _ = self.h5
        return list(self._cached["followed"])

    @property
    def meta(self) -> dict[str, Any]:
        """Attributes as ``"section:key"`` that are not empty; text is decoded."""
        with self._lock:
            if "meta" not in self._cached:
                given = self._state["meta"]
                source = self.h5.attrs if given is None else given
                try:
                    unknown = unknown_attributes(self.h5) if given is None else {}
                    names = [key for key in text_names(source) if key not in unknown]
                    values = {key: stated(source, key) for key in names}
                except (OSError, RuntimeError, ValueError, TypeError) as err:
                    raise read_error(err, self.h5) from err
                meta = {key: value for key, value in values.items() if value is not None}
                if self._state["pixel_size"] is not None:
                    meta["imaging:pixel size"] = self._state["pixel_size"]
                self._cached["meta"] = meta
            found: dict[str, Any] = self._cached["meta"]
            return found

    @property
    def meta_nest(self) -> dict[str, dict[str, Any]]:
        """Attributes as nested dict ``meta_nest[section][key]``."""
        nested: dict[str, dict[str, Any]] = {}
        for name, value in self.meta.items():
            section, colon, key = name.partition(":")
            if colon:
                nested.setdefault(section, {})[key] = value
        return nested

    @property
    def logs(self) -> dict[str, list[str]]:
        """Logs, a list of lines each; those without lines are left out."""
        return self._contents("logs", read_lines)

    @property
    def tables(self) -> dict[str, Any]:
        """Tables, a dict of columns each."""
        return self._contents("tables", _read_table)

    @property
    def pixel_size(self) -> float:
        """Width of a pixel [µm]; 0 if unknown."""
        found = self.meta.get("imaging:pixel size", 0)
        size = as_number(found)
        if size is None or math.isinf(size):
            raise InputError(
                f"the pixel size is {str(found)[:80]}",
                path=self.place,
                hint="give a pixel size in µm",
            )
        return size

    @pixel_size.setter
    def pixel_size(self, pixel_size: float) -> None:
        with self._lock:
            self._state["pixel_size"] = round_pixel_size(pixel_size)
            self._cached.pop("meta", None)

    @property
    def md5_5m(self) -> str | None:
        """MD5 checksum of the first 5 MiB; None for a stream."""
        if self._state["md5_5m"] is None and isinstance(self.path, Path):
            self._state["md5_5m"] = md5sum(self.path, blocksize=65536, count=80)
        checksum: str | None = self._state["md5_5m"]
        return checksum

    @property
    def stored_length(self) -> int:
        """Number of rows in the file, whatever the index mapping."""
        with self._lock:
            if "length" not in self._cached:
                self._cached["length"] = self._find_length()
            return int(self._cached["length"])

    def _find_length(self) -> int:
        try:
            count = stated(self.h5.attrs, "experiment:event count")
        except (OSError, RuntimeError, ValueError, TypeError) as err:
            raise read_error(err, self.h5) from err
        if count is not None:
            number = as_count(count)
            if number is None:
                raise InputError(
                    f"the event count is {str(count)[:80]}",
                    path=self.place,
                    hint="the recording was not completed or was damaged",
                )
            return number
        events = features_in(member(self.h5, "events"))
        length = rows_of(*events[0]) if events else self._referred_length()
        if length is None:
            raise InputError("the number of frames is unknown", path=self.place)
        return length

    def _referred_length(self) -> int | None:
        """Return the number of rows of what the file refers to, if that is known."""
        return None

    @property
    def place(self) -> Path | None:
        """Path of the file; None if it is not on disk."""
        return self.path if isinstance(self.path, Path) else None

    @property
    def index_mapping(self) -> IndexMapping:
        """Rows to show, as they were given: a number, slice, integers of shape (n,), or None."""
        mapping: IndexMapping = self._state["index_mapping"]
        return mapping

    @property
    def mapping_indices(self) -> npt.NDArray[Any] | None:
        """Rows of the file that are shown, shape (n,); None for all."""
        if self.index_mapping is None:
            return None
        with self._lock:
            if "indices" not in self._cached:
                of = (self.stored_length, "the recording", self.place)
                check_span(self.index_mapping, *of)
                indices = get_mapping_indices(self.index_mapping)
                check_mapping(indices, *of)
                self._cached["indices"] = indices
            found: npt.NDArray[Any] = self._cached["indices"]
            return found

    def checked(self, dataset: h5py.Dataset) -> CheckedDataset:
        """Return a dataset of this file, read as its permissions allow."""
        return checked(dataset, self.permissions, self.opened)

    def _contents(self, name: str, read: Any) -> dict[str, Any]:
        with self._lock:
            if name not in self._cached:
                given = self._state[name]
                if given is None:
                    stored = members(member(self.h5, name, {}))
                    given = {
                        key: read(self.checked(ds))
                        for key, ds in stored
                        if isinstance(ds, h5py.Dataset)
                        and not what_is_odd(ds, name)
                        and (ds.size or name != "logs")
                    }
                self._cached[name] = given
            found: dict[str, Any] = self._cached[name]
            return found


def frame_rate_of(meta: Mapping[str, Any], path: str | Path | None = None) -> float:
    """Return the number of frames in a second; 0 if unknown."""
    found = stated(meta, "imaging:frame rate", 0)
    rate = as_number(found)
    if rate is None or not math.isfinite(rate):
        raise InputError(
            f"the frame rate is {str(found)[:80]!a}",
            path=path,
            hint="the recording was not completed or was damaged",
        )
    return rate


def find_pixel_size(data: RecordingFile) -> tuple[float, str | None]:
    """Return the pixel size [µm] to measure with, and why the stored one is in doubt."""
    stored = data.pixel_size
    of_maker = str(data.meta.get("setup:identifier", "")).startswith(_MAKER)
    if not of_maker or not (stored < _PLAUSIBLE[0] or stored > _PLAUSIBLE[1]):
        return stored, None
    lines = [line.strip().lower() for line in data.logs.get(_LOG, [])]
    named = (line.split(":")[1].strip() for line in lines if line.startswith(_LINE))
    device = next(named, _OLDEST)
    wrong = f"the stored pixel size of {stored:g} um is not that of this kind of device"
    if device not in _OF_DEVICE:
        return stored, f"{wrong}; it is kept, because the device '{device[:80]}' is not known"
    return _OF_DEVICE[device], f"{wrong} ('{device}')"


def _read_table(dataset: h5py.Dataset) -> Any:
    stored = read_checked(dataset)
    values = np.ravel(stored)
    if values.dtype.names is None:
        return stored
    return {name: values[name] for name in values.dtype.names}
