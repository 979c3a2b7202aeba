"""A job runs from its input to a verified output, or leaves nothing behind."""

from __future__ import annotations

import errno
import gc
import json
import threading

import h5py
import numpy as np
import pytest

from cytovox.errors import (
    CytovoxError,
    InterruptedRunError,
    OptionError,
    OutputExistsError,
    StageError,
    StorageError,
    UsageError,
    VerificationError,
)
from cytovox.feat import QueueEventExtractor
from cytovox.logic import DCNumJobRunner, DCNumPipelineJob, ctrl
from cytovox.logic.chunk_slot import ChunkSlot
from cytovox.read import HDF5Data
from cytovox.run.progress import RunFinished, StageProgress, Warned
from cytovox.segm.segm_thresh import SegmentThresh
from cytovox.write import HDF5Writer
from cytovox.write.packing import PackedDataset


def listing(folder):
    return sorted(p.name for p in folder.iterdir())


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype, name
        assert one[name].tobytes() == other[name].tobytes(), name


def test_a_run_makes_a_complete_file_and_leaves_nothing_else(raw, run_job):
    out = raw.with_name("out.rtdc")
    runner = run_job(raw, out)
    assert runner.state == "done"
    assert runner.event_count > 50
    assert listing(raw.parent) == ["out.rtdc", "raw.rtdc"]
    with h5py.File(out) as h5:
        assert h5.attrs["experiment:event count"] == runner.event_count
        assert h5.attrs["pipeline:dcnum yield"] == runner.event_count
        assert h5.attrs["pipeline:dcnum hash"] == runner.pphash
        assert {len(d) for d in h5["events"].values()} == {runner.event_count}
        assert h5.attrs["experiment:run identifier"].endswith(f"_dcn-{runner.pphash[:7]}")
        logs = {name[:10]: [line.decode() for line in h5["logs"][name]] for name in h5["logs"]}
    record = json.loads("\n".join(logs["dcnum-job-"]))
    assert record["pipeline"]["hash"] == runner.pphash
    assert record["tasks"] == {"background": True, "segmentation": True}
    assert any("Run start" in line for line in logs["dcnum-log-"])
    assert max(map(len, logs["dcnum-log-"])) <= 100


def test_default_output_lies_beside_the_input(raw):
    job = DCNumPipelineJob(raw)
    assert job["path_out"] == raw.with_name("raw_dcn.rtdc")


@pytest.mark.parametrize("strategy", ["drain", "tap"])
def test_progress_grows_to_one_and_no_further(raw, strategy):
    seen = []
    job = DCNumPipelineJob(raw, basin_strategy=strategy, num_procs=2)
    runner = DCNumJobRunner(job, on_event=lambda event: seen.append((event, runner.get_status())))
    assert runner.get_status() == {"progress": 0, "segm rate": 0, "state": "init"}
    with runner:
        runner.run()
    progress = [status["progress"] for _, status in seen]
    assert progress == sorted(progress)
    assert max(progress) <= 1
    assert runner.get_status()["progress"] == 1
    states = list(dict.fromkeys(status["state"] for _, status in seen))
    assert states == ["background", "segmentation", "plumbing", "done"]
    assert all(e.done <= e.total for e, _ in seen if isinstance(e, StageProgress))
    assert isinstance(seen[-1][0], RunFinished)


def test_states_are_checked(raw):
    runner = DCNumJobRunner(DCNumPipelineJob(raw))
    runner.state = "created"
    assert runner.state == "created"
    with pytest.raises(ValueError, match="no state 'asleep'"):
        runner.state = "asleep"


@pytest.mark.parametrize("strategy", ["drain", "tap"])
def test_same_bytes_for_any_number_of_workers_and_any_chunk_size(
    raw, run_job, events_of, strategy
):
    reference = raw.with_name("reference.rtdc")
    run_job(raw, reference, num_procs=1, basin_strategy=strategy)
    expected = events_of(reference)
    for number, kwargs in enumerate(
        [
            {"num_procs": 4},
            {"num_procs": 4, "data_kwargs": {"image_chunk_size": 7}},
            {"num_procs": 2, "data_kwargs": {"image_chunk_size": 100}},
            {"num_procs": 3, "data_kwargs": {"image_chunk_size": 230}},
            {"debug": True},
        ]
    ):
        out = raw.with_name(f"out{number}.rtdc")
        run_job(raw, out, basin_strategy=strategy, **kwargs)
        same(expected, events_of(out))


