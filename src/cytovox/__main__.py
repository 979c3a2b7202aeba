"""Let ``python -m cytovox`` be the same as ``cytovox``."""

from __future__ import annotations

import contextlib
import gc
import os
import sys

from .cli.signals import end_now, exit_code_of_interrupt, stop_on_signals

__all__ = ["run"]

#: Objects that are made before Python looks for cycles. It looks at all of them, and finds
#: nothing in the hundred thousand and more that a run makes while libraries are imported.
_OBJECTS_BETWEEN_COLLECTIONS = 200_000


def run() -> None:
    """Be the program: from the first import on, signals end it in order."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    if sys.argv[1:2] != ["as-dcnum"]:  # which runs a program of which we know nothing
        # Linear algebra would start a thread for each core, which waits for work by spinning,
        # when numpy is imported. Each core has a worker of ours.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with stop_on_signals() as received:
        try:
            from .cli.main import main

            code = main()
        except KeyboardInterrupt as interrupt:
            code = exit_code_of_interrupt(interrupt)
        if received:
            # A thread that does not end must not keep the process from ending.
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            end_now(code)
    # The process ends: looking for cycles in all that was imported, as Python
    # would now do several times, takes a sixth of a second for nothing.
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    run()
