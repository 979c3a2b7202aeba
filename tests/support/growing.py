"""What a camera has written of a recording, moment by moment, without a camera."""

from __future__ import annotations

import shutil
from pathlib import Path

from cytovox.testing import play_recording

__all__ = ["moments_of", "show_moment"]


def moments_of(source: Path, folder: Path, rate: float, *, locked: bool) -> list[Path]:
    """Return the file of a camera as it is each time it waits, and in the end."""
    target, seconds = folder / "written.rtdc", 0.0
    moments: list[Path] = []

    def keep() -> None:
        moments.append(folder / f"moment{len(moments)}.rtdc")
        shutil.copy(target, moments[-1])

    def wait(interval: float) -> None:
        nonlocal seconds
        keep()
        seconds += 5 * interval

    play_recording(source, target, rate=rate, locked=locked, clock=lambda: seconds, wait=wait)
    keep()
    return moments


def show_moment(moment: Path, path: Path) -> None:
    """Let a file be as it was at a moment, without making it another file."""
    content = moment.read_bytes()
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(content)
        file.truncate()
