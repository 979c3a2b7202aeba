"""What becomes of each object, against the counts and the events of runs."""

import dataclasses

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cytovox.errors import UsageError
from cytovox.kernels.labels import label_frames, process_frames
from cytovox.logic import DCNumJobRunner, DCNumPipelineJob
from cytovox.logic.fates import KEPT, analyse, clean_up_steps, verdict
from cytovox.logic.frame_source import Frames, FrameSource, spread_frames
from cytovox.read import HDF5Data
from cytovox.run.rows import CAUSES
from cytovox.testing import simulate_recording


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    path = tmp_path_factory.mktemp("fates") / "raw.rtdc"
    simulate_recording(path, frames=60, cells=2, seed=4)
    return path


@pytest.fixture(scope="module")
def job(raw):
    return DCNumPipelineJob(raw, num_procs=1)


def frames_of(image):
    """Return frames over a flat background."""
    background = np.full(image.shape, 100, np.uint8)
    return Frames(
        np.arange(len(image)),
        image,
        background,
        image.astype(np.int16) - background,
        None,
        np.zeros(len(image), bool),
    )


@pytest.mark.parametrize(
    ("background", "options", "thresh"),
    [("sparsemed", {}, -6), ("sparsemed", {}, -2), ("rollmed", {"kernel_size": 20}, -4)],
)
def test_the_analysis_of_all_frames_equals_a_run(raw, tmp_path, background, options, thresh):
    job = DCNumPipelineJob(
        raw,
        tmp_path / "out.rtdc",
        background_code=background,
        background_kwargs=options,
        segmenter_kwargs={"thresh": thresh},
        num_procs=1,
    )
    with DCNumJobRunner(job) as runner:
        runner.run()
    with FrameSource(job) as source:
        found = analyse(source.read(range(len(source))), job, source.data)
    total = found.objects.counts(60).sum(axis=0)
    assert total[0] == runner.objects["found"]
    assert dict(zip(CAUSES, total[1:].tolist(), strict=True)) == runner.objects["lost"]
    kept = found.objects.cause == KEPT
    with HDF5Data(job["path_out"]) as result:
        for name in ("area_um", "deform", "bright_perc_90", "inert_ratio_cvx"):
            assert np.array_equal(found.objects.features[name][kept], result[name][:]), name
        assert np.array_equal(found.objects.frame[kept], result["frame"][:] - result["frame"][0])


def test_nothing_is_left_beside_the_recording(raw, job):
    before = sorted(raw.parent.iterdir())
    with FrameSource(job) as source:
        source.read([0, 59])
    assert sorted(raw.parent.iterdir()) == before


def test_single_frames_are_those_of_the_whole_recording(job):
    with FrameSource(job) as source:
        every, some = source.read(range(60)), source.read([41, 7])
    for field in dataclasses.fields(Frames):
        whole, picked = getattr(every, field.name), getattr(some, field.name)
        assert (whole is None) == (picked is None)
        assert whole is None or np.array_equal(whole[[41, 7]], picked), field.name


def test_a_frame_that_is_not_there_is_named(raw, job):
    with FrameSource(job) as source, pytest.raises(UsageError, match="no frame 60") as error:
        source.read([3, 60])
    assert "0 to 59" in error.value.hint
    assert error.value.path == str(raw)


def test_a_frame_that_repeats_the_one_before_loses_all(raw, job):
    with FrameSource(job) as source:
        frames = source.read([5])
        again = dataclasses.replace(frames, duplicate=np.array([True]))
        found = analyse(again, job, source.data).objects
    assert len(found)
    assert set(found.cause) == {CAUSES.index("repeated")}


