"""The table of objects, put together from blocks, against the whole volume at once."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi
from skimage.measure import perimeter_crofton, regionprops

from cytovox.blockwise.evidence import Measures
from cytovox.blockwise.lookup import drop_objects
from cytovox.blockwise.measure_tiles import iter_objects
from cytovox.blockwise.object_table import (
    ObjectTable,
    columns_of,
    gate_rows,
    join_tables,
    read_objects,
    write_objects,
)
from cytovox.blockwise.surface import surface_weights
from cytovox.errors import InputError, OptionError, StorageError
from cytovox.kernels.block_sums import surface_directions

PERCENTILES = (5, 50, 97.5)


def blobs(shape: tuple[int, ...], seed: int) -> np.ndarray:
    smooth = ndi.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.0)
    return ndi.label(smooth > np.quantile(smooth, 0.7), np.ones((3,) * len(shape)))[0]


def by_blocks(in_memory: Any, labels: np.ndarray, image: np.ndarray, block: Any) -> Any:
    """Measure an image whose labels are given, as a second channel is."""
    both = np.stack([image.astype(np.float64), labels])
    measure = Measures(channel=0, percentiles=PERCENTILES)
    return in_memory(both, lambda a: a[1].astype(np.int32), block, 2, measure=measure)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ndim=st.sampled_from([2, 3]), size=st.integers(1, 30), seed=st.integers(0, 99))
def test_blocks_measure_what_regionprops_does(
    ndim: int, size: int, seed: int, in_memory: Any
) -> None:
    shape = (31, 40) if ndim == 2 else (9, 14, 12)
    block = (size, size // 2 + 1, size + 3)[:ndim]
    scale, offset = (3.0, 0.5, 0.7)[-ndim:], (100.0, 20.0, -3.0)[:ndim]
    labels = blobs(shape, seed)
    image = np.random.default_rng(seed).integers(0, 250, shape)
    done = by_blocks(in_memory, labels, image, block)
    table = done.table(
        measure=Measures(channel=0, percentiles=PERCENTILES),
        voxel_size=scale,
        offset=offset,
        unit="micrometer",
    )
    whole = regionprops(done.labels.astype(int), image.astype(float), spacing=scale, offset=None)
    assert len(table) == len(whole) == done.lookup.count
    assert table["voxels"].sum() == np.count_nonzero(labels)
    axes = "zyx"[-ndim:]

    def column(name: str) -> list[float]:
        return [float(getattr(one, name)) for one in whole]

    assert table["label"].tolist() == column("label")
    assert table["voxels"].tolist() == column("num_pixels")
    size_name = "area" if ndim == 2 else "volume"
    np.testing.assert_allclose(table[size_name], column("area"))
    for i, axis in enumerate(axes):
        assert table[f"{axis}_min"].tolist() == [one.bbox[i] for one in whole]
        assert table[f"{axis}_max"].tolist() == [one.bbox[i + ndim] for one in whole]
        expected = [one.centroid[i] + offset[i] for one in whole]
        np.testing.assert_allclose(table[f"centroid_{axis}"], expected)
    np.testing.assert_allclose(table["mean_intensity"], column("intensity_mean"))
    np.testing.assert_allclose(table["sd_intensity"], column("intensity_std"), atol=1e-9)
    assert table["min_intensity"].tolist() == column("intensity_min")
    assert table["max_intensity"].tolist() == column("intensity_max")
    for percent in PERCENTILES:
        expected = [
            np.percentile(image[done.labels == one.label], percent, method="inverted_cdf")
            for one in whole
        ]
        assert table[f"p{percent:02g}_intensity"].tolist() == expected
    ends = [
        any(one.bbox[i] == 0 or one.bbox[i + ndim] == shape[i] for i in range(ndim))
        for one in whole
    ]
    assert table["touches_border"].tolist() == ends
    check_axes(table, done.labels, scale, axes)
    check_surface(table, done.labels, scale)


def check_axes(table: Any, labels: np.ndarray, scale: Any, axes: str) -> None:
    for row, label in enumerate(table["label"]):
        points = np.argwhere(labels == label) * scale
        covariance = np.cov(points.T, bias=True)
        largest = np.linalg.eigvalsh(covariance)[::-1]
        length = [table[f"axis{k + 1}_length"][row] for k in range(len(axes))]
        expected = 2 * np.sqrt((len(axes) + 2) * np.maximum(largest, 0))
        np.testing.assert_allclose(length, expected, atol=1e-6)
        along = np.array([table[f"axis1_{axis}"][row] for axis in axes])
        np.testing.assert_allclose(along @ covariance @ along, largest[0], atol=1e-9)
        assert along[np.abs(along).argmax()] > 0


def check_surface(table: Any, labels: np.ndarray, scale: Any) -> None:
    """Count the crossings in the whole volume, the plain way."""
    ndim = labels.ndim
    directions = surface_directions(ndim)
    weights = surface_weights(directions, np.array(scale))
    padded = np.pad(labels, 1)
    name = "perimeter" if ndim == 2 else "surface"
    for row, label in enumerate(table["label"][:8]):
        mask = padded == label
        crossings = [
            np.count_nonzero(mask != np.roll(mask, step, range(ndim))) for step in directions
        ]
        assert math.isclose(table[name][row], crossings @ weights, rel_tol=1e-12)


def ball(radius: float, scale: tuple[float, ...]) -> np.ndarray:
    axes = [np.arange(-int(radius / s) - 2, int(radius / s) + 3) * s for s in scale]
    grid = np.meshgrid(*axes, indexing="ij")
    return (sum(axis**2 for axis in grid) <= radius**2).astype(np.int32)


@pytest.mark.parametrize("scale", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (3.0, 0.7, 1.0)])
def test_surface_of_a_ball(scale: tuple[float, ...], in_memory: Any) -> None:
    labels = ball(20.0, scale)
    done = in_memory(labels, lambda a: a, (11, 17, 13), 2, measure=Measures(intensity=False))
    table = done.table(voxel_size=scale, unit="nm")
    assert table["surface"][0] == pytest.approx(4 * np.pi * 400, rel=0.02)
    assert table["faces_area"][0] == pytest.approx(6 * np.pi * 400, rel=0.05)
    assert table["volume"][0] == pytest.approx(4 / 3 * np.pi * 8000, rel=0.02)
    assert table["axis1_length"][0] == pytest.approx(40, rel=0.02)
    assert table["axis3_length"][0] == pytest.approx(40, rel=0.02)
    assert (table.units["surface"], table.units["volume"]) == ("nm^2", "nm^3")
    assert "mean_intensity" not in table.columns


def test_surface_of_a_box_and_a_disk(in_memory: Any) -> None:
    box = np.zeros((9, 12, 11), np.int32)
    box[2:6, 3:10, 4:8] = 5
    done = in_memory(box, lambda a: a, (4, 5, 6), 2, measure=Measures())
    table = done.table(voxel_size=(2, 1, 0.5))
    assert table["faces_area"][0] == 2 * (7 * 2 + 8 * 2 + 8 * 7)
    disk = ball(15.0, (1.0, 1.0))
    done = in_memory(disk, lambda a: a, (7, 9), 2, measure=Measures())
    assert done.table()["perimeter"][0] == pytest.approx(perimeter_crofton(disk, 4))
    assert done.table().units["perimeter"] == "voxel"


def test_weights_are_those_of_the_sphere() -> None:
    weights = surface_weights(surface_directions(3), np.ones(3))
    kinds = np.abs(surface_directions(3)).sum(axis=1)
    expected = {1: 0.04577789120476, 2: 0.03698062787608, 3: 0.03519563978232}
    for kind, share in expected.items():
        np.testing.assert_allclose(weights[kinds == kind], 4 * share / math.sqrt(kind))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64, np.int32])
def test_percentiles_are_as_exact_as_said(dtype: Any, in_memory: Any) -> None:
    rng = np.random.default_rng(1)
    image = (rng.lognormal(7, 1, (40, 50)) * rng.choice([1, 1, 30], (40, 50))).astype(dtype)
    if image.dtype.kind != "u":
        image -= 3000
    mask = np.ones(image.shape, bool)
    done = in_memory(image, lambda a: mask[: a.shape[0], : a.shape[1]], (13, 21), 0, "touch",
                     measure=Measures())  # fmt: skip
    table = done.table()
    for percent in (5, 25, 50, 75, 95):
        exact = np.percentile(image, percent, method="inverted_cdf")
        assert abs(table[f"p{percent:02d}_intensity"][0] - exact) <= abs(float(exact)) / 256
    assert table["min_intensity"][0] == image.min()


def test_percentiles_are_between_the_smallest_and_the_largest_value(in_memory: Any) -> None:
    image = np.arange(32_769, 32_769 + 130, dtype=np.uint16).reshape(10, 13)
    done = in_memory(
        image, lambda a: np.ones(a.shape, int), (7, 8), 0, "touch", measure=Measures()
    )
    table = done.table()
    for percent in (5, 25, 50, 75, 95):
        assert image.min() <= table[f"p{percent:02d}_intensity"][0] <= image.max()


def test_far_from_zero_nothing_is_lost(in_memory: Any) -> None:
    rng = np.random.default_rng(2)
    image = 1e8 + rng.normal(size=(20, 30))
    done = in_memory(
        image, lambda a: np.ones(a.shape, int), (7, 8), 0, "touch", measure=Measures()
    )
    assert done.table()["sd_intensity"][0] == pytest.approx(image.std(), rel=1e-6)


def test_nan_is_passed_on(in_memory: Any) -> None:
    image = np.arange(24.0).reshape(4, 6)
    image[1, 4] = np.nan
    labels = np.repeat([[1, 1, 1, 2, 2, 2]], 4, axis=0)
    done = by_blocks(in_memory, labels, image, (3, 4))
    table = done.table(measure=Measures(channel=0, percentiles=(50,)))
    for name in ("mean", "sd", "min", "max", "p50"):
        values = table[f"{name}_intensity"]
        assert not np.isnan(values[0])
        assert np.isnan(values[1])


def test_parts_are_the_same_as_all_at_once(in_memory: Any) -> None:
    labels = blobs((40, 50), 4)
    done = by_blocks(in_memory, labels, labels * 3, (9, 11))
    measure = Measures(channel=0, percentiles=PERCENTILES)
    parts = list(
        iter_objects(
            done.grid,
            done.lookup,
            lambda i: done.done[i].sums,
            evidence=done.load,
            measure=measure,
            at_once=7,
        )
    )
    assert len(parts) > 2
    whole, joined = done.table(measure=measure), join_tables(parts)
    for name in whole:
        np.testing.assert_array_equal(joined[name], whole[name], err_msg=name)


def test_objects_that_are_gated_out_leave_the_labels(in_memory: Any) -> None:
    labels = blobs((40, 50), 4)
    done = by_blocks(in_memory, labels, labels, (9, 11))
    table = done.table()
    kept = gate_rows(table.columns, "voxels > 20")
    done.lookup = drop_objects(done.lookup, kept)
    gated = table.rows(gate_rows(table.columns, "voxels > 20"))
    assert 0 < len(gated) < len(table)
    assert np.bincount(done.labels.ravel())[1:].tolist() == gated["voxels"].tolist()


def test_nothing_found_is_an_empty_table(in_memory: Any, tmp_path: Path) -> None:
    image = np.zeros((5, 6))
    done = in_memory(image, lambda a: a.astype(int), (2, 3), 1, measure=Measures())
    table = done.table()
    assert len(table) == 0
    assert "p50_intensity" in table.columns
    assert write_objects(tmp_path / "none.parquet", table) == 0
    assert write_objects(tmp_path / "none.csv", table) == 0
    assert list(read_objects(tmp_path / "none.parquet")[0]) == list(table)


def test_unmeasured_blocks_are_said(in_memory: Any) -> None:
    done = in_memory(np.ones((4, 4), bool), lambda a: a, (2, 2), 0, "touch")
    with pytest.raises(InputError, match="was not measured"):
        done.table()


def test_files_hold_units_and_recipe(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    columns = {"label": np.array([1, 2], np.uint64), "x": np.array([0.1, np.nan]),
               "edge": np.array([True, False])}  # fmt: skip
    table = ObjectTable(columns, {"label": "1", "x": "µm", "edge": "1"})
    recipe = {"function": "label", "block": [4, 4]}
    path = tmp_path / "a.parquet"
    assert write_objects(path, iter([table, table]), recipe=recipe) == 4
    schema = pq.read_schema(path)
    assert schema.field("x").metadata == {b"unit": "µm".encode()}
    assert json.loads(schema.metadata[b"cytovox"])["recipe"] == recipe
    back, stored = read_objects(path)
    assert stored == recipe
    assert back.units == table.units
    assert back["edge"].tolist() == [True, False, True, False]
    assert write_objects(tmp_path / "a.csv", table, recipe=recipe) == 2
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["label", "x", "edge"], ["1", "0.1", "True"],
                                          ["2", "nan", "False"]]  # fmt: skip
    beside = json.loads((tmp_path / "a.csv-metadata.json").read_text(encoding="utf-8"))
    assert beside["tableSchema"]["columns"][1] == {"name": "x", "datatype": "double", "unit": "µm"}
    assert beside["recipe"] == recipe
    with pytest.raises(OptionError, match=".parquet, .csv"):
        write_objects(tmp_path / "a.xlsx", table)


def test_a_table_that_fails_leaves_nothing(tmp_path: Path) -> None:
    table = ObjectTable({"label": np.array([1])}, {"label": "1"})

    def broken() -> Any:
        yield table
        raise InputError("the second part cannot be had")

    for suffix in (".parquet", ".csv"):
        with pytest.raises(InputError):
            write_objects(tmp_path / f"a{suffix}", broken())
        with pytest.raises(StorageError):
            write_objects(tmp_path / "nowhere" / f"a{suffix}", table)
    assert not list(tmp_path.iterdir())
    (tmp_path / "a.parquet").write_bytes(b"nothing")
    with pytest.raises(StorageError, match="a.parquet"):
        read_objects(tmp_path / "a.parquet")


TABLE = {
    "voxels": np.array([50, 200, 300], np.uint64),
    "mean_intensity": np.array([1.0, 2.0, np.nan]),
    "touches_border": np.array([True, False, False]),
}


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("voxels > 100 and mean_intensity < 3", [False, True, False]),
        ("not touches_border or voxels == 50", [True, True, True]),
        ("60 < voxels <= 200", [False, True, False]),
        ("voxels - 100 < 0", [True, False, False]),
        ("(voxels * 2) / 4 >= 1.5e2 or mean_intensity != mean_intensity", [False, False, True]),
        ("voxels > -1", [True, True, True]),
        ("touches_border == False", [False, True, True]),
        ("1 < 2", [True, True, True]),
    ],
)
def test_gate(condition: str, kept: list[bool]) -> None:
    assert gate_rows(TABLE, condition).tolist() == kept


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "voxels",
        "voxels >",
        "voxels > 1; voxels",
        "__import__('os').remove('x')",
        "voxels.__class__ == 1",
        "voxels[0] > 1",
        "voxels > '1'",
        "(lambda: 1)() > 0",
        "voxels in (1, 2)",
        "voxels is 50",
        "voxels ** 9 ** 9 ** 9 > 1",
        "(voxels > 1) & (voxels < 3)",
        "[v for v in voxels] > 1",
        "(x := 3) > 1",
        "voxels > 1j",
        "-touches_border",
        "(" * 3000,
        "not " * 400 + "-" * 90 + "1 > 0 > (" + "(" * 90,
    ],
)
def test_gate_refuses_everything_else(condition: str) -> None:
    with pytest.raises(OptionError):
        gate_rows(TABLE, condition)


def test_gate_helps_with_names() -> None:
    with pytest.raises(OptionError, match="did you mean voxels"):
        gate_rows(TABLE, "voxel > 3")
    assert columns_of("voxels > 1 and not touches_border") == {"voxels", "touches_border"}


def test_voxels_of_which_no_surface_can_be_measured():
    with pytest.raises(OptionError, match="no surface can be measured"):
        surface_weights(surface_directions(3), np.array([1e-30, 1.0, 1e30]))
