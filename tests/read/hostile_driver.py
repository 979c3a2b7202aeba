"""Opens hostile inputs, each in a process of its own whose memory is bounded.

Called with a folder for the files; prints one JSON object a line and case.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


import cytovox.read.hdf5_data
import cytovox.read.open_volume  # noqa: F401
from cytovox.errors import CytovoxError
from support.hostile import (
    SECRET,
    HostileCase,
    hostile_cases,
    read_everything,
    write_secret,
)

#: Memory beyond what the program itself has, and time, that a case may take.
MORE_BYTES = 512 << 20
SECONDS = 20


def attempt(case: HostileCase, target: Path | str) -> dict[str, Any]:
    try:
        found = [bool((part == SECRET).any()) for part in read_everything(case, target)]
    except CytovoxError as err:
        return {"outcome": "refused", "error": type(err).__name__, "message": str(err)}
    except BaseException as err:
        return {"outcome": "crashed", "error": type(err).__name__, "message": str(err)[:2000]}
    return {"outcome": "leaked" if any(found) else "opened", "read": len(found)}


def limited(case: HostileCase, target: Path | str) -> dict[str, Any]:
    """Do it in a child, and say what it took."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        signal.alarm(SECONDS)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MORE_BYTES, size + MORE_BYTES))
        with os.fdopen(write, "w") as stream:
            json.dump(attempt(case, target), stream)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as stream:
        text = stream.read()
    _, status, usage = os.wait4(child, 0)
    found = json.loads(text) if text else {"outcome": "died", "message": f"status {status}"}
    return {**found, "status": status, "peak": usage.ru_maxrss << 10}


def main(folder: Path) -> None:
    warnings.simplefilter("ignore")
    for case in hostile_cases():
        place = Path(tempfile.mkdtemp(dir=folder))
        found = limited(case, case.build(write_secret(place)))
        print(json.dumps({"name": case.name, **found}), flush=True)
        shutil.rmtree(place)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
