"""A volume that is in memory, done block by block; and a Dask cluster."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from cytovox.blockwise.evidence import BlockResult, Measures, segment_block
from cytovox.blockwise.grid import Box, Grid, box_shape, intersect, slices
from cytovox.blockwise.lookup import Lookup
from cytovox.blockwise.measure_tiles import iter_objects
from cytovox.blockwise.object_table import ObjectTable, join_tables
from cytovox.blockwise.stitch import Stitching, stitch
from cytovox.kernels.relabel import relabel
from cytovox.recipe.python_file import load_python_file


@dataclass
class InMemory:
    """The passes over a volume, one after the other."""

    volume: np.ndarray
    grid: Grid
    done: list[BlockResult]
    lookup: Lookup

    @property
    def labels(self) -> np.ndarray:
        out = np.zeros(self.grid.shape, self.lookup.dtype)
        for block, result in zip(self.grid, self.done, strict=True):
            where = tuple(slice(*pair) for pair in block.write)
            out[where] = relabel(result.labels, self.lookup.slice(block.index))
        return out

    def load(self, index: int) -> Any:
        return self.done[index].evidence

    def again(self, mode: Any, **how: Any) -> InMemory:
        lookup = stitch(Stitching(mode, **how), self.load, self.grid)
        return InMemory(self.volume, self.grid, self.done, lookup)

    def table(self, **how: Any) -> ObjectTable:
        parts = iter_objects(
            self.grid, self.lookup, lambda i: self.done[i].sums, evidence=self.load, **how
        )
        return join_tables(list(parts))


def read(volume: np.ndarray, box: Box) -> np.ndarray:
    lead = volume.shape[: volume.ndim - len(box)]
    out = np.zeros((*lead, *box_shape(box)), volume.dtype)
    whole = tuple((0, size) for size in volume.shape[-len(box) :])
    inside = intersect(box, whole)
    if inside is not None:
        source = tuple(slice(*pair) for pair in inside)
        out[(..., *slices(inside, box))] = volume[(..., *source)]
    return out


def _in_memory(
    volume: np.ndarray,
    function: Callable[..., Any],
    block: Sequence[int],
    context: Sequence[int] | int = 0,
    mode: Any = "overlap",
    *,
    connectivity: int | None = None,
    measure: Measures | None = None,
    order: Sequence[int] | None = None,
    **how: Any,
) -> InMemory:
    ndim = len(block)
    margin = (context,) * ndim if isinstance(context, int) else tuple(context)
    grid = Grid(volume.shape[-ndim:], tuple(block), margin)
    done: list[Any] = [None] * len(grid)
    for index in range(len(grid)) if order is None else order:
        one = grid[index]
        done[index] = segment_block(
            read(volume, one.read),
            one,
            function,
            {},
            grid,
            stitch=mode,
            connectivity=connectivity,
            measure=measure,
        )
    load = [result.evidence for result in done].__getitem__
    if mode == "touch":
        how["connectivity"] = connectivity
    return InMemory(volume, grid, done, stitch(Stitching(mode, **how), load, grid))


@pytest.fixture(scope="session")
def functions() -> ModuleType:
    """The functions beside the tests, as from a file of a user."""
    return load_python_file(Path(__file__).with_name("block_functions.py"))


@pytest.fixture(scope="session")
def in_memory() -> Callable[..., InMemory]:
    """The function that does a volume block by block."""
    return _in_memory


def _same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    width = int(b.max(initial=0)) + 1
    pairs = np.unique(a.ravel().astype(np.int64) * width + b.ravel())
    one_to_one = all(len(np.unique(ids)) == len(pairs) for ids in np.divmod(pairs, width))
    return one_to_one and bool(np.array_equal(a == 0, b == 0))


@pytest.fixture(scope="session")
def same_partition() -> Callable[[np.ndarray, np.ndarray], bool]:
    """Whether labels differ in nothing but their names."""
    return _same_partition


class Dask:
    """A scheduler and two workers, processes of this test."""

    def __init__(self, folder: Path, *, nanny: bool) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self._readers: list[threading.Thread] = []
        self._nanny = "--nanny" if nanny else "--no-nanny"
        self.address = ""

    def start(self) -> None:
        common = ("--host", "127.0.0.1", "--no-dashboard")
        said = self._run("scheduler", *common, "--port", "0")
        self.address = self._find(said, r"Scheduler at:\s+(tcp://\S+)")
        for name in ("one", "two"):
            self._run(
                name, self.address, *common, "--nthreads", "1", "--name", name,
                self._nanny, "--death-timeout", "60",
                "--local-directory", str(self.folder / name),
            )  # fmt: skip
        import distributed

        with distributed.Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=600)

    def _run(self, name: str, *arguments: str) -> queue.Queue[str]:
        kind = name if name == "scheduler" else "worker"
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{kind}", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.folder,
        )  # fmt: skip
        self.processes[name] = process
        said: queue.Queue[str] = queue.Queue()

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                said.put(line)

        self._readers.append(threading.Thread(target=read))
        self._readers[-1].start()
        return said

    def _find(self, said: queue.Queue[str], what: str) -> str:
        while True:
            found = re.search(what, said.get(timeout=600))
            if found:
                return found[1]

    def pids(self) -> dict[str, int]:
        """Return which process has which worker."""
        import distributed

        with distributed.Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=600)
            return dict(client.run(os.getpid))

    def stop(self) -> None:
        psutil = pytest.importorskip("psutil")
        left = [psutil.Process(p.pid) for p in self.processes.values() if p.poll() is None]
        left += [child for process in left for child in process.children(recursive=True)]
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        for started in self.processes.values():
            started.wait(600)
        psutil.wait_procs(left, 30)
        for reader in self._readers:
            reader.join(600)
            assert not reader.is_alive()
        for started in self.processes.values():
            assert started.stdout is not None
            started.stdout.close()


@pytest.fixture
def dask(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Dask]:
    pytest.importorskip("distributed")
    (tmp_path / "dask").mkdir()
    made = Dask(tmp_path / "dask", nanny=getattr(request, "param", False))
    try:
        made.start()
        yield made
    finally:
        made.stop()
