"""Known faults of the peer that do not exist here, by their number."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from cytovox.logic import DCNumJobRunner, DCNumPipelineJob
from cytovox.read import HDF5Data, Permissions
from cytovox.write import HDF5Writer

pytestmark = pytest.mark.timeout(120)


def counts_of(path):
    with h5py.File(path) as h5:
        return (
            int(h5.attrs["experiment:event count"]),
            int(h5.attrs["pipeline:dcnum yield"]),
            {len(d) for d in h5["events"].values()},
        )


@pytest.fixture
def measured(raw, run_job):
    out = raw.with_name("measured.rtdc")
    run_job(raw, out)
    return out


@pytest.mark.parametrize("first", ["drain", "tap"])
@pytest.mark.parametrize("second", ["drain", "tap"])
def test_q1_running_again_on_an_own_output_keeps_all_events(raw, run_job, first, second):
    one, two = raw.with_name("one.rtdc"), raw.with_name("two.rtdc")
    run_job(raw, one, basin_strategy=first)
    runner = run_job(one, two, basin_strategy=second)
    events = counts_of(one)[0]
    assert runner.event_count == events
    assert counts_of(two)[:2] == (events, events)
    with HDF5Data(one) as before, HDF5Data(two) as after:
        assert len(after) == events
        for feature in ("deform", "bg_off", "frame", "time"):
            np.testing.assert_array_equal(after[feature], before[feature])
        for images in ("image", "image_bg", "mask"):
            np.testing.assert_array_equal(after[images][:], before[images][:])


def test_q2_segmenting_an_output_with_internal_background_again(raw, run_job):
    one, two = raw.with_name("one.rtdc"), raw.with_name("two.rtdc")
    run_job(raw, one)
    run_job(one, two, segmenter_kwargs={"thresh": -12})
    with h5py.File(two) as h5:
        newest = max(name for name in h5["logs"] if name.startswith("dcnum-job-"))
        record = json.loads(b"\n".join(h5["logs"][newest][:]))
        assert record["tasks"] == {"background": False, "segmentation": True}
    with HDF5Data(one) as before, HDF5Data(two) as after:
        row = after["basinmap0"]
        np.testing.assert_array_equal(after.image_bg[:], before.image_bg[:][row])
        np.testing.assert_array_equal(after["bg_off"], before["bg_off"][row])


def one_cell_a_frame(path, frames=30):
    """Write a recording with exactly one cell in every frame."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:60, :120]
    image = rng.integers(98, 103, (frames, 60, 120)).astype(np.uint8)
    for i in range(frames):
        image[i][(x - 20 - 2 * i) ** 2 / 2 + (y - 30) ** 2 < 100] = 60 + i
    with HDF5Writer(path, "w") as writer:
        writer.h5.attrs.update(
            {
                "experiment:event count": frames,
                "experiment:run identifier": "some-run",
                "imaging:pixel size": 0.3,
                "imaging:frame rate": 10.0,
            }
        )
        writer.store_feature_chunk("image", image)
        writer.store_feature_chunk("frame", np.arange(1, frames + 1, dtype=np.uint64))
        writer.store_feature_chunk("time", np.arange(frames) / 10)
    return image


@pytest.mark.parametrize("strategy", ["drain", "tap"])
def test_q3_exactly_one_event_per_frame(tmp_path, run_job, strategy):
    raw, out = tmp_path / "raw.rtdc", tmp_path / "out.rtdc"
    image = one_cell_a_frame(raw)
    assert run_job(raw, out, basin_strategy=strategy).event_count == len(image)
    with h5py.File(out) as h5:
        assert {d.ndim for n, d in h5["events"].items() if n.startswith("basinmap")} == {1}
    with HDF5Data(out) as data:
        np.testing.assert_array_equal(data.image[:], image)
        assert data.image_bg[:].shape == image.shape
    dclab = pytest.importorskip("dclab")
    with dclab.new_dataset(out) as dataset:
        np.testing.assert_array_equal(dataset["image"][3], image[3])
        assert list(dataset["frame"]) == list(range(1, len(image) + 1))
        assert dataset["image_bg"][0].shape == image.shape[1:]


def test_q13_index_mapping_as_an_array(raw, run_job, events_of):
    mapping = [3, 5, 6, 7, 100, 229]
    run_job(raw, raw.with_name("list.rtdc"), data_kwargs={"index_mapping": mapping})
    run_job(
        raw,
        raw.with_name("array.rtdc"),
        data_kwargs={"index_mapping": np.array(mapping)},
    )
    one, other = events_of(raw.with_name("list.rtdc")), events_of(raw.with_name("array.rtdc"))
    assert {k: v.tobytes() for k, v in one.items()} == {k: v.tobytes() for k, v in other.items()}
    assert set(one["events/basinmap0"]) <= set(mapping)


