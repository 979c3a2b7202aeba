"""Runs that the page starts are those of the command line, and outlive the server."""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
from starlette.testclient import TestClient

from cytovox.app.body import Body
from cytovox.app.folder import Folder
from cytovox.app.look_screen import Look
from cytovox.app.page_runs import NOTES, Runs
from cytovox.app.queue_screen import Queue
from cytovox.app.recordings import Recordings
from cytovox.app.results_screen import Results
from cytovox.cli.main import main
from cytovox.errors import UsageError
from cytovox.logic.origin import frames_of_events
from cytovox.read import HDF5Data
from support.processes import wait_until
from support.results import contents

Ask = Callable[..., Any]


def queue_of(place: Path) -> Queue:
    """Return what another server would have."""
    return Queue(Folder(place), Runs())


@pytest.fixture(scope="module")
def ran(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two recordings, of which the page has made results, in an order of its own."""
    place = tmp_path_factory.mktemp("ran")
    for name in ("a b.rtdc", "<b>.rtdc"):
        shutil.copy(folder / "raw.rtdc", place / "".join(name))
    (place / "c.rtdc").write_bytes(b"no recording")
    queue = queue_of(place)
    body = {
        "folder": "",
        "out": "results",
        "files": ["c.rtdc", "a b.rtdc", "<b>.rtdc"],
        "settings": {"options": {"segmenter.thresh": "-7"}},
    }
    assert queue.run(Body(body))["is_running"]
    with pytest.raises(UsageError, match="is going on"):
        queue.run(Body(body))
    wait_until(lambda: not queue.state(Body({"out": "results"}))["is_running"])
    return place


def test_results_equal_those_of_the_command_line(
    ran: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", str(ran), "-o", str(tmp_path), "--set", "segmenter.thresh=-7", "--quiet"]
    assert main(words) == 4
    for name in ("a b_dcn.rtdc", "<b>_dcn.rtdc"):
        assert contents(ran / "results" / name) == contents(tmp_path / name)


def test_another_server_finds_what_has_become_of_each_file(ran: Path) -> None:
    state = queue_of(ran).state(Body({"out": "results"}))
    assert (state["is_running"], state["exists"], state["exit_code"]) == (False, True, 4)
    assert [Path(one["input"]).name for one in state["files"]] == [
        "c.rtdc", "a b.rtdc", "<b>.rtdc",
    ]  # fmt: skip
    assert [one["state"] for one in state["files"]] == ["failed", "done", "done"]
    assert state["files"][1]["events"] > 0
    assert "c.rtdc" in state["said"]
    assert "'" + str(ran / "a b.rtdc") + "'" in state["command"]


def test_the_plan_says_what_is_done_what_is_skipped_and_what_is_left_out(ran: Path) -> None:
    (ran / "old_dcn.rtdc").touch()
    chosen = {"options": {"segmenter.thresh": "-7"}}
    found = queue_of(ran).plan(Body({"folder": "", "out": "results", "settings": chosen}))
    files = {one["name"]: one for one in found["files"]}
    assert files["a b.rtdc"]["state"] == "skipped"
    assert files["c.rtdc"]["state"] == "refused"
    assert "HDF5" in files["c.rtdc"]["reason"]
    (out,) = [one for one in found["left_out"] if one["name"] == "old_dcn.rtdc"]
    assert out["reason"] == "is a result itself"
    found = queue_of(ran).plan(Body({"folder": "", "out": "elsewhere", "settings": chosen}))
    files = {one["name"]: one for one in found["files"]}
    assert (files["a b.rtdc"]["state"], files["a b.rtdc"]["frames"]) == ("to do", 60)
    assert files["a b.rtdc"]["minutes"] is not None
    assert files["a b.rtdc"]["result_bytes"] > 0
    assert found["disks"][0]["free_bytes"] > 0
    assert found["command"]["end"].endswith("--set segmenter.thresh=-7")
    assert not (ran / "elsewhere").exists()


def test_a_run_that_was_stopped_goes_on(ran: Path, folder: Path) -> None:
    """With the settings that it had, whatever server asks."""
    queue, out = queue_of(ran), Body({"out": "again"})
    files = {"folder": "", "out": "again", "files": ["a b.rtdc", "<b>.rtdc"]}
    queue.run(Body(files))
    wait_until(lambda: queue.state(out)["files"])
    queue.stop(out)
    wait_until(lambda: not queue.state(out)["is_running"])
    assert queue.state(out)["exit_code"] in (143, 0)
    other = queue_of(ran)
    other.again(out)
    wait_until(lambda: not other.state(out)["is_running"])
    assert other.state(out)["exit_code"] == 0
    assert {one["state"] for one in other.state(out)["files"]} <= {"done", "skipped"}
    with pytest.raises(UsageError, match="no run is going on"):
        other.stop(out)


def test_notes_that_others_wrote_choose_no_command(tmp_path: Path) -> None:
    """They are checked like a request of the page."""
    notes = tmp_path / "out" / NOTES
    notes.mkdir(parents=True)
    (tmp_path / "evil.py").write_text("open('ran', 'w')")
    forged = {
        "words": ["run", "x"],
        "command": "<script>",
        "request": {"folder": "", "settings": {"codes": {"segmenter": "evil.py:Evil"}}},
    }
    (notes / "command.json").write_text(json.dumps(forged))
    (notes / "progress.json").write_text(json.dumps({"pid": os.getpid()}))
    queue, out = queue_of(tmp_path), Body({"out": "out"})
    assert not queue.state(out)["is_running"]
    with pytest.raises(UsageError, match="no run is going on"):
        queue.stop(out)
    with pytest.raises(UsageError, match="no segmenter"):
        queue.again(out)
    (notes / "command.json").write_text(json.dumps({"request": {"folder": "../.."}}))
    with pytest.raises(UsageError, match="outside"):
        queue.again(out)
    (notes / "command.json").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="no run that could go on"):
        queue.again(out)


def test_numbers_of_results_are_those_in_the_files(ran: Path) -> None:
    found = Results(Folder(ran)).list(Body({"folder": "results"}))["results"]
    assert [one["name"] for one in found] == ["results/<b>_dcn.rtdc", "results/a b_dcn.rtdc"]
    with HDF5Data(ran / "results" / "a b_dcn.rtdc") as data:
        assert found[1]["events"] == len(data) == found[1]["objects"]["kept"]
    assert found[1]["frames"] == 60
    assert found[1]["recording"] == "a b.rtdc"
    assert found[1]["settings"]["options"]["segmenter.thresh"] == "-7.0"
    assert Body({"settings": found[1]["settings"]}).recipe().codes["segmenter"] == "thresh"


def test_what_is_explained_is_the_first_frame_with_a_loss_or_with_an_event(
    ran: Path, tmp_path: Path
) -> None:
    results = Results(Folder(ran))
    found = results.explain(Body({"name": "results/a b_dcn.rtdc"}))
    frame = found["frame"]
    command = ["cytovox", "explain", str(ran / "results" / "a b_dcn.rtdc"), "--frame", str(frame)]
    assert shlex.split(found["command"]) == command

    recordings = Recordings()
    look = Look(Folder(ran), recordings)
    chosen = {"options": {"segmenter.thresh": "-7"}}

    def lost(frame: int) -> set[str]:
        body = Body({"file": "a b.rtdc", "frame": frame, "settings": chosen})
        return {one["fate"] for one in look.frame(body)["objects"]} - {"kept", "repeated"}

    assert lost(frame)
    assert not any(map(lost, range(frame)))
    recordings.close()
    shutil.copy(ran / "results" / "a b_dcn.rtdc", tmp_path / "alone_dcn.rtdc")
    alone = Results(Folder(tmp_path)).explain(Body({"name": "alone_dcn.rtdc"}))
    with HDF5Data(tmp_path / "alone_dcn.rtdc") as data:
        assert alone["frame"] == frames_of_events(data)[0]


def test_a_result_with_a_record_of_another_kind_hides_no_other(ran: Path, tmp_path: Path) -> None:
    """What it says of objects is believed only if it adds up."""
    path = tmp_path / "a_dcn.rtdc"
    shutil.copy(ran / "results" / "a b_dcn.rtdc", path)
    read = {"frames": math.nan, "files": 7}
    record = {"objects": {"found": math.nan}, "read": read, "automatic": []}
    with h5py.File(path, "r+") as h5:
        (name,) = [name for name in h5["logs"] if name.startswith("dcnum-job")]
        del h5["logs"][name]
        h5["logs"][name] = [json.dumps(record).encode()]
    (found,) = Results(Folder(tmp_path)).list(Body({"folder": ""}))["results"]
    assert (found["objects"], found["frames"], found["recording"]) == (None, None, None)


def test_a_damaged_result_is_named_and_checked(ran: Path, tmp_path: Path) -> None:
    good = (ran / "results" / "a b_dcn.rtdc").read_bytes()
    (tmp_path / "a_dcn.rtdc").write_bytes(good[: len(good) // 2])
    (tmp_path / "b_dcn.rtdc").write_bytes(good)
    results = Results(Folder(tmp_path))
    first, second = results.list(Body({"folder": ""}))["results"]
    assert "error" in first
    assert second["recording"] is None, "it is not in this folder"
    answer = results.verify(Body({"name": ""}))
    assert [one["state"] == "good" for one in answer["files"]] == [False, True]
    assert answer["exit_code"] != 0


def test_a_report_is_shown_as_a_page_of_nobody(
    folder: Path, client: TestClient, ask: Ask, ran: Path
) -> None:
    shutil.copy(ran / "results" / "a b_dcn.rtdc", folder / "shown_dcn.rtdc")
    answer = ask("results/report", name="shown_dcn.rtdc")
    assert answer["file"] == "report-shown_dcn/report.html"
    shown = client.get(answer["address"])
    assert "<html" in shown.text
    rules = shown.headers["content-security-policy"]
    assert "sandbox" in rules
    assert "allow-same-origin" not in rules
    assert client.get("/report/nothing").status_code == 404
    (folder / "empty").mkdir()
    assert ask("results/report", name="empty")["error"].startswith(f"{folder / 'empty'}: ")
