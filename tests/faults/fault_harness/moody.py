"""A segmenter to which things happen: it takes too much memory, is slow, or hangs."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cytovox.segm import UNISegmenter

#: Bytes that each frame of a batch takes when memory is wanted.
GREED = 8 << 20
#: Frames at a time for which there is enough of it.
_MOST = 20
#: Address space that is left [bytes].
_LEFT = 200 << 20


class SegmentMoody(UNISegmenter):
    """Everything dark is a cell."""

    requires_background_correction = True
    mask_default_kwargs = {"closing_disk": 2}  # noqa: RUF012

    @staticmethod
    def segment_algorithm(
        image: npt.NDArray[Any], *, how: str = "", place: str = "", level: int = -6
    ) -> npt.NDArray[np.bool_]:
        if how:
            _HAPPENS[how](image, Path(place))
        return image < level


def _limited(image: npt.NDArray[Any], _place: Path) -> None:
    """Need real memory for each frame, under a real limit."""
    words = Path("/proc/self/statm").read_text().split()
    used = int(words[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + _LEFT, before[1]))
    try:
        np.empty(len(image) * GREED, np.uint8)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _killed(image: npt.NDArray[Any], _place: Path) -> None:
    """Be killed as by the system, if memory for so many frames were short."""
    if len(image) > _MOST:
        os.kill(os.getpid(), 9)


def _hungry(image: npt.NDArray[Any], place: Path) -> None:
    """Hold memory for each frame until somebody has looked; he kills who has too much."""
    held = np.ones(len(image) * GREED, np.uint8)
    (place / f"{os.getpid()}-{len(image)}").touch()
    if len(image) > _MOST:
        threading.Event().wait(30)
    del held


def _slow(image: npt.NDArray[Any], place: Path) -> None:
    """Let one worker be much slower than the others."""
    owner = place / "slow"
    with contextlib.suppress(FileExistsError), owner.open("x") as file:
        file.write(str(os.getpid()))
    if owner.read_text() in ("", str(os.getpid())):
        threading.Event().wait(0.006 * len(image))


def _stuck_once(image: npt.NDArray[Any], place: Path) -> None:
    """Hang for ever, but only the first time."""
    with contextlib.suppress(FileExistsError):
        (place / "stuck").touch(exist_ok=False)
        _hang()


def _stuck(image: npt.NDArray[Any], place: Path) -> None:
    """Tell that one hangs, and hang."""
    with (place / "pipe").open("wb") as pipe:
        pipe.write(b"!")
    _hang()


def _hang() -> None:
    """Hang in foreign code that keeps the interpreter locked."""
    ctypes.PyDLL(None).sleep(300)


_HAPPENS = {
    "limited": _limited,
    "killed": _killed,
    "hungry": _hungry,
    "slow": _slow,
    "stuck once": _stuck_once,
    "stuck": _stuck,
}
