"""``cytovox watch``: what is measured when, what is noted, and how it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from cytovox.cli import batch
from cytovox.cli.arrivals import Arrivals, Stamp, frames_in
from cytovox.cli.batch_account import Account
from cytovox.cli.main import main
from cytovox.cli.one_recording import Outcome, Recording
from cytovox.cli.progress_display import Lines, Quiet
from cytovox.cli.run_options import AllowedToRun, RecipeOptions, Work, measurings
from cytovox.cli.watch import Watcher
from cytovox.run.lock import OutputLock
from cytovox.testing import simulate_recording

STABLE = 60.0


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "a.rtdc"
    simulate_recording(path, frames=20, seed=8)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def nothing() -> None: ...


def stay(
    folder: Path,
    out: Path | None,
    steps: Iterable[Callable[[], Any]],
    recipes: tuple[str, ...] = (),
    **options: Any,
) -> tuple[int, Watcher]:
    """Watch a folder by a clock of our own; between two looks one of the steps is done."""
    seconds = 0.0
    todo = iter(steps)

    def wait(interval: float) -> None:
        nonlocal seconds
        step = next(todo, None)
        if step is None:
            raise KeyboardInterrupt
        step()
        seconds += interval

    work = Work(out=out, debug=True)  # in this process
    how = measurings(RecipeOptions(recipes=recipes), AllowedToRun(), work)
    watcher = Watcher(
        folder, work, how, Lines(), STABLE, clock=lambda: seconds, wait=wait, **options
    )
    return watcher.stay(), watcher


def lines_in(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def day_of(out: Path) -> list[dict]:
    (path,) = out.glob("watch-*.jsonl")
    return lines_in(path)


# --- when a recording has arrived -------------------------------------------------------------


class Seen:
    """A recording as arrivals see it."""

    def __init__(self, stable: float = 60.0) -> None:
        self.now, self.size, self.frames = 0.0, 10, 5
        self.opened = 0
        self.arrivals = Arrivals(stable, self._length, lambda: self.now)

    def _length(self, path: Path) -> int | None:
        self.opened += 1
        return self.frames

    def after(self, seconds: float, **changes: Any) -> bool:
        self.now += seconds
        for name, value in changes.items():
            setattr(self, name, value)
        return bool(self.arrivals.ready({Path("a"): Stamp(self.size, 0)}))


def test_a_recording_is_ready_when_nothing_of_it_has_changed_for_the_time() -> None:
    seen = Seen()
    assert not any(seen.after(15) for _ in range(4))
    assert seen.after(15)


def test_a_change_of_size_begins_the_time_anew() -> None:
    seen = Seen()
    assert not any(seen.after(15) for _ in range(4))
    assert not seen.after(15, size=11)
    assert not any(seen.after(15) for _ in range(3))
    assert seen.after(15)


def test_a_change_of_length_begins_the_time_anew() -> None:
    seen = Seen()
    assert not any(seen.after(15) for _ in range(4))
    assert not seen.after(15, frames=6)
    assert not any(seen.after(15) for _ in range(3))
    assert seen.after(15)


def test_a_recording_that_is_being_written_is_waited_for() -> None:
    seen = Seen()
    seen.frames = None
    assert not any(seen.after(15) for _ in range(9))
    assert not any(seen.after(15, frames=7) for _ in range(3))
    assert seen.after(15)


def test_what_changes_is_not_opened() -> None:
    seen = Seen()
    assert not any(seen.after(15, size=size) for size in range(9))
    assert seen.opened == 0


def test_what_is_settled_is_ready_again_when_it_changes() -> None:
    seen = Seen()
    assert [seen.after(15) for _ in range(5)][-1]
    seen.arrivals.settle([Path("a")])
    assert not any(seen.after(15) for _ in range(9))
    assert not seen.after(15, size=11)
    assert [seen.after(15) for _ in range(4)][-1]


def test_what_is_postponed_is_ready_again_after_the_time() -> None:
    seen = Seen()
    assert [seen.after(15) for _ in range(5)][-1]
    seen.arrivals.postpone([Path("a")])
    assert not any(seen.after(15) for _ in range(3))
    assert seen.after(15)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems lock files in other ways")
def test_a_recording_that_another_program_has_open_has_no_length(
    good: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.rtdc"
    shutil.copy(good, path)
    code = (
        "import h5py, sys; file = h5py.File(sys.argv[1], 'a'); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        assert frames_in(path) is None
        writer.communicate(b"")
    assert frames_in(path) == 20


# --- what is done with it ---------------------------------------------------------------------


def test_recordings_are_measured_as_they_arrive(folder: Path, out: Path, good: Path) -> None:
    def arrive() -> None:
        assert not (out / "a_dcn.rtdc").exists()
        shutil.copy(good, folder)

    code, watcher = stay(folder, out, [nothing, arrive, *[nothing] * 6])
    assert code == 130
    assert watcher.counts == {"done": 1}
    (line,) = day_of(out)
    assert (line["state"], line["events"]) == ("done", line["objects"]["kept"])
    (table,) = out.glob("watch-*.txt")
    assert "1 file: 1 done" in table.read_text()
    assert sorted(path.suffix for path in out.iterdir()) == [".jsonl", ".rtdc", ".txt"]


def test_each_recipe_has_a_result(folder: Path, out: Path, good: Path) -> None:
    shutil.copy(good, folder)
    _, watcher = stay(folder, out, [nothing] * 12, recipes=("default", "small"))
    assert watcher.counts == {"done": 2}
    assert {line["recipe"] for line in day_of(out)} == {"default", "small"}


def test_what_is_measured_side_by_side_is_noted_as_it_comes() -> None:
    recording = Recording("a.rtdc", "a_dcn.rtdc")
    outcome = recording.outcome()
    outcome.end("done")
    seen: list[Outcome] = []
    account = Account([recording], Quiet(), debug=False, seen=seen.append)
    account.end(recording, outcome, None)
    assert seen == [outcome]


def test_after_a_restart_finished_results_are_skipped(folder: Path, out: Path, good: Path) -> None:
    shutil.copy(good, folder)
    stay(folder, out, [nothing] * 6)
    before = (out / "a_dcn.rtdc").stat().st_mtime_ns
    _, watcher = stay(folder, out, [nothing] * 6)
    assert watcher.counts == {"skipped": 1}
    assert (out / "a_dcn.rtdc").stat().st_mtime_ns == before
    assert len(day_of(out)) == 1


def test_a_broken_recording_is_listed_and_not_tried_again_until_it_changes(
    folder: Path, out: Path, good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = folder / "a.rtdc"
    broken.write_bytes(good.read_bytes()[:4000])
    stay(folder, out, [nothing] * 12)
    (line,) = lines_in(out / "broken.jsonl")
    assert (line["path"], line["size"]) == ("a.rtdc", 4000)
    assert "cut short" in line["error"]
    assert "cut short" in capsys.readouterr().err
    _, watcher = stay(folder, out, [nothing] * 6)
    assert not watcher.counts, "it is not tried after a restart"
    assert "cut short" not in capsys.readouterr().err
    assert len(day_of(out)) == 1
    _, watcher = stay(folder, out, [lambda: shutil.copy(good, broken), *[nothing] * 6])
    assert watcher.counts == {"done": 1}
    assert (out / "broken.jsonl").read_text() == ""
    assert [line["state"] for line in day_of(out)] == ["failed", "done"]


def test_a_line_that_is_removed_from_the_list_costs_one_attempt(folder: Path, out: Path) -> None:
    (folder / "a.rtdc").write_bytes(b"no")
    stay(folder, out, [nothing] * 6)
    (out / "broken.jsonl").write_text('{"path": "a.rt\n')
    _, watcher = stay(folder, out, [nothing] * 6)
    assert watcher.counts == {"failed": 1}
    assert [line["path"] for line in lines_in(out / "broken.jsonl")] == ["a.rtdc"]


def test_a_broken_recording_is_moved_if_that_is_asked_for(
    folder: Path, out: Path, tmp_path: Path
) -> None:
    aside = tmp_path / "aside"
    aside.mkdir()
    (aside / "a.rtdc").write_bytes(b"of yesterday")
    (folder / "a.rtdc").write_bytes(b"of today")
    stay(folder, out, [nothing] * 6, aside=aside)
    assert not list(folder.iterdir())
    assert (aside / "a.rtdc").read_bytes() == b"of yesterday"
    assert (aside / "a-2.rtdc").read_bytes() == b"of today"
    assert not (out / "broken.jsonl").exists()
    (table,) = out.glob("watch-*.txt")
    assert f"moved to {aside / 'a-2.rtdc'}" in table.read_text()


def test_a_recording_that_another_run_measures_is_tried_again(
    folder: Path, out: Path, good: Path
) -> None:
    shutil.copy(good, folder)
    out.mkdir()
    other = OutputLock(out / "a_dcn.rtdc")
    other.acquire()
    _, watcher = stay(folder, out, [*[nothing] * 9, other.release, *[nothing] * 6])
    assert watcher.counts["done"] == 1
    assert watcher.counts["failed"] >= 1
    assert not (out / "broken.jsonl").exists()
    assert [line["state"] for line in day_of(out)] == ["failed", "done"]


def test_a_result_of_another_recipe_is_no_fault_of_the_recording(
    folder: Path, out: Path, good: Path
) -> None:
    shutil.copy(good, folder)
    assert main(["run", str(folder), "-o", str(out), "-q", "--set", "segmenter.thresh=-7"]) == 0
    _, watcher = stay(folder, out, [nothing] * 12)
    assert watcher.counts == {"failed": 1}
    assert not (out / "broken.jsonl").exists()


def test_results_beside_recordings_are_not_measured(folder: Path, good: Path) -> None:
    shutil.copy(good, folder)
    _, watcher = stay(folder, None, [nothing] * 12)
    assert watcher.counts == {"done": 1}
    assert (folder / "a_dcn.rtdc").exists()


def test_a_folder_that_is_gone_for_a_while_is_waited_for(
    folder: Path, out: Path, good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    away = folder.with_name("away")
    steps = [lambda: folder.rename(away), nothing, lambda: away.rename(folder)]
    shutil.copy(good, folder)
    (folder / "b.rtdc").write_bytes(b"no")
    stay(folder, out, [nothing] * 6)
    _, watcher = stay(folder, out, [*steps, *[nothing] * 6])
    assert watcher.counts == {"skipped": 1}, "the list of broken recordings is as it was"
    err = capsys.readouterr().err
    said = [line for line in err.splitlines() if line.startswith("error: ")]
    assert sum("the folder cannot be read" in line for line in said) == 1, err


def test_a_report_that_a_kill_has_cut_goes_on(folder: Path, out: Path, good: Path) -> None:
    shutil.copy(good, folder)
    stay(folder, out, [nothing] * 6)
    (report,) = out.glob("watch-*.jsonl")
    report.write_text(report.read_text() + '{"time": "2026-')
    (folder / "b.rtdc").write_bytes(b"no")
    stay(folder, out, [nothing] * 6)
    (table,) = out.glob("watch-*.txt")
    assert "2 files: 1 done, 1 failed" in table.read_text()


# --- how it ends ------------------------------------------------------------------------------


def test_a_signal_while_a_recording_is_measured_is_its_exit_code(
    folder: Path, out: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(recordings: Any, *_: Any, seen: Callable[[Outcome], None], **__: Any) -> Any:
        outcomes = [one.outcome() for one in recordings]
        for outcome in outcomes:
            outcome.state, outcome.exit_code = "stopped", 143
            seen(outcome)
        return outcomes

    monkeypatch.setattr(batch, "run_batch", stopped)
    shutil.copy(good, folder)
    assert stay(folder, out, [nothing] * 12)[0] == 143
    assert not out.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_a_signal_ends_it_while_it_waits(folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "cytovox", "watch", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stderr is not None
        assert program.stderr.readline() == f"watching {folder}; Ctrl-C ends it\n"
        os.kill(program.pid, signal.SIGTERM)
        said, errors = program.communicate(timeout=600)
    assert program.returncode == 143
    assert said == "0 recordings: none\n"
    assert errors == "stopped; the same command resumes from here\n"


def test_once_measures_what_is_old_enough_and_ends(
    folder: Path, out: Path, good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["watch", str(folder), "-o", str(out), "--once", "--json", "--stable"]
    shutil.copy(good, folder)
    (folder / "b.rtdc").write_bytes(b"no")
    assert main([*words, "3600"]) == 0
    assert json.loads(capsys.readouterr().out)["results"] == []
    assert main([*words, "0"]) == 4
    results = json.loads(capsys.readouterr().out)["results"]
    assert [one["state"] for one in results] == ["done", "failed"]
    assert main([*words, "0"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [one["state"] for one in results] == ["skipped", "left out"]
    assert results[1]["reason"].startswith("is known to be broken")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["gone"], 74, "there is no such folder"),
        (["in", "-o", "a.rtdc"], 2, "cannot go to one file"),
        (["in", "--move-broken", "in"], 2, "to where they are looked for"),
        (["in", "-r", "--move-broken", "in/broken"], 2, "to where they are looked for"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_cannot_be_is_said_at_once(
    words: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["watch", *words]) == code
    assert message in capsys.readouterr().err
