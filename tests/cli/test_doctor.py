"""``cytovox doctor``: what it shows, what it leaves, how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cytovox.cli import doctor as examination
from cytovox.cli.main import main
from cytovox.run import folder_room, lock
from cytovox.run.extras import hint_for


def doctor(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, Any]:
    capsys.readouterr()
    code = main(["doctor", "--json", *map(str, words)])
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert said["exit_code"] == code
    return said


def named(said: dict[str, Any], group: str, name: str) -> dict[str, Any]:
    found = [one for one in said["examined"] if (one["group"], one["name"]) == (group, name)]
    assert found, (group, name)
    return found[0]


def test_a_machine_that_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = doctor(capsys, tmp_path)
    for group, name in [
        ("programs", "h5py"),
        ("programs", "HDF5"),
        ("filters", "zstd"),
        ("filters", "fletcher32"),
        ("kernels", "run"),
        ("machine", "cores"),
        ("machine", "memory"),
        ("machine", "worker process"),
        ("folder", "write"),
        ("folder", "rename"),
    ]:
        assert named(said, group, name)["state"] == "good", name
    assert named(said, "extras", "torch")["told"].endswith(
        ("for neural networks as segmenters", hint_for("torch"))
    )
    assert list(tmp_path.iterdir()) == []
    names = [one["name"] for one in said["examined"] if one["group"] == "extras"]
    assert len(set(names)) == len(names)


def test_the_table(tmp_path: Path) -> None:
    """In a process of its own, as the spawned worker must find its way back."""
    done = subprocess.run(
        [sys.executable, "-m", "cytovox", "doctor", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode in (0, 3), done.stdout
    lines = done.stdout.splitlines()
    assert lines[0].split()[:2] == ["programs", "cytovox"]
    assert (lines[-1] == "all is well") == (done.returncode == 0)


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = doctor(capsys, tmp_path / "none")
    assert said["exit_code"] == 1
    assert named(said, "folder", "folder")["told"] == "there is no such folder"
    # Where it would be made, there is a disk.
    assert named(said, "disk", "output")["state"] in ("good", "look")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_may_not_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(folder_room.tempfile, "mkdtemp", refuse)
    said = doctor(capsys, tmp_path)
    assert said["exit_code"] == 1
    assert named(said, "folder", "write")["told"] == "refused: Permission denied"


def test_a_folder_without_locks_and_links(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    if lock.fcntl is not None:
        monkeypatch.setattr(lock.fcntl, "flock", refuse)
    said = doctor(capsys, tmp_path)
    assert said["exit_code"] == 3
    assert named(said, "folder", "link")["told"] == "does not work: Operation not supported"
    if lock.fcntl is not None:
        assert named(said, "folder", "lock")["state"] == "look"
        assert named(said, "folder", "lock")["told"] == "does not work: Operation not supported"
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "LITTLE_DISK", 1 << 60)
    said = doctor(capsys, tmp_path)
    assert said["exit_code"] == 3
    assert named(said, "disk", "output")["state"] == "look"


def test_a_package_that_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = examination._version
    monkeypatch.setattr(
        examination,
        "_version",
        lambda name: None if name in ("rich", "zarr", "torch") else there(name),
    )
    said = doctor(capsys, tmp_path)
    assert said["exit_code"] == 1
    assert named(said, "programs", "rich")["state"] == "bad"
    assert named(said, "extras", "zarr") == {
        "group": "extras",
        "name": "zarr",
        "state": "note",
        "told": f"not installed; for OME-Zarr: {hint_for('volumes')}",
    }
    assert named(said, "extras", "torch")["told"].startswith("not installed; for neural networks")
    assert not any(one["name"] == "CUDA" for one in said["examined"])


def test_a_worker_that_never_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "_PATIENCE", 0.0)
    said = doctor(capsys, tmp_path)
    assert said["exit_code"] == 1
    assert named(said, "machine", "worker process")["told"] == "no answer within 0 s"


def test_a_check_that_fails_in_itself_stops_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(examination, "_filters", broken)
    said = doctor(capsys, tmp_path)
    assert said["exit_code"] == 1
    assert named(said, "filters", "check")["told"] == "ZeroDivisionError: oh"
    assert named(said, "folder", "write")["state"] == "good"
