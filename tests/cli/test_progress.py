"""What is shown while a run works."""

from __future__ import annotations

import io

import pytest

from cytovox.cli import progress_display as progress
from cytovox.cli.batch_account import Account
from cytovox.cli.one_recording import Recording
from cytovox.cli.progress_display import Bars, Lines, Quiet
from cytovox.run.progress import StageFinished, StageProgress, StageStarted, Warned


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_lines_say_the_rate_when_a_stage_ends(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(Clock())
    lines.begin("a.rtdc")
    lines.show(StageStarted("segmentation", 600))
    lines.show(StageFinished("segmentation", 2.0))
    assert capsys.readouterr().err == "a.rtdc: segmentation 600 frames in 2.0 s (300 frames/s)\n"


def test_lines_say_the_time_left_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    lines = Lines(clock)
    lines.begin("a.rtdc")
    lines.show(StageStarted("segmentation", 600))
    for clock.now in (1.0, 5.0, 11.0, 12.0):
        lines.show(StageProgress("segmentation", int(clock.now * 10), 600))
    out = capsys.readouterr().err
    assert out == "a.rtdc: segmentation 110 of 600 frames, 10 frames/s, 49 s left\n"


def test_lines_mention_kernels_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    for kernel in ("label", "hull", None):
        lines.compiling(kernel)
    assert capsys.readouterr().err.count("compiling kernels") == 1


@pytest.mark.parametrize("display", [Lines, Bars])
def test_of_recordings_side_by_side_each_is_named(
    display: type[Quiet], capsys: pytest.CaptureFixture[str]
) -> None:
    recordings = [Recording(f"{name}.rtdc", f"{name}_dcn.rtdc") for name in "ab"]
    with display() as shown:
        account = Account(recordings, shown, debug=False)
        with account.side_by_side(2):
            for message in (("begin", 0), ("begin", 1), ("warn", "a.rtdc", "old offset")):
                account.take(message)
            for file in reversed(account.files):
                outcome = file.outcome()
                outcome.end("done")
                account.end(file, outcome, None)
    said = capsys.readouterr().err.splitlines()
    notes = ["warning: a.rtdc: old offset", "b.rtdc: done, no events", "a.rtdc: done, no events"]
    assert [line for line in said if line in notes] == notes
    assert display is Bars or said[-1].startswith("recordings: measured 2 files in ")
    assert [one.input for one in account.outcomes] == ["a.rtdc", "b.rtdc"]


def test_of_what_is_stopped_the_states_are_true(capsys: pytest.CaptureFixture[str]) -> None:
    account = Account([Recording(name, "out") for name in "abcd"], Quiet(), debug=False)
    done, stopped = account.files[0].outcome(), account.files[1].outcome()
    done.end("done")
    done.exit_code, stopped.state = 143, "stopped"  # the stop came too late for one
    for file, outcome in zip(account.files, (done, stopped), strict=False):
        account.end(file, outcome, None)
    account.begin(2)
    account.stop(130)
    states = [(one.state, one.exit_code) for one in account.outcomes]
    assert states == [("done", 0), ("stopped", 130), ("stopped", 130), ("waiting", 130)]
    assert "stopped; the same command resumes from here" in capsys.readouterr().err


def test_quiet_still_warns(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = Quiet()
    quiet.begin("a.rtdc")
    quiet.show(StageStarted("segmentation", 600))
    quiet.note("something")
    quiet.show(Warned("old offset"))
    assert capsys.readouterr().err == "warning: a.rtdc: old offset\n"


def test_bars_draw_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress.sys, "stderr", screen)
    with progress.showing_progress(quiet=False) as display:
        assert isinstance(display, Bars)
        display.begin("a[b].rtdc")
        display.compiling("label")
        display.compiling(None)
        display.show(StageStarted("segmentation", 600))
        display.show(StageProgress("segmentation", 300, 600))
        display.show(Warned("old [offset]"))
        display.show(StageFinished("segmentation", 1.0))
        display.begin("c.rtdc")
    assert "warning: a[b].rtdc: old [offset]" in screen.getvalue()
    assert "segmentation" in screen.getvalue()
    assert "100%" in screen.getvalue()


def test_how_work_stands_is_said_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    lines = Lines(clock)
    lines.begin("a.rtdc")
    for second in range(12):
        clock.now = float(second)
        lines.standing(f"{second} frames")
    clock.now = 100.0
    lines.standing("")
    assert capsys.readouterr().err.splitlines() == ["a.rtdc: 0 frames", "a.rtdc: 10 frames"]


def test_on_a_terminal_a_line_replaces_the_one_before(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars() as bars:
        bars.begin("a[1].rtdc")
        bars.standing("1 frame")
        bars.standing("2 frames")
        (task,) = bars._progress.tasks  # noqa: SLF001
        assert task.description == "a[1].rtdc: 2 frames"
        bars.standing("")
        assert not task.visible
