"""Recordings to be measured, and what is right for them."""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path

import h5py
import numpy as np

from .helpers import say

__all__ = ["assert_right", "digest", "keep_folder", "recording", "right_digest"]


@cache
def _folder() -> Path:
    """Return the folder of inputs of this process."""
    keep_folder()
    return Path(tempfile.mkdtemp(dir=os.environ[_FOLDER]))


def keep_folder() -> None:
    """Make a folder for the inputs of this process and its helpers, which lasts as long."""
    if _FOLDER not in os.environ:
        keeper = tempfile.TemporaryDirectory(prefix="faults-")
        _KEEPERS.append(keeper)
        os.environ[_FOLDER] = keeper.name


#: Variable that tells helpers where to make their folders.
_FOLDER = "CYTOVOX_FAULT_FOLDER"


_KEEPERS: list[tempfile.TemporaryDirectory[str]] = []


@cache
def recording(frames: int, seed: int = 1) -> Path:
    """Return a simulated recording, the same each time."""
    from cytovox.testing import simulate_recording

    path = _folder() / f"raw_{frames}_{seed}.rtdc"
    simulate_recording(path, frames=frames, seed=seed)
    return path


@cache
def right_digest(frames: int, *words: str) -> str:
    """Return the digest of the events that come without any fault."""
    out = _folder() / f"right_{frames}_{'_'.join(words)}.rtdc"
    said = say("run", recording(frames), "-o", out, "-q", *words)
    assert said.code == 0, said.out
    return digest(out)


def digest(path: Path) -> str:
    """Return a digest of all events: names, types, shapes, values, stored chunks."""
    total = hashlib.sha256()
    with h5py.File(path, "r") as h5:
        events = h5["events"]
        count = int(h5.attrs["experiment:event count"])
        for name in sorted(events):
            feature = events[name]
            assert len(feature) == count, f"'{name}' has {len(feature)} of {count} events"
            total.update(f"{name} {feature.dtype} {feature.shape} {feature.chunks}".encode())
            total.update(np.ascontiguousarray(feature[()]).tobytes())
    return total.hexdigest()


def assert_right(path: Path, frames: int, *words: str) -> None:
    """Raise an `AssertionError` if events differ from those of a run without faults."""
    assert path.is_file(), f"there is no {path.name}"
    assert digest(path) == right_digest(frames, *words), "the events differ"
