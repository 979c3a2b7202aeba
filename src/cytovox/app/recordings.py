"""Recordings that are open, with their backgrounds and some frames kept in memory."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..logic import DCNumPipelineJob
from ..logic.automatic import settle_automatic
from ..logic.frame_source import Frames, FrameSource, spread_frames
from ..read import HDF5Data
from ..recipe.recording_recipe import RecordingRecipe

__all__ = ["OpenRecording", "Recordings"]

#: So many recordings, or backgrounds of one, are kept open.
_OPEN = 3


@dataclass(eq=False)
class OpenRecording:
    """A recording with the background that a recipe gives it."""

    path: Path
    #: What is automatic, as it was settled for this recording.
    settled: dict[str, dict[str, Any]]
    source: FrameSource
    _spread: dict[int, Frames] = field(default_factory=dict)

    def job(self, recipe: RecordingRecipe) -> DCNumPipelineJob:
        """Return the job that measures this recording by a recipe of the same background."""
        arguments = recipe.job_arguments()
        for stage, options in self.settled.items():
            arguments[f"{stage}_kwargs"].update(options)
        return DCNumPipelineJob(self.path, **arguments)

    def spread(self, number: int) -> Frames:
        """Return frames that are spread evenly over the recording."""
        if number not in self._spread:
            self._spread = {number: self.source.read(spread_frames(len(self.source), number))}
        return self._spread[number]


class Recordings:
    """Opens recordings, and keeps the latest ones open; one thread at a time uses them."""

    def __init__(self) -> None:
        self._open: OrderedDict[Any, tuple[OpenRecording, contextlib.ExitStack]] = OrderedDict()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def use(self, path: Path, recipe: RecordingRecipe) -> Iterator[OpenRecording]:
        """Yield a recording with the background of a recipe, for this thread alone."""
        with self._lock:
            yield self._get(path, recipe)

    def close(self) -> None:
        """Close all."""
        with self._lock:
            while self._open:
                self._open.popitem()[1][1].close()

    def _get(self, path: Path, recipe: RecordingRecipe) -> OpenRecording:
        state, options = path.stat(), recipe.options
        content = (state.st_ino, state.st_size, state.st_mtime_ns)
        kept = {stage: sorted(options.get(stage, {}).items()) for stage in ("data", "background")}
        key = (path, content, recipe.codes["background"], str(kept))
        if key not in self._open:
            while len(self._open) >= _OPEN:
                self._open.popitem(last=False)[1][1].close()
            with contextlib.ExitStack() as stack:
                opened = _open(path, recipe, stack)
                self._open[key] = opened, stack.pop_all()
        self._open.move_to_end(key)
        return self._open[key][0]


def _open(path: Path, recipe: RecordingRecipe, stack: contextlib.ExitStack) -> OpenRecording:
    arguments = recipe.job_arguments()
    with HDF5Data(path, pixel_size=arguments["data_kwargs"].get("pixel_size")) as data:
        settled = settle_automatic(data, recipe.automatic).options
    for stage, options in settled.items():
        arguments[f"{stage}_kwargs"].update(options)
    source = stack.enter_context(FrameSource(DCNumPipelineJob(path, **arguments)))
    return OpenRecording(path, settled, source)
