"""Recordings measured by a cluster, as by one machine; a worker that is lost costs one retry."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import pytest

from cytovox.cli.main import main
from cytovox.testing import simulate_recording
from support.results import contents

distributed = pytest.importorskip("distributed")
Capture = pytest.CaptureFixture[str]

SEGMENTER = '''
import ctypes
import os
import signal
from pathlib import Path

from cytovox.recipe.trust import is_trusted
from cytovox.segm import UNISegmenter


class Harmful(UNISegmenter):
    """Does what it should not, at frames of certain brightnesses."""

    releases_gil = True  # so that it runs in the process that measures the recording
    hardware_processor = "cpu"

    @staticmethod
    def segment_algorithm(image, *, level: float = -6):
        dark = image.reshape(-1, image.shape[-2] * image.shape[-1]).max(axis=1)
        mark = Path(__file__).with_name("was_here")
        if 76 in dark and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if 77 in dark:
            os.kill(os.getpid(), signal.SIGKILL)
        if 79 in dark and not is_trusted("ab" * 32):
            raise ValueError("this model is not trusted")
        if 78 in dark:
            begun = Path(__file__).with_name("begun")
            if begun.exists():
                begun.write_text("begun")  # into a pipe
            ctypes.PyDLL(None).pause()
        return image < 150 + level
'''
HARMFUL = ("--segmenter", "harmful.py:Harmful", "--set", "background.offset_correction=false")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a cluster of two machines that know nothing of this one."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address="127.0.0.1:0",  # a port that is free
        local_directory=str(folder),
    ) as cluster:
        yield f"dask:{cluster.scheduler_address}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for number in range(3):
        simulate_recording(tmp_path / f"{number}.rtdc", frames=20, seed=number)
    (tmp_path / "harmful.py").write_text(SEGMENTER)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: Capture, *words: str) -> tuple[int, dict[str, Any], str]:
    code = main(["run", ".", "--json", *words])
    said = capsys.readouterr()
    return code, json.loads(said.out), said.err


def states(content: dict[str, Any]) -> dict[str, str]:
    return {Path(one["input"]).name: one["state"] for one in content["results"]}


def spoil(path: Path, value: int) -> None:
    with h5py.File(path, "a") as h5:
        h5["events/image"][11] = value


def test_results_and_report_are_those_of_one_machine(
    folder: Path, cluster: str, capsys: Capture
) -> None:
    (folder / "bad.rtdc").write_text("nothing")
    here = run(capsys, "-o", "here")
    there = run(capsys, "-o", "there", "--cluster", cluster)
    assert here[0] == there[0] == 4
    assert "error: bad.rtdc: this is not an HDF5 file" in there[2]
    differs = {"output", "seconds"}
    for ours, its in zip(here[1]["results"], there[1]["results"], strict=True):
        assert {k: v for k, v in ours.items() if k not in differs} == {
            k: v for k, v in its.items() if k not in differs
        }
    for number in range(3):
        ours, its = (
            contents(folder / place / f"{number}_dcn.rtdc") for place in ("here", "there")
        )
        assert ours == its
    assert sorted(p.name for p in (folder / "there").iterdir()) == [
        f"{number}_dcn.rtdc" for number in range(3)
    ]
    code, content, _ = run(capsys, "-o", "there", "--cluster", cluster)
    assert set(states(content).values()) == {"skipped", "failed"}, code


def test_what_is_said_of_each_recording_is_shown_here(
    folder: Path, cluster: str, capsys: Capture
) -> None:
    assert main(["run", ".", "--cluster", cluster]) == 0
    said = capsys.readouterr()
    for number in range(3):
        assert f"{number}.rtdc: the light does not flicker" in said.err
        assert f"{number}.rtdc: done\n" in said.err
    assert "3 files: 3 done" in said.out


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_recording_whose_worker_is_lost_is_measured_by_another(
    folder: Path, cluster: str, capsys: Capture
) -> None:
    spoil(folder / "1.rtdc", 76)
    code = main(["run", ".", "-o", "there", *HARMFUL, "--cluster", cluster])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "1.rtdc: its worker" in said.err
    assert "another worker measures it" in said.err
    assert "3 files: 3 done" in said.out
    assert main(["run", ".", "-o", "here", *HARMFUL]) == 0
    ours, its = contents(folder / "here/1_dcn.rtdc"), contents(folder / "there/1_dcn.rtdc")
    assert ours["area_um"] == its["area_um"]


@pytest.mark.skipif(os.name == "nt", reason="signals and pause() of POSIX")
def test_a_recording_that_ends_or_holds_each_worker_costs_itself_alone(
    folder: Path, cluster: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CYTOVOX_UNIT_TIMEOUT", "15")
    spoil(folder / "0.rtdc", 77)
    spoil(folder / "1.rtdc", 78)
    code, content, errors = run(capsys, *HARMFUL, "--cluster", cluster)
    assert states(content) == {"0.rtdc": "failed", "1.rtdc": "failed", "2.rtdc": "done"}
    assert code == 4
    for number in (0, 1):
        assert "it was tried 2 times" in content["results"][number]["error"]
        assert f"error: {number}.rtdc: measuring failed: its worker" in errors


def test_what_is_allowed_and_where_the_recordings_are_goes_with_them(
    folder: Path, cluster: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "day").mkdir()
    shutil.move("0.rtdc", "day/0.rtdc")
    tap = str(Path("results", "tap.rtdc"))
    assert main(["run", "day/0.rtdc", "-o", tap, "--basins", "tap", "--quiet"]) == 0
    words = ["run", tap, "-o", "out.rtdc", "--set", "segmenter.thresh=-5", "--force"]
    words += ["--cluster", cluster, "--quiet"]
    assert main(words) == 1
    assert "--basin-root" in capsys.readouterr().err
    assert main([*words, "--basin-root", "day"]) == 0
    monkeypatch.setenv("CYTOVOX_BASIN_ROOTS", str(folder / "day"))
    assert main(words) == 0


@pytest.mark.parametrize("where", ["here", "there"])
def test_models_are_trusted_for_one_command(
    folder: Path, cluster: str, capsys: Capture, where: str
) -> None:
    spoil(folder / "0.rtdc", 79)
    words = ["run", "0.rtdc", "-o", "out.rtdc", *HARMFUL, "--quiet"]
    words += ["--cluster", cluster] * (where == "there")
    assert main([*words, "--trust-model"]) == 0
    assert main([*words, "--force"]) == 1
    assert "this model is not trusted" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="signals and pipes of POSIX")
def test_a_run_on_workers_of_a_command_is_stopped_and_resumed(
    folder: Path, capsys: Capture
) -> None:
    pytest.importorskip("cryptography")
    shutil.copy("0.rtdc", "whole.rtdc")
    spoil(folder / "0.rtdc", 78)
    os.mkfifo(folder / "begun")
    words = ["run", "0.rtdc", "-o", "out", *HARMFUL, "--cluster", "env {command}"]
    command = subprocess.Popen(
        [sys.executable, "-m", "cytovox", *words, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert (folder / "begun").read_text() == "begun"
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=600)
    assert command.returncode == 130
    assert err.splitlines()[-1] == "stopped; the same command resumes from here"
    assert states(json.loads(out)) == {"0.rtdc": "stopped"}
    shutil.move("whole.rtdc", "0.rtdc")
    assert main(words) == 0, capsys.readouterr().err
    assert [p.name for p in (folder / "out").iterdir()] == ["0_dcn.rtdc"]


def test_a_cluster_that_is_not_there(folder: Path, capsys: Capture) -> None:
    assert main(["run", ".", "--cluster", "somewhere"]) == 2
    assert "error: 'somewhere' is not a cluster" in capsys.readouterr().err
    assert not list(folder.glob("*_dcn.rtdc"))
    assert not list(folder.glob(".cytovox*"))
