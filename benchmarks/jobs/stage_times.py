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
from cytovox.kernels.event_boxes import find_events, mask_images
from cytovox.kernels.labels import label_frames, process_frames
from cytovox.kernels.measure import measure_events
from cytovox.kernels.threshold import below, equal_to_previous, subtract
from cytovox.read import HDF5Data
from cytovox.write.chunk_writer import ChunkWriter

BATCH = 100
#: Frames whose events are kept to time the writing.
WRITTEN = 1000
#: Frames whose events are written at a time, as on the conveyor.
WRITE_GROUP = 200
_GROUPS = ("brightness", "haralick", "volume")
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
    duplicate: Any
    events: Any = None
    rows: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> Batch:
        """Return arrays that are used again and again, as slots are."""
        images = [np.zeros(shape, np.uint8) for _ in range(2)]
        labels = [np.zeros(shape, np.uint16) for _ in range(2)]
        one = shape[:1]
        corr, mask = np.zeros(shape, np.int16), np.zeros(shape, bool)
        return cls(*images, corr, np.zeros(one), mask, *labels, np.zeros(one, bool))

    def first(self, number: int) -> Batch:
        """Return the first frames of it."""
        names = ("image", "background", "corr", "offset", "mask", "raw_labels", "labels")
        return Batch(*(getattr(self, name)[:number] for name in (*names, "duplicate")))


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
        whole = Batch.empty((size, *data.require_images("image").image_shape))
        for start in range(0, total, size):
            batch = whole.first(min(size, total - start))
            _load(batch, data, found, start, times)
            _find(batch, times)
            _measure(batch, times, data.pixel_size)
            on_batch(batch, times)
            times.frames += len(batch.image)
            times.events += len(batch.events)
            if start < WRITTEN:
                written.append(batch.rows)
                times.written_events += len(batch.events)
    written = _grouped(written, max(1, WRITE_GROUP // size))
    with times.of("write"):
        _write(path.with_suffix(".stage"), written)
    times.ours["write"] *= times.events / max(1, times.written_events)
    return written


def _load(batch: Batch, data: Any, found: Any, start: int, times: Times) -> None:
    stop = start + len(batch.image)
    previous = batch.image[-1].copy()
    with times.of("read"):
        data.require_images("image").read_into(start, batch.image)
    with times.of("prepare"):
        np.take(found.images, found.mapping[start:stop], axis=0, out=batch.background)
        subtract(batch.image, batch.background, batch.corr)
        batch.offset[:] = found.offsets_of(batch.image, start)
        batch.duplicate[:] = equal_to_previous(batch.image, previous if start else None)


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
        batch.events = find_events(batch.labels, 10, batch.duplicate)
    arrays = (batch.events, batch.labels, batch.image, batch.background, batch.corr, batch.offset)
    seconds = {}
    begin = time.process_time()
    measure_events(*arrays, pixel_size=pixel_size, **dict.fromkeys(_GROUPS, False))
    times.ours["contour"] += time.process_time() - begin
    for group in ("contour", *_GROUPS):
        wanted = {name: name == group for name in _GROUPS}
        begin = time.process_time()
        table, _ = measure_events(*arrays, pixel_size=pixel_size, **wanted)
        seconds[group] = time.process_time() - begin
    # The contour is always traced, so that the rest is what a group adds to it,
    # with the images in the cache of the processor, where the contour has left them.
    for stage, group in (("brightness",) * 2, ("texture", "haralick"), ("volume",) * 2):
        times.ours[stage] += seconds[group] - seconds["contour"]
    with times.of("collect"):
        frame = batch.events.frame
        batch.rows = {"mask": mask_images(batch.events, batch.labels), "image": batch.image[frame]}
    batch.rows |= {f"userdef{i}": table[i] for i in range(len(table))}


def _grouped(written: list[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    """Join batches to what is written at a time."""
    groups = [written[i : i + number] for i in range(0, len(written), number)]
    return [{k: np.concatenate([rows[k] for rows in group]) for k in group[0]} for group in groups]


def _write(path: Path, written: list[dict[str, Any]]) -> None:
    writer = ChunkWriter(path, None, None, FILTERS, mode="w", pack_threads=1)
    writer.start()
    for rows in written:
        for name, values in rows.items():
            writer.put(name, values)
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
