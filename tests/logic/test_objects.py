"""Each object that was found is an event, or was lost to a cause that is reported."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from cytovox.run.progress import RunFinished
from cytovox.segm import UNISegmenter
from cytovox.testing import simulate_recording

DISK = np.hypot(*np.mgrid[-2:3, -2:3]) <= 2
RING = np.pad(np.zeros((9, 9), bool), 3, constant_values=True)
ISLAND = RING.copy()
ISLAND[6:9, 6:9] = True
DUMBBELL = np.zeros((7, 24), bool)
DUMBBELL[:, :7] = DUMBBELL[:, -7:] = DUMBBELL[3] = True


class SegmentUncleaned(UNISegmenter):
    """Everything dark is an event; masks are taken as they are."""

    mask_postprocessing = False
    requires_background_correction = True

    @staticmethod
    def segment_algorithm(image, *, level: int = -6):
        return image < level


def plant(path, truth, shapes):
    """Draw dark shapes into frames without cells, each into a frame of its own."""
    taken = {
        *truth["frame"].tolist(),
        *truth.duplicates.tolist(),
        *(truth.duplicates - 1).tolist(),
    }
    free = [frame for frame in range(truth.frames) if frame not in taken]
    with h5py.File(path, "a") as h5:
        for frame, shape in zip(free, shapes, strict=False):
            image = h5["events/image"][frame]
            y, x = (image.shape[0] - shape.shape[0]) // 2, 150
            image[y : y + shape.shape[0], x : x + shape.shape[1]][shape] -= 40
            h5["events/image"][frame] = image
    assert len(free) > len(shapes)


def record_of(path):
    with h5py.File(path) as h5:
        (record,) = [log[:] for name, log in h5["logs"].items() if name.startswith("dcnum-job")]
        (log,) = [log[:] for name, log in h5["logs"].items() if name.startswith("dcnum-log")]
    return json.loads(b"\n".join(record))["objects"], b" ".join(log).decode()


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A recording with cells at the border, repeated frames, and shapes of each kind."""
    path = tmp_path_factory.mktemp("planted") / "raw.rtdc"
    options = {"frames": 160, "seed": 4, "noise": 0.5, "drift": 0.0, "cells": 1.5}
    truth = simulate_recording(path, border=0.3, duplicates=0.15, empty=0.4, **options)
    line, thin = np.ones((1, 15), bool), np.ones((2, 2), bool)
    shapes = [DISK] * 4 + [line] * 3 + [thin] * 2 + [ISLAND] * 2 + [DUMBBELL]
    plant(path, truth, shapes)
    return path, truth


def cells_of(truth):
    """Return the number of cells, of those at the border, and of those on repeated frames."""
    of_frame = np.bincount(truth["frame"], minlength=truth.frames)
    repeated = 0
    for frame in truth.duplicates.tolist():
        of_frame[frame] = of_frame[frame - 1]
        repeated += of_frame[frame]
    return len(truth), int(truth["touches_border"].sum()), int(repeated)


@pytest.mark.parametrize(
    "how", [{"num_procs": 1}, {"num_procs": 3, "data_kwargs": {"image_chunk_size": 17}}]
)
def test_planted_causes_are_counted(planted, tmp_path, run_job, how):
    path, truth = planted
    seen = []
    gate = {"size_thresh_mask": 30}
    runner = run_job(path, tmp_path / "o.rtdc", gate_kwargs=gate, on_event=seen.append, **how)
    cells, border, repeated = cells_of(truth)
    assert min(cells, border, repeated) > 0
    lost = {"border": border, "merged": 2, "opening": 5, "size": 4, "gate": 0, "contour": 0}
    lost["repeated"] = repeated
    assert runner.objects["lost"] == lost
    # Two halves of a dumbbell are two objects.
    assert runner.objects["kept"] == runner.event_count == cells - border + 2 + 2
    assert runner.objects["found"] == runner.event_count + sum(lost.values())
    record, log = record_of(tmp_path / "o.rtdc")
    assert record == runner.objects
    assert f"found {record['found']}, kept {record['kept']}, lost: border {border}" in log
    assert [e.objects for e in seen if isinstance(e, RunFinished)] == [record]


def test_masks_that_are_not_cleaned_are_counted(planted, tmp_path, run_job):
    path, truth = planted
    runner = run_job(path, tmp_path / "o.rtdc", segmenter_code="uncleaned")
    cells, _, repeated = cells_of(truth)
    # Islands are objects, what is cut by the border too; a line has no area.
    lost = {"border": 0, "merged": 0, "opening": 0, "size": 2 + 2, "gate": 0, "contour": 3}
    assert runner.objects["lost"] == {**lost, "repeated": repeated}
    assert runner.masks_dropped == 3
    assert runner.objects["kept"] == runner.event_count == cells + 4 + 2 + 1


def test_what_the_gate_leaves_out_is_counted(planted, tmp_path, run_job):
    path, truth = planted
    copy = tmp_path / "raw.rtdc"
    copy.write_bytes(path.read_bytes())
    with h5py.File(copy, "a") as h5:
        h5.attrs["online_filter:area_um max"] = 0.0
        h5.attrs["online_filter:area_um soft limit"] = False
    runner = run_job(copy, tmp_path / "o.rtdc", gate_kwargs={"online_gates": True})
    cells, border, repeated = cells_of(truth)
    lost = {"border": border, "merged": 2, "opening": 5, "size": 0, "contour": 0}
    lost |= {"gate": cells - border + 4 + 2 + 2, "repeated": repeated}
    assert (runner.event_count, runner.objects["lost"]) == (0, lost)


def test_without_segmentation_nothing_is_reported(planted, tmp_path, run_job):
    run_job(planted[0], tmp_path / "one.rtdc")
    runner = run_job(tmp_path / "one.rtdc", tmp_path / "two.rtdc")
    assert runner.event_count > 0
    assert runner.objects is None
