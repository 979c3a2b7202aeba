"""An independent reader opens what is written, and finds nothing to complain of."""

from __future__ import annotations

import warnings
from typing import Any

import h5py
import numpy as np
import pytest

from cytovox.logic.verify import verify_recording
from cytovox.read import HDF5Data
from cytovox.run.progress import Warned
from cytovox.testing import simulate_recording

dclab: Any = None


@pytest.fixture(scope="module", autouse=True)
def _dclab():
    """Import it here, and not in each process that collects tests."""
    global dclab
    dclab = pytest.importorskip("dclab")
    pytest.importorskip("dclab.cli")


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


@pytest.fixture
def exports(tmp_path, run_job):
    """Files that dclab makes of a short recording and of its results."""
    folder, raw = tmp_path, tmp_path / "raw.rtdc"
    simulate_recording(raw, frames=30, seed=3, shape=(60, 120), save_truth=False)
    with h5py.File(raw, "a") as h5:
        h5["events/temp"] = np.linspace(20, 25, len(h5["events/image"]))
    results = []
    for strategy in ("drain", "tap"):
        results.append(folder / f"{strategy}.rtdc")
        run_job(raw, results[-1], basin_strategy=strategy)
    made = []

    def export(source, name, features, filtered):
        made.append(folder / f"{source.stem}_{name}.rtdc")
        with dclab.new_dataset(source) as dataset:
            dataset.filter.manual[::3] = not filtered
            dataset.apply_filter()
            few = features or [f for f in dataset.features_innate if not f.startswith("basinmap")]
            dataset.export.hdf5(made[-1], features=few, filtered=filtered, basins=True)
        return made[-1]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for source in (raw, *results):
            few = ["temp"] if source == raw else ["deform"]
            export(source, "same", few, False)
            once = export(source, "filtered", None, True)
            export(once, "again", few, True)
            made += dclab.cli.split(source, folder, split_events=20, ret_out_paths=True)
            made.append(folder / f"{source.stem}_compressed.rtdc")
            dclab.cli.compress(source, made[-1])
        made.append(folder / "joined.rtdc")
        dclab.cli.join([results[0], results[0]], made[-1])
        made.append(folder / "condensed.rtdc")
        dclab.cli.condense(results[0], made[-1])
    return made


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_dclab_writes_is_read_as_dclab_reads_it(exports, run_job):
    for number, path in enumerate(exports):
        found = verify_recording(path)
        assert [*found.errors, *found.warnings] == [], path
        with HDF5Data(path) as data, dclab.new_dataset(path) as dataset:
            assert data.unread() == []
            known = {*dataset.features_innate, *dataset.features_basin}
            for feature in ("image", "image_bg", "mask", "frame", "temp", "deform", "bg_off"):
                assert (feature in data) == (feature in known), (path, feature)
                if feature in data:
                    column = dataset[feature]  # looked for in all basins each time
                    theirs = np.array([column[i] for i in range(len(dataset))])
                    np.testing.assert_array_equal(data[feature][:], theirs, err_msg=str(path))
            count = len(data) if "image" in data else 0
        if count:
            out, strategy = path.with_name(f"out{number}.rtdc"), ("drain", "tap")[number % 2]
            assert run_job(path, out, basin_strategy=strategy).event_count > count / 10


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_parts_in_another_folder_need_nothing_of_the_whole(raw, run_job, tmp_path):
    (tmp_path / "parts").mkdir()
    events = []
    for path in dclab.cli.split(raw, tmp_path / "parts", split_events=120, ret_out_paths=True):
        run_job(path, path.with_suffix(".result.rtdc"), on_event=events.append)
    texts = [event.text for event in events if isinstance(event, Warned)]
    assert len([text for text in texts if "is not read" in text and "basin-root" in text]) == 2
