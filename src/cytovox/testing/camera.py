"""A camera that writes a recording while others read it, as instruments do."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py

from ..errors import OptionError

__all__ = ["play_recording"]

#: Seconds between two times at which what was recorded gets into the file.
_FLUSH = 0.2
_COUNT = "experiment:event count"


def play_recording(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    rate: float,
    locked: bool = False,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], object] | None = None,
) -> int:
    """Write a recording again, at the rate at which a camera takes frames.

    The new file grows by whole stored chunks of images, which are copied as
    they are. What was written gets into the file five times a second. The event
    count is written last, when the recording is complete; until then there is
    none.

    Parameters
    ----------
    source
        The recording.
    target
        File to write; an existing one is replaced.
    rate
        Frames per second.
    locked
        How it is written: by a file of the oldest format that HDF5 keeps locked,
        or so that others may read it meanwhile (SWMR).
    clock, wait
        What gives the time and waits for some of it, both in seconds.

    Returns
    -------
    int
        Number of frames that were written; fewer than there are if the camera was
        stopped, by an exception of `wait`. The file is complete then as well.

    Raises
    ------
    OptionError
        If the rate is not above 0.

    Examples
    --------
    >>> from cytovox.testing import simulate_recording
    >>> folder = getfixture("tmp_path")
    >>> _ = simulate_recording(folder / "source.rtdc", frames=20)
    >>> play_recording(folder / "source.rtdc", folder / "raw.rtdc", rate=1000)
    20
    """
    if not rate > 0:
        raise OptionError(f"rate is {rate}", hint="it must be above 0")
    wait = wait or threading.Event().wait
    with h5py.File(source, "r") as old:
        camera = _Camera(old, Path(target), locked=locked)
        begin, total = clock(), len(old["events/image"])
        try:
            while camera.frames < total:
                wait(_FLUSH)
                camera.write(min(total, int((clock() - begin) * rate)))
        finally:
            camera.close()
    return camera.frames


class _Camera:
    """The file that is written."""

    def __init__(self, old: h5py.File, path: Path, *, locked: bool) -> None:
        self._old, self._path, self._locked = old["events"], path, locked
        self.frames = 0
        libver = "earliest" if locked else "latest"
        self._h5 = h5py.File(path, "w", libver=libver, locking=True)
        self._h5.attrs.update({key: value for key, value in old.attrs.items() if key != _COUNT})
        events = self._h5.create_group("events")
        self._new = {name: _empty_like(events, name, self._old[name]) for name in self._old}
        self._h5.flush()
        if not locked:
            self._h5.swmr_mode = True

    def write(self, stop: int) -> None:
        """Write the frames before one, but no part of a chunk of images other than the last."""
        image, total = self._old["image"], len(self._old["image"])
        length = image.chunks[0]
        stop = stop if stop == total else stop // length * length
        if stop <= self.frames:
            return
        for name, new in self._new.items():
            new.resize(stop, axis=0)
            if name != "image":
                new[self.frames : stop] = self._old[name][self.frames : stop]
        for start in range(self.frames, stop, length):
            mask, content = image.id.read_direct_chunk((start, 0, 0))
            self._new["image"].id.write_direct_chunk((start, 0, 0), content, mask)
        self._h5.flush()
        self.frames = stop

    def close(self) -> None:
        """Write how many frames there are, and close the file."""
        if not self._locked:  # no attribute can be made while others read
            self._h5.close()
            self._h5 = h5py.File(self._path, "r+", libver="latest", locking=True)
        self._h5.attrs[_COUNT] = self.frames
        self._h5.close()


def _empty_like(events: h5py.Group, name: str, old: h5py.Dataset) -> h5py.Dataset:
    """Make a dataset that can grow, stored like another one."""
    shape = old.shape[1:]
    how: dict[str, Any] = {}
    if old.ndim > 1:
        plist = old.id.get_create_plist()
        filters = [plist.get_filter(i) for i in range(plist.get_nfilters())]
        how = {"chunks": old.chunks, "fletcher32": old.fletcher32}
        for number, _, values, _ in filters:
            if number != h5py.h5z.FILTER_FLETCHER32:
                how |= {"compression": number, "compression_opts": tuple(values)}
    new = events.create_dataset(name, (0, *shape), old.dtype, maxshape=(None, *shape), **how)
    new.attrs.update(old.attrs)
    return new
