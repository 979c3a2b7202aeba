"""Measure a folder of recordings by ChipStream: FOLDER OUT NUMBER.

Only so many of the recordings are measured, since that takes long. The last line
tells, as JSON, the seconds and core seconds that all would take.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path


def main(folder: str, out: str, number: str) -> None:
    all_of_them = sorted(Path(folder).glob("*.rtdc"))
    chosen = all_of_them[: int(number)]
    some = Path(out, "some")
    some.mkdir(parents=True)
    for path in chosen:
        os.link(path, some / path.name)
    results = Path(out, "results")
    program = Path(sys.executable).with_name("chipstream-cli")
    begin = time.perf_counter()
    subprocess.run(
        [program, "--recursive", str(some), str(results)], check=True, stdout=subprocess.DEVNULL
    )
    seconds = time.perf_counter() - begin
    assert len(list(results.rglob("*.rtdc"))) == len(chosen)
    used, scale = resource.getrusage(resource.RUSAGE_CHILDREN), len(all_of_them) / len(chosen)
    told = {
        "seconds": scale * seconds,
        "cpu": scale * (used.ru_utime + used.ru_stime),
        "files": f"scaled from {len(chosen)} files",
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
