"""Time each stage of the pipeline alone, in one thread: INPUT FRAMES_OF_PEERS [peers].

Frames pass in batches, as on the conveyor, and each stage works on what the
one before it left. Seconds are those of the processor. The last line tells, as
JSON, seconds of ours, of peers (scaled to all frames) and floors.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks.jobs import floors
from cytovox.background import BackgroundRollMed, BackgroundSparseMed
from cytovox.kernels.events import find_events, mask_images
from cytovox.kernels.labels import label_frames, process_frames
from cytovox.kernels.measure import measure_events
from cytovox.kernels.threshold import below, equal_to_previous
from cytovox.read import HDF5Data
from cytovox.write.chunk_writer import ChunkWriter, NotifyingDeque

BATCH = 100
#: Frames whose events are kept to time the writing.
WRITTEN = 1000
FILTERS = {"compression": 32015, "compression_opts": (5,), "fletcher32": True}


@dataclass
class Times:
    """Seconds per stage."""

    ours: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    peers: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    floors: dict[str, tuple[float, str]] = field(default_factory=dict)
    frames: int = 0
    events: int = 0
    written_events: int = 0

    @contextmanager
    def of(self, stage: str, *, whose: str = "ours") -> Any:
        """Add the seconds of a block to a stage."""
        table = getattr(self, whose)
        begin = time.process_time()
        yield
        table[stage] += time.process_time() - begin


@dataclass
class Batch:
    """Frames of a batch and what the stages make of them."""

    image: Any
    background: Any
    corr: Any
    offset: Any
    mask: Any
    raw_labels: Any
    labels: Any
    events: Any = None
    rows: dict[str, Any] = field(default_factory=dict)


def main() -> None:
    """Time ours, then peers on some frames, then the floors."""
    path, peer_frames = Path(sys.argv[1]), int(sys.argv[2])
    pass_over(path, Times(), BATCH, lambda batch, times: None, stop=2 * BATCH)  # compiles
    times = Times()
    on_batch = _peers(peer_frames) if "peers" in sys.argv[3:] else lambda batch, times: None
    written = pass_over(path, times, BATCH, on_batch)
    _rolling(path, times)
    floors.add_floors(path, times, written)
    if "peers" in sys.argv[3:]:
        for stage in times.peers:
            times.peers[stage] *= times.frames / min(peer_frames, times.frames)
        _peer_reading_and_writing(path, times, written)
    told = {"ours": times.ours, "peers": times.peers, "floors": times.floors}
    print(json.dumps({**told, "frames": times.frames, "events": times.events}))


def _peers(frames: int) -> Callable[[Batch, Times], None]:
    from benchmarks.jobs import stage_peers

    stage_peers.warm_up()

    def on_batch(batch: Batch, times: Times) -> None:
        if times.frames < frames:
            stage_peers.time_batch(batch, times)

    return on_batch


def pass_over(
    path: Path,
    times: Times,
    size: int,
    on_batch: Callable[[Batch, Times], None],
    stop: int | None = None,
) -> list[dict[str, Any]]:
    """Time the stages on all frames; return the events of the first frames."""
    written: list[dict[str, Any]] = []
    with HDF5Data(path) as data:
        with times.of("background"):
            found = BackgroundSparseMed(data, num_workers=1).compute(defer_offset=True)
        total = min(len(data), stop or len(data))
        for start in range(0, total, size):
            batch = _load(data, found, start, min(start + size, total), times)
            _find(batch, times)
            _measure(batch, times, data.pixel_size)
            on_batch(batch, times)
            times.frames += len(batch.image)
            times.events += len(batch.events)
            if start < WRITTEN:
                written.append(batch.rows)
                times.written_events += len(batch.events)
    with times.of("write"):
        _write(path.with_suffix(".stage"), written)
    times.ours["write"] *= times.events / max(1, times.written_events)
    return written


def _load(data: Any, found: Any, start: int, stop: int, times: Times) -> Batch:
    shape = (stop - start, *data.require_images("image").image_shape)
    image = np.empty(shape, np.uint8)
    with times.of("read"):
        data.require_images("image").read_into(start, image)
    with times.of("prepare"):
        background = found.images[found.mapping[start:stop]]
        corr = np.subtract(image, background, dtype=np.int16)
        offset = found.offsets_of(image, start)
        equal_to_previous(image, None)
    mask, labels = np.empty(shape, bool), np.empty(shape, np.uint16)
    return Batch(image, background, corr, offset, mask, np.empty_like(labels), labels)


def _find(batch: Batch, times: Times) -> None:
    with times.of("segment"):
        below(batch.corr, -6, batch.offset, batch.mask)
    with times.of("label"):
        label_frames(batch.mask, batch.labels)
    batch.raw_labels[:] = batch.labels
    with times.of("clean"):
        process_frames(batch.labels, True, True, 5)


def _measure(batch: Batch, times: Times, pixel_size: float) -> None:
    with times.of("find"):
        batch.events = find_events(batch.labels, 10)
    arrays = (batch.events, batch.labels, batch.image, batch.background, batch.corr, batch.offset)
    seconds = {}
    for group in ("contour", "brightness", "haralick", "volume"):
        wanted = {name: name == group for name in ("brightness", "haralick", "volume")}
        begin = time.process_time()
        table, _ = measure_events(*arrays, pixel_size=pixel_size, **wanted)
        seconds[group] = time.process_time() - begin
    times.ours["contour"] += seconds["contour"]
    # The contour is always traced, so that the rest is what a group adds to it.
    for stage, group in (("brightness",) * 2, ("texture", "haralick"), ("volume",) * 2):
        times.ours[stage] += seconds[group] - seconds["contour"]
    with times.of("collect"):
        frame = batch.events.frame
        batch.rows = {"mask": mask_images(batch.events, batch.labels), "image": batch.image[frame]}
    batch.rows |= {f"userdef{i}": table[i] for i in range(len(table))}


def _write(path: Path, written: list[dict[str, Any]]) -> None:
    waiting = NotifyingDeque()
    writer = ChunkWriter(path, waiting, None, FILTERS, mode="w", pack_threads=1)
    writer.start()
    for rows in written:
        for name, values in rows.items():
            waiting.append((name, values))
    writer.finished_when_queue_empty()
    writer.join()
    path.unlink()
    if writer.error is not None:
        raise writer.error


def _rolling(path: Path, times: Times) -> None:
    with HDF5Data(path) as data:
        if len(data) <= 100:
            return
        for _ in range(2):  # the first one compiles
            times.ours["rollmed"] = 0.0
            with times.of("rollmed"):
                found = BackgroundRollMed(data, num_workers=1).compute()
                for _block in found.blocks or ():
                    pass


def _peer_reading_and_writing(path: Path, times: Times, written: list[dict[str, Any]]) -> None:
    from benchmarks.jobs import stage_peers

    with h5py.File(path) as h5, times.of("read", whose="peers"):
        images = h5["events/image"]
        for start in range(0, len(images), BATCH):
            images[start : start + BATCH]
    with times.of("write", whose="peers"):
        stage_peers.write(path.with_suffix(".stage"), written)
    times.peers["write"] *= times.events / max(1, times.written_events)


if __name__ == "__main__":
    main()
