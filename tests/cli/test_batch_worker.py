"""Recordings in worker processes: one that crashes, or hangs for ever, costs itself alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import h5py
import pytest

from cytovox.cli import batch, one_recording
from cytovox.cli.main import main
from cytovox.cli.one_recording import Measuring, Recording
from cytovox.cli.progress_display import Quiet
from cytovox.run.team import LostWorkerError
from cytovox.testing import simulate_recording
from support.results import contents

SEGMENTER = '''
import ctypes
import os
import signal

from cytovox.segm import UNISegmenter


class Harmful(UNISegmenter):
    """Kills its process, or keeps the interpreter for ever, at a frame of a certain brightness."""

    releases_gil = True  # so that it runs in the process that measures the recording
    hardware_processor = "cpu"

    @staticmethod
    def segment_algorithm(image, *, level: float = -6):
        dark = image.reshape(-1, image.shape[-2] * image.shape[-1]).max(axis=1)
        if 77 in dark:
            os.kill(os.getpid(), signal.SIGKILL)
        if 78 in dark:
            ctypes.PyDLL(None).pause()
        return image < 150 + level
'''


HOW = {"default": Measuring()}
#: What differs between two runs.
VARIES = ("output", "seconds")


def run(folder: Path, *words: str, **environment: str) -> tuple[int, dict, str]:
    ended = subprocess.run(
        [sys.executable, "-m", "cytovox", "run", ".", "--json", *words],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )
    return ended.returncode, json.loads(ended.stdout), ended.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        simulate_recording(tmp_path / f"{number}.rtdc", frames=20, seed=number)
    (tmp_path / "harmful.py").write_text(SEGMENTER)
    return tmp_path


def spoil(path: Path, value: int) -> None:
    with h5py.File(path, "a") as h5:
        h5["events/image"][11] = value


@pytest.mark.skipif(os.name == "nt", reason="signals and pause() of POSIX")
def test_a_recording_that_ends_or_holds_its_process_costs_itself_alone(folder: Path) -> None:
    words = ["--segmenter", "harmful.py:Harmful", "--set", "background.offset_correction=false"]
    words += ["--workers", "2"]
    begin = time.monotonic()
    assert run(folder, *words, "-o", "healthy")[0] == 0
    # what all recordings took is enough for one, however busy the machine is
    seconds = max(10.0, 2 * (time.monotonic() - begin))
    spoil(folder / "0.rtdc", 77)
    spoil(folder / "1.rtdc", 78)
    code, content, errors = run(folder, *words, CYTOVOX_UNIT_TIMEOUT=f"{seconds:.0f}")
    states = {Path(one["input"]).name: one["state"] for one in content["results"]}
    assert states == {"0.rtdc": "failed", "1.rtdc": "failed", "2.rtdc": "done"}
    assert "died (exit code -9" in content["results"][0]["error"]
    assert "took longer than" in content["results"][1]["error"]
    assert "0.rtdc" in errors
    assert "1.rtdc" in errors
    assert code == 4
    assert [p.name for p in folder.glob("*_dcn.rtdc")] == ["2_dcn.rtdc"]


@pytest.mark.parametrize(
    ("words", "of_a_recording"),
    [(["--workers", "1"], "segmentation 20 frames"), (["--workers", "2"], "done")],
)
def test_what_is_said_of_each_recording_comes_from_the_worker_too(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    words: list[str],
    of_a_recording: str,
) -> None:
    with h5py.File(folder / "1.rtdc", "a") as h5:
        del h5["events/image"]
    monkeypatch.chdir(folder)
    assert main(["run", ".", "-o", "out", *words]) == 4
    said = capfd.readouterr()
    assert f"0.rtdc: {of_a_recording}" in said.err
    assert "2.rtdc: the light does not flicker" in said.err
    assert "error: " in said.err
    assert "1.rtdc" in said.err.split("error: ")[1]
    assert "3 files: 2 done, 1 failed" in said.out


def test_recordings_side_by_side_have_the_results_of_one_after_the_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    told = []
    for workers in ("1", "2"):
        words = ["run", ".", "-o", workers, "--workers", workers, "--progress", "far.json"]
        assert main([*words, "--json"]) == 0
        results = json.loads(capsys.readouterr().out)["results"]
        assert json.loads(Path("far.json").read_text())["files"] == results
        told.append([{k: v for k, v in one.items() if k not in VARIES} for one in results])
    assert told[0] == told[1]
    for number in range(3):
        first, second = (contents(Path(place, f"{number}_dcn.rtdc")) for place in "12")
        assert first == second


def test_which_recordings_are_measured_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_recording, "_SMALL", 10)
    files = [Recording(str(tmp_path / name), "out", i) for i, name in enumerate("abcd")]
    for file, size in zip(files, (10, 11, 3, 0), strict=True):
        file.path.write_bytes(bytes(size))

    def at_once(workers: int, files: list[Recording] = files, **more: Any) -> list[int]:
        how = {"default": replace(HOW["default"], workers=workers, **more)}
        return [one.at_once for one in batch.side_by_side(files, how)]

    assert at_once(2) == [2, 1, 2, 2], "not one that is larger"
    assert at_once(64) == [3, 1, 3, 3]
    assert replace(HOW["default"], workers=64).shared(3).workers == 21
    assert at_once(1) == [1, 1, 1, 1]
    assert at_once(4, files[:2]) == [1, 1], "there is nothing beside it"
    assert at_once(4, codes={"segmenter": "torchuni"}) == [1, 1, 1, 1]


def test_the_folders_of_results_are_there_until_the_last_is_measured(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a worker whose recording has failed would remove one that another begins to use."""
    seen = []

    def look(_: Any, files: list[Recording], __: Any) -> None:
        seen.extend(file.out.parent.is_dir() for file in files)

    monkeypatch.setattr(batch, "_measure", look)
    outs = [folder / "out" / name / "dcn.rtdc" for name in ("a", "b", "0.rtdc/c")]
    how = {"default": replace(HOW["default"], workers=2)}
    batch.run_batch([Recording(str(folder / "0.rtdc"), str(out)) for out in outs], how, Quiet())
    assert seen == [True, True, True]
    assert not (folder / "out").exists()


def test_workers_that_cannot_begin_are_no_fault_of_the_recordings(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lose(*_: Any) -> NoReturn:
        raise LostWorkerError("worker process 7 died before it could work")

    monkeypatch.setattr(batch, "_measure", lose)
    recordings = [Recording(str(path), f"{path}.out") for path in folder.glob("*.rtdc")]
    outcomes = batch.run_batch(recordings, HOW, Quiet())
    assert {(one.state, one.is_broken) for one in outcomes} == {("failed", False)}
    assert capsys.readouterr().err.count("died before it could work") == 1
