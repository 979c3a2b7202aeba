"""The page as a program, and the browser that opens it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

__all__ = ["HOSTILE", "Server", "chromium"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: A name that would be markup, a script, a word of a shell, and end a text.
HOSTILE = "<img src=x onerror=alert(1)>'\";$(touch x)&amp;.rtdc"


def chromium() -> str | None:
    """Return where Chromium is."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Server:
    """``cytovox app`` as a program."""

    def __init__(self, folder: Path) -> None:
        words = [sys.executable, "-m", "cytovox", "app", str(folder), "--no-browser"]
        self._program = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        self.address = self._program.stdout.readline().strip()
        assert self.address.startswith("http://127.0.0.1:")

    def end(self, number: int = signal.SIGINT) -> None:
        if self._program.poll() is None:
            self._program.send_signal(number)
            self._program.wait(60)
        self._program.stdout.close()
