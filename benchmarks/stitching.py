"""``python -m benchmarks.stitching``: how well rules of stitching do on real tissue.

Each block of a volume (FIB-SEM of a brain, confocal microscopy of a plant) is
segmented by itself, and stitched by several rules; the result is compared with
the segmentation of the whole at once. The table goes into
docs/explanation/stitching.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from cytovox.blockwise.evidence import evidence_of
from cytovox.blockwise.evidence_file import Evidence
from cytovox.blockwise.grid import Grid, slices
from cytovox.blockwise.stitch import Stitching, stitch
from cytovox.blockwise.watershed_function import watershed
from cytovox.kernels.packed import Shells, count_votes
from cytovox.kernels.relabel import relabel
from cytovox.read.open_volume import open_volume

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "volumes"
PAGE = ROOT / "docs" / "explanation" / "stitching.md"
CONTEXTS = (16, 32)


@dataclass(frozen=True, slots=True)
class Tissue:
    """A volume, its blocks, and settings of the watershed.

    Parameters
    ----------
    name
        What it is called in the table.
    image, true
        Where the image and the labels made by people are, below `DATA`.
    size
        How much of it is taken, along each axis at most.
    block
        Voxels of a block.
    settings
        Options of the watershed.
    """

    name: str
    image: str
    true: str
    size: int
    block: tuple[int, int, int]
    settings: tuple[Mapping[str, Any], ...]

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the image and the true labels."""
        found = []
        for place in (self.image, self.true):
            with open_volume(DATA / place) as volume:
                found.append(volume.read(tuple((0, min(n, self.size)) for n in volume.shape)))
        return found[0], found[1]


_CELLS = {"bright_inside": False, "sigma": 2, "seed_distance": 5}
TISSUES = (
    Tissue(
        "FIB-25",
        "fib25_250/raw.tif",
        "fib25_250/gt.tif",
        192,
        (64, 64, 64),
        (
            {"threshold": 110, "sigma": 1, "seed_distance": 6, "relief": "intensity"},
            {"threshold": 100, "sigma": 1, "seed_distance": 6, "relief": "intensity"},
            {"threshold": 140, "sigma": 2, "seed_distance": 6, "relief": "distance"},
        ),
    ),
    Tissue(
        "ovule",
        "ovule/sample_ovule.h5:/raw",
        "ovule/sample_ovule.h5:/label",
        128,
        (32, 64, 64),
        tuple({"threshold": 180, **_CELLS, "relief": way} for way in ("intensity", "distance")),
    ),
    Tissue(
        "ovule 1135",
        "ovule/1135_mini.h5:/raw",
        "ovule/1135_mini.h5:/label",
        100,
        (50, 50, 50),
        tuple({"threshold": 40, **_CELLS, "relief": way} for way in ("intensity", "distance")),
    ),
)
Done = list[tuple[Any, Evidence]]


def segment(
    image: np.ndarray,
    block: tuple[int, ...],
    context: int,
    function: Callable[[np.ndarray], Any],
    *,
    filled: bool = False,
) -> tuple[Grid, Done]:
    """Return the grid, and labels and evidence of each block.

    What lies beyond the volume is 0 if `filled`; otherwise blocks end there.
    """
    grid = Grid(image.shape, block, (context,) * 3, clipped=not filled)
    done: Done = []
    for one in grid:
        array = np.zeros([b - a for a, b in one.read], image.dtype)
        inside = grid.inside(one.read)
        array[slices(inside, one.read)] = image[tuple(slice(*side) for side in inside)]
        done.append(evidence_of(function(array), one, grid, stitch="overlap"))
    return grid, done


def stitched(grid: Grid, done: Done, mode: Any, **how: Any) -> np.ndarray:
    """Return the labels of the volume by one of our rules."""
    lookup = stitch(Stitching(mode, **how), [evidence for _, evidence in done].__getitem__, grid)
    return assembled(grid, done, lookup.slice)


