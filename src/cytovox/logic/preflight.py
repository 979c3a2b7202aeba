"""What is found out before work begins: mistakes of a job, and what it will need.

Disk and memory are estimated from a few frames of the input. The formula, with
P pixels in an image, N frames, E events:

- E comes from up to 48 frames spread over the input: their median stands for
  the background, and what the threshold (-6 if the segmenter has none) finds
  there is counted after closing, without what touches the border or is too
  small. N times the mean m are likely; at least 0.25 N (m - 2 s), s being the
  standard error of the mean.
- r and b are the shares to which zstd-1 compresses those images and that
  background, times 0.85 for what higher levels gain; 1 without compression.
- An event takes 424 bytes of features (at least 250) and a mask of P/250 bytes
  (at least 0), P without compression; in a drained result its image, P r, and if
  there is one background image per frame also that, P b.
- Background images are stored in a temporary file: P b for each, one per
  ``split_time``, or per frame for other methods; the few of sparsemed also in
  the result. One per frame hardly differ, so that they compress to 0.3 of that,
  and at least to one image in each stored chunk of 1 MiB.
- Memory: 200 MB for the program, 7 P for each frame of a slot (24 MiB a slot, 512 MiB
  in all, or one frame each), and the frames of which one background image is the median.

What is unknown adds nothing to what is needed at least, so that no
run is refused that would fit.
"""

from __future__ import annotations

import glob
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from ..background.base import require_frames
from ..errors import OptionError, UsageError
from ..feat import Gate, QueueEventExtractor
from ..kernels.labels import label_frames, process_frames
from ..read import HDF5Data
from ..read.permissions import Permissions, default_permissions
from ..read.recording_file import frame_rate_of
from ..read.structure import left_alone
from ..run.folder_room import Need, check_need, free_bytes
from .conveyor import memory_of_slots
from .frame_data import BasinLacksFeatureError, what_is_missing
from .job import DCNumPipelineJob
from .record import tasks_for
from .run_input import RunInput
from .run_progress import RunProgress

__all__ = ["check_before", "check_room", "estimate_events", "estimate_job", "job_need"]

_FRAMES = 48
_SAMPLE_BYTES = 32 << 20
_FEATURES, _FEWEST_FEATURES = 424, 250
_GAINED = 0.85
_ALIKE, _CHUNK_BYTES = 0.3, 1 << 20
_PROGRAM = 200 << 20
#: Clean-up of masks where the job says nothing else.
_CLEAN_UP = {"clear_border": True, "fill_holes": True, "closing_disk": 2}
#: Bytes a pixel of the input with which any result fits: 16 events a frame, unpacked.
_PLENTY = 40
_ADVICE = "choose a folder on another disk, or take --basins tap, which copies no images"

Images = npt.NDArray[np.uint8]


def check_before(job: DCNumPipelineJob, inputs: RunInput, progress: RunProgress) -> None:
    """Check the options of a job and its input, and report what is not read of it."""
    job.check_options()
    if Path(job["path_out"]).resolve() == inputs.path.resolve():
        raise UsageError(
            "input and output are the same file",
            path=inputs.path,
            hint="choose another name for the output",
        )
    data = inputs.raw
    if data.index_mapping is not None and not len(data):
        raise OptionError(
            "index_mapping chooses no frames",
            path=inputs.path,
            hint="leave it out for all frames",
        )
    # a stored background may also be that of an earlier run, which still holds
    measured = "pipeline:dcnum background" in data.meta
    data.check(need_background=measured or job["background_code"] == "copy")
    if tasks_for(data, job.get_ppid(ret_dict=True)[1]).background:
        require_frames(data.stored_length, inputs.path)
    inputs.stamp_files()
    _report_sources(inputs, progress)
    gate = Gate(data, **job["gate_kwargs"])
    gate.check(QueueEventExtractor.feature_names(job["feature_kwargs"]))


def _report_sources(inputs: RunInput, progress: RunProgress) -> None:
    """Report what is read from elsewhere, and what is not read."""
    data = inputs.raw
    if inputs.is_growing:
        progress.warn(
            f"another program has the input open for writing: {len(data)} frames that "
            "are there now are measured"
        )
    if alone := left_alone(data.h5, data.stored_length):
        progress.warn(f"not read: {'; '.join(alone)}")
    if isinstance(lacking := what_is_missing(data), BasinLacksFeatureError):
        progress.warn(f"not read: {lacking.what}")
    # what is followed because it was allowed is also shown
    given = inputs.job["data_kwargs"].get("permissions") or default_permissions()
    report = progress.logger.info if given == Permissions() else progress.warn
    for text in data.followed:
        report(f"read from elsewhere: {text}")
    for text in data.unread():
        progress.warn(text)


def check_room(
    job: DCNumPipelineJob, data: HDF5Data, path_out: Path, need: Need | None = None
) -> str | None:
    """Look whether there is room for what a job will need; nothing is written."""
    folder = path_out.parent
    if need is None:
        need = job_need(job, data, free_bytes(folder))
    # What an earlier run has left of the same output is resumed, or removed.
    left = folder.glob(f"{glob.escape(path_out.stem)}_*.rtdc~")
    return check_need(need, folder, already=left)


