"""Inject faults, as often as the full matrix wants it, and write what came of it.

    python tests/faults/run_faults.py [--quick] [--rows 1,2,8] [--only WORD]
                                      [--share 0.1] [--seed N] [--jobs N]
                                      [--repeat ROW:NUMBER]

Writes ``tests/faults/results.json`` and the table in
``docs/explanation/reliability.md``; rows that were not run keep what they had.
Returns 1 if anything was lost, hung or left behind.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing as mp
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from fault_harness.matrix import Report, inject
from fault_harness.page import DATA, write_page
from fault_harness.programs import cytovox, run
from fault_harness.recordings import keep_folder
from fault_harness.rows import FAULTS

__all__ = ["main"]


def main() -> int:
    args = _arguments()
    if args.repeat:
        row, number = (int(word) for word in args.repeat.split(":"))
        return _repeat(row, number, args.seed)
    rows = {int(word) for word in args.rows.split(",")} if args.rows else None
    known = json.loads(DATA.read_text()) if DATA.is_file() else {}
    _compile_kernels()
    wrong = 0
    for fault in FAULTS:
        if (rows is not None and fault.row not in rows) or args.only not in fault.key:
            continue
        count = fault.quick if args.quick else max(1, round(fault.full * args.share))
        if not count:
            continue
        begin = time.perf_counter()
        report = _inject(fault.row, fault.key, count, args)
        wall = time.perf_counter() - begin
        wrong += len(report.failures)
        print(f"{fault.key}: {report.survived} of {report.injected} survived in {wall:.0f} s")
        for what, times in sorted(report.ended.items()):
            print(f"  {times} {what}")
        for failure in report.failures[:5]:
            print(f"  --repeat {fault.row}:{failure.number}\n{failure.text}")
        print(end="", flush=True)
        known[fault.key] = {
            **{k: v for k, v in dataclasses.asdict(report).items() if k != "failures"},
            "failures": [failure.number for failure in report.failures],
            "wall": wall,
            "seed": args.seed,
            "command": "python tests/faults/run_faults.py " + " ".join(sys.argv[1:]),
        }
        if not args.dry:
            DATA.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
            write_page(known)
    return int(bool(wrong))


def _compile_kernels() -> None:
    """See that no injection has to wait for the compiler, as if it hung."""
    with tempfile.TemporaryDirectory() as folder:
        for more in ((), ("--volume",)):
            ended = run(cytovox("demo", "--out", Path(folder) / "demo", *more), limit=300)
            assert ended.code == 0, ended.out


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="as often as in every test run")
    parser.add_argument("--rows", default="", help="numbers of rows, with commas")
    parser.add_argument("--only", default="", help="only faults whose name contains this")
    parser.add_argument("--share", type=float, default=1.0, help="share of the full counts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="injections at a time")
    parser.add_argument("--repeat", default="", metavar="ROW:NUMBER", help="one injection")
    parser.add_argument("--dry", action="store_true", help="write no table")
    return parser.parse_args()


def _inject(row: int, key: str, count: int, args: argparse.Namespace) -> Report:
    total = Report()
    shares = [list(range(start, count, args.jobs)) for start in range(args.jobs)]
    keep_folder()
    # Unlike the other kind of pool it notices when a process of it dies.
    with ProcessPoolExecutor(args.jobs, mp.get_context("spawn")) as pool:
        work = [(key, share, args.seed) for share in shares if share]
        for report in pool.map(_share, work):
            total.add(report)
    return total


def _share(work: tuple[str, list[int], int]) -> Report:
    key, numbers, seed = work
    fault = next(fault for fault in FAULTS if fault.key == key)
    return inject(fault, numbers, seed)


def _repeat(row: int, number: int, seed: int) -> int:
    reports = [inject(fault, [number], seed) for fault in FAULTS if fault.row == row]
    for report in reports:
        print(report.ended, *(failure.text for failure in report.failures), sep="\n")
    return int(any(report.failures for report in reports))


if __name__ == "__main__":
    sys.exit(main())
