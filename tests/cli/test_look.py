"""``cytovox look``: any frame as a picture, as a run would see it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest

from cytovox.cli.main import main
from cytovox.testing import simulate_recording
from support.drawn import draw_recording

CELL = (20, 40, 30, 50, 60)
FRAMES: list[Any] = [[]] * 30
FRAMES[7] = [CELL, (10, 12, 60, 80, 60), (30, 40, 90, 100, 4)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recording and its result; it is only copied."""
    folder = tmp_path_factory.mktemp("look") / "first"
    folder.mkdir()
    draw_recording(folder / "raw.rtdc", FRAMES)
    assert main(["run", str(folder / "raw.rtdc"), "-q"]) == 0
    return folder.rename(folder.with_name("kept"))  # so that the copies are the only ones


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = Path(shutil.copytree(made, tmp_path / "day1"))
    monkeypatch.chdir(copy)
    return copy


def look(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["look", *words, "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_a_frame_is_drawn(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["look", "raw.rtdc", "--frame", "7"]) == 0
    out = capsys.readouterr().out
    assert "frame 7 (8 in DCscope, 108 of the camera)" in out
    assert "2 objects found: 1 kept, 1 lost (opening 1)" in out
    picture = matplotlib.image.imread(folder / "raw_frame_7.png")
    assert picture.shape[1] > 1000
    assert picture[..., :3].std() > 0.05
    assert sorted(p.name for p in folder.iterdir()) == [
        "raw.rtdc", "raw_dcn.rtdc", "raw_frame_7.png",
    ]  # fmt: skip


def test_no_picture_is_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["look", "raw.rtdc", "--frame", "7", "-o", "gone/a.png"]) == 74
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: gone/a.png: No such file")
    (folder / "a.png").write_text("precious")
    words = ["look", "raw.rtdc", "--frame", "7", "-o", "a.png"]
    assert main(words) != 0
    assert "--force" in capsys.readouterr().err
    assert (folder / "a.png").read_text() == "precious"
    assert main([*words, "--force"]) == 0
    assert (folder / "a.png").read_bytes().startswith(b"\x89PNG")


def test_settings_decide_what_is_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faint = look(capsys, "raw.rtdc", "-n", "7", "--set", "segmenter.thresh=-3")["objects"]
    assert (faint["found"], faint["kept"]) == (3, 2)
    (folder / "lab.toml").write_text("[mask]\nclosing_disk = 0\n")
    thin = look(capsys, "raw.rtdc", "-n", "7", "--recipe", "lab", "-o", "b.png")["objects"]
    assert (thin["found"], thin["kept"]) == (2, 2)


def test_a_result_is_looked_at_by_its_own_recipe(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "raw.rtdc", "-o", "faint.rtdc", "-q", "--set", "segmenter.thresh=-3"]
    assert main(words) == 0
    found = look(capsys, "faint.rtdc", "-n", "7")
    assert Path(found["recording"]).samefile("raw.rtdc")
    assert found["objects"]["kept"] == 2
    changed = look(capsys, "faint.rtdc", "-n", "7", "--set", "mask.closing_disk=0", "-o", "b.png")
    assert changed["objects"]["kept"] == 3  # with the threshold of the result


def test_a_recording_that_is_gone_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = folder.parent / "archive"
    archive.mkdir()
    (folder / "raw.rtdc").rename(archive / "raw.rtdc")
    assert main(["look", "raw_dcn.rtdc", "-n", "7"]) == 74
    error = capsys.readouterr().err
    assert "raw.rtdc" in error
    assert "--input" in error
    assert look(capsys, "raw_dcn.rtdc", "-n", "7", "--input", str(archive))["objects"]["kept"] == 1


def test_another_recording_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = draw_recording(folder / "other.rtdc", FRAMES[:10])
    assert main(["look", "raw_dcn.rtdc", "-n", "7", "--input", str(other)]) == 1
    assert "the result is of the measurement" in capsys.readouterr().err


def test_frames_are_counted_as_in_dclab(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dclab = pytest.importorskip("dclab")
    capsys.readouterr()
    words = ["explain", "raw.rtdc", "--frame", "7", "--at", "35,25", "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    with dclab.new_dataset(folder / "raw.rtdc") as data:
        assert found["pixel"]["frame"] == data["image"][7][25, 35] == 90
        assert found["frame_of_camera"] == data["frame"][7]
        assert found["frame_in_dcscope"] == data["index"][7]


def test_wrong_frames_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["look", "raw.rtdc", "--frame", "30"]) == 2
    assert "0 to 29" in capsys.readouterr().err
    assert main(["look", "raw.rtdc", "--frame", "1" * 30]) == 2
    assert f"there is no frame {'1' * 30}" in capsys.readouterr().err
    assert main(["look", "raw.rtdc", "--frame", "-1"]) == 2
    assert main(["look", "raw.rtdc"]) == 2
    assert main(["look", "raw.rtdc", "-n", "7", "--input", "raw.rtdc"]) == 2
    assert not list(folder.glob("*.png"))


def test_names_stay_in_their_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = (folder / "raw.rtdc").rename(folder / "raw\nerror: forged\x1b[2J.rtdc").name
    for words in (["look", name, "-n", "7"], ["explain", name, "-n", "7"]):
        assert main(words) == 0
        out = capsys.readouterr().out
        assert out.startswith(r"raw\nerror: forged\x1b[2J.rtdc: frame 7")
        assert "\nerror" not in out
    assert main(["export", name, "--to", "csv"]) == 0
    assert capsys.readouterr().out.startswith(r"raw\nerror: forged\x1b[2J.csv: 30 events")


def test_nothing_else_is_written(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(["look", "raw_dcn.rtdc", "-n", "7", "-o", "../a.png"]) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_picture_replaces_only_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "raw.rtdc"
    simulate_recording(raw, frames=20, save_truth=False)
    before = raw.read_bytes()
    assert main(["look", str(raw), "--frame", "3", "-o", str(raw), "--force"]) == 2
    assert "ending in .png" in capsys.readouterr().err
    assert raw.read_bytes() == before
    (tmp_path / "folder.png").mkdir()
    words = ["-o", str(tmp_path / "folder.png"), "--force"]
    assert main(["look", str(raw), "--frame", "3", *words]) == 74
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.png", "raw.rtdc"]
