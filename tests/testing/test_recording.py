"""Simulated recordings are what they say, and are measured as they say."""

from __future__ import annotations

import hashlib
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 (registers the filter)
import numpy as np
import pytest

from cytovox.errors import InputError, InputNotFoundError, OptionError
from cytovox.logic.ctrl import DCNumJobRunner
from cytovox.logic.job import DCNumPipelineJob
from cytovox.read import HDF5Data
from cytovox.testing import TRUTH_DTYPE, Truth, simulate_recording
from cytovox.testing.shapes import egg_area, egg_centroid, egg_deformation, egg_volume


def images_of(path):
    with h5py.File(path) as h5:
        return h5["events/image"][:]


def measure(path: Path) -> dict[str, np.ndarray]:
    out = path.with_name("measured.rtdc")
    with DCNumJobRunner(DCNumPipelineJob(path, out, num_procs=2)) as runner:
        runner.run()
    with HDF5Data(out) as data:
        if not len(data):
            return {"frame": np.zeros(0)}
        names = ("frame", "pos_x", "pos_y", "area_um", "deform", "volume")
        return {name: data[name][:] for name in names}


def test_same_seed_same_file(tmp_path):
    digests = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        simulate_recording(tmp_path / f"{name}.rtdc", frames=40, seed=seed)
        digests.append(hashlib.sha256((tmp_path / f"{name}.rtdc").read_bytes()).hexdigest())
    assert digests[0] == digests[1]
    assert digests[1] != digests[2]


def test_chunks_and_length_do_not_change_frames(tmp_path, monkeypatch):
    options = {"seed": 2, "duplicates": 0.3, "flicker": 0.01}
    long = simulate_recording(tmp_path / "long.rtdc", frames=90, **options)
    monkeypatch.setattr("cytovox.testing.recording._BLOCK_BYTES", 1)
    short = simulate_recording(tmp_path / "short.rtdc", frames=50, chunk_frames=7, **options)
    np.testing.assert_array_equal(
        images_of(tmp_path / "long.rtdc")[:50], images_of(tmp_path / "short.rtdc")
    )
    np.testing.assert_array_equal(long.table[long["frame"] < 50], short.table)
    with h5py.File(tmp_path / "short.rtdc") as h5:
        assert h5["events/image"].chunks == (7, 80, 400)
        assert h5["events/image"].fletcher32


def test_duplicates_and_empty_frames(tmp_path):
    truth = simulate_recording(tmp_path / "raw.rtdc", frames=200, duplicates=0.2, empty=0.3)
    images = images_of(tmp_path / "raw.rtdc")
    same = [i for i in range(1, 200) if np.array_equal(images[i], images[i - 1])]
    assert truth.duplicates.tolist() == same
    assert 20 < len(same) < 60
    assert not set(truth["frame"]) & set(same)
    assert len(set(range(200)) - set(same) - set(truth["frame"])) > 60
    none = simulate_recording(tmp_path / "raw.rtdc", frames=20, empty=1.0)
    assert len(none) == 0


@pytest.mark.parametrize(
    ("seed", "options"),
    [(1, {}), (2, {"cells": 4.0, "border": 0.3}), (3, {"noise": 3.0, "flicker": 0.01})],
)
def test_default_pipeline_finds_what_is_there(seed, options, tmp_path):
    truth = simulate_recording(
        tmp_path / "raw.rtdc", frames=300, seed=seed, duplicates=0.05, **options
    ).whole
    found = measure(tmp_path / "raw.rtdc")
    assert len(found["frame"]) == len(truth)
    # Both are ordered by frame; within a frame, cells are known by their place.
    order = np.lexsort((found["pos_x"], found["frame"]))
    np.testing.assert_array_equal(found["frame"][order] - 1, truth["frame"])
    assert np.abs(found["pos_x"][order] - truth["pos_x"]).max() < 0.15
    assert np.abs(found["pos_y"][order] - truth["pos_y"]).max() < 0.15
    ratio = found["area_um"][order] / truth["area_um"]
    assert 0.985 < np.median(ratio) < 1.015
    assert np.all(np.abs(ratio - 1) < 0.06)
    difference = found["deform"][order] - truth["deform"]
    assert abs(np.median(difference)) < 0.01
    assert np.abs(difference).max() < 0.03
    assert abs(np.median(found["volume"][order] / truth["volume"]) - 1) < 0.05


def test_cells_may_overlap(tmp_path):
    truth = simulate_recording(tmp_path / "raw.rtdc", frames=100, cells=5.0, separated=False)
    assert truth["touches_other"].any()
    assert len(truth.whole) < len(truth)
    apart = simulate_recording(tmp_path / "raw.rtdc", frames=100, cells=5.0)
    assert not apart["touches_other"].any()


@pytest.mark.parametrize("shape", [(8, 8), (10, 50), (30, 61), (37, 300), (41, 9), (256, 256)])
@pytest.mark.parametrize("frames", [1, 2, 30])
def test_any_size_is_drawn_and_measured(shape, frames, tmp_path):
    truth = simulate_recording(tmp_path / "raw.rtdc", frames=frames, shape=shape, cells=2.0)
    images = images_of(tmp_path / "raw.rtdc")
    assert images.shape == (frames, *shape)
    assert np.isfinite(truth["area_um"]).all()
    found = measure(tmp_path / "raw.rtdc")
    assert len(found["frame"]) <= len(truth)


