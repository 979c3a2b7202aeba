"""Run both programs on a case and compare what they wrote."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py

from .compare import compare, deviations
from .inputs import Inputs
from .matrix import RENAMED, Case
from .page import Outcome
from .program import Program, Result


class Session:
    """Inputs and both programs over one folder.

    Parameters
    ----------
    folder
        Holds inputs and outputs. It must be absolute, since outputs name it.
    shared
        Folder of the real recordings.
    keep
        Whether inputs and the peer's outputs of an earlier session are used.
    time_limit
        Seconds for one job of the peer.
    """

    def __init__(
        self, folder: Path, shared: Path, *, keep: bool = False, time_limit: float = 120.0
    ) -> None:
        self.peer = Program("dcnum", folder / "peer", time_limit=time_limit, keep=keep)
        self.ours = Program("cytovox", folder / "ours")
        self.inputs = Inputs(folder / "inputs", shared, self._measure)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Session:
        self._stack.enter_context(self.peer)
        self._stack.enter_context(self.ours)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def compare(self, case: Case) -> Outcome:
        """Run a case with both programs and compare."""
        path_in = self.inputs.get(case.recording)
        settings = dict(case.settings)
        theirs = self.peer.run(path_in, settings)
        if theirs.error and "already exists" in theirs.error:
            # it names logs by the second, so it cannot measure twice within one
            theirs = self.peer.run(path_in, settings)
        ours = self.ours.run(path_in, settings)
        return judge(case, path_in, ours, theirs)

    def _measure(self, path_in: Path, settings: Mapping[str, Any]) -> Path:
        result = self.peer.run(path_in, dict(settings))
        if result.error:
            raise RuntimeError(f"the peer could not make an input: {result.error}")
        return result.path


def judge(case: Case, path_in: Path, ours: Result, theirs: Result) -> Outcome:
    """Compare the results of a case."""
    frames = events = 0
    found: list[str] = []
    distances: dict[str, float] = {}
    if theirs.error:
        found.append(f"the peer failed: {theirs.error.strip().splitlines()[-1]}")
    if ours.error:
        found.append(f"ours failed: {ours.error.strip().splitlines()[-1]}")
    if not found:
        found = compare(ours.path, theirs.path, RENAMED)
        distances = deviations(ours.path, theirs.path)
        with h5py.File(path_in) as a, h5py.File(ours.path) as b:
            frames = int(a.attrs["experiment:event count"])
            events = int(b.attrs["experiment:event count"])
    left = [line for line in found if not line.startswith(tuple(case.repaired) or ("\0",))]
    return Outcome(case, frames, events, tuple(left), distances, ours.seconds, theirs.seconds)
