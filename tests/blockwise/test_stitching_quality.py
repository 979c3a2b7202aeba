"""On real tissue, blocks come close to what the whole at once would have been."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cytovox.recipe.python_file import load_python_file

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "stitching.py"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("context", "most"), [(16, 0.28), (32, 0.32)])
def test_overlap_is_near_the_whole(shared_data: Path, context: int, most: float) -> None:
    import tifffile

    from cytovox.blockwise.watershed_function import watershed

    bench = load_python_file(BENCHMARK)
    path = shared_data / "volumes" / "fib25_250" / "raw.tif"
    image = np.ascontiguousarray(tifffile.imread(path)[:192, :192, :192])

    def function(array: np.ndarray) -> np.ndarray:
        return watershed(array, **bench.SETTINGS[0])

    whole = function(image)
    grid, done = bench.segment(image, context, function)
    overlap = bench.error(whole, bench.stitched(grid, done, "overlap"))
    touch = bench.error(whole, bench.stitched(grid, done, "touch"))
    assert overlap <= most
    assert overlap < touch / 2
