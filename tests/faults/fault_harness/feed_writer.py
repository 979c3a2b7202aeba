"""Feed a writer that is a process; say its number, and how it ended.

python feed_writer.py OUTPUT FRAMES
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from cytovox.run.children import mp_spawn
from cytovox.write import QueueWriterProcess


def main() -> int:
    path, frames = Path(sys.argv[1]), int(sys.argv[2])
    events = mp_spawn.Queue(20)
    counts = mp_spawn.RawArray("q", [1] * frames)
    writer = QueueWriterProcess(None, events, None, counts, path, write_threshold=10)
    writer.start()
    print(writer.pid, flush=True)
    rng = np.random.default_rng(1)
    for frame in range(frames):
        image = rng.integers(0, 255, (1, 80, 400), np.uint8)
        while writer.error is None and events.full():
            writer.join(0.01)
        if writer.error is not None:
            break
        events.put((frame, {"deform": np.array([frame / frames]), "image": image}))
    writer.join(60)
    if writer.error is not None:
        print(writer.error)
        return 1
    return 0 if writer.complete and writer.written_events == frames else 2


if __name__ == "__main__":
    sys.exit(main())