def assembled(grid: Grid, done: Done, table: Callable[[int], Any]) -> np.ndarray:
    """Return the labels of the volume."""
    out = np.zeros(grid.shape, np.uint32)
    for block, (labels, _) in zip(grid, done, strict=True):
        where = tuple(slice(*side) for side in block.write)
        out[where] = relabel(labels, table(block.index))
    return out


def stitched_by_shell(grid: Grid, done: Done) -> np.ndarray:
    """Return the labels by the rule of dacapo.blockwise.

    Of two neighbours, the one that comes later compares its labels, one voxel
    beyond its own end, with what the other has there; any voxel merges.
    """
    counts = [
        int(max(e.count, *(int(v) for v in [e.shell.value.max(initial=0)]))) for _, e in done
    ]
    start = np.concatenate([[0], np.cumsum(counts)])
    shells = Shells.of([e.shell for _, e in done if e.shell], [e.box for _, e in done])
    pairs, planes = [], []
    for block in grid:
        for axis, (begin, _) in enumerate(block.write):
            before = np.array(block.position)
            before[axis] -= 1
            pair = (block.index, grid.at(tuple(before.tolist())).index)
            if begin > 0 and all(done[index][1].count for index in pair):
                pairs.append(pair)
                planes.append([*block.write[:axis], (begin - 1, begin), *block.write[axis + 1 :]])
    at, a, b, *_ = count_votes(shells, np.array(pairs), np.array(planes))
    one, two = np.array(pairs)[at].T
    joined = np.stack([start[one] + a - 1, start[two] + b - 1])
    graph = coo_matrix((np.ones(joined.shape[1]), joined), shape=(start[-1], start[-1]))
    _, names = connected_components(graph, directed=False)

    def table(index: int) -> Any:
        count = done[index][1].count
        part = names[start[index] : start[index] + count] + 1
        return np.concatenate([[0], part]).astype(np.uint32)

    return assembled(grid, done, table)


def rows(quick: bool = False) -> Iterator[str]:
    """Yield the lines of the table as they are measured."""
    yield (
        "| tissue and watershed | context | none | touch | shell (dacapo's) | overlap | mutual "
        "| overlap, zeros beyond the volume |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for tissue in TISSUES[1:2] if quick else TISSUES:
        image, true = tissue.load()
        for setting in tissue.settings:

            def function(array: np.ndarray, setting: Mapping[str, Any] = setting) -> Any:
                return watershed(array, **setting)

            whole = function(image)
            words = " ".join(f"{name}={value}" for name, value in setting.items())
            told = f"{whole.max()} objects, {error(true, whole):.2f} from the truth"
            for context in CONTEXTS:
                grid, done = segment(image, tissue.block, context, function)
                found = [
                    stitched(grid, done, "none"),
                    stitched(grid, done, "touch"),
                    stitched_by_shell(grid, done),
                    stitched(grid, done, "overlap"),
                    stitched(grid, done, "overlap", rule="mutual"),
                    stitched(
                        *segment(image, tissue.block, context, function, filled=True), "overlap"
                    ),
                ]
                cells = " | ".join(f"{error(whole, labels):.3f}" for labels in found)
                yield f"| {tissue.name}: {words} ({told}) | {context} | {cells} |"


def error(true: np.ndarray, labels: np.ndarray) -> float:
    """Return the adapted Rand error where the reference has objects."""
    from skimage.metrics import adapted_rand_error

    return float(adapted_rand_error(true, labels)[0])


def main() -> None:
    """Measure, and put the table into the page."""
    from .results import put_table  # not above: a test loads this file by itself

    lines = []
    for line in rows("--quick" in sys.argv):
        print(line, flush=True)
        lines.append(line)
    if "--quick" not in sys.argv:
        put_table(PAGE, "stitching", lines)


if __name__ == "__main__":
    main()
