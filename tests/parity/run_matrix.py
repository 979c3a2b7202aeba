"""Compare this program with its peer, setting by setting.

    python tests/parity/run_matrix.py [--quick] [--only TEXT] [--keep FOLDER]

Runs both programs on every case of the matrix, compares their files and writes
``docs/explanation/parity.md``. Returns 1 if a case differs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

from parity_harness.matrix import cases
from parity_harness.page import write_page
from parity_harness.session import Session

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "parity.md"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only the cases of every test run")
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    parser.add_argument("--keep", type=Path, help="folder that keeps inputs and the peer's files")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    args = parser.parse_args()
    if not args.shared.is_dir():
        print(f"the real recordings are not in {args.shared}; say --shared FOLDER")
        return 2
    chosen = [
        case for case in cases() if args.only in case.name and (case.quick or not args.quick)
    ]
    outcomes = []
    with contextlib.ExitStack() as stack:
        keep = args.keep or os.environ.get("CYTOVOX_PARITY_CACHE")
        folder = Path(keep or stack.enter_context(tempfile.TemporaryDirectory()))
        session = stack.enter_context(Session(folder.resolve(), args.shared, keep=bool(keep)))
        for number, case in enumerate(chosen, 1):
            outcome = session.compare(case)
            outcomes.append(outcome)
            print(f"{number:3}/{len(chosen)} {outcome.line()}", flush=True)
    wrong = sum(not outcome.equal for outcome in outcomes)
    print(f"{len(outcomes) - wrong} of {len(outcomes)} cases agree")
    if not args.only and not args.quick:
        write_page(PAGE, outcomes)
        print(f"written: {PAGE.relative_to(ROOT)}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
