"""Work on volumes by us and by others: WORK WHOSE OPTIONS (as JSON).

The last line tells, as JSON, the seconds of the work itself and its result.
The exit code is 77 if what is to be measured is not there.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from cytovox.run.memory import peak_bytes, restart_peak

NOT_THERE = 77
Told = tuple[float, Any]


#: Kinds of work of which the memory beyond the input counts, not that of the process.
IN_MEMORY = {"label", "union", "relabel"}
_grown: list[int] = []


def timed(function: Callable[[], Any]) -> Told:
    """Return seconds and result of a call; keep by how much the memory grew."""
    restart_peak()
    before = peak_bytes() or 0
    begin = time.perf_counter()
    result = function()
    seconds = time.perf_counter() - begin
    _grown.append((peak_bytes() or 0) - before)
    return seconds, result


# --- blocks that do nothing -------------------------------------------------


def nothing(block: Any) -> dict[str, Any]:
    """Do nothing with a block."""
    return {}


def blocks_cytovox(blocks: int, workers: int) -> Told:
    from cytovox.blockwise.placement import Placement

    todo = [SimpleNamespace(index=i) for i in range(blocks)]
    return timed(lambda: Placement(workers).run(todo, nothing).done)


def blocks_daisy(blocks: int, workers: int) -> Told:
    import os
    import tempfile

    import daisy

    os.chdir(tempfile.mkdtemp())  # it leaves a folder of logs where it runs
    length = daisy.Coordinate(1)
    task = daisy.Task(
        "nothing",
        daisy.Roi((0,), (blocks,)),
        daisy.Roi((0,), length),
        daisy.Roi((0,), length),
        process_function=lambda block: None,
        read_write_conflict=False,
        max_workers=workers,
    )
    seconds, ok = timed(lambda: daisy.Server().run_blockwise([task]))
    return seconds, blocks if ok else 0


def blocks_dask(blocks: int, workers: int) -> Told:
    import dask

    call = dask.delayed(lambda index: None)
    graph = [call(i) for i in range(blocks)]
    done = timed(lambda: dask.compute(*graph, scheduler="processes", num_workers=workers))
    return done[0], len(done[1])


# --- connected components, array to array ------------------------------------


def components_cytovox(path: str, out: str, block: int, workers: int) -> Told:
    from cytovox import segment_volume

    def work() -> Any:
        return segment_volume(
            path,
            out,
            "label",
            block=(block,) * 3,
            context=(0,) * 3,
            stitch="touch",
            workers=workers,
            connectivity=6,
            parameters={"connectivity": 6},
            objects=False,  # nobody else measures
        )

    seconds, done = timed(work)
    if not done:
        sys.exit("not all blocks were done")
    return seconds, count(out)


def components_dask_image(path: str, out: str, block: int, workers: int) -> Told:
    import dask
    import dask.array as da
    from dask_image import ndmeasure

    def work() -> Any:
        mask = da.from_zarr(path, chunks=(block,) * 3)
        labels, number = ndmeasure.label(mask)
        with dask.config.set(num_workers=workers):
            _, found = dask.compute(labels.to_zarr(out, compute=False), number)
        return int(found)

    return timed(work)


def components_cc3d(path: str, out: str, block: int, workers: int) -> Told:
    import cc3d

    return _whole(
        path,
        out,
        block,
        lambda mask: cc3d.connected_components(mask, connectivity=6, return_N=True),
    )


def components_scipy(path: str, out: str, block: int, workers: int) -> Told:
    from scipy import ndimage

    return _whole(path, out, block, ndimage.label)


def _whole(path: str, out: str, block: int, label: Callable[[Any], tuple[Any, int]]) -> Told:
    """Read everything, label it in memory, write everything."""
    import zarr

    def work() -> Any:
        labels, number = label(zarr.open_array(path, mode="r")[:])
        labels = labels.astype(np.uint32, copy=False)
        array = zarr.create_array(out, shape=labels.shape, chunks=(block,) * 3, dtype=labels.dtype)
        array[:] = labels
        return int(number)

    return timed(work)


def count(out: str) -> int:
    """Return the largest label of our output, which numbers them without gaps."""
    from cytovox.read.open_volume import open_volume

    with open_volume(out) as volume:
        step = max(1, (64 << 20) // int(np.prod(volume.shape[1:])))
        rest = tuple((0, size) for size in volume.shape[1:])
        starts = range(0, volume.shape[0], step)
        parts = (((a, min(a + step, volume.shape[0])), *rest) for a in starts)
        return max(int(volume.read(part).max()) for part in parts)


# --- kernels ------------------------------------------------------------------


def label_cytovox(path: str) -> Told:
    from cytovox.kernels.components import label_components

    mask = _mask(path)
    label_components(mask[:4])
    return timed(lambda: label_components(mask)[1])


def label_cc3d(path: str) -> Told:
    import cc3d

    mask = _mask(path)
    found = timed(lambda: cc3d.connected_components(mask, connectivity=6, return_N=True))
    return found[0], int(found[1][1])


def label_scipy(path: str) -> Told:
    from scipy import ndimage

    mask = _mask(path)
    found = timed(lambda: ndimage.label(mask))
    return found[0], int(found[1][1])


def _mask(path: str) -> Any:
    import zarr

    return zarr.open_array(path, mode="r")[:].astype(bool)


def _edges(number: int) -> Any:
    return np.random.default_rng(0).integers(0, number, (number, 2))


def union_cytovox(number: int) -> Told:
    from cytovox.kernels.union_find import union_edges

    union_edges(3, np.array([[0, 1]]))
    edges = _edges(number)

    def work() -> Any:
        roots = union_edges(number, edges)
        return np.cumsum(roots == np.arange(number))[roots]

    seconds, numbers = timed(work)
    return seconds, int(numbers.max())


def union_scipy(number: int) -> Told:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = _edges(number)

    def work() -> Any:
        ones = np.ones(number, np.int8)
        graph = coo_matrix((ones, (edges[:, 0], edges[:, 1])), (number, number))
        return connected_components(graph, directed=False)[0]

    return timed(work)


def _labels(size: int, number: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    # Labels come in runs, as those of objects do.
    runs = rng.integers(0, number, size**3 // 16, dtype=np.uint32)
    lut = rng.permutation(number).astype(np.uint32)
    return np.repeat(runs, 16).reshape(size, size, size), lut


def relabel_cytovox(size: int, number: int) -> Told:
    from cytovox.kernels.relabel import relabel

    labels, lut = _labels(size, number)
    out = np.empty_like(labels)
    relabel(labels, lut, out)
    return timed(lambda: int(relabel(labels, lut, out)[-1, -1, -1]))


def relabel_numpy(size: int, number: int) -> Told:
    labels, lut = _labels(size, number)
    lut[labels]
    return timed(lambda: int(lut[labels][-1, -1, -1]))


def main() -> None:
    """Do the work and tell."""
    work, whose, options = sys.argv[1:]
    try:
        seconds, result = globals()[f"{work}_{whose}"](**json.loads(options))
    except ImportError as err:
        print(f"not there: {err}")
        sys.exit(NOT_THERE)
    told = {"seconds": seconds, "result": result}
    print(json.dumps({**told, "peak": _grown[-1]} if work in IN_MEMORY else told))


if __name__ == "__main__":  # workers may import this file, too
    main()