def test_any_order_of_an_index_mapping_works(raw, run_job, events_of):
    run_job(raw, raw.with_name("a.rtdc"), data_kwargs={"index_mapping": [5, 6, 7, 8]})
    run_job(raw, raw.with_name("b.rtdc"), data_kwargs={"index_mapping": [8, 7, 6, 5]})
    a, b = events_of(raw.with_name("a.rtdc")), events_of(raw.with_name("b.rtdc"))
    for frame in (5, 6, 7, 8):
        mine = a["events/deform"][a["events/basinmap0"] == frame]
        assert mine.tolist() == b["events/deform"][b["events/basinmap0"] == frame].tolist()


@pytest.mark.parametrize("second", ["drain", "tap"])
def test_q17_a_tapped_input_does_not_lose_its_images(raw, run_job, second):
    one, two = raw.with_name("one.rtdc"), raw.with_name("two.rtdc")
    run_job(raw, one, basin_strategy="tap")
    run_job(one, two, basin_strategy=second, segmenter_kwargs={"thresh": -12})
    with HDF5Data(one) as before, HDF5Data(two) as after:
        row = after["basinmap0"]
        np.testing.assert_array_equal(after.image[:], before.image[:][row])
        np.testing.assert_array_equal(after["time"], before["time"][row])
    if second == "drain":
        with h5py.File(two) as h5:
            assert {"image", "time", "frame"} <= set(h5["events"])


def test_9_single_frame_maps_are_one_dimensional(raw, run_job):
    run_job(raw, raw.with_name("out.rtdc"), data_kwargs={"index_mapping": 1})
    with h5py.File(raw.with_name("out.rtdc")) as h5:
        assert all(d.ndim == 1 for n, d in h5["events"].items() if n.startswith("basinmap"))


def test_15_sparsemed_twice_has_one_background(raw, run_job):
    one, two = raw.with_name("one.rtdc"), raw.with_name("two.rtdc")
    run_job(raw, one)
    run_job(one, two, background_kwargs={"kernel_size": 50})
    with HDF5Data(two) as data:
        internal = [b for b in data.basins if b["type"] == "internal"]
        assert len(internal) == 1
        assert "k=50" in internal[0]["description"]


def test_16_relative_input_is_found_from_any_folder(raw, run_job, monkeypatch):
    other = raw.parent / "other"
    other.mkdir()
    monkeypatch.chdir(raw.parent)
    run_job("raw.rtdc", "other/out.rtdc", basin_strategy="tap")
    monkeypatch.chdir(other)
    may = Permissions(basin_roots=(raw.parent,))
    with HDF5Data(other / "out.rtdc", permissions=may) as data:
        assert data.image[0].shape == (60, 120)


def test_q18_q17_maps_of_a_moved_folder_are_found(raw, run_job):
    folder = raw.parent / "a"
    folder.mkdir()
    source = folder / "raw.rtdc"
    raw.rename(source)
    run_job(source, folder / "out.rtdc", basin_strategy="tap")
    folder.rename(raw.parent / "b")
    with HDF5Data(raw.parent / "b" / "out.rtdc") as data:
        assert data.image[0].shape == (60, 120)


def test_stale_offset_is_used_and_said(raw, measured, run_job):
    warned = []
    runner = run_job(
        measured,
        raw.with_name("two.rtdc"),
        background_code="rollmed",
        background_kwargs={"kernel_size": 10},
        on_event=lambda e: warned.append(getattr(e, "text", "")),
    )
    assert runner.state == "done"
    assert any("bg_off" in text for text in warned)


def test_q19_state_of_the_job_is_a_copy(raw):
    given = {"thresh": -6}
    job = DCNumPipelineJob(raw, segmenter_kwargs=given)
    assert given == {"thresh": -6}
    job["segmenter_kwargs"]["thresh"] = -1
    assert job["segmenter_kwargs"]["thresh"] == -6


def test_q16_q20_a_runner_can_be_closed_twice_and_used_without_run(raw):
    runner = DCNumJobRunner(DCNumPipelineJob(raw))
    with runner:
        assert len(runner.draw) == 230
    runner.close()
    assert [p.name for p in raw.parent.iterdir()] == ["raw.rtdc"]