def test_a_frame_repeats_the_one_that_is_chosen_before_it(tmp_path):
    path = tmp_path / "raw.rtdc"
    simulate_recording(path, frames=40, seed=4, duplicates=0, save_truth=False)
    with h5py.File(path, "a") as h5:
        h5["events/image"][12] = h5["events/image"][10]
    for chosen, repeats in ((None, False), (slice(10, 20, 2), True), (slice(12, 20, 2), False)):
        with FrameSource(
            DCNumPipelineJob(path, data_kwargs={"index_mapping": chosen}, num_procs=1)
        ) as source:
            assert source.read([12]).duplicate[0] == repeats


def test_an_object_says_what_became_of_it(raw):
    image = np.full((1, 60, 90), 100, np.uint8)
    image[0, 30:45, 20:35] = 50  # stays
    image[0, 50:60, 60:70] = 50  # touches the last row
    image[0, 10:12, 10:30] = 50  # too thin for the opening
    image[0, 20:25, 70:75] = 50  # a few pixels are left
    job = DCNumPipelineJob(raw, gate_kwargs={"size_thresh_mask": 25}, num_procs=1)
    with HDF5Data(raw) as data:
        found = analyse(frames_of(image), job, data)
    causes = ["kept" if c == KEPT else CAUSES[c] for c in found.objects.cause]
    assert dict(zip(found.objects.raw_size.tolist(), causes, strict=True)) == {
        40: "opening",
        25: "size",
        225: "kept",
        100: "border",
    }
    assert found.objects.size[found.objects.raw_size == 25] == 13
    words = [verdict(found, index) for index in range(4)]
    assert "radius 2 fits nowhere into its 40 px" in words[0]
    assert words[1].endswith("25 px, after the clean-up 13 px, which is not more than 25")
    assert words[2].startswith("kept: ")
    assert words[3].startswith("lost at the border")
    steps = dict(clean_up_steps(found, 0))
    assert list(steps) == ["clear_border", "fill_holes", "closing_disk"]
    assert not steps["clear_border"][59].any()
    assert np.array_equal(steps["closing_disk"], found.labels[0])


def test_a_gate_names_the_value_that_decided(raw, job):
    with FrameSource(job) as source:
        frames, data = source.read(range(20)), source.data
        data.meta["online_filter:area_um max"] = 1.0
        data.meta["online_filter:area_um soft limit"] = False
        gated = DCNumPipelineJob(raw, gate_kwargs={"online_gates": True}, num_procs=1)
        found = analyse(frames, gated, data)
    lost = np.flatnonzero(found.objects.cause == CAUSES.index("gate"))
    assert len(lost)
    assert "area_um is " in verdict(found, lost[0])
    assert ", above 1" in verdict(found, lost[0])


def test_spread_frames_begin_and_end_with_the_recording():
    assert spread_frames(9, 3).tolist() == [0, 4, 8]
    assert spread_frames(2, 5).tolist() == [0, 1]
    assert spread_frames(0, 5).tolist() == []


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(bool, st.tuples(st.just(3), st.integers(3, 14), st.integers(3, 16))),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2),
    st.integers(1, 12),
)
def test_what_is_lost_and_kept_adds_up_as_in_a_run(raw, mask, border, holes, disk, size):
    job = DCNumPipelineJob(
        raw,
        segmenter_kwargs={
            "kwargs_mask": {"clear_border": border, "fill_holes": holes, "closing_disk": disk}
        },
        gate_kwargs={"size_thresh_mask": size},
        data_kwargs={"pixel_size": 0.3},
        num_procs=1,
    )
    image = np.where(mask, 50, 100).astype(np.uint8)
    frames = frames_of(image)
    with HDF5Data(raw) as data:
        found = analyse(frames, job, data)
    labels = np.empty(mask.shape, np.uint16)
    objects = np.zeros((3, 8), np.int64)
    objects[:, 0] = label_frames(mask, labels)
    process_frames(labels, border, holes, disk, objects)
    rows = found.extractor.measure(
        labels, image, frames.image_bg, frames.image_corr, duplicate=frames.duplicate,
        objects=objects,
    )  # fmt: skip
    assert np.array_equal(found.objects.counts(3), rows.objects)
