"""The arithmetic of exit codes, and the signals."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cytovox.cli.console import describe, exit_code_of, in_columns
from cytovox.cli.main import main
from cytovox.cli.one_recording import Outcome, Recording
from cytovox.cli.outcomes import exit_code_of_batch
from cytovox.cli.signals import Stopped, exit_code_of_interrupt, stop_gently, stop_on_signals
from cytovox.errors import (
    InputError,
    InputNotFoundError,
    InterruptedRunError,
    OptionError,
    OutputBusyError,
    OutputExistsError,
    StorageError,
)
from cytovox.recipe.python_file import load_python_file

DONE = Outcome("a", state="done", events=3)
FOUND = Outcome("b", state="done", events=0, findings=["no events"])
SKIPPED = Outcome("c", state="skipped", events=3)
FAILED = Outcome("d", state="failed", exit_code=74)
STOPPED = Outcome("e", state="stopped", exit_code=143)


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([], 0),
        ([DONE, SKIPPED], 0),
        ([DONE, FOUND], 3),
        ([FAILED], 74),
        ([FAILED, FAILED], 4),
        ([FOUND, FAILED], 4),
        ([FAILED, STOPPED, Outcome("f")], 143),
    ],
)
def test_code_of_a_batch(outcomes: list[Outcome], code: int) -> None:
    assert exit_code_of_batch(outcomes) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("x"), 1),
        (OutputExistsError("x"), 1),
        (OptionError("x"), 2),
        (InputNotFoundError("x"), 74),
        (StorageError("x"), 74),
        (OSError(28, "No space left on device"), 74),
        (OutputBusyError("x"), 75),
        (InterruptedRunError("x"), 130),
        (ZeroDivisionError("x"), 1),
    ],
)
def test_code_of_an_error(error: Exception, code: int) -> None:
    assert exit_code_of(error) == code


def test_errors_are_one_line() -> None:
    assert "\n" not in describe(ValueError("first\nsecond"))
    text = describe(OSError(28, "No space left on device", "out.rtdc"))
    assert text.startswith("out.rtdc: No space left on device (")


@pytest.mark.parametrize(
    "words",
    [["run", "day", "--outt", "x"], ["volume", "segmnt"], ["live", "a.rtdc", "--frames", "3"]],
    ids=" ".join,
)
def test_wrong_usage_names_the_help_to_read(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    line = capsys.readouterr().err
    assert line.endswith(f"(say cytovox {words[0]} --help to see what is possible)\n")


def test_a_failed_file_is_named_once() -> None:
    recording = Recording("day/a.rtdc", "results/a_dcn.rtdc")
    error = InputError("there are no images", path=Path("day/a.rtdc").absolute())
    outcome = recording.outcome()
    outcome.fail(recording.named(error))
    assert outcome.error == "day/a.rtdc: there are no images"
    assert outcome.verdict == "failed: there are no images"


def test_signals_stop_and_are_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt) as caught, stop_on_signals() as received:
        signal.raise_signal(signal.SIGTERM)
    assert isinstance(caught.value, Stopped)
    assert exit_code_of_interrupt(caught.value) == 128 + signal.SIGTERM
    assert received == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) == before


def test_nothing_is_said_of_a_signal_that_comes_within_a_callback(
    capfd: pytest.CaptureFixture[str],
) -> None:
    class Object:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    hook = sys.unraisablehook
    with stop_on_signals() as received:
        Object()
    assert received == [signal.SIGTERM]
    assert capfd.readouterr().err == ""
    assert sys.unraisablehook is hook


def test_the_first_signal_is_a_request() -> None:
    asked = threading.Event()
    with pytest.raises(Stopped) as caught, stop_gently(asked.set):
        signal.raise_signal(signal.SIGTERM)
        assert asked.wait(600)
        raise InterruptedRunError("stopped")
    assert caught.value.number == signal.SIGTERM


def test_a_signal_that_comes_too_late_is_not_forgotten() -> None:
    done = []
    with pytest.raises(Stopped), stop_gently(lambda: None):
        signal.raise_signal(signal.SIGTERM)
        done.append("all the work")
    assert done


def test_errors_pass_unchanged() -> None:
    with pytest.raises(InterruptedRunError), stop_gently(lambda: None):
        raise InterruptedRunError("by another program")


def test_other_threads_are_left_alone() -> None:
    problems: list[BaseException] = []

    def work() -> None:
        try:
            with stop_on_signals() as received:
                assert received == []
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(600)
    assert not problems


def test_an_error_of_a_users_function_is_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def look(table):\n    return table['absent']\n", encoding="utf-8")
    with pytest.raises(KeyError) as caught:
        load_python_file(path).look({})
    text = describe(caught.value)
    assert text == f"KeyError: 'absent' (raised by {path}, line 2)"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("look gone.rtdc --frame 0", 74),
        ("explain gone.rtdc --frame 0 --at nowhere", 2),
        ("diff gone.rtdc gone.rtdc", 74),
        ("report gone.rtdc", 74),
        ("recipe show gone", 74),
        ("recipe save .", 2),
        ("watch gone", 74),
        ("run gone.rtdc", 74),
        ("run {empty}", 2),
        ("export . --to csv", 1),
        ("run gone.rtdc --set segmenter.thresh=nan", 2),
        ("plan --frames", 2),
        ("info gone.rtdc", 74),
        ("volume info gone.zarr", 74),
        ("volume segment gone.tif out.zarr -f nonsense", 74),
        ("volume info /", 2),
        ("volume segment a.tif b.zarr -f label --memory " + "9" * 400, 2),
        ("nonsense", 2),
        ("stages", 0),
        ("recipe list", 0),
    ],
)
def test_json_is_one_document_with_the_exit_code(
    words: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["" if word == "{empty}" else word for word in words.split()]
    assert main([*given, "--json"]) == code
    assert json.loads(capsys.readouterr().out)["exit_code"] == code


def test_json_says_why_a_command_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "a.rtdc", "--set", "segmenter.thresh=3", "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["error"] == err.strip().removeprefix("error: ")
    monkeypatch.setattr("cytovox.report.write_report", raising(KeyboardInterrupt()))
    assert main(["report", str(tmp_path), "--json"]) == 130
    assert json.loads(capsys.readouterr().out) == {"exit_code": 130, "error": "stopped"}


def test_an_interrupt_that_python_replaces_by_an_error_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = RuntimeError("Error calling __set_name__")
    error.__cause__ = Stopped(signal.SIGTERM)
    monkeypatch.setattr("cytovox.report.write_report", raising(error))
    assert main(["report", str(tmp_path)]) == 143
    assert capsys.readouterr().err == ""


class _Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("words", "code"),
    [("", 74), ("run", 74), ("--help", 74), ("stages --json", 74), ("x --json", 2)],
)
def test_a_result_that_cannot_be_written_is_said(
    words: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", _Full())
    assert main(words.split()) == code
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def raising(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_a_pipe_of_another_process_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = BrokenPipeError(32, "Broken pipe")
    monkeypatch.setattr("cytovox.report.write_report", raising(broken))
    assert main(["report", str(tmp_path)]) == 74
    assert "error: Broken pipe" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="pipes are of another kind")
@pytest.mark.parametrize("words", [["--help"], ["stages"]])
def test_who_reads_may_stop_to_read(words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "cytovox", *words],
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=600,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 9 GiB"),
        OSError(28, "No space left on device"),
        ModuleNotFoundError("No module named 'torch'"),
    ],
)
def test_what_was_foreseen_need_not_be_reported(error: Exception) -> None:
    assert "report" not in describe(error)
    assert "report" in describe(ZeroDivisionError("x"))


def test_left_out_files_do_not_hide_the_code_of_the_only_failure() -> None:
    assert exit_code_of_batch([FAILED, Outcome("g", state="left out", reason="hidden")]) == 74


def test_tables_are_aligned() -> None:
    rows = [("file", "frames", "state"), ("a.rtdc", "9", "done")]
    assert in_columns(rows, right=[1]) == ["file    frames  state", "a.rtdc       9  done"]
    rows = [("basin", "image of frame"), ("basin", "mask\n"), ("logs", "none")]
    assert in_columns(rows, once=True, fold=9) == [
        "basin  image of",
        "       frame",
        "       mask\\n",
        "logs   none",
    ]
