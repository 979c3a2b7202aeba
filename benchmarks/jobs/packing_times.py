"""Compress the images of a recording by one core: INPUT FEATURE cytovox|LEVEL.

The last line tells, as JSON, seconds of the processor for packing and for unpacking,
and compressed bytes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import zstandard

from cytovox.write.packing import pack_chunk, suitable_packer

#: Images that are compressed together, and most images of a recording.
CHUNK, MOST = 32, 960
#: Seconds for which the same is done again and again.
LONG_ENOUGH = 0.5


def main() -> None:
    """Compress all chunks, several times."""
    path, feature, way = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    with h5py.File(path) as h5:
        images = h5[f"events/{feature}"][:MOST]
    chunks = [np.ascontiguousarray(images[i : i + CHUNK]) for i in range(0, len(images), CHUNK)]
    pack = _way(way, chunks[0])
    packed = [pack(chunk) for chunk in chunks]
    unpack = zstandard.ZstdDecompressor().decompress
    told = {
        "seconds": _seconds(lambda: [pack(chunk) for chunk in chunks]),
        "seconds of reading": _seconds(lambda: [unpack(chunk) for chunk in packed]),
        "bytes": sum(map(len, packed)),
        "raw": images.nbytes,
    }
    print(json.dumps(told))


def _seconds(work: Callable[[], Any]) -> float:
    """Return what work takes of the processor, on the mean of several times."""
    seconds: list[float] = []
    while sum(seconds) < LONG_ENOUGH:
        begin = time.process_time()
        work()
        seconds.append(time.process_time() - begin)
    return sum(seconds) / len(seconds)


def _way(name: str, first: Any) -> Callable[[Any], bytes]:
    if name != "cytovox":
        return zstandard.ZstdCompressor(level=int(name)).compress
    packer = suitable_packer(first, len(pack_chunk(first, 5, False)))
    return partial(pack_chunk, level=5, checksum=False, packer=packer)


if __name__ == "__main__":
    main()
