"""Row 16: one after the other in the same process, which must not fill up."""

from __future__ import annotations

import ctypes
import functools
import gc
import hashlib
import os
import resource
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from ..corpus import made
from ..helpers import in_helper, say
from ..matrix import Case, Fault
from ..programs import cytovox, run
from ..recordings import digest, recording, right_digest

__all__ = ["FAULTS"]

_MOODY = Path(__file__).resolve().parents[1] / "moody.py"
#: Open files and memory after each piece of work of this process.
_history: list[tuple[int, int]] = []
#: Bytes by which memory may grow with each of them, in the long run.
_SLOPE = 20_000
#: Bytes that the allocator may keep at a time.
_STEP = 10_000_000


def _one_more(case: Case, kinds: tuple[Callable[[Path], None], ...], settled: int) -> str:
    """Do another piece of work in the same process; see that nothing piles up.

    The first `settled` ones may fill caches; half as many are looked at together.
    """
    kinds[case.number % len(kinds)](case.folder)
    files = len(os.listdir("/proc/self/fd"))
    # What is free already, but not given back to the system, is not a loss.
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    _history.append((files, pages * resource.getpagesize()))
    if len(_history) <= 2 * settled:
        return "right"
    counts, sizes = np.array(_history, float)[settled:].T
    first = counts[: len(kinds)].max()
    assert counts.max() <= first, f"open files: {counts.astype(int).tolist()}"
    grown = np.median(sizes[-settled // 2 :]) - np.median(sizes[: settled // 2])
    what = f"{grown / 1e6:.1f} MB more after {len(sizes)} times"
    assert grown <= _STEP + _SLOPE * len(sizes), what
    return "right, no slope"


def _recording(folder: Path, frames: int, words: tuple[str, ...] = ()) -> None:
    out = folder / "out.rtdc"
    source = folder / "raw.rtdc"
    shutil.copy(recording(frames), source)
    _do("run", source, "-o", out, "-q", "--workers", 2, *words)
    assert digest(out) == right_digest(frames, *words)


def _verified(folder: Path, frames: int, words: tuple[str, ...] = ()) -> None:
    _recording(folder, frames, words)
    _do("verify", folder / "out.rtdc", "-q")


def _volume(folder: Path, function: str) -> None:
    shutil.copytree(made("soak", _volume_input), folder, dirs_exist_ok=True)
    _do(*_volume_words(folder, function))
    _do("verify", folder / "out.zarr", "-q")
    assert _labels_digest(folder) == _right_labels()


def _do(*words: object) -> None:
    said = say(*words)
    assert said.code == 0, said.out


_FUNCTION = '''
"""Finds what is bright."""

import numpy as np
from scipy import ndimage


def find(array, *, threshold):
    return ndimage.label(array > threshold)[0].astype(np.uint32)
'''


def _volume_input(folder: Path) -> None:
    from cytovox.testing import simulate_volume

    simulate_volume(folder / "raw.zarr", shape=(120, 120, 120), seed=3)
    (folder / "cells.py").write_text(_FUNCTION)


def _volume_words(folder: Path, function: str) -> list[object]:
    from cytovox.testing.volume_simulator import BLOB_THRESHOLD

    name = f"{folder / function}:find" if function.endswith(".py") else function
    words = ["-f", name, "--set", f"threshold={BLOB_THRESHOLD}", "--stitch", "touch"]
    words += ["--connectivity", "6", "--block", "40", "--workers", "2", "-q"]
    return ["volume", "segment", folder / "raw.zarr", folder / "out.zarr", *words]


@cache
def _right_labels() -> str:
    def make(folder: Path) -> None:
        _volume_input(folder)
        ended = run(cytovox(*_volume_words(folder, "label")), limit=600)
        assert ended.code == 0, ended.out

    return _labels_digest(made("soak right", make))


def _labels_digest(folder: Path) -> str:
    from cytovox.read.open_volume import open_volume

    with open_volume(folder / "out.zarr") as volume:
        return hashlib.sha256(np.ascontiguousarray(volume[...]).tobytes()).hexdigest()


_SHORT = (functools.partial(_recording, frames=60),)
#: Both halves of the program, with threads and with processes.
_ALL = (
    functools.partial(_verified, frames=10_000),
    functools.partial(_volume, function="label"),
    functools.partial(_verified, frames=10_000, words=("--basins", "tap")),
    functools.partial(_volume, function="cells.py"),
    functools.partial(_verified, frames=2_000, words=("--segmenter", f"{_MOODY}:SegmentMoody")),
)

FAULTS = [
    Fault(
        row=16,
        name="One recording after the other in one process",
        quick=22,
        full=1000,
        bound="not one more file open; at most 20 kB of memory for each recording",
        peer="not tried",
        run=in_helper(functools.partial(_one_more, kinds=_SHORT, settled=10), name="soak"),
        note="Each injection is a recording of 60 frames; slopes from the 21st on",
    ),
    Fault(
        row=16,
        name="Long work of all kinds in one process",
        quick=0,
        full=500,
        bound="not one more file open; at most 20 kB of memory for each piece of work",
        peer="not tried",
        run=in_helper(functools.partial(_one_more, kinds=_ALL, settled=100), name="long soak"),
        note="In turns recordings of 10 000 frames drained and tapped, of 2000 frames measured "
        "by processes, volumes segmented by threads and by processes; all verified; slopes "
        "from the 201st on",
    ),
]
