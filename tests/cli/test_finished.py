"""What counts as finished: the same recipe, the same recording, a sound result."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import pytest

from cytovox.cli import finished
from cytovox.cli.main import main
from cytovox.testing import simulate_recording

LIMIT = 600


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "raw.rtdc"
    simulate_recording(path, frames=60, seed=8)
    return path


def store(source: Path, path: Path, frames: int, *, shift: int = 0) -> None:
    """Write the first frames of a recording, under the same identifier."""
    with h5py.File(source) as old, h5py.File(path, "w") as new:
        new.attrs.update(old.attrs)
        new.attrs["experiment:event count"] = frames
        for name, dataset in old["events"].items():
            values = dataset[:frames]
            if name == "image":
                values = values - shift
            shape = values.shape[1:]
            new.create_dataset(
                f"events/{name}", data=values, maxshape=(None, *shape), chunks=(10, *shape)
            )


@pytest.fixture
def raw(long: Path, tmp_path: Path) -> Path:
    path = tmp_path / "a.rtdc"
    store(long, path, 40)
    return path


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict:
    capsys.readouterr()
    code = main(["run", "--json", *map(str, words)])
    (result,) = json.loads(capsys.readouterr().out)["results"]
    return result | {"code": code}


def test_a_recording_that_has_more_frames_now_is_not_finished(long, raw, capsys):
    assert run(capsys, raw)["state"] == "done"
    assert run(capsys, raw)["state"] == "skipped"
    store(long, raw, 60)
    said = run(capsys, raw)
    assert said["code"] != 0
    assert "from 40 frames of this recording, which has 60 now" in said["error"]
    assert "--force" in said["error"]
    assert run(capsys, raw, "--force")["frames"] == 60


def test_another_recording_of_the_same_name_and_identifier_is_not_finished(long, raw, capsys):
    run(capsys, raw)
    store(long, raw, 40, shift=3)
    said = run(capsys, raw)
    assert said["code"] != 0
    assert "made from another content" in said["error"]


def test_a_copy_of_the_recording_elsewhere_is_the_same(raw, tmp_path, capsys):
    run(capsys, raw, "-o", tmp_path / "out.rtdc")
    moved = tmp_path / "elsewhere" / "b.rtdc"
    moved.parent.mkdir()
    shutil.copyfile(raw, moved)
    assert run(capsys, moved, "-o", tmp_path / "out.rtdc")["state"] == "skipped"


WRITER = """
import sys, h5py, hdf5plugin
with h5py.File(sys.argv[1], "r+", locking=True) as h5, h5py.File(sys.argv[2], "r") as long:
    print("open", flush=True)
    sys.stdin.readline()
    for name, dataset in h5["events"].items():
        dataset.resize(60, 0)
        dataset[40:] = long["events"][name][40:60]
    h5.attrs["experiment:event count"] = 60
"""


@contextmanager
def being_written(path: Path, long: Path) -> Iterator[None]:
    """Let another program have a recording open, which it then completes."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(long)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "open\n"
    try:
        yield
        writer.communicate("go\n", timeout=LIMIT)
        assert writer.returncode == 0
    finally:
        writer.kill()
        writer.communicate()


@pytest.mark.skipif(os.name == "nt", reason="HDF5 locks no files there")
def test_a_recording_that_is_being_written_is_measured_only_if_asked_for(long, raw, capsys):
    with being_written(raw, long):
        said = run(capsys, raw)
        assert said["code"] != 0
        assert "another program has this file open for writing" in said["error"]
        assert "--growing" in said["error"]
        said = run(capsys, raw, "--growing")
        assert (said["state"], said["frames"]) == ("done", 40)
        assert any("40 frames that are there now" in text for text in said["warnings"])
    said = run(capsys, raw)  # its result was only for the time being
    assert (said["state"], said["frames"]) == ("done", 60)
    assert run(capsys, raw)["state"] == "skipped"


def damage(path: Path) -> None:
    with h5py.File(path) as h5:
        chunk = h5["events/deform"].id.get_chunk_info(0)
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset + chunk.size // 2)
        file.write(b"\0" * 16)


def test_a_damaged_result_is_not_finished(raw, capsys):
    run(capsys, raw)
    damage(raw.with_name("a_dcn.rtdc"))
    said = run(capsys, raw)
    assert said["code"] != 0
    assert "is damaged" in said["error"]
    assert run(capsys, raw, "--force")["state"] == "done"


def test_a_result_of_which_rows_are_missing_is_not_finished(raw, capsys):
    run(capsys, raw)
    with h5py.File(raw.with_name("a_dcn.rtdc"), "r+") as h5:
        values = h5["events/deform"][:-1]
        del h5["events/deform"]
        h5["events/deform"] = values
    assert "damaged: events/deform: has" in run(capsys, raw)["error"]


@pytest.mark.parametrize("read", [{}, {"frames": 40, "files": []}, {"frames": 40, "files": [{}]}])
def test_a_record_that_says_nothing_of_the_input_refuses_nothing(raw, capsys, read):
    run(capsys, raw)
    with h5py.File(raw.with_name("a_dcn.rtdc"), "r+") as h5:
        (name,) = (name for name in h5["logs"] if name.startswith("dcnum-job-"))
        record = json.loads(b"\n".join(h5["logs"][name][:]))
        del h5["logs"][name]
        h5["logs"][name] = [json.dumps(record | {"read": read}).encode()]
    assert run(capsys, raw)["state"] == "skipped"


def test_large_results_are_read_in_full_only_if_asked_for(raw, capsys, monkeypatch):
    monkeypatch.setattr(finished, "_SMALL", 0)
    run(capsys, raw)
    result = raw.with_name("a_dcn.rtdc")
    assert run(capsys, raw, "--verify")["state"] == "skipped"
    damage(result)
    assert run(capsys, raw)["state"] == "skipped"
    assert "is damaged" in run(capsys, raw, "--verify")["error"]


@pytest.mark.parametrize("share", [0.5, 0.98])
def test_a_result_that_was_cut_short_is_not_finished(raw, capsys, monkeypatch, share):
    monkeypatch.setattr(finished, "_SMALL", 0)
    run(capsys, raw)
    result = raw.with_name("a_dcn.rtdc")
    os.truncate(result, int(result.stat().st_size * share))
    said = run(capsys, raw)
    assert said["code"] != 0
    assert "the output exists and" in said["error"]
