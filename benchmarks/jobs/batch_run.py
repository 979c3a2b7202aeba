"""Measure a folder of recordings by one command: FOLDER OUT BASINS.

The last line tells, as JSON, the seconds of the command and of a recording, and
how many were measured at once on average.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time


def main(folder: str, out: str, basins: str) -> None:
    words = ["run", folder, "-o", out, "--basins", basins, "--quiet", "--json"]
    command = [sys.executable, "-m", "cytovox", *words]
    begin = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - begin
    files = json.loads(done.stdout)["results"]
    runs = [file["seconds"] for file in files]
    assert all(file["state"] == "done" for file in files)
    told = {
        "seconds": seconds,
        "files": f"{statistics.median(runs):.2f} s a file, {sum(runs) / seconds:.2f} at once",
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
