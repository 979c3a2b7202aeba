"""What a run would do, take and refuse, found out without writing anything.

Seconds are estimated from rates that were measured (``python -m benchmarks --only recordings`` on
two cores): a core takes 5 ns a pixel to read, segment and label; 0.125 ms to measure an event; in
drained results 9 ns for each pixel of its image, which zstd-5 compresses; 10 ns a pixel for a
rolling median. Several cores are used by four fifths. Other machines may differ by a factor of two
or three. For segmenters other than ``thresh`` no rate is known.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from pathlib import Path

from ..read import HDF5Data
from ..run.memory import cpu_count
from ..run.progress import ProgressEvent, Warned
from .job import DCNumPipelineJob
from .preflight import check_before, check_room, estimate_job
from .resume import fingerprint_of, frames_to_resume
from .run_folder import RunFolder, refuse_existing
from .run_input import RunInput
from .run_progress import RunProgress

__all__ = ["Prospect", "look_ahead"]

#: Listeners get what there is to say.
_LOGGER = logging.getLogger(__name__)
_LOGGER.addHandler(logging.NullHandler())
#: Seconds that each file takes, and seconds of a core.
_FILE_SECONDS = 0.3
_PIXEL, _EVENT, _IMAGE_PIXEL = 5e-9, 125e-6, 9e-9
#: Seconds a pixel for each method of the background.
_BACKGROUND = {"sparsemed": 0.5e-9, "rollmed": 10e-9, "copy": 0.0}
#: Compression at other levels of Zstandard, in parts of that at level 5.
_LEVELS = (0.1, 0.2, 0.25, 0.4, 0.7, 1.0, 1.5, 2.0, 2.5, 3.0)
_USED = 0.8


@dataclass(slots=True)
class Prospect:
    """What a run would do."""

    frames: int = 0
    #: Events that it would probably find.
    events: int = 0
    #: How long it would take on this machine, roughly; None if nothing is known.
    seconds: float | None = None
    #: Size of the result, roughly.
    result_bytes: int = 0
    #: Frames that a run that was stopped has done; None if there is none to resume.
    resumed: int | None = None
    warnings: list[str] = field(default_factory=list)


def look_ahead(job: DCNumPipelineJob, data: HDF5Data, *, force: bool, preflight: bool) -> Prospect:
    """Return what a run of a job would do; its error if it would refuse.

    Headers and some frames of the input, `data`, are read; nothing is written.
    """
    found = Prospect()

    def listen(event: ProgressEvent) -> None:
        if isinstance(event, Warned):
            found.warnings.append(event.text)

    path_out = Path(job["path_out"]).absolute()
    folder = RunFolder(path_out)
    inputs = RunInput(job, folder, data.opened)
    progress = RunProgress(
        inputs.path, job["basin_strategy"], lambda: len(inputs.raw), _LOGGER, listen
    )
    try:
        check_before(job, inputs, progress)
        if not force:
            refuse_existing(path_out)
        raw = inputs.raw
        need, events = estimate_job(job, raw)
        if preflight and (warning := check_room(job, raw, path_out, need)):
            progress.warn(warning)
        folder.look()
        fingerprint = fingerprint_of(job, raw, job.get_ppid(ret_dict=True)[1])
        found.resumed, changes = frames_to_resume(folder, fingerprint, force=force)
        if changes:
            progress.warn(f"a run that was stopped cannot be resumed: {'; '.join(changes)}")
        found.frames, found.events = len(raw), round(events)
        found.result_bytes = need.likely_bytes
        found.seconds = _seconds(job, raw, events, found.resumed or 0)
    finally:
        inputs.close()
    return found


def _seconds(job: DCNumPipelineJob, data: HDF5Data, events: float, done: int) -> float | None:
    """Return how long a run would take, if `done` frames are done."""
    rate = _BACKGROUND.get(job["background_code"])
    if rate is None or job["segmenter_code"] != "thresh":
        return None
    pixels: int = math.prod(data.locate("image").shape[1:])
    frames = len(data)
    per_event = _EVENT
    if job["basin_strategy"] == "drain":
        per_event += pixels * _IMAGE_PIXEL * _LEVELS[_level(job)]
    left = (frames - done) / max(1, frames)
    work = left * (frames * pixels * _PIXEL + events * per_event)
    if not done:
        work += data.stored_length * pixels * rate
    return float(_FILE_SECONDS + work / max(1.0, _USED * min(job["num_procs"], cpu_count())))


def _level(job: DCNumPipelineJob) -> int:
    (level,) = job.get_hdf5_dataset_kwargs()["compression_opts"] or (0,)
    return int(level)