def test_noise_measured_for_each_pixel(tmp_path):
    noise = np.zeros((40, 100))
    noise[:, 50:] = 4.0
    simulate_recording(
        tmp_path / "raw.rtdc", frames=200, shape=(40, 100), cells=0, drift=0, duplicates=0,
        noise=noise,
    )  # fmt: skip
    spread = images_of(tmp_path / "raw.rtdc").std(axis=0)
    assert spread[:, :50].max() == 0
    assert abs(spread[:, 50:].mean() - 4.0) < 0.1


def test_brightness_drifts_slowly(tmp_path):
    simulate_recording(tmp_path / "raw.rtdc", frames=100, frame_rate=10.0, drift=0.02, cells=0)
    mean = images_of(tmp_path / "raw.rtdc").mean(axis=(1, 2))
    assert 3 < mean.max() - mean.min() < 8
    assert np.abs(np.diff(mean)).max() < 0.2


def test_metadata_are_complete_and_clean(tmp_path):
    dclab = pytest.importorskip("dclab")
    path = tmp_path / "raw.rtdc"
    simulate_recording(path, frames=30)
    from dclab.rtdc_dataset.check import IntegrityChecker

    with IntegrityChecker(path) as checker:
        cues = checker.check()
    assert [cue.msg for cue in cues if cue.level == "violation"] == []
    with dclab.new_dataset(path) as data:
        assert data.config["imaging"]["frame rate"] == 3000
        assert len(data) == 30
        assert data["time"][29] == 29 / 3000


def test_truth_beside_the_recording(tmp_path):
    truth = simulate_recording(tmp_path / "raw.rtdc", frames=60, duplicates=0.2)
    beside = Truth.load(tmp_path / "raw.truth.csv")
    np.testing.assert_array_equal(beside.table, truth.table)
    np.testing.assert_array_equal(beside.duplicates, truth.duplicates)
    assert (beside.frames, beside.pixel_size) == (60, 0.2645)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raw.rtdc", "raw.truth.csv"]
    again = Truth.load(truth.save(tmp_path / "raw.npz"))
    np.testing.assert_array_equal(again.table, truth.table)
    assert again.frames == 60
    simulate_recording(tmp_path / "other.rtdc", frames=3, save_truth=False)
    assert not (tmp_path / "other.truth.csv").exists()


def test_truth_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(InputNotFoundError):
        Truth.load(tmp_path / "no.csv")
    for name in ("bad.csv", "bad.npz"):
        (tmp_path / name).write_text("what is this\n" * 9)
        with pytest.raises(InputError):
            Truth.load(tmp_path / name)
    with pytest.raises(OptionError):
        Truth(1, 1.0, np.zeros(0, TRUTH_DTYPE)).save(tmp_path / "truth.xyz")


@pytest.mark.parametrize(
    "options",
    [
        {"frames": 0},
        {"shape": (7, 100)},
        {"cells": -1},
        {"border": 1.5},
        {"duplicates": -0.1},
        {"pixel_size": 0},
        {"frame_rate": float("nan")},
        {"noise": np.zeros((3, 3))},
        {"noise": -1.0},
        {"chunk_frames": 0},
        {"seed": -1},
    ],
)
def test_wrong_options(options, tmp_path):
    with pytest.raises(OptionError):
        simulate_recording(tmp_path / "raw.rtdc", **({"frames": 5} | options))
    assert not list(tmp_path.iterdir())


def test_shapes_are_right():
    t = np.linspace(0, 2 * np.pi, 200001)
    for a, b, k in ((3.0, 3.0, 0.0), (5.0, 3.0, 0.1), (4.0, 2.0, 0.3)):
        x, y = a * np.cos(t), b * np.sin(t) * (1 + k * np.cos(t))
        cross = x[:-1] * y[1:] - x[1:] * y[:-1]
        area = cross.sum() / 2
        length = np.hypot(np.diff(x), np.diff(y)).sum()
        given = np.array([a]), np.array([b]), np.array([k])
        assert egg_area(*given[:2])[0] == pytest.approx(area, rel=1e-8)
        deform = 1 - 2 * np.sqrt(np.pi * area) / length
        assert egg_deformation(*given)[0] == pytest.approx(deform, abs=1e-8)
        centroid = ((x[:-1] + x[1:]) * cross).sum() / 6 / area
        assert egg_centroid(given[0], given[2])[0] == pytest.approx(centroid, abs=1e-8)
        half = t <= np.pi
        slices = (y[half][1:] ** 2 + y[half][:-1] ** 2) / 2
        volume = -np.pi * (slices * np.diff(x[half])).sum()
        assert egg_volume(*given)[0] == pytest.approx(volume, rel=1e-6)
        turn = np.diff(np.unwrap(np.arctan2(np.diff(y), np.diff(x))))
        assert turn.min() > 0  # convex