def test_worker_processes_give_the_same(raw, run_job, events_of):
    run_job(raw, raw.with_name("threads.rtdc"))
    run_job(
        raw,
        raw.with_name("processes.rtdc"),
        processes=True,
        data_kwargs={"image_chunk_size": 20},
    )
    same(events_of(raw.with_name("threads.rtdc")), events_of(raw.with_name("processes.rtdc")))


def test_an_existing_output_is_refused_and_untouched(raw, run_job):
    out = raw.with_name("out.rtdc")
    out.write_text("precious")
    with pytest.raises(OutputExistsError, match=r"out\.rtdc"):
        run_job(raw, out)
    assert out.read_text() == "precious"
    assert listing(raw.parent) == ["out.rtdc", "raw.rtdc"]
    run_job(raw, out, force=True)
    with HDF5Data(out) as data:
        assert len(data) > 50


def test_a_failing_forced_run_keeps_the_old_output(raw, run_job, monkeypatch):
    out = raw.with_name("out.rtdc")
    out.write_text("precious")
    monkeypatch.setattr(SegmentThresh, "segment_into", lambda *_: 1 / 0)
    with pytest.raises(StageError):
        run_job(raw, out, force=True)
    assert out.read_text() == "precious"


def test_an_output_that_appears_meanwhile_is_not_replaced(raw, run_job):
    out = raw.with_name("out.rtdc")

    def appear(event):
        if isinstance(event, StageProgress) and event.stage == "plumbing":
            out.write_text("another's")

    with pytest.raises(OutputExistsError, match="appeared"):
        run_job(raw, out, on_event=appear)
    assert out.read_text() == "another's"
    assert listing(raw.parent) == ["out.rtdc", "raw.rtdc"]


def test_files_of_the_user_are_never_deleted(raw, run_job):
    neighbours = ["out.log", "raw.log", "out_output_x.rtdc~"]
    for name in neighbours:
        raw.with_name(name).write_text("mine")
    run_job(raw, raw.with_name("out.rtdc"))
    for name in neighbours:
        assert raw.with_name(name).read_text() == "mine"


def test_input_as_output_is_refused(raw, run_job):
    before = raw.read_bytes()
    with pytest.raises(UsageError, match="same file"):
        run_job(raw, raw, force=True)
    assert raw.read_bytes() == before


@pytest.mark.parametrize("stage", ["segment", "measure"])
def test_an_error_names_file_and_frame(raw, run_job, monkeypatch, stage):
    def fail_at_150(original):
        def work(self, *args, **kwargs):
            labels = kwargs.get("labels")
            start = kwargs.get("start", 0)
            if labels is not None and start <= 150 < start + len(labels):
                raise FloatingPointError("too hot")
            return original(self, *args, **kwargs)

        return work

    if stage == "measure":
        cls = QueueEventExtractor
        monkeypatch.setattr(cls, "measure", fail_at_150(cls.measure))
    else:
        marked = raw_with_mark(raw, 150)
        original = SegmentThresh.segment_into

        def segment_into(self, images, bg_off, out):
            if (images == marked).any():
                raise FloatingPointError("too hot")
            original(self, images, bg_off, out)

        monkeypatch.setattr(SegmentThresh, "segment_into", segment_into)
    with pytest.raises(StageError, match=f"{stage} failed.*too hot") as info:
        run_job(raw, raw.with_name("out.rtdc"), background_kwargs={"offset_correction": False})
    assert info.value.frame == 150
    assert info.value.path == str(raw)
    assert listing(raw.parent) == ["raw.rtdc"]


def raw_with_mark(path, frame):
    """Make one frame brighter than anything else and return its largest difference."""
    with h5py.File(path, "a") as h5:
        image = h5["events/image"][frame]
        image[0, 0] = 255
        h5["events/image"][frame] = image
        background = int(np.median(h5["events/image"][:, 0, 0]))
    return 255 - background


def test_a_thread_reports_its_error(raw, monkeypatch):
    monkeypatch.setattr(SegmentThresh, "segment_into", lambda *_: 1 / 0)
    runner = DCNumJobRunner(DCNumPipelineJob(raw))
    runner.start()
    runner.join()
    assert runner.state == "error"
    assert "ZeroDivisionError" in runner.error_tb
    assert isinstance(runner.error, StageError)
    assert runner.get_status()["progress"] < 1
    assert listing(raw.parent) == ["raw.rtdc"]


def test_a_thread_can_be_joined_with_success(raw):
    runner = DCNumJobRunner(DCNumPipelineJob(raw))
    runner.start()
    runner.join()
    assert (runner.state, runner.error_tb) == ("done", None)
    assert listing(raw.parent) == ["raw.rtdc", "raw_dcn.rtdc"]


