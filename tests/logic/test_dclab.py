"""An independent reader opens what is written, and finds nothing to complain of."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

dclab = pytest.importorskip("dclab")


def complaints(path):
    with warnings.catch_warnings():
        # dclab says of every file basin that its check does not follow it.
        warnings.filterwarnings("ignore", message="Ignored basin")
        violations, alerts, _ = dclab.rtdc_dataset.check_dataset(path)
    return set(violations) | set(alerts)


@pytest.mark.parametrize("strategy", ["drain", "tap"])
@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"background_code": "rollmed", "background_kwargs": {"kernel_size": 20}},
        {"data_kwargs": {"index_mapping": slice(10, 200, 3)}},
    ],
)
def test_dclab_opens_the_output_without_a_warning(raw, run_job, strategy, kwargs):
    out = raw.with_name("out.rtdc")
    runner = run_job(raw, out, basin_strategy=strategy, **kwargs)
    with dclab.new_dataset(raw) as source, dclab.new_dataset(out) as dataset:
        assert len(dataset) == runner.event_count
        for feature in ("deform", "area_um", "bright_bc_avg", "tex_con_avg", "volume"):
            assert dataset[feature].shape == (runner.event_count,)
        raw_frames = np.asarray(dataset["basinmap0"]) if "basinmap0" in dataset else None
        for i in (0, runner.event_count // 2, runner.event_count - 1):
            assert dataset["mask"][i].any()
            assert dataset["image_bg"][i].shape == source["image"][0].shape
            frame = int(dataset["frame"][i]) - 1
            np.testing.assert_array_equal(dataset["image"][i], source["image"][frame])
            if raw_frames is not None:
                assert raw_frames[i] == frame


@pytest.mark.parametrize("strategy", ["drain", "tap"])
def test_check_dataset_finds_nothing_that_the_input_has_not(raw, run_job, strategy):
    out = raw.with_name("out.rtdc")
    run_job(raw, out, basin_strategy=strategy)
    assert complaints(out) <= complaints(raw)
