"""A run that was killed is gone on with, and the result is the same, byte for byte."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading

import h5py
import numpy as np
import pytest

from cytovox.errors import (
    InterruptedRunError,
    OutputBusyError,
    OutputError,
    OutputExistsError,
    StageError,
    StorageError,
)
from cytovox.logic import DCNumJobRunner, DCNumPipelineJob, ctrl, resume, workspace
from cytovox.logic.workspace import remove_leftovers
from cytovox.read import HDF5Data
from cytovox.run.progress import StageProgress, Warned
from cytovox.segm.segm_thresh import SegmentThresh
from cytovox.write.disk import DiskFile
from cytovox.write.resumable_file import ResumableFile

LIMIT = 120
CHUNK = 20

KILLED = '''
"""Run a job and be killed at a certain place."""

import importlib
import json
import os
import signal
import sys

from cytovox.logic import DCNumJobRunner, DCNumPipelineJob, workspace


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
    workspace._SECONDS = options["seconds"]
    workspace._DURABLE_SECONDS = options["durable"]
    if options["where"]:
        kill_at(options["where"], options["number"], options["after"])
    job = DCNumPipelineJob(options["in"], options["out"], **options["job"])
    with DCNumJobRunner(job, **options["runner"]) as runner:
        runner.run()
'''

BACKGROUND = "cytovox.logic.ctrl:store_background"
CHECKPOINT = "cytovox.write.resumable_file:ResumableFile.checkpoint"
COMMIT = "cytovox.write.resumable_file:ResumableFile.commit"
APPLY = "cytovox.write.resumable_file:ResumableFile._apply"
PLUMBING = "cytovox.logic.plumbing:bring_frame_data"
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
def kill(raw, killed_script):
    """Return a function that runs a job and kills it somewhere."""

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


@pytest.fixture
def go_on(raw, run_job):
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
        basins = [json.loads(b"\n".join(lines[:])) for lines in h5["basins"].values()]
    for basin in basins:
        basin.pop("paths", None)
    found["basins"] = sorted(basins, key=str)
    found["attributes"] = attributes
    return found


def same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert value == other[name], name


def frames_gone_on_at(warnings):
    (text,) = [text for text in warnings if "going on" in text]
    return int(text.split(": ")[1].split(" of ")[0])


@pytest.mark.parametrize("strategy", ["drain", "tap"])
@pytest.mark.parametrize(
    ("where", "number", "after", "frames"),
    [
        (CHECKPOINT, 1, True, CHUNK),
        (CHECKPOINT, 1, False, 0),
        (CHECKPOINT, 5, True, 5 * CHUNK),
        (CHECKPOINT, 6, False, 5 * CHUNK),
        (CHECKPOINT, 12, True, 230),
        (PLUMBING, 1, False, 230),
        (PLUMBING, 1, True, 230),
        (COMMIT, 1, False, 230),
        (COMMIT, 1, True, 230),
        (VERIFY, 1, False, 230),
    ],
)
def test_what_is_done_is_kept(raw, kill, go_on, expected, strategy, where, number, after, frames):
    kill(where, number, after=after, basin_strategy=strategy)
    assert "out.rtdc" not in listing(raw)
    warnings = go_on(basin_strategy=strategy)
    assert frames == (frames_gone_on_at(warnings) if frames else 0)
    same(expected(basin_strategy=strategy), stored(raw.with_name("out.rtdc")))


@pytest.mark.parametrize("number", [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 300, 377])
@pytest.mark.parametrize("durable", [0, 1e9])
def test_killed_in_the_middle_of_any_write(raw, kill, go_on, expected, number, durable):
    kill(WRITE, number, durable=durable)
    go_on()
    same(expected(), stored(raw.with_name("out.rtdc")))