def job_need(job: DCNumPipelineJob, data: HDF5Data, free: int | None = None) -> Need:
    """Return what a job will need; a few frames are read."""
    pixels = max(1, math.prod(data.locate("image").shape[1:]))
    memory = _memory(job, data, pixels)
    if free is not None and free > _PLENTY * pixels * max(len(data), data.stored_length):
        return Need(0, 0, memory)
    return estimate_job(job, data)[0]


def estimate_job(job: DCNumPipelineJob, data: HDF5Data) -> tuple[Need, float]:
    """Return what a job will need, and how many events it will probably find."""
    pixels = max(1, math.prod(data.locate("image").shape[1:]))
    sample = _sample(data)
    frames, stored = len(data), data.stored_length
    kwargs = job.kwargs
    packed = not str(kwargs["compression"]).lower().startswith("none")
    background = np.median(sample, axis=0).astype(np.uint8)
    r = _ratio(sample, packed)
    b = _ratio(background[None], packed)
    least, likely, imaged = estimate_events(sample, background, job, frames)
    mapped = kwargs["background_code"] == "sparsemed"
    kept = pixels * b * _backgrounds(data, stored, kwargs)
    # Images that hardly differ are stored together and compress far better.
    alike = _ALIKE if packed and not mapped else 1.0
    fewest = 1 / min(1000, max(10, _CHUNK_BYTES // pixels)) if alike < 1 else 1.0
    per_event = least_per_event = pixels * r if kwargs["basin_strategy"] == "drain" else 0.0
    if packed:  # the image of a frame is stored for each of its events, and packs to nothing
        per_event *= imaged / max(1.0, likely)
        least_per_event *= imaged / max(1.0, likely)
    if not mapped:
        per_event += pixels * b * alike
        # What is only copied may be few images with a map.
        copied = kwargs["background_code"] == "copy"
        least_per_event += 0 if copied else pixels * b * fewest
    per_event += _FEATURES + (pixels / 250 if packed else pixels)
    least_per_event += _FEWEST_FEATURES + (0 if packed else pixels)
    stays = kept if mapped else 0.0
    need = Need(
        least_bytes=int(kept * fewest + stays + least * least_per_event),
        likely_bytes=int(kept * alike + stays + likely * per_event),
        memory_bytes=_memory(job, data, pixels),
        advice=_ADVICE if kwargs["basin_strategy"] == "drain" else Need(0, 0, 0).advice,
    )
    return need, likely


def _memory(job: DCNumPipelineJob, data: HDF5Data, pixels: int) -> int:
    need = _PROGRAM + memory_of_slots(job, pixels, len(data))
    if job.kwargs["background_code"] == "sparsemed":
        window = int(job.kwargs["background_kwargs"].get("kernel_size") or 200)
        need += pixels * min(data.stored_length, window)
    return need


def estimate_events(
    sample: Images, background: Images, job: DCNumPipelineJob, frames: int
) -> tuple[float, float, float]:
    """Return how many events there are at least, and probably, and in how many frames."""
    options = job.kwargs["segmenter_kwargs"] or {}
    threshold = options.get("thresh") or -6
    smallest = (job.kwargs["gate_kwargs"] or {}).get("size_thresh_mask") or 10
    mask = sample.astype(np.int16) - background < threshold
    labels = np.empty(mask.shape, np.uint16)
    # A frame of noise may have more specks than labels; no events are counted in it.
    mask[mask.mean(axis=(1, 2)) > 0.2] = False
    label_frames(mask, labels)
    process_frames(labels, **(_CLEAN_UP | (options.get("kwargs_mask") or {})))
    counts = np.array([np.count_nonzero(np.bincount(f.ravel())[1:] > smallest) for f in labels])
    mean, imaged = float(counts.mean()), frames * float(np.mean(counts > 0))
    if len(counts) < 8:
        return 0.0, frames * mean, imaged
    error = float(counts.std()) / math.sqrt(len(counts))
    return 0.25 * frames * max(0.0, mean - 2 * error), frames * mean, imaged


def _sample(data: HDF5Data) -> Images:
    """Read some frames that are spread over the input."""
    height, width = data.locate("image").shape[1:]
    most = max(1, min(_FRAMES, _SAMPLE_BYTES // max(1, height * width)))
    number = len(data)
    if number == 0:
        return np.zeros((1, height, width), np.uint8)
    images = data.require_images("image")
    rows = np.unique(np.linspace(0, number - 1, min(most, number)).astype(np.int64))
    sample = np.empty((len(rows), height, width), np.uint8)
    for one, row in zip(sample, rows, strict=True):
        images.read_into(int(row), one[None])
    return sample


def _ratio(images: Images, packed: bool) -> float:
    if not packed:
        return 1.0
    size = len(zstandard.ZstdCompressor(level=1).compress(np.ascontiguousarray(images).data))
    return min(1.0, _GAINED * size / max(1, images.nbytes))


def _backgrounds(data: HDF5Data, frames: int, kwargs: dict[str, Any]) -> float:
    """Return how many background images are stored; 0 if they are only copied."""
    code = kwargs["background_code"]
    if code != "sparsemed":
        return 0.0 if code == "copy" else float(frames)
    rate = frame_rate_of(data.meta, data.place)
    split = float(kwargs["background_kwargs"].get("split_time") or 1.0)
    # As the background method has it where there is no time, which is rare.
    seconds = frames / rate if rate > 0 else 1.5 * frames / 3600
    return min(float(frames), max(1.0, seconds / split))
