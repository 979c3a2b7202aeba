"""Tiles of blocks: what comes out does not depend on how blocks are put into tiles."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from cytovox.blockwise.block_tiles import Tiles, TileStore
from cytovox.blockwise.evidence import Measures
from cytovox.blockwise.evidence_file import EvidenceFolder
from cytovox.blockwise.grid import Grid
from cytovox.blockwise.lookup import drop_objects
from cytovox.blockwise.measure_tiles import iter_objects
from cytovox.blockwise.object_table import ObjectTable, join_tables
from cytovox.blockwise.seam_report import report_again
from cytovox.blockwise.stitch import Stitcher, Stitching, StitchTile, block_offsets, stitch
from cytovox.kernels.components import label_components


def snakes(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """An image of winding objects, some of which are in most blocks."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random(shape), 1.2)
    return np.where(smooth > np.quantile(smooth, 0.72), 1 + 1000 * smooth, 0)


def found(image: np.ndarray) -> np.ndarray:
    return label_components(image > 0)[0]


CASES = {
    "3d": ((20, 23, 26), (5, 6, 7), 3),
    "2d": ((60, 70), (9, 11), 4),
    "1d": ((300,), (7,), 2),
}


@pytest.fixture(scope="module", params=CASES)
def volume(request: pytest.FixtureRequest, in_memory: Any) -> Any:
    shape, block, context = CASES[request.param]
    return in_memory(
        snakes(shape, 3), found, block, context, "owner", measure=Measures(percentiles=(50,))
    )


def table_of(*how: Any, **more: Any) -> ObjectTable:
    return join_tables(list(iter_objects(*how, **more)))


def edges(grid: Grid) -> list[tuple[int, ...]]:
    return [(1,) * grid.ndim, (2,) * grid.ndim, (2, 1, 3)[-grid.ndim :], (1, 3, 2)[-grid.ndim :]]


@pytest.mark.parametrize("mode", ["touch", "overlap", "owner", "none"])
def test_labels_reports_and_tables_are_the_same_in_any_tiles(volume: Any, mode: Any) -> None:
    grid = volume.grid

    def done(edge: tuple[int, ...]) -> Any:
        tiles = Tiles(grid, edge)
        lookup = stitch(Stitching(mode, grid.ndim), volume.load, grid, tiles=tiles)
        table = table_of(
            grid, lookup, lambda i: volume.done[i].sums, evidence=volume.load,
            measure=Measures(percentiles=(50,)),
        )  # fmt: skip
        return lookup, table

    expected, table = done(grid.counts)
    assert not expected.shared.size
    assert expected.report.spanning > 0 or mode == "none"
    for edge in edges(grid):
        lookup, other = done(edge)
        assert lookup.shared.size or mode == "none"
        np.testing.assert_array_equal(lookup.lut, expected.lut)
        for name, value in dataclasses.asdict(expected.report).items():
            np.testing.assert_array_equal(getattr(lookup.report, name), value, err_msg=name)
        assert list(other) == list(table)
        for name in table:
            assert other[name].tobytes() == table[name].tobytes(), name


def test_files_hold_what_memory_holds(tmp_path: Path, volume: Any) -> None:
    grid = volume.grid
    (tmp_path / "tiles").mkdir()
    for result in volume.done:
        EvidenceFolder(tmp_path).add(result.evidence, result.sums)
    evidence = EvidenceFolder(tmp_path)
    evidence.save_index()
    load = EvidenceFolder(tmp_path, indexed=True)
    tiles = Tiles(grid, edges(grid)[1])
    expected = stitch(Stitching("overlap"), volume.load, grid, tiles=tiles)
    lookup = stitch(Stitching("overlap"), load, grid, tiles=tiles, folder=tmp_path / "tiles")
    np.testing.assert_array_equal(lookup.lut, expected.lut)
    store = TileStore(tmp_path / "tiles")
    table = table_of(grid, lookup, load.sums, evidence=load, store=store)
    whole = table_of(grid, expected, load.sums, evidence=volume.load)
    for name in whole:
        assert table[name].tobytes() == whole[name].tobytes(), name


class CountingStore(TileStore):
    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def get(self, name: str, tile: int) -> Any:
        self.asked += 1
        return super().get(name, tile)


def test_the_work_for_a_table_is_linear(in_memory: Any) -> None:
    """Objects lie where four blocks meet; a tile is asked as often in a large volume."""
    asked = []
    for edge in (8, 24):
        image = np.zeros((8 * edge,) * 2, np.uint8)
        for at in np.ndindex(edge - 1, edge - 1):
            image[tuple(slice(8 * i + 6, 8 * i + 10) for i in at)] = 200
        volume = in_memory(image, found, (8, 8), (1, 1), "touch", measure=Measures())
        tiles, store = Tiles(volume.grid, (1, 1)), CountingStore()
        lookup = stitch(Stitching("touch"), volume.load, volume.grid, tiles=tiles)
        table = table_of(
            volume.grid, lookup, lambda i, v=volume: v.done[i].sums, evidence=volume.load,
            store=store, at_once=7,
        )  # fmt: skip
        assert table["voxels"].tolist() == [16] * (edge - 1) ** 2
        asked.append(store.asked / len(tiles))
    assert asked[1] < 1.5 * asked[0]


def test_a_gate_leaves_the_same_report_in_any_tiles(volume: Any) -> None:
    grid = volume.grid
    reports = []
    for edge in (grid.counts, *edges(grid)):
        tiles, store = Tiles(grid, edge), TileStore()
        lookup = stitch(Stitching("touch"), volume.load, grid, tiles=tiles)
        stitched = lookup.report
        kept = np.arange(lookup.count) % 3 > 0
        # What a tile came to is not changed by a gate, so it is kept for the report.
        store.put("offsets", 0, block_offsets(volume.load, grid))
        work = StitchTile(tiles, volume.load, store, Stitching("touch"))
        for index in range(len(tiles)):
            work(tiles[index])
        again = Stitcher(tiles, store, lookup.offsets).lookup()
        np.testing.assert_array_equal(again.lut, lookup.lut)
        reports.append(report_again(stitched, drop_objects(lookup, kept), tiles, store))
    for report in reports[1:]:
        for name, value in dataclasses.asdict(reports[0]).items():
            np.testing.assert_array_equal(getattr(report, name), value, err_msg=name)