@pytest.mark.parametrize("after", [0, 1, 20, 45])
def test_a_full_disk_ends_the_run_and_nothing_is_lost(raw, run_job, events_of, monkeypatch, after):
    calls = []

    def failing(original):
        def store(self, *args):
            calls.append(args)
            if len(calls) > after:
                raise OSError(errno.ENOSPC, "No space left on device")
            return original(self, *args)

        return store

    for cls, name in [(PackedDataset, "_store_oldest"), (HDF5Writer, "store_mapping")]:
        monkeypatch.setattr(cls, name, failing(getattr(cls, name)))
    with pytest.raises((StorageError, OSError), match="No space left"):
        run_job(raw, raw.with_name("out.rtdc"))
    assert "out.rtdc" not in listing(raw.parent)
    # Then there is space again.
    monkeypatch.undo()
    run_job(raw, raw.with_name("out.rtdc"))
    run_job(raw, raw.with_name("reference.rtdc"))
    same(events_of(raw.with_name("reference.rtdc")), events_of(raw.with_name("out.rtdc")))
    assert listing(raw.parent) == ["out.rtdc", "raw.rtdc", "reference.rtdc"]


def test_a_short_feature_is_noticed_before_publishing(raw, run_job, monkeypatch):
    original = ctrl.verify_output

    def tampered(path, events, *more):
        with h5py.File(path, "a") as h5:
            h5["events/deform"].resize(events - 1, axis=0)
        original(path, events, *more)

    monkeypatch.setattr(ctrl, "verify_output", tampered)
    with pytest.raises(VerificationError, match="events/deform"):
        run_job(raw, raw.with_name("out.rtdc"))
    assert listing(raw.parent) == ["raw.rtdc"]


def test_a_run_can_be_stopped(raw):
    job = DCNumPipelineJob(raw, num_procs=2)

    def stop(event):
        if isinstance(event, StageProgress) and event.stage == "segmentation":
            runner.request_stop()

    before = set(threading.enumerate())
    runner = DCNumJobRunner(job, on_event=stop)
    with runner, pytest.raises(InterruptedRunError):
        runner.run()
    assert listing(raw.parent) == ["raw.rtdc"]
    left = set(threading.enumerate()) - before
    assert not [t for t in left if t.name.startswith("cytovox")]


def test_a_failing_listener_does_not_stop_a_run(raw, run_job):
    def fail(event):
        raise ValueError

    assert run_job(raw, raw.with_name("out.rtdc"), on_event=fail).state == "done"


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"segmenter_code": "tresh"}, "there is no segmenter 'tresh'"),
        ({"background_code": "median"}, "there is no background 'median'"),
        ({"gate_code": "x"}, "there is no gate 'x'"),
        ({"feature_code": "x"}, "there is no feature 'x'"),
        ({"data_code": "csv"}, "there is no data 'csv'"),
    ],
)
def test_unknown_codes(raw, kwargs, message):
    job = DCNumPipelineJob(raw, **kwargs)
    with pytest.raises(ValueError, match=message):
        job.assert_pp_codes()
    with pytest.raises(CytovoxError, match=message):
        job.get_ppid()


@pytest.mark.parametrize(
    "kwargs",
    [
        {"segmenter_kwargs": {"tresh": -3}},
        {"segmenter_kwargs": {"thresh": 5}},
        {"segmenter_kwargs": {"kwargs_mask": {"closing": 5}}},
        {"background_kwargs": {"kernel": 5}},
        {"background_kwargs": {"frac_cleansing": 2}},
        {"feature_kwargs": {"texture": True}},
        {"gate_kwargs": {"online": True}},
        {"num_procs": 0},
        {"compression": "gzip-3"},
    ],
)
@pytest.mark.filterwarnings("ignore:unknown options")
def test_wrong_options_end_a_run_before_it_begins(raw, run_job, kwargs):
    with pytest.raises(OptionError):
        run_job(raw, raw.with_name("out.rtdc"), **kwargs)
    assert listing(raw.parent) == ["raw.rtdc"]


