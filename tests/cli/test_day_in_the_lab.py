"""The tutorial of a day in the lab: each of its commands, in order."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from cytovox.cli.main import main

PAGE = Path(__file__).parents[2] / "docs" / "tutorial" / "a-day-in-the-lab.md"
RUN = "run day -o results --recipe lab.toml"
#: Exit codes of commands that find something.
CODES = {"diff": 3}


def commands() -> Iterator[str]:
    for block in re.findall(r"^```\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S):
        for line in block.splitlines():
            yield line.removeprefix("cytovox ")


def program(words: str, folder: Path, **pipes: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cytovox", *shlex.split(words)]
    return subprocess.Popen(command, cwd=folder, text=True, **pipes)


def stop_run(folder: Path) -> None:
    """Stop a run by Ctrl-C once it tells that it has begun."""
    with program(RUN, folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as run:
        assert run.stderr is not None
        begun = run.stderr.readline()
        run.send_signal(signal.SIGINT)
        run.stderr.read()
    assert ".rtdc: " in begun
    # it may have been done before it heard of the signal
    assert run.returncode in (0, 128 + signal.SIGINT)


def see_page(folder: Path) -> None:
    """Start the page, and end it when it has told its address."""
    command = "app day --no-browser --port 0"
    with program(command, folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as app:
        assert app.stdout is not None
        told = next(line for line in app.stdout if "http://127.0.0.1" in line)
        app.send_signal(signal.SIGINT)
        app.stdout.read()
    assert told


def columns(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as h5:
        return {name: h5["events"][name][:] for name in h5["events"]}


@pytest.mark.skipif(sys.platform == "win32", reason="a console is needed to send Ctrl-C")
def test_each_command_does_what_the_tutorial_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("day").mkdir()
    done = list(commands())
    stopped = done.index(RUN)
    said = {}
    for index, words in enumerate(done):
        if index == stopped:
            stop_run(tmp_path)
        elif words.startswith("app "):
            see_page(tmp_path)
        else:
            capsys.readouterr()
            assert main(shlex.split(words)) == CODES.get(words.split()[0], 0), words
            said[words.split()[0]] = capsys.readouterr().out
    for name in ("frame.png", "steps.png", "lab.toml", "day.html", "summary.csv"):
        assert (tmp_path / name).stat().st_size, name
    assert len(list(Path("tables").glob("*.csv"))) == 3
    assert "control" in said["report"] or "3 results" in said["report"]
    assert main([*shlex.split(RUN.replace("results", "again")), "-q"]) == 0
    for result in sorted(Path("results").glob("*.rtdc")):
        first, second = columns(result), columns(Path("again") / result.name)
        assert first.keys() == second.keys()
        for name, values in first.items():
            assert np.array_equal(values, second[name]), (result.name, name)
