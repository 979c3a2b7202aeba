"""A run that was killed is resumed, and the result is the same, byte for byte."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading

import h5py
import pytest

from cytovox.errors import (
    InterruptedRunError,
    OutputBusyError,
    OutputError,
    OutputExistsError,
    StageError,
    StorageError,
)
from cytovox.logic import DCNumJobRunner, DCNumPipelineJob, pipeline, resume
from cytovox.logic.run_folder import remove_leftovers
from cytovox.run import folder_room
from cytovox.run.progress import StageProgress, Warned
from cytovox.segm.segm_thresh import SegmentThresh
from cytovox.write.disk import DiskFile, storage_errors
from cytovox.write.ledger import bytes_to_copy, read_ledger

LIMIT = 600
CHUNK = 20

KILLED = '''
"""Run a job and be killed at a certain place."""

import importlib
import json
import os
import signal
import sys

from cytovox.logic import DCNumJobRunner, DCNumPipelineJob, resume


def kill_at(where, number, after):
    """Let the number-th call of something be the last one."""
    module, _, name = where.partition(":")
    owner = importlib.import_module(module)
    *path, name = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    original = getattr(owner, name)
    calls = []

    def work(*args, **kwargs):
        calls.append(name)
        if len(calls) < number:
            return original(*args, **kwargs)
        if name == "write_at":  # torn
            original(args[0], args[1], args[2][: len(args[2]) // 2])
        elif after:
            original(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, work)


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    resume._SECONDS = options["seconds"]
    resume._DURABLE_SECONDS = options["durable"]
    if options["where"]:
        kill_at(options["where"], options["number"], options["after"])
    job = DCNumPipelineJob(options["in"], options["out"], **options["job"])
    with DCNumJobRunner(job, **options["runner"]) as runner:
        runner.run()
'''

BACKGROUND = "cytovox.logic.background_step:store_background"
CHECKPOINT = "cytovox.write.ledger:Ledger.note"
COMPLETE = "cytovox.write.ledger:Ledger.complete"
RESTART = "cytovox.write.ledger:Ledger.restart"
PLUMBING = "cytovox.logic.frame_data:bring_frame_data"
WRITE = "cytovox.write.disk:DiskFile.write_at"
SYNC = "cytovox.write.disk:DiskFile.sync"
VERIFY = "cytovox.logic.ctrl:verify_output"
RENAME = "cytovox.write.disk:Disk.rename_new"


@pytest.fixture(scope="session")
def killed_script(tmp_path_factory):
    path = tmp_path_factory.mktemp("script") / "killed_run.py"
    path.write_text(KILLED, encoding="utf-8")
    return path


@pytest.fixture
def kill_really(raw, killed_script):
    """Return a function that runs a job in a process and kills it somewhere."""

    def run(where, number=1, *, after=True, seconds=0, durable=0, runner=None, **job):
        job.setdefault("data_kwargs", {"image_chunk_size": CHUNK})
        options = {
            "in": str(raw),
            "out": str(raw.with_name("out.rtdc")),
            "where": where,
            "number": number,
            "after": after,
            "seconds": seconds,
            "durable": durable,
            "runner": runner or {},
            "job": {"num_procs": 2, **job},
        }
        command = [sys.executable, str(killed_script), json.dumps(options)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr

    return run


def found_at(where):
    """Return the owner of a name in a module, and the name."""
    module, _, name = where.partition(":")
    owner = importlib.import_module(module)
    *path, name = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    return owner, name


@pytest.fixture
def kill(raw, monkeypatch):
    """Return a function that leaves what a run would leave that is killed somewhere.

    It copies the folder at that place, lets the run stop, and puts the copy back.
    """

    def run(where, number=1, *, after=True, durable=0, runner=None, **job):
        owner, name = found_at(where)
        original, calls, left, running = getattr(owner, name), [], {}, []

        def work(*args, **kwargs):
            calls.append(name)
            if len(calls) != number:
                return original(*args, **kwargs)
            if name == "write_at":  # torn
                original(args[0], args[1], args[2][: len(args[2]) // 2])
            result = original(*args, **kwargs) if after and name != "write_at" else None
            left.update((p, p.read_bytes()) for p in raw.parent.iterdir() if p != raw)
            running[0].request_stop()
            return result if after and name != "write_at" else original(*args, **kwargs)

        job.setdefault("data_kwargs", {"image_chunk_size": CHUNK})
        job = DCNumPipelineJob(raw, raw.with_name("out.rtdc"), **{"num_procs": 2, **job})
        with monkeypatch.context() as place:
            place.setattr(resume, "_SECONDS", 0)
            place.setattr(resume, "_DURABLE_SECONDS", durable)
            place.setattr(owner, name, work)
            with (
                DCNumJobRunner(job, **(runner or {})) as killed,
                contextlib.suppress(InterruptedRunError),
            ):
                running.append(killed)
                killed.run()
        assert left, f"{name} was called {len(calls)} times"
        for path in raw.parent.iterdir():
            if path != raw:
                path.unlink()
        for path, content in left.items():
            path.write_bytes(content)

    return run


@pytest.fixture
def rerun(raw, run_job):
    """Return a function that runs the job again and returns what it warned of."""

    def run(**job):
        seen = []
        job.setdefault("data_kwargs", {"image_chunk_size": CHUNK})
        runner = run_job(raw, raw.with_name("out.rtdc"), on_event=seen.append, **job)
        assert runner.state == "done"
        assert listing(raw) == ["out.rtdc", "raw.rtdc"]
        return [event.text for event in seen if isinstance(event, Warned)]

    return run


@pytest.fixture(scope="session")
def expected(raw_template, tmp_path_factory):
    """Return a function that gives what a run without any fault stores."""
    made = {}

    def get(**job):
        key = json.dumps(job, sort_keys=True)
        if key not in made:
            folder = tmp_path_factory.mktemp("expected")
            raw = folder / "raw.rtdc"
            raw.write_bytes(raw_template.read_bytes())
            with DCNumJobRunner(DCNumPipelineJob(raw, folder / "out.rtdc", **job)) as runner:
                runner.run()
            made[key] = stored(folder / "out.rtdc")
        return made[key]

    return get


def listing(raw):
    return sorted(path.name for path in raw.parent.iterdir())


def stored(path):
    """Return all of `events` as it is stored, chunk by chunk, and the rest as values."""
    found = {}
    with h5py.File(path) as h5:
        for group in ("events", "basin_events"):
            for name, dataset in h5.get(group, {}).items():
                chunks = [dataset.id.get_chunk_info(i) for i in range(dataset.id.get_num_chunks())]
                found[f"{group}/{name}"] = (
                    dataset.shape,
                    dataset.dtype.str,
                    [
                        (c.chunk_offset, dataset.id.read_direct_chunk(c.chunk_offset))
                        for c in sorted(chunks, key=lambda c: c.chunk_offset)
                    ],
                    dict(dataset.attrs),
                )
        attributes = dict(h5.attrs)
        basins = [json.loads(b"\n".join(b[:])) for b in h5.get("basins", {}).values()]
        # that of the input is there as well, if it has been measured before
        record = [log[:] for name, log in h5["logs"].items() if name.startswith("dcnum-job")][-1]
    found["objects"] = json.loads(b"\n".join(record))["objects"]
    for basin in basins:
        basin.pop("paths", None)
    found["basins"] = sorted(basins, key=str)
    found["attributes"] = attributes
    return found


def same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert value == other[name], name


def frames_resumed_at(warnings):
    (text,) = [text for text in warnings if "resuming a stopped run" in text]
    return int(text.split(": ")[1].split(" of ")[0])


PLACES = [
    (CHECKPOINT, 1, True, CHUNK),
    (CHECKPOINT, 1, False, 0),
    (CHECKPOINT, 6, False, 5 * CHUNK),
    (CHECKPOINT, 12, True, 230),
    (PLUMBING, 1, True, 230),
    (COMPLETE, 1, False, 230),
    (COMPLETE, 1, True, 230),
    (VERIFY, 1, False, 230),
]


@pytest.mark.parametrize(("where", "number", "after", "frames"), PLACES)
def test_what_is_done_is_kept(raw, kill, rerun, expected, where, number, after, frames):
    kill(where, number, after=after)
    assert "out.rtdc" not in listing(raw)
    warnings = rerun()
    assert frames == (frames_resumed_at(warnings) if frames else 0)
    same(expected(), stored(raw.with_name("out.rtdc")))


@pytest.mark.parametrize(
    ("job", "again"),
    [
        ({"basin_strategy": "tap"}, {"num_procs": 3, "data_kwargs": {"image_chunk_size": 33}}),
        ({"background_code": "rollmed", "background_kwargs": {"kernel_size": 10}}, {}),
        ({"background_kwargs": {"offset_correction": False}}, {"debug": True}),
        ({"compression": "none"}, {"num_procs": 1}),
        ({"data_kwargs": {"index_mapping": [*range(3, 40), 60, *range(80, 200)]}}, {}),
        ({"gate_kwargs": {"size_thresh_mask": 1}}, {"data_kwargs": {"image_chunk_size": 230}}),
    ],
    ids=["tap", "rollmed", "no offset", "uncompressed", "mapping", "small masks"],
)
def test_any_recipe_is_resumed_by_any_number_of_workers(raw, kill, rerun, expected, job, again):
    chunks = {"image_chunk_size": CHUNK}
    kill(CHECKPOINT, 4, **{**job, "data_kwargs": {**job.get("data_kwargs", {}), **chunks}})
    merged = {**job, **again}
    merged["data_kwargs"] = {
        **job.get("data_kwargs", {}),
        **again.get("data_kwargs", chunks),
    }
    assert frames_resumed_at(rerun(**merged)) == 4 * CHUNK
    same(expected(**job), stored(raw.with_name("out.rtdc")))


MINE = '''
from cytovox.segm import MPOSegmenter, STOSegmenter

class SegmentEach(MPOSegmenter):
    """Everything dark is a cell."""

    requires_background_correction = True
    mask_default_kwargs = {"closing_disk": 2}

    @staticmethod
    def segment_algorithm(image, *, level: int = -6):
        return image < level

class SegmentStack(STOSegmenter):
    """Everything dark is a cell."""

    requires_background_correction = True
    mask_default_kwargs = {"closing_disk": 2}

    @staticmethod
    def segment_algorithm(image, *, level: int = -6):
        return image < level
'''


@pytest.mark.parametrize(
    ("where", "number", "frames"),
    [(CHECKPOINT, 5, 5 * CHUNK), (COMPLETE, 1, 220), (WRITE, 100, None), (RENAME, 1, None)],
)
def test_killed_by_the_system(raw, kill_really, rerun, expected, where, number, frames):
    kill_really(where, number, after=where == CHECKPOINT, durable=1e9)
    warnings = rerun()
    if frames is not None:
        assert frames_resumed_at(warnings) == frames
    same(expected(), stored(raw.with_name("out.rtdc")))


@pytest.mark.parametrize("kind", ["SegmentEach", "SegmentStack", "processes"])
def test_all_kinds_of_workers_resume(raw, kill, rerun, expected, kind):
    job, runner = {}, {"processes": True}
    if kind != "processes":
        path = raw.with_name("mine.py")
        path.write_text(MINE, encoding="utf-8")
        job, runner = {"segmenter_code": f"{path}:{kind}"}, {}
    kill(CHECKPOINT, 3, runner=runner, **job)
    reference = raw.with_name("reference.rtdc")
    if job:
        with DCNumJobRunner(DCNumPipelineJob(raw, reference, **job)) as one:
            one.run()
        wanted = stored(reference)
        reference.unlink()
    else:
        wanted = expected()
    seen = []
    job = {"data_kwargs": {"image_chunk_size": CHUNK}, "num_procs": 2, **job}
    with DCNumJobRunner(
        DCNumPipelineJob(raw, raw.with_name("out.rtdc"), **job), on_event=seen.append, **runner
    ) as one:
        one.run()
    assert frames_resumed_at([e.text for e in seen if isinstance(e, Warned)]) == 3 * CHUNK
    same(wanted, stored(raw.with_name("out.rtdc")))


@pytest.mark.parametrize(
    ("number", "durable"), [(2, 0), (13, 1e9), (55, 0), (144, 1e9), (233, 0), (320, 1e9)]
)
def test_killed_in_the_middle_of_any_write(raw, kill, rerun, expected, number, durable):
    kill(WRITE, number, durable=durable)
    rerun()
    same(expected(), stored(raw.with_name("out.rtdc")))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_killed_again_and_again(raw, kill, rerun, expected, number):
    for _ in range(3):
        kill(CHECKPOINT, number)
    kill(COMPLETE, 1, after=False)
    assert frames_resumed_at(rerun()) == 230
    same(expected(), stored(raw.with_name("out.rtdc")))


def test_a_background_that_is_there_is_not_computed_again(raw, kill, rerun, expected, monkeypatch):
    kill(CHECKPOINT, 1, after=False)
    monkeypatch.setattr(pipeline, "add_background", lambda *_, **__: 1 / 0)
    rerun()
    same(expected(), stored(raw.with_name("out.rtdc")))


def test_a_background_that_was_not_finished_is_computed_again(raw, kill, rerun, expected):
    kill(BACKGROUND)
    (temporary,) = raw.parent.glob("out_input_bb_*")
    temporary.write_bytes(temporary.read_bytes()[:-10])
    rerun()
    same(expected(), stored(raw.with_name("out.rtdc")))


def test_a_background_that_was_changed_is_computed_again(raw, kill, rerun, expected):
    kill(CHECKPOINT, 3)
    (temporary,) = raw.parent.glob("out_input_bb_*")
    temporary.write_bytes(temporary.read_bytes()[:-1] + b"?")
    assert frames_resumed_at(rerun()) == 3 * CHUNK
    same(expected(), stored(raw.with_name("out.rtdc")))


@pytest.mark.parametrize(
    ("name", "end"),
    [("ledger", 0.5), ("ledger", 0), ("rtdc~", 0.5), ("rtdc~", 0), ("jsonl", 0.3), ("jsonl", 0)],
)
def test_damaged_leftovers_never_make_a_wrong_result(raw, kill, rerun, expected, name, end):
    kill(CHECKPOINT, 5, durable=1e9)
    (path,) = raw.parent.glob(f"out_[oj]*.{name}")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * end)])
    rerun()
    same(expected(), stored(raw.with_name("out.rtdc")))


def test_an_input_with_its_own_background_is_resumed(raw, run_job, kill, rerun):
    plain, out = raw.with_name("plain.rtdc"), raw.with_name("out.rtdc")
    raw.rename(plain)
    run_job(plain, raw)
    plain.unlink()
    job = {"segmenter_kwargs": {"thresh": -8}}
    run_job(raw, out, **job)
    wanted = stored(out)
    out.unlink()
    kill(CHECKPOINT, 3, **job)
    (temporary,) = raw.parent.glob("out_input_bb_*")
    temporary.write_bytes(temporary.read_bytes()[:100])
    assert frames_resumed_at(rerun(**job)) == 3 * CHUNK
    same(wanted, stored(out))


def test_a_changed_recipe_gives_up_a_stopped_run_only_if_forced(raw, kill, rerun, expected):
    kill(CHECKPOINT, 3)
    left = listing(raw)
    with pytest.raises(OutputExistsError, match="had other settings: recipe: seg was") as caught:
        rerun(segmenter_kwargs={"thresh": -8})
    assert "--force" in str(caught.value)
    assert {name for name in left if not name.endswith(".log")} <= set(listing(raw))
    assert frames_resumed_at(rerun()) == 3 * CHUNK
    raw.with_name("out.rtdc").unlink()
    kill(CHECKPOINT, 3)
    (warning,) = rerun(segmenter_kwargs={"thresh": -8}, force=True)
    assert "cannot be resumed: recipe: seg was" in warning
    assert "thresh:t=-8" in warning
    same(expected(segmenter_kwargs={"thresh": -8}), stored(raw.with_name("out.rtdc")))


def test_a_changed_input_begins_anew_and_says_so(raw, kill, rerun):
    kill(CHECKPOINT, 3)
    with h5py.File(raw, "a") as h5:
        h5["events/image"][0] = h5["events/image"][5]
    warnings = rerun()
    assert any("cannot be resumed: input: " in text for text in warnings)
    assert not any("resuming a stopped run" in text for text in warnings)


def test_another_version_begins_anew_and_says_so(raw, kill, rerun, monkeypatch):
    kill(CHECKPOINT, 3)
    monkeypatch.setattr(resume, "__version__", "99.0")
    (warning,) = rerun()
    assert "version: cytovox was" in warning
    assert "99.0" in warning


def test_killed_just_after_it_was_renamed(raw, kill, run_job):
    kill(RENAME)
    assert len(listing(raw)) > 2
    with pytest.raises(OutputExistsError):
        run_job(raw, raw.with_name("out.rtdc"))
    assert listing(raw) == ["out.rtdc", "raw.rtdc"]


@pytest.mark.parametrize("gone", range(4))
def test_what_is_left_by_a_kill_while_it_is_removed_is_removed(raw, kill, run_job, gone):
    kill(RENAME)
    left = [n for n in listing(raw) if n not in ("raw.rtdc", "out.rtdc", "out.rtdc.lock")]
    for name in sorted(left)[:gone]:
        raw.with_name(name).unlink()
    with pytest.raises(OutputExistsError):
        run_job(raw, raw.with_name("out.rtdc"))
    assert listing(raw) == ["out.rtdc", "raw.rtdc"]


LOG = "cytovox.run.logs:RunLog.delete"
REMOVE = "cytovox.write.disk:Disk.remove"
RELEASE = "cytovox.run.lock:OutputLock.release"


@pytest.mark.parametrize(
    ("where", "number", "after"),
    [
        *((REMOVE, number, True) for number in range(1, 5)),
        (LOG, 1, False),
        (LOG, 1, True),
        (RELEASE, 1, False),
    ],
)
def test_what_is_left_by_a_kill_while_it_is_tidied_up_is_removed(
    raw, kill, run_job, where, number, after
):
    """Also the log, which goes before the lock that shows whose it is."""
    kill(where, number, after=after)
    left = listing(raw)
    assert "out.rtdc.lock" in left
    assert (where == LOG and after) or any(name.endswith(".log") for name in left) == (
        where != RELEASE
    )
    with pytest.raises(OutputExistsError):
        run_job(raw, raw.with_name("out.rtdc"))
    assert listing(raw) == ["out.rtdc", "raw.rtdc"]


def test_an_output_is_free_when_its_runner_is_closed(raw, run_job):
    out = raw.with_name("out.rtdc")
    job = DCNumPipelineJob(raw, out, num_procs=1)
    with DCNumJobRunner(job) as runner:
        runner.run()
        assert runner.path_log.is_file()
        with pytest.raises(OutputBusyError):
            run_job(raw, out, force=True)
    run_job(raw, out, force=True)
    alone = DCNumJobRunner(job, force=True)
    alone.run()
    run_job(raw, out, force=True)
    alone.close()
    assert listing(raw) == ["out.rtdc", "raw.rtdc"]


def test_an_unfinished_replacement_is_resumed_and_the_old_output_stays(
    raw, kill, rerun, run_job, expected
):
    out = raw.with_name("out.rtdc")
    out.write_text("old")
    kill(CHECKPOINT, 4, runner={"force": True})
    assert out.read_text() == "old"
    with pytest.raises(OutputExistsError):
        run_job(raw, out)
    remove_leftovers(out, only_published=True)
    assert frames_resumed_at(rerun(force=True)) == 4 * CHUNK
    same(expected(), stored(out))


def test_leftovers_can_be_removed_and_nothing_else(raw, kill):
    for name in ("out.log", "out_output_x.rtdc~", "out_journal_x.jsonl", "out_x.log"):
        raw.with_name(name).write_text("mine")
    mine = listing(raw)
    kill(CHECKPOINT, 2)
    assert listing(raw) != mine
    remove_leftovers(raw.with_name("out.rtdc"))
    assert listing(raw) == mine


def test_a_name_that_is_asked_for_is_kept(raw, kill, rerun, expected):
    kill(CHECKPOINT, 2)
    job = DCNumPipelineJob(raw, raw.with_name("out.rtdc"))
    with DCNumJobRunner(job, "mine") as runner:
        assert runner.path_temp_out.name == "out_output_mine.rtdc~"
        runner.run()
        assert runner.tmp_suffix == "mine"
    assert listing(raw) == ["out.rtdc", "raw.rtdc"]
    same(expected(), stored(raw.with_name("out.rtdc")))


def test_a_stopped_run_is_resumed(raw, rerun, expected, monkeypatch):
    monkeypatch.setattr(resume, "_SECONDS", 0)
    job = DCNumPipelineJob(
        raw, raw.with_name("out.rtdc"), num_procs=1, data_kwargs={"image_chunk_size": CHUNK}
    )

    def stop(event):
        if isinstance(event, StageProgress) and event.stage == "segmentation":
            runner.request_stop()

    runner = DCNumJobRunner(job, on_event=stop)
    with pytest.raises(InterruptedRunError, match="the same command resumes it"), runner:
        runner.run()
    assert "out.rtdc.lock" in listing(raw)
    rerun()
    same(expected(), stored(raw.with_name("out.rtdc")))


@pytest.mark.parametrize(
    ("what", "number"),
    [*[("write_at", n) for n in (0, 3, 60, 200, 320)], *[("sync", n) for n in (0, 1, 6, 20)]],
)
def test_a_full_disk_loses_nothing(raw, run_job, rerun, expected, monkeypatch, what, number):
    monkeypatch.setattr(resume, "_SECONDS", 0)
    monkeypatch.setattr(resume, "_DURABLE_SECONDS", 0)
    original, calls = getattr(DiskFile, what), []

    def refuse(*args):
        calls.append(what)
        if len(calls) > number:
            raise OSError(28, "No space left on device")
        return original(*args)

    with monkeypatch.context() as full:
        full.setattr(DiskFile, what, refuse)
        with pytest.raises(StorageError, match="No space left"):
            run_job(raw, raw.with_name("out.rtdc"), data_kwargs={"image_chunk_size": CHUNK})
    assert "out.rtdc" not in listing(raw)
    rerun()
    same(expected(), stored(raw.with_name("out.rtdc")))


def test_an_error_of_the_work_leaves_nothing(raw, kill, run_job, monkeypatch):
    kill(CHECKPOINT, 2)
    monkeypatch.setattr(SegmentThresh, "segment_into", lambda *_: 1 / 0)
    with pytest.raises(StageError):
        run_job(raw, raw.with_name("out.rtdc"))
    assert listing(raw) == ["raw.rtdc"]


def test_the_disk_is_full_when_a_run_is_resumed(raw, kill, run_job, rerun, monkeypatch):
    kill(CHECKPOINT, 5)
    before = listing(raw)

    def refuse(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(DiskFile, "write_at", refuse)
        with pytest.raises(StorageError, match="No space left"):
            run_job(raw, raw.with_name("out.rtdc"))
    assert set(before) <= set(listing(raw))
    assert frames_resumed_at(rerun()) == 5 * CHUNK


def test_without_room_for_a_copy_nothing_is_lost(raw, kill, run_job, rerun, monkeypatch):
    kill(CHECKPOINT, 11)
    before = {path.name: path.read_bytes() for path in raw.parent.glob("out_output*")}
    copied = bytes_to_copy(read_ledger(next(raw.parent.glob("*.ledger"))))
    with monkeypatch.context() as full:
        full.setattr(folder_room, "free_bytes", lambda _: copied // 2)
        with pytest.raises(StorageError, match="are needed") as caught:
            run_job(raw, raw.with_name("out.rtdc"))
    assert "the same command resumes it" in caught.value.hint
    assert {path.name: path.read_bytes() for path in raw.parent.glob("out_output*")} == before
    assert frames_resumed_at(rerun()) == 11 * CHUNK


def test_stopped_while_it_copies_what_is_done(raw, kill, run_job, rerun, expected, monkeypatch):
    kill(CHECKPOINT, 8)
    left = {name for name in listing(raw) if name.startswith("out_output")}

    def stop(*_):
        raise InterruptedRunError("the run was stopped")

    with monkeypatch.context() as patch:
        patch.setattr(resume, "salvage", stop)
        with pytest.raises(InterruptedRunError, match="the same command resumes it"):
            run_job(raw, raw.with_name("out.rtdc"))
    assert {name for name in listing(raw) if name.startswith("out_output")} == left
    assert frames_resumed_at(rerun()) == 8 * CHUNK
    same(expected(), stored(raw.with_name("out.rtdc")))


@pytest.mark.parametrize("after", [False, True])
def test_killed_while_it_resumes(raw, kill, kill_really, rerun, expected, after):
    kill(CHECKPOINT, 6)
    kill_really(RESTART, after=after)
    assert len(list(raw.parent.glob("out_output*.rtdc~"))) == 2
    kill_really(CHECKPOINT, 2)
    assert frames_resumed_at(rerun()) == 8 * CHUNK
    same(expected(), stored(raw.with_name("out.rtdc")))


def test_what_earlier_versions_have_left_is_removed(raw, kill, rerun, expected):
    kill(CHECKPOINT, 4)
    (path,) = raw.parent.glob("*.ledger")
    path.rename(path.with_suffix(".redo"))
    assert not any("resuming a stopped run" in text for text in rerun())
    same(expected(), stored(raw.with_name("out.rtdc")))


def test_of_two_runs_on_one_output_one_wins(raw, expected):
    out = raw.with_name("out.rtdc")
    start, ends = threading.Barrier(4), []

    def work():
        job = DCNumPipelineJob(raw, out, num_procs=1)
        with contextlib.suppress(OutputError), DCNumJobRunner(job) as runner:
            start.wait(LIMIT)
            try:
                runner.run()
            finally:
                ends.append(runner.error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    losers = [error for error in ends if error is not None]
    assert len(ends) == 4
    assert len(losers) == 3
    assert all(isinstance(error, OutputBusyError) for error in losers)
    assert all(f"process {os.getpid()} on" in str(error) for error in losers)
    assert listing(raw) == ["out.rtdc", "raw.rtdc"]
    same(expected(), stored(out))


def test_the_journal_shows_what_was_done(raw, kill):
    kill(CHECKPOINT, 3)
    (path,) = raw.parent.glob("out_journal_*.jsonl")
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [line["event"] for line in lines] == ["begin", "background", *["checkpoint"] * 3]
    assert lines[0]["fingerprint"]["input"]["frames"] == 230
    assert [line["frames"] for line in lines[2:]] == [20, 40, 60]


def test_what_was_damaged_meanwhile_is_made_again(raw, kill, rerun, expected, monkeypatch):
    """A file that HDF5 complains of must not be resumed again and again."""
    kill(CHECKPOINT, 4)

    def complain(*_):
        with storage_errors(raw.with_name("out_output.rtdc~")):
            raise OSError("incorrect metadata checksum after all read attempts")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.frame_data, "bring_frame_data", complain)
        with pytest.raises(StorageError, match="metadata checksum"):
            rerun()
    assert listing(raw) == ["raw.rtdc"]
    assert not any("resuming a stopped run" in text for text in rerun())
    same(expected(), stored(raw.with_name("out.rtdc")))
