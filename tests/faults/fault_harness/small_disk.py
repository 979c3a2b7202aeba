"""Measure onto a small disk of one's own; say how that ended, as JSON.

unshare -rm python small_disk.py INPUT FOLDER SIZE ENOUGH staying|returning WHEN

A disk of SIZE bytes is mounted at FOLDER. If space returns, most of it is taken
at first, and freed when a write has been refused or shortly before. At the end
the disk gets ENOUGH bytes, and the same is done again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

from cytovox.write.disk import DiskFile
from fault_harness.helpers import say
from fault_harness.recordings import digest
from fault_harness.rows.disk import command_for


def main() -> None:
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    size, enough, when = int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[6])
    returning = sys.argv[5] == "returning"
    mount("-t", "tmpfs", "-o", f"size={enough if returning else size}", "none", str(folder))
    ballast = folder / "ballast"
    if returning:
        ballast.write_bytes(bytes(enough - size))
        free_when_refused(ballast, after=when > 0.5)
    out = folder / "out.rtdc"
    command = command_for(source, out, "--no-preflight")
    said = say(*command)
    told = {"code": said.code, "out": said.out, "digest": digest(out) if out.exists() else None}
    if said.code:
        ballast.unlink(missing_ok=True)
        mount("-o", f"remount,size={enough}", str(folder))
        again = say(*command)
        told["again"] = digest(out) if again.code == 0 else again.out
    print(json.dumps(told))


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def free_when_refused(ballast: Path, *, after: bool) -> None:
    """Free the space as soon as a write is refused, or in a thread at any time."""
    if not after:
        threading.Timer(0.2, ballast.unlink, [True]).start()
        return
    write_at = DiskFile.write_at

    def write(self: DiskFile, offset: int, view: memoryview) -> int:
        try:
            return write_at(self, offset, view)
        except OSError:
            ballast.unlink(missing_ok=True)
            raise

    DiskFile.write_at = write  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
