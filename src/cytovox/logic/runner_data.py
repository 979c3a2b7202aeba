"""What a runner reads: its input, whole and as the job wants it, and the background."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..read import HDF5Data
from ..read.opening import OpenedFiles
from ..run.fingerprint import FileStamp
from ..write import create_with_basins
from . import frame_data
from .chunk_slot import Offsets
from .conveyor import chunk_size_for
from .job import DCNumPipelineJob
from .workspace import Workspace

__all__ = ["OF_TEMP_IN", "RunnerData"]

#: Attributes of readers of the temporary input, the one that opens it last, and of all.
OF_TEMP_IN = ("_data_slots", "_data_temp_in", "_frame_data")
_READERS = (*OF_TEMP_IN, "_whole", "_data_raw")


class RunnerData:
    """The readers of a runner, each of which is opened when it is first needed.

    Attributes
    ----------
    job
        The job.
    path_in, path_out : pathlib.Path
        Input and output, absolute.
    """

    job: DCNumPipelineJob
    path_in: Path
    path_out: Path
    _files: Workspace
    #: The input and the files it refers to, as they were when they were opened.
    _stamps: Sequence[FileStamp] = ()
    #: Whether another program writes the input, which is allowed then.
    _is_growing: bool = False
    #: Files that the caller has opened already.
    _opened: OpenedFiles | None = None
    _offsets: Offsets | None = None
    _data_raw: HDF5Data | None = None
    _data_temp_in: HDF5Data | None = None
    _data_slots: HDF5Data | None = None

    @property
    def path_temp_in(self) -> Path:
        """Temporary input: refers to the input and holds the background."""
        return self._files.path("input")

    @property
    def path_temp_out(self) -> Path:
        """Temporary output."""
        return self._files.output

    @property
    def draw(self) -> HDF5Data:
        """Raw input data."""
        if self._data_raw is None:
            kwargs = self.job["data_kwargs"]
            self._data_raw = HDF5Data(self.path_in, opened=self._opened, **kwargs)
            file = self._data_raw.file
            if not self._stamps and file.stamp is not None:
                self._stamps = [file.stamp]
                self._is_growing = file.is_growing
        return self._data_raw

    def _stamp_files(self) -> None:
        """Note how all files are from which the input takes something."""
        known = {stamp.path.resolve() for stamp in self._stamps}
        others = (path for path in self.draw.files() if path not in known)
        self._stamps = [*self._stamps, *map(FileStamp.of, others)]

    def _source(self) -> dict[str, Any]:
        """Return what a later run compares in order to know whether it would read the same."""
        files = [
            {"path": str(stamp.path), "size": stamp.size, "content": stamp.content}
            for stamp in self._stamps
        ]
        frames = self.draw.stored_length
        return {"frames": frames, "growing": self._is_growing, "files": files}

    def _require_unchanged(self) -> None:
        """Raise an error if a file has changed since it was opened."""
        for stamp in self._stamps:
            change = stamp.change(may_grow=self.draw.permissions.growing)
            if change is not None:
                raise InputError(
                    f"the input has changed while it was read: {change}",
                    path=stamp.path,
                    hint="nothing was published; run again when no other program writes to it",
                )

    @functools.cached_property
    def _whole(self) -> HDF5Data:
        """The input without index mapping."""
        return HDF5Data(
            self.path_in,
            pixel_size=self.draw.pixel_size,
            permissions=self.draw.permissions,
            opened=self.draw.opened,
        )

    @functools.cached_property
    def _frame_data(self) -> HDF5Data:
        """The input with background, without index mapping."""
        self._make_temp_in()
        return HDF5Data(
            self.path_temp_in,
            pixel_size=self.draw.pixel_size,
            permissions=self.draw.permissions,
            opened=self.draw.opened,
        )

    @functools.cached_property
    def _plan(self) -> frame_data.FramePlan:
        return frame_data.plan_frame_data(
            self._whole,
            self._frame_data,
            self.job["basin_strategy"],
            makes_offsets=self._offsets is not None,
        )

    @property
    def dtin(self) -> HDF5Data:
        """Input data with (corrected) background image.

        Raises
        ------
        InputError
            If there is no background image.
        """
        if self._data_temp_in is None:
            self._data_temp_in = self._open_temp_in()
        return self._data_temp_in

    @property
    def _slots_in(self) -> HDF5Data:
        """The same, in chunks that fit into the slots."""
        if self._data_slots is None:
            self._data_slots = self._open_temp_in(chunk_size_for(self.draw, self.job))
        return self._data_slots

    def _open_temp_in(self, chunk_size: int | None = None) -> HDF5Data:
        self._make_temp_in()
        kwargs = self.job["data_kwargs"]
        if chunk_size is not None:
            kwargs.setdefault("image_chunk_size", chunk_size)
        kwargs["permissions"] = self.draw.permissions
        data = HDF5Data(self.path_temp_in, opened=self._frame_data.opened, **kwargs)
        if "image_bg" not in data:
            data.close()
            raise InputError("there is no background image", path=self.path_in)
        return data

    def _make_temp_in(self) -> None:
        if not self._files.has(self.path_temp_in):
            self._files.claim(self.path_temp_in)
            create_with_basins(
                self.path_temp_in,
                [self.path_in],
                permissions=self.draw.permissions,
                opened=self.draw.opened,
            )

    def _close_readers(self, names: tuple[str, ...] = _READERS) -> None:
        for name in names:
            data = self.__dict__.get(name)
            if data is not None:
                data.close()
            if name.startswith("_data"):
                setattr(self, name, None)
            else:
                self.__dict__.pop(name, None)
