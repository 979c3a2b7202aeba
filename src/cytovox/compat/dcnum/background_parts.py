"""Backgrounds for a file that may be their own input, and workers that programs start."""

from __future__ import annotations

import abc
import contextlib
import itertools
import json
import queue
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ...background.base import BackgroundResult, empty_images
from ...kernels.arrays import plain
from ...kernels.median import rolling_upper_median, upper_median
from ...logic.chunk_slot_data import mp_spawn
from ...read.members import member, members

__all__ = [
    "WorkerRollMed",
    "WorkerSparseMed",
    "compute_median_for_slice",
    "forget",
    "is_same",
    "kept_aside",
    "rechunked",
]

_WRITTEN = ("image_bg", "bg_off")


def is_same(path: Path, other: Path) -> bool:
    """Return whether both are the same existing file."""
    try:
        return path.samefile(other)
    except OSError:  # one of them does not exist
        return False


def kept_aside(result: BackgroundResult) -> BackgroundResult:
    """Return a result that needs its recording no more; many images go to a temporary file."""
    if result.blocks is None:
        return result
    first = next(result.blocks)
    images = empty_images((result.length, *first.shape[1:]))
    stop = 0
    for block in itertools.chain([first], result.blocks):
        start, stop = stop, stop + len(block)
        images[start:stop] = block
    return replace(result, blocks=iter([images]))


def rechunked(
    blocks: Iterator[npt.NDArray[np.uint8]], size: int
) -> Iterator[npt.NDArray[np.uint8]]:
    """Return the same images in blocks of `size`; the last may be smaller."""
    waiting: list[npt.NDArray[np.uint8]] = []
    count = 0
    for block in blocks:
        waiting.append(block)
        count += len(block)
        while count >= size:
            whole = np.concatenate(waiting)
            yield whole[:size]
            waiting, count = [whole[size:]], count - size
    if count:
        yield np.concatenate(waiting)


def forget(h5: h5py.File) -> None:
    """Remove an earlier background, and what says in which basin it is."""
    for place in (f"{group}/{feat}" for group in ("events", "basin_events") for feat in _WRITTEN):
        if place in h5:
            del h5[place]
    for key, lines in members(member(h5, "basins", {})):
        with contextlib.suppress(ValueError):
            text = "\n".join(line.decode("utf-8") for line in lines[:])
            definition = json.loads(text)
            if definition.get("type") == "internal" and definition.get("features"):
                left = [feat for feat in definition["features"] if feat not in _WRITTEN]
                if not left:
                    del h5["basins"][key]


def compute_median_for_slice(
    shared_input: npt.NDArray[Any],
    shared_output: npt.NDArray[Any],
    kernel_size: int,
    output_size: int,
    job_slice: slice,
) -> None:
    """Compute the rolling median of some pixels."""
    last = output_size + kernel_size - 1
    frames = plain(shared_input[:last, job_slice], np.uint8)
    out = np.empty((output_size, frames.shape[1]), np.uint8)
    rolling_upper_median(frames, kernel_size, 0, frames.shape[1], out)
    shared_output[:output_size, job_slice] = out


class _Worker(mp_spawn.Process):  # type: ignore[misc,name-defined]
    """Do jobs of a queue until the counter is negative."""

    def __init__(
        self, job_queue: Any, counter: Any, shared_input: Any, shared_output: Any, kernel_size: int
    ) -> None:
        super().__init__(daemon=True)
        self.queue = job_queue
        self.counter = counter
        self.shared_input_raw = shared_input
        self.shared_output_raw = shared_output
        self.kernel_size = kernel_size

    def run(self) -> None:
        """Do jobs until the counter is negative."""
        # The counter is the only sign to stop, and it cannot be waited for.
        while self.counter.value >= 0:
            try:
                job = self.queue.get(timeout=0.1)
            except queue.Empty:
                continue
            self._do(*job)
            with self.counter.get_lock():
                self.counter.value += 1

    @abc.abstractmethod
    def _do(self, *job: Any) -> None:
        """Do one job."""


class WorkerSparseMed(_Worker):
    """Takes the median of all shared frames for slices of pixels."""

    def _do(self, *job: Any) -> None:
        stack = np.frombuffer(self.shared_input_raw, np.uint8).reshape(self.kernel_size, -1)
        start, stop, _ = job[0].indices(stack.shape[1])
        upper_median(stack, start, stop, np.frombuffer(self.shared_output_raw, np.uint8))


class WorkerRollMed(_Worker):
    """Takes rolling medians of shared frames for slices of pixels."""

    def __init__(
        self,
        job_queue: Any,
        counter: Any,
        shared_input: Any,
        shared_output: Any,
        batch_size: int,
        kernel_size: int,
    ) -> None:
        super().__init__(job_queue, counter, shared_input, shared_output, kernel_size)
        self.batch_size = batch_size

    def _do(self, *job: Any) -> None:
        frames = np.frombuffer(self.shared_input_raw, np.uint8)
        out = np.frombuffer(self.shared_output_raw, np.uint8).reshape(self.batch_size, -1)
        compute_median_for_slice(
            frames.reshape(self.batch_size + self.kernel_size, -1),
            out,
            self.kernel_size,
            *job,
        )
