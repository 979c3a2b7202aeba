"""Measure a recording as a program that uses the library.

python driver.py INPUT OUTPUT [--processes] [--workers N] [--chunk FRAMES]
                 [--segmenter CODE] [--count FILE] [--frequent] [--tell FIFO:FRAMES]
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cytovox.logic import DCNumJobRunner, DCNumPipelineJob, conveyor, resume
from cytovox.run.progress import StageProgress, Warned


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("path_in", type=Path)
    parser.add_argument("path_out", type=Path)
    parser.add_argument("--processes", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--chunk", type=int)
    parser.add_argument("--segmenter", default="thresh")
    parser.add_argument("--basins", default="drain")
    parser.add_argument("--count", type=Path, help="file that takes the frames measured so far")
    parser.add_argument("--tell", help="pipe that is told when so many frames are measured")
    parser.add_argument("--frequent", action="store_true", help="note what is done all the time")
    args = parser.parse_args()
    if args.frequent:
        resume._SECONDS = 0.0  # noqa: SLF001
        # What waits to be written is what is lost.
        conveyor._WAITING_BYTES = 1 << 20  # noqa: SLF001
    logging.basicConfig(format="%(created).3f %(message)s")
    job = DCNumPipelineJob(
        args.path_in,
        args.path_out,
        data_kwargs={"image_chunk_size": args.chunk} if args.chunk else None,
        background_kwargs={"offset_correction": False},  # as the command line finds it
        segmenter_code=args.segmenter,
        basin_strategy=args.basins,
        num_procs=args.workers,
        log_level=logging.WARNING,
    )
    listener = counting(args.count, args.tell) if args.count else None
    with DCNumJobRunner(job, processes=args.processes, on_event=listener) as runner:
        runner.run()
    return 0


def counting(path: Path, tell: str | None) -> Callable[[Any], None]:
    """Return a function that tells a file how many frames are measured, as it is told."""
    conveyor._LOOK = 0.01  # noqa: SLF001
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    pipe, _, frames = (tell or "").partition(":")
    told: list[int] = []

    def listen(event: Any) -> None:
        if isinstance(event, StageProgress) and event.stage == "segmentation":
            os.pwrite(fd, event.done.to_bytes(8, "little"), 0)
            if pipe and event.done >= int(frames) and not told:
                told.append(os.open(pipe, os.O_WRONLY))
                os.write(told[0], b"!")
        elif isinstance(event, Warned):
            print(event.text, flush=True)

    return listen


if __name__ == "__main__":
    sys.exit(main())
