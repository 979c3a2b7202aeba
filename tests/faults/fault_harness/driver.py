"""Measure a recording as a program that uses the library.

python driver.py INPUT OUTPUT [--processes] [--workers N] [--chunk FRAMES]
                 [--segmenter CODE] [--wait-for FILE]
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from cytovox.logic import DCNumJobRunner, DCNumPipelineJob


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("path_in", type=Path)
    parser.add_argument("path_out", type=Path)
    parser.add_argument("--processes", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--chunk", type=int)
    parser.add_argument("--segmenter", default="thresh")
    parser.add_argument("--basins", default="drain")
    args = parser.parse_args()
    job = DCNumPipelineJob(
        args.path_in,
        args.path_out,
        data_kwargs={"image_chunk_size": args.chunk} if args.chunk else None,
        segmenter_code=args.segmenter,
        basin_strategy=args.basins,
        num_procs=args.workers,
        log_level=logging.WARNING,
    )
    with DCNumJobRunner(job, processes=args.processes) as runner:
        runner.run()
        print("worker deaths are in the log" if args.processes else "done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
