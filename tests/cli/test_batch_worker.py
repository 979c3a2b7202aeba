"""A recording that crashes the process, or holds it for ever, costs itself alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pytest

from cytovox.testing import simulate_recording

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


def test_what_is_said_of_each_recording_comes_from_the_worker_too(folder: Path) -> None:
    with h5py.File(folder / "1.rtdc", "a") as h5:
        del h5["events/image"]
    ended = subprocess.run(
        [sys.executable, "-m", "cytovox", "run", "."],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 4
    assert "0.rtdc: segmentation 20 frames" in ended.stderr
    assert "error: " in ended.stderr
    assert "1.rtdc" in ended.stderr.split("error: ")[1]
    assert "3 files: 2 done, 1 failed" in ended.stdout
