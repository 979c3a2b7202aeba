"""``python -m benchmarks.timeline``: what each thread of a run does, and what it waits for.

The command line runs a recording in this process, and the stack of each thread is
looked at five hundred times a second while events are made and written. A thread that
waits for the interpreter's lock or for that of HDF5 counts as busy with what it called.
The table goes into docs/explanation/performance.md.
"""

from __future__ import annotations

import argparse
import collections
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import FrameType

from .data import Recording, bench_folder
from .results import put_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "explanation" / "performance.md"

#: Seconds between two looks.
_PAUSE = 0.002
#: Threads by the beginning of their names, and what they are called in the table.
_THREADS = {
    "cytovox-worker": "workers",
    "QueueWriter": "putting in order",
    "ChunkWriter": "writing",
    "cytovox-pack": "packing",
    "MainThread": "main",
}
#: Below this share nothing is listed.
_LEAST = 0.05


class _Sampler(threading.Thread):
    """Looks at what threads do, and counts."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.has_ended = threading.Event()
        self.looks = 0
        self.counts: collections.Counter[tuple[str, str]] = collections.Counter()

    def run(self) -> None:
        while not self.has_ended.wait(_PAUSE):
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            if not any(name.startswith("QueueWriter") for name in names.values()):
                continue  # before or after the conveyor
            self.looks += 1
            for ident, frame in sys._current_frames().items():  # noqa: SLF001 - documented
                name = names.get(ident, "")
                for beginning, thread in _THREADS.items():
                    if name.startswith(beginning):
                        self.counts[thread, _what(frame)] += 1


def _what(frame: FrameType | None) -> str:
    """Say what a thread does: the innermost function of ours, and whether it waits."""
    waits = frame is not None and "threading" in frame.f_code.co_filename
    while frame is not None and "cytovox" not in frame.f_code.co_filename:
        frame = frame.f_back
    if frame is None:
        return "waits for work"
    if frame.f_code.co_filename.endswith("jit.py") and frame.f_back is not None:
        frame = frame.f_back  # a kernel, named by who calls it
    where = f"`{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}`"
    return f"waits in {where}" if waits else where


def rows(frames: int) -> list[str]:
    """Return the lines of the table."""
    from cytovox.cli.main import main as cytovox

    lines = ["| basins | thread | share of the time |", "|---|---|---|"]
    for basins in ("drain", "tap"):
        with tempfile.TemporaryDirectory(dir=bench_folder()) as folder:
            out = str(Path(folder) / "out.rtdc")
            words = ["run", str(Recording(frames).path), "-o", out, "--basins", basins, "--quiet"]
            cytovox(words)  # loads what the next one does not wait for
            sampler = _Sampler()
            sampler.start()
            begin = time.perf_counter()
            cytovox([*words, "--force"])
            seconds = time.perf_counter() - begin
            sampler.has_ended.set()
            sampler.join()
        for thread in _THREADS.values():
            shares = {
                what: count / sampler.looks
                for (name, what), count in sampler.counts.most_common()
                if name == thread
            }
            listed = [f"{what} {share:.2f}" for what, share in shares.items() if share >= _LEAST]
            lines.append(f"| {basins}, {seconds:.1f} s | {thread} | {', '.join(listed)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=20_000)
    table = rows(parser.parse_args().frames)
    print("\n".join(table))
    put_table(PAGE, "timeline", table)


if __name__ == "__main__":
    main()
