"""The least that each stage could take: bytes over bandwidth, and zstd at its level."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zstandard

__all__ = ["add_floors", "bandwidth"]

#: Bytes that a stage must at least read and write for each pixel of a frame.
_BYTES_A_PIXEL = {
    "prepare": (1 + 1 + 2, "image and background in, difference out"),
    "segment": (2 + 1, "difference in, mask out"),
    "label": (1 + 2, "mask in, labels out"),
    "clean": (2 + 2, "labels in and out"),
    "find": (2, "labels in"),
    "rollmed": (1 + 1, "images in, backgrounds out"),
}
#: The same for each pixel of the bounding box of an event.
_BYTES_A_BOX_PIXEL = {
    "contour": (2, "labels of the box in"),
    "brightness": (2 + 1 + 2, "labels, image and difference of the box in"),
    "texture": (2 + 2, "labels and difference of the box in"),
    "volume": (0, ""),
}
_IMAGES_A_CHUNK = 32


def bandwidth(size: int = 128 << 20, times: int = 5) -> float:
    """Return bytes read and written per second by one core that copies memory."""
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        np.copyto(target, source)
        seconds.append(time.perf_counter() - begin)
    return 2 * size / min(seconds)


def add_floors(path: Path, times: Any, written: Sequence[dict[str, Any]]) -> None:
    """Measure the floors on the same data, and put them where the times are."""
    speed = bandwidth()
    stored, raw, seconds = _decompress(path)
    pixels = times.frames * raw[1] * raw[2]
    read = seconds / raw[0] * times.frames
    times.floors["read"] = (read, f"zstd, {stored / seconds / 1e6:.0f} MB/s in")
    for stage, (number, what) in _BYTES_A_PIXEL.items():
        times.floors[stage] = (number * pixels / speed, what)
    boxes = sum(int(np.count_nonzero(rows["mask"])) for rows in written)
    boxes *= times.events / max(1, times.written_events)
    for stage, (number, what) in _BYTES_A_BOX_PIXEL.items():
        if number:
            times.floors[stage] = (number * boxes / speed, what)
    moved = times.events * raw[1] * raw[2] * 3
    times.floors["collect"] = (moved / speed, "images in, images and masks out")
    frames = min(times.frames, 200 * (1 + times.frames // 3000))
    times.floors["background"] = (read / times.frames * frames, "reading the frames it needs")
    seconds, number = _compress(written)
    scale = times.events / max(1, times.written_events)
    times.floors["write"] = (seconds * scale, f"zstd-5, {number / seconds / 1e6:.0f} MB/s")


def _decompress(path: Path) -> tuple[int, tuple[int, ...], float]:
    """Return stored bytes, shape and seconds of all whole chunks."""
    codec = zstandard.ZstdDecompressor()
    with h5py.File(path) as h5:
        images = h5["events/image"]
        size = int(np.prod(images.chunks))
        number = len(images) // images.chunks[0]
        places = [images.id.get_chunk_info(i) for i in range(number)]
        shape = (number * images.chunks[0], *images.shape[1:])
    stored, seconds = 0, 0.0
    with path.open("rb") as file:
        for place in places:
            file.seek(place.byte_offset)
            raw = file.read(place.size)[:-4]  # without the checksum
            begin = time.process_time()
            codec.decompress(raw, max_output_size=size)
            seconds += time.process_time() - begin
            stored += len(raw)
    return stored, shape, max(seconds, 1e-9)


def _compress(written: Sequence[dict[str, Any]]) -> tuple[float, int]:
    """Return seconds and bytes of compressing images and masks."""
    codec = zstandard.ZstdCompressor(level=5)
    seconds, number = 0.0, 0
    for name in ("image", "mask"):
        stack = np.concatenate([rows[name] for rows in written])
        for start in range(0, len(stack), _IMAGES_A_CHUNK):
            chunk = np.ascontiguousarray(stack[start : start + _IMAGES_A_CHUNK])
            begin = time.process_time()
            codec.compress(chunk)
            seconds += time.process_time() - begin
            number += chunk.nbytes
    return max(seconds, 1e-9), number
