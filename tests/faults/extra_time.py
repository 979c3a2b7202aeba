"""Measure how much longer a run takes if one of its workers is killed half-way.

    python tests/faults/extra_time.py [--frames 20000] [--pairs 3]

Runs with and without a kill take turns; the ratio of each pair is printed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from fault_harness.programs import Program
from fault_harness.recordings import digest, recording
from fault_harness.rows.processes import DRIVER, workers_of

__all__ = ["main"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--pairs", type=int, default=3)
    args = parser.parse_args()
    source = recording(args.frames)
    _run(source, None)  # compiles, and fills the cache of the disk
    ratios = []
    for pair in range(args.pairs):
        whole, events = _run(source, None)
        killed, events_too = _run(source, whole / 2)
        assert events == events_too, "the events differ"
        ratios.append(killed / whole)
        print(
            f"{pair + 1}: {whole:.2f} s, with a kill {killed:.2f} s, {ratios[-1]:.3f}", flush=True
        )
    print(f"median {statistics.median(ratios):.3f}")
    return 0


def _run(source: Path, kill_after: float | None) -> tuple[float, str]:
    """Return seconds and a digest of the events."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.rtdc"
        begin = time.perf_counter()
        program = Program(
            [sys.executable, str(DRIVER), str(source), str(out), "--processes"], limit=600
        )
        killer = threading.Timer(kill_after or 0, _kill_one, [program])
        if kill_after is not None:
            killer.start()
        program.process.wait(program.limit)
        seconds = time.perf_counter() - begin
        ended = program.end()
        assert ended.code == 0, ended.out
        assert (kill_after is None) == (" died" not in ended.out), ended.out
        return seconds, digest(out)


def _kill_one(program: Program) -> None:
    os.kill(random.choice(workers_of(program)), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
