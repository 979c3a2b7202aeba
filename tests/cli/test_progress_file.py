"""``cytovox run --progress``: how far a run is, for programs that show it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cytovox.cli.main import main
from cytovox.cli.one_recording import Outcome, Recording
from cytovox.cli.progress_display import Quiet
from cytovox.cli.progress_file import ProgressFile
from cytovox.run.lock import OutputLock, is_being_made
from cytovox.run.progress import StageProgress, StageStarted, Warned


def test_it_tells_the_file_the_stage_and_how_much_is_done(tmp_path: Path) -> None:
    path, now = tmp_path / "far.json", [0.0]
    recordings = [Recording(f"{name}.rtdc", f"{name}_dcn.rtdc") for name in "ab"]
    display = ProgressFile(path, Quiet(), recordings, clock=lambda: now[0])

    def told() -> dict:
        return json.loads(path.read_text())

    assert [one["state"] for one in told()["files"]] == ["waiting", "waiting"]
    display.begin("a.rtdc")
    display.measuring(0)
    display.show(StageStarted("background", 10))
    display.show(StageProgress("background", 1, 10))
    assert told()["stage"]["done"] == 0, "it is not written for each step"
    now[0] = 1.0
    display.show(StageProgress("background", 5, 10))
    assert told()["stage"] == {"name": "background", "done": 5, "total": 10}
    assert [one["state"] for one in told()["files"]] == ["measuring", "waiting"]
    display.show(Warned("look at this"))
    done = Outcome("a.rtdc", "a_dcn.rtdc", state="done", events=7)
    display.end(0, done)
    assert told()["files"][0]["events"] == 7
    display.warn("b.rtdc", "at this, too")
    assert told()["warnings"] == ["a.rtdc: look at this"], "it is written with the next change"
    display.measuring(1)
    assert [one["state"] for one in told()["files"]] == ["done", "measuring"]
    assert told()["warnings"] == ["a.rtdc: look at this", "b.rtdc: at this, too"]
    assert "exit_code" not in told()
    display.close([done], 3)
    assert told()["exit_code"] == 3


def test_one_run_at_a_time_keeps_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "far.json"
    assert not is_being_made(path)
    with OutputLock(path):
        assert is_being_made(path)
        assert main(["run", str(tmp_path), "--progress", str(path)]) == 75
    assert not is_being_made(path)
    assert "is making this output" in capsys.readouterr().err


def test_a_lock_of_a_run_that_was_killed_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "far.json"
    with OutputLock(path):
        left = (tmp_path / "far.json.lock").read_bytes()
    (tmp_path / "far.json.lock").write_bytes(left)  # which names this very process
    assert not is_being_made(path)
