"""A run over a volume of many blocks or many objects, as a process to be measured.

The last line tells the processor seconds of each stage, in JSON.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from cytovox.blockwise.grid import Grid
from cytovox.blockwise.threads import uses_threads
from cytovox.blockwise.volumes import segment_volume
from cytovox.kernels.components import label_components
from cytovox.read.open_volume import open_volume
from cytovox.run.progress import StageFinished, StageProgress, StageStarted
from cytovox.write.volume_creation import create_volume


@uses_threads
def bright(array: np.ndarray) -> np.ndarray:
    """Return connected bright voxels."""
    return label_components(array > 100)[0]


def apart(array: np.ndarray) -> np.ndarray:
    """Do the same, but in worker processes, since nothing says that threads may do it."""
    return bright(array)


def draw(path: Path, shape: tuple[int, ...], period: int, size: int, joined: bool) -> None:
    """Draw a cube in each cell of a lattice; if joined, also bars that are one object.

    Bars are 16 voxels apart along all axes, so that this object is in all blocks.
    """
    chunk = tuple(min(n, 128) for n in shape)
    with create_volume(path, shape=shape, dtype="uint8", block=chunk) as volume:
        for block in Grid(shape, chunk, (0,) * len(shape)):
            at = np.ix_(*(np.arange(*pair) for pair in block.write))
            cube = np.ones([b - a for a, b in block.write], np.bool_)
            for place in at:
                cube &= place % period < size
            image = np.where(cube, 150 + sum(at) % 50, 0).astype(np.uint8)
            if joined:
                for wide, value in ((1, 0), (0, 255)):  # what a bar is next to is dark
                    near = [abs(place % 16 - 5) <= wide for place in at]
                    image[near[0] & near[1] | near[0] & near[2] | near[1] & near[2]] = value
            volume.write(block.write, image)


def cpu() -> float:
    """Return processor seconds of this process and of those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def run(
    raw: str,
    out: str,
    block: int,
    context: int,
    workers: int,
    stop: int = 0,
    processes: bool = False,
) -> dict[str, Any]:
    """Segment a volume; kill this process when `stop` blocks are segmented."""
    stages: dict[str, float] = {}
    begin: dict[str, float] = {}

    def hear(event: Any) -> None:
        if isinstance(event, StageStarted):
            begin[event.stage] = cpu()
        elif isinstance(event, StageFinished):
            stages[event.stage] = stages.get(event.stage, 0) + cpu() - begin[event.stage]
        elif isinstance(event, StageProgress) and (event.stage, event.done) == ("segment", stop):
            os.kill(os.getpid(), signal.SIGKILL)

    result = segment_volume(
        raw,
        out,
        f"{__file__}:apart" if processes else bright,
        block=block,
        context=context,
        workers=workers,
        on_event=hear,
    )
    assert result, result.failed[:3]
    files = sum(len(names) for _, _, names in os.walk(f"{out}.cytovox"))
    evidence = sum(p.stat().st_size for p in Path(f"{out}.cytovox", "blocks").iterdir())
    return {
        "stages": stages, "blocks": result.blocks, "objects": result.objects, "files": files,
        "evidence": evidence, "cpu": cpu(),
    }  # fmt: skip


def same(one: str, two: str) -> dict[str, Any]:
    """Tell whether labels and tables of two runs are the same."""
    from cytovox.blockwise.object_table import read_objects

    tables = [read_objects(name.replace(".zarr", ".objects.parquet"))[0] for name in (one, two)]
    equal = all(tables[0][name].tobytes() == tables[1][name].tobytes() for name in tables[0])
    with open_volume(one) as a, open_volume(two) as b:
        for box in Grid(a.shape, (128,) * 3, (0,) * 3):
            equal = equal and np.array_equal(a.read(box.write), b.read(box.write))
    return {"equal": equal}


def main() -> None:
    """Do what the options say."""
    what, options = sys.argv[1], json.loads(sys.argv[2])
    if what == "draw":
        draw(Path(options.pop("path")), tuple(options.pop("shape")), **options)
        print("{}")
    else:
        print(json.dumps({"run": run, "same": same}[what](**options)))


if __name__ == "__main__":
    main()
