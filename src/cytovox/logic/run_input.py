"""What a run reads: its input, whole and as the job wants it, and the background."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..read import HDF5Data
from ..read.opening import OpenedFiles
from ..run.fingerprint import FileStamp
from ..write import create_with_basins
from .chunk_slot import Offsets
from .conveyor import chunk_size_for
from .frame_data import FramePlan, plan_frame_data
from .job import DCNumPipelineJob
from .run_folder import RunFolder, require_unchanged

__all__ = ["RunInput"]

#: Readers of the temporary input, the one that opens it last.
_OF_TEMPORARY = ("slots", "temporary", "frame data")


@dataclass(eq=False)
class RunInput:
    """The readers of a run, each of which is opened when it is first needed."""

    job: DCNumPipelineJob
    folder: RunFolder
    opened: OpenedFiles | None = None

    def __post_init__(self) -> None:
        self.path = Path(self.job["path_in"]).absolute()
        #: What computes the offsets of the background, where loading frames does that.
        self.offsets: Offsets | None = None
        #: Whether another program writes the input, which is allowed then.
        self.is_growing = False
        self._readers: dict[str, HDF5Data] = {}
        #: The input and the files it refers to, as they were when they were opened.
        self._stamps: Sequence[FileStamp] = ()

    def reader(self, name: str) -> HDF5Data | None:
        """Return a reader if it is open."""
        return self._readers.get(name)

    def _once(self, name: str, open_: Callable[[], HDF5Data]) -> HDF5Data:
        if name not in self._readers:
            self._readers[name] = open_()
        return self._readers[name]

    @property
    def raw(self) -> HDF5Data:
        """The input as the job wants it."""
        return self._once("raw", self._open_raw)

    @property
    def whole(self) -> HDF5Data:
        """The input without index mapping."""
        if self.raw.index_mapping is None:
            return self.raw
        return self._once("whole", lambda: self._open_all(self.path))

    @property
    def frame_data(self) -> HDF5Data:
        """The input with background, without index mapping."""
        if self.raw.index_mapping is None:
            return self.slots
        return self._once("frame data", lambda: self._open_all(self.make_temporary()))

    @property
    def temporary(self) -> HDF5Data:
        """The input with background, as the job wants it."""
        return self._once("temporary", self._open_temporary)

    @property
    def slots(self) -> HDF5Data:
        """The same, in chunks that fit into the slots."""
        return self._once(
            "slots", lambda: self._open_temporary(chunk_size_for(self.raw, self.job))
        )

    @functools.cached_property
    def plan(self) -> FramePlan:
        """How each kind of frame data gets into the output; known once there is a background."""
        return plan_frame_data(
            self.whole,
            self.frame_data,
            self.job["basin_strategy"],
            makes_offsets=self.offsets is not None,
        )

    def _open_raw(self) -> HDF5Data:
        data = HDF5Data(self.path, opened=self.opened, **self.job["data_kwargs"])
        if not self._stamps and data.file.stamp is not None:
            self._stamps = [data.file.stamp]
            self.is_growing = data.file.is_growing
        return data

    def _open_all(self, path: Path) -> HDF5Data:
        raw = self.raw
        return HDF5Data(
            path, pixel_size=raw.pixel_size, permissions=raw.permissions, opened=raw.opened
        )

    def _open_temporary(self, chunk_size: int | None = None) -> HDF5Data:
        kwargs = self.job["data_kwargs"]
        if chunk_size is not None:
            kwargs.setdefault("image_chunk_size", chunk_size)
        kwargs["permissions"] = self.raw.permissions
        lender = self.raw if self.raw.index_mapping is None else self.frame_data
        data = HDF5Data(self.make_temporary(), opened=lender.opened, **kwargs)
        if "image_bg" not in data:
            data.close()
            raise InputError("there is no background image", path=self.path)
        return data

    def make_temporary(self) -> Path:
        """Return the path of the temporary input, which refers to the input."""
        path = self.folder.path("input")
        if not self.folder.has("input"):
            self.folder.claim("input")
            raw = self.raw
            create_with_basins(path, [self.path], permissions=raw.permissions, opened=raw.opened)
        return path

    def stamp_files(self) -> None:
        """Note how all files are from which the input takes something."""
        known = {stamp.path.resolve() for stamp in self._stamps}
        others = (path for path in self.raw.files() if path not in known)
        self._stamps = [*self._stamps, *map(FileStamp.of, others)]

    def source(self) -> dict[str, Any]:
        """Return what a later run compares in order to know whether it would read the same."""
        files = [
            {"path": str(stamp.path), "size": stamp.size, "content": stamp.content}
            for stamp in self._stamps
        ]
        return {"frames": self.raw.stored_length, "growing": self.is_growing, "files": files}

    def require_unchanged(self) -> None:
        """Raise an error if a file has changed since it was opened."""
        require_unchanged(self._stamps, may_grow=self.raw.permissions.growing)

    def close_temporary(self) -> None:
        """Close all readers of the temporary input."""
        for name in _OF_TEMPORARY:
            if (data := self._readers.pop(name, None)) is not None:
                data.close()

    def close(self) -> None:
        """Close all readers; may be called again."""
        self.close_temporary()
        for name in ("whole", "raw"):
            if (data := self._readers.pop(name, None)) is not None:
                data.close()
