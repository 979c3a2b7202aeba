"""Run pipeline jobs one after the other in a process of their own.

    python worker.py dcnum|cytovox

The peer starts processes for its background even where it is asked for none,
and now and then it waits for ever. So jobs run in this script (with a main
guard, since spawned children import it again). It is told of one job a line
and answers one line per job. Whoever started it keeps the time and ends it.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

#: starts every line that is meant for the caller; programs may print others
MARK = "@parity@"


def decode(value: Any) -> Any:
    """Turn ``{"slice": [a, b, c]}`` back into a slice, everywhere in `value`."""
    if isinstance(value, dict):
        if set(value) == {"slice"}:
            return slice(*value["slice"])
        return {key: decode(item) for key, item in value.items()}
    return value


def run_job(program: str, path_in: str, path_out: str, settings: dict[str, Any]) -> None:
    """Run one job; the peer in debug mode, which writes the same file with threads."""
    logic = importlib.import_module(f"{program}.logic")
    extra: dict[str, Any] = {"debug": True, "num_procs": 1} if program == "dcnum" else {}
    job = logic.DCNumPipelineJob(path_in=path_in, path_out=path_out, **extra, **decode(settings))
    with logic.DCNumJobRunner(job=job) as runner:
        runner.run()
    if runner.error_tb:
        raise RuntimeError(runner.error_tb)


def main() -> None:
    """Answer each line of standard input until it ends."""
    for line in sys.stdin:
        task = json.loads(line)
        start = time.perf_counter()
        error = None
        try:
            run_job(sys.argv[1], task["path_in"], task["path_out"], task["settings"])
        except BaseException:  # the peer's own stop signal is no Exception
            error = traceback.format_exc()
        if error is None and not Path(task["path_out"]).exists():
            error = "no output and no error"
        answer = {"error": error, "seconds": round(time.perf_counter() - start, 2)}
        print(MARK + json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