def test_options_that_are_text_get_the_types_of_their_stages(raw):
    """The identity and the stages are made from the same values, however they were given."""
    text = {
        "background_kwargs": {"kernel_size": "100", "offset_correction": "no"},
        "segmenter_kwargs": {"thresh": "-3.0", "kwargs_mask": {"closing_disk": "3"}},
        "feature_kwargs": {"haralick": "false"},
        "gate_kwargs": {"online_gates": "no", "size_thresh_mask": "20"},
    }
    typed = {
        "background_kwargs": {"kernel_size": 100, "offset_correction": False},
        "segmenter_kwargs": {"thresh": -3.0, "kwargs_mask": {"closing_disk": 3}},
        "feature_kwargs": {"haralick": False},
        "gate_kwargs": {"online_gates": False, "size_thresh_mask": 20.0},
    }
    one, other = DCNumPipelineJob(raw, **text), DCNumPipelineJob(raw, **typed)
    assert one.get_ppid(ret_hash=True) == other.get_ppid(ret_hash=True)
    assert {stage: one[stage] for stage in typed} == typed
    one.check_options()


def test_an_option_of_an_unknown_name_is_refused_at_once(raw):
    with pytest.raises(OptionError, match=r"gate norm has no option 'onlin_gates'.*online_gates"):
        DCNumPipelineJob(raw, gate_kwargs={"onlin_gates": True})


def test_wrong_strategy(raw):
    with pytest.raises(OptionError, match="drain or tap"):
        DCNumPipelineJob(raw, basin_strategy="pour")


def test_two_runs_in_one_process_keep_their_logs_apart(raw, run_job):
    names = [raw.with_name(f"out{i}.rtdc") for i in range(2)]
    runners = [DCNumJobRunner(DCNumPipelineJob(raw, out, num_procs=1)) for out in names]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    for out, mine, other in zip(names, runners, reversed(runners), strict=True):
        with h5py.File(out) as h5:
            (name,) = [n for n in h5["logs"] if n.startswith("dcnum-log-")]
            text = b"\n".join(h5["logs"][name][:]).decode()
        assert mine.logger.name in text
        assert other.logger.name not in text


@pytest.mark.parametrize("processes", [False, True])
def test_a_run_gives_its_memory_back_at_once(raw, run_job, processes):
    gc.collect()
    gc.disable()  # which comes now and then, and not when the memory is needed
    try:
        runner = run_job(raw, raw.with_name("out.rtdc"), processes=processes)
        # `isinstance` would ask objects of others, some of which warn of that
        left = [item for item in gc.get_objects() if type(item) is ChunkSlot]
    finally:
        gc.enable()
    assert runner.event_count > 0
    assert left == []


@pytest.mark.filterwarnings("ignore:Ignored basin of type")
@pytest.mark.parametrize("missing", [True, False])
@pytest.mark.parametrize("key", ["name", "type", "features"])
def test_basins_that_say_little_are_passed_on_or_refused(raw, run_job, key, missing):
    one, two = raw.with_name("one.rtdc"), raw.with_name("two.rtdc")
    run_job(raw, one)
    with h5py.File(one, "a") as h5:
        basins = h5["basins"]
        for name in list(basins):
            definition = json.loads("\n".join(line.decode() for line in basins[name][:]))
            definition[key] = None
            if missing:
                del definition[key]
            del basins[name]
            basins[name] = [json.dumps(definition)]
    try:
        run_job(one, two, background_code="copy", basin_strategy="tap")
    except CytovoxError:
        assert key != "name"
        assert not two.exists()
    else:
        with HDF5Data(two) as data:
            assert len(data.image_bg) == len(data)


def test_unicode_paths_work(raw, run_job):
    folder = raw.parent / "Zellen ä 细胞 'q'"
    folder.mkdir()
    source = folder / "Aufnahme µ.rtdc"
    raw.rename(source)
    run_job(source, folder / "Ergebnis µ.rtdc", segmenter_kwargs={"thresh": -120})
    assert listing(folder) == sorted(["Aufnahme µ.rtdc", "Ergebnis µ.rtdc"])


def test_no_events_is_a_warning_not_a_failure(raw, run_job):
    seen = []
    runner = run_job(
        raw,
        raw.with_name("out.rtdc"),
        segmenter_kwargs={"thresh": -200},
        on_event=seen.append,
    )
    assert runner.event_count == 0
    assert any("No events" in e.text for e in seen if isinstance(e, Warned))
    with HDF5Data(raw.with_name("out.rtdc")) as data:
        assert len(data) == 0
        assert "deform" not in data


@pytest.mark.timeout(60)
@pytest.mark.parametrize("mapping", [0, [], slice(10, 10)])
def test_a_mapping_that_chooses_no_frames_is_refused(raw, run_job, mapping):
    with pytest.raises(OptionError, match="index_mapping chooses no frames"):
        run_job(raw, raw.with_name("out.rtdc"), data_kwargs={"index_mapping": mapping})
    assert not raw.with_name("out.rtdc").exists()
