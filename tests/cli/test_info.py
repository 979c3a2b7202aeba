"""``cytovox info`` and ``cytovox stages``."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from cytovox.cli.main import main
from cytovox.testing import simulate_recording


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("info")
    raw = folder / "raw.rtdc"
    simulate_recording(raw, frames=50, seed=4)
    result = folder / "tap.rtdc"
    assert main(["run", str(raw), "-o", str(result), "--basins", "tap", "--quiet"]) == 0
    return raw, result


def test_recording(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json", str(files[0])]) == 0
    (found,) = json.loads(capsys.readouterr().out)["files"]
    assert found["kind"] == "recording"
    assert found["events"] == 50
    assert found["pipeline"] is None
    assert "image" in found["features"]


def test_result_in_words(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(files[1])]) == 0
    out = capsys.readouterr().out
    assert "fits the identifier" in out
    assert "segmenter thresh: thresh=-6.0, clear_border=True" in out
    assert f"in {files[0]}" in out
    assert "image_bg: in this file" in out


def test_what_does_not_fit_is_said(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "moved.rtdc"
    moved.write_bytes(files[1].read_bytes())
    with h5py.File(moved, "a") as h5:
        h5.attrs["pipeline:dcnum hash"] = "0" * 32
    away = files[0].with_name("away.rtdc")
    files[0].rename(away)
    try:
        assert main(["info", str(moved)]) == 0
    finally:
        away.rename(files[0])
    out = capsys.readouterr().out
    assert "does NOT fit" in out
    assert "NOT FOUND" in out


def test_unknown_stages_are_shown_as_they_are(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.rtdc"
    other.write_bytes(files[1].read_bytes())
    with h5py.File(other, "a") as h5:
        h5.attrs["pipeline:dcnum segmenter"] = "future:x=1:cle=1"
    assert main(["info", str(other)]) == 0
    assert "segmenter future:x=1:cle=1" in capsys.readouterr().out


def test_bad_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.rtdc"
    bad.write_bytes(b"x")
    assert main(["info", str(bad)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {bad}")
    assert main(["info", "--json", str(bad), str(tmp_path / "gone.rtdc")]) == 4
    assert len(json.loads(capsys.readouterr().out)["files"]) == 2


def test_real_recordings(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = sorted((shared_data / "recordings").glob("*.rtdc"))
    assert main(["info", "--json", *map(str, paths)]) == 0
    assert len(json.loads(capsys.readouterr().out)["files"]) == len(paths)


def test_stages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stages"]) == 0
    out = capsys.readouterr().out
    assert "segmenter thresh" in out
    assert "--set mask.closing_disk=2" in out
    assert main(["stages", "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    kinds = {(stage["kind"], stage["code"]) for stage in stages}
    assert {("background", "sparsemed"), ("background", "rollmed"), ("gate", "norm")} <= kinds


def test_metadata_cannot_act_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a\nforged.rtdc"
    simulate_recording(path, frames=5)
    with h5py.File(path, "a") as h5:
        h5.attrs["experiment:run identifier"] = "id\x1b]0;title\x07"
        h5.require_group("logs")["log\x1b[2J\nerror: forged"] = np.array([b"x"])
    assert main(["info", str(path)]) == 0
    out, _ = capsys.readouterr()
    assert not set(out) & {"\x1b", "\x07"}
    assert out.splitlines()[0].endswith("a\\nforged.rtdc")
    assert "id\\x1b]0;title\\x07" in out
    assert "log\\x1b[2J\\nerror:" in out
