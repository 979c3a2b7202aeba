"""Cut the line to a worker on another machine in the middle of a block.

    python tests/faults/cut_line.py

The other machine is a network namespace (Linux, ``ip netns``, as root). No farewell
comes from it, as if its power had failed. Tells after how many seconds that was
noticed; returns 1 if the labels are not those of a run without it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import cytovox
from cytovox.blockwise.block_result import BlockFailed
from cytovox.read.open_volume import open_volume

__all__ = ["main"]

_NAME, _OURS, _THEIRS = "cytovox-other", "cytovox-a", "cytovox-b"
_HOST, _GUEST = "10.77.0.1", "10.77.0.2"
_FUNCTION = '''
"""Finds what is bright; rings once, and then takes its time."""

import os
import time

from cytovox.blockwise.label_function import label


def find(array, *, bell=""):
    if bell and os.path.exists(bell):
        os.rename(bell, bell + ".rung")
        with open(bell + ".rung", "wb") as file:
            file.write(b"!")
        time.sleep(600)
    return label(array, threshold=100)
'''
#: Puts the first worker on the other machine.
_LAUNCHER = f"""#!/bin/sh
if mkdir "$(dirname "$0")/first" 2> /dev/null; then exec ip netns exec {_NAME} "$@"; fi
exec "$@"
"""


def main() -> int:
    with tempfile.TemporaryDirectory() as name, _other_machine():
        folder = Path(name)
        rng = np.random.default_rng(0)
        np.save(folder / "raw.npy", (rng.random((24, 24, 24)) > 0.8).astype(np.uint8) * 200)
        (folder / "cells.py").write_text(_FUNCTION)
        launcher = folder / "launch.sh"
        launcher.write_text(_LAUNCHER)
        launcher.chmod(0o700)
        bell = folder / "bell"
        subprocess.run(["mkfifo", bell], check=True)
        lost: list[float] = []
        threading.Thread(target=_cut, args=(bell, lost), daemon=True).start()

        def listen(event: Any) -> None:
            if isinstance(event, BlockFailed):
                lost.append(time.monotonic())
                print(f"{event.error}, noticed after {lost[1] - lost[0]:.0f} s", flush=True)

        there = {"cluster": f"{launcher} {{command}}", "workers": 1, "host": _HOST}
        got = _labels(folder, "there", str(bell), on_event=listen, **there)
        right = np.array_equal(got, _labels(folder, "here", "", workers=0))
        print("the labels are right" if right else "the labels differ")
        return int(not right or len(lost) != 2)


def _labels(folder: Path, name: str, bell: str, **more: Any) -> Any:
    result = cytovox.segment_volume(
        folder / "raw.npy",
        folder / f"{name}.zarr",
        f"{folder / 'cells.py'}:find",
        parameters={"bell": bell},
        block=12,
        context=0,
        stitch="touch",
        **more,
    )
    assert result, result.failed
    with open_volume(folder / f"{name}.zarr") as labels:
        return labels[...]


def _cut(bell: Path, lost: list[float]) -> None:
    """Wait for the bell, and let the line between the machines be dead."""
    with open(bell, "rb") as file:  # it stays the same pipe when it is renamed
        file.read(1)
    _ip("link", "set", _OURS, "down")
    lost.append(time.monotonic())


@contextmanager
def _other_machine() -> Iterator[None]:
    _ip("netns", "add", _NAME)
    try:
        _ip("link", "add", _OURS, "type", "veth", "peer", "name", _THEIRS, "netns", _NAME)
        _ip("addr", "add", f"{_HOST}/24", "dev", _OURS)
        _ip("link", "set", _OURS, "up")
        there = ("netns", "exec", _NAME, "ip")
        _ip(*there, "addr", "add", f"{_GUEST}/24", "dev", _THEIRS)
        _ip(*there, "link", "set", _THEIRS, "up")
        yield
    finally:
        _ip("netns", "del", _NAME)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


if __name__ == "__main__":
    sys.exit(main())
