"""Be the camera of `cytovox live`; say how far that was behind, and when it was done.

    python live_run.py RECORDING RATE drain|tap FOLDER

The camera has one core to itself; what follows it has one worker, wherever that runs.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import h5py

from cytovox.testing import play_recording


def main() -> None:
    source, rate, basins, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    raw, out = Path(folder, "raw.rtdc"), Path(folder, "out.rtdc")
    cores = sorted(os.sched_getaffinity(0))
    program = subprocess.Popen(
        [sys.executable, "-m", "cytovox", "live", str(raw), "-o", str(out), "--workers", "1",
         "--basins", basins, "-q"],
    )  # fmt: skip
    os.sched_setaffinity(0, cores[:1])
    threading.Event().wait(5)  # until it waits for the recording
    begin, waiting, backlog = time.monotonic(), threading.Event(), 0.0

    def wait(seconds: float) -> None:
        nonlocal backlog
        waiting.wait(seconds)
        passed = time.monotonic() - begin
        if passed > 2:  # the first ones wait for a background
            backlog = max(backlog, passed - _measured(out.with_name("out_live.rtdc")) / rate)

    frames = play_recording(source, raw, rate=rate, wait=wait)
    end = time.monotonic()
    if program.wait():
        sys.exit(program.returncode)
    done = time.monotonic()
    told: dict[str, Any] = {
        "seconds": done - end,
        "backlog": backlog,
        "peak": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
        **_of_result(out, frames),
    }
    print(json.dumps(told))


def _measured(path: Path) -> int:
    try:
        with h5py.File(path, "r", swmr=True, locking=False) as h5:
            return len(h5["cytovox_live/counts"])
    except (OSError, KeyError):
        return 0


def _of_result(out: Path, frames: int) -> dict[str, Any]:
    """Return how many frames are missing in a result, and the share that was taken over."""
    with h5py.File(out) as h5:
        logs = h5["logs"]
        record = next(name for name in logs if name.startswith("dcnum-job"))
        log = next(name for name in logs if name.startswith("dcnum-log"))
        read = json.loads("\n".join(line.decode() for line in logs[record]))["read"]
        known = [line.decode() for line in logs[log] if b"events were known" in line]
    return {
        "missed": frames - int(read["frames"]),
        "known": int(known[0].split()[-1]) / frames if known else 0.0,
    }


if __name__ == "__main__":
    main()
