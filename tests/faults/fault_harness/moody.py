"""A segmenter to which things happen: it takes too much memory, is slow, or hangs."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cytovox.segm import UNISegmenter

#: Bytes that each frame of a batch takes when memory is wanted.
GREED = 8 << 20
#: How names of control groups begin.
GROUP = "cytovox-fault-"
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


def _refused_by_system(image: npt.NDArray[Any], _place: Path) -> None:
    """Hold memory for each frame where the system kills who holds too much."""
    with small_group(_MOST * GREED + (64 << 20)):
        np.ones(len(image) * GREED, np.uint8)


@contextlib.contextmanager
def small_group(size: int) -> Iterator[None]:
    """Be in a control group of Linux whose memory is bounded.

    What this process has already is not counted.
    """
    found = memory_groups()
    assert found is not None
    root, limit = found
    group = root / f"{GROUP}{os.getpid()}"
    group.mkdir(exist_ok=True)
    (group / limit).write_text(str(size))
    home = _own_group(root)
    (group / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield
    finally:
        (home / "cgroup.procs").write_text(str(os.getpid()))
        group.rmdir()


def memory_groups() -> tuple[Path, str] | None:
    """Return where control groups are made and what bounds their memory, if this may be done."""
    for root, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        probe = root / f"{GROUP}probe-{os.getpid()}"
        try:
            probe.mkdir()
        except OSError:
            continue
        can = os.access(probe / limit, os.W_OK)
        probe.rmdir()
        if can:
            return root, limit
    return None


def _own_group(root: Path) -> Path:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds == ("memory" if root.name == "memory" else ""):
            return root / path.lstrip("/")
    return root


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
    "refused": _refused_by_system,
    "slow": _slow,
    "stuck once": _stuck_once,
    "stuck": _stuck,
}
