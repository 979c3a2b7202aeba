"""``cytovox explain``: why each object of a frame is kept or lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import pytest

from cytovox.cli.main import main
from cytovox.read import HDF5Data
from support.drawn import draw_recording

FRAMES: list[Any] = [[]] * 40
FRAMES[3] = [(20, 40, 20, 40, 60)]
FRAMES[7] = [
    (20, 40, 30, 50, 60),  # stays
    (10, 12, 60, 80, 60),  # too thin
    (50, 60, 70, 80, 60),  # at the border
    (20, 25, 90, 95, 60),  # of which few pixels are left
]
FRAMES[8] = FRAMES[7]
SIZE = ["--set", "gate.size_thresh_mask=15"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explain") / "first"
    folder.mkdir()
    raw = str(draw_recording(folder / "raw.rtdc", FRAMES))
    assert main(["run", raw, "-q", *SIZE]) == 0
    assert (
        main(["run", raw, "-q", *SIZE, "-o", str(folder / "even.rtdc"), "--frames", "0-40-2"]) == 0
    )
    return folder.rename(folder.with_name("kept"))  # so that the copies are the only ones


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = Path(shutil.copytree(made, tmp_path / "day1"))
    monkeypatch.chdir(copy)
    return copy


def explain(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["explain", *words, "--json"]) == code
    return dict(json.loads(capsys.readouterr().out))


def test_every_object_says_why(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "raw_dcn.rtdc", "--frame", "7"]) == 0
    out = capsys.readouterr().out
    assert "frame 7 of raw.rtdc (8 in DCscope, 108 of the camera)" in out
    assert "where the difference is below -6; the lowest is -60" in out
    for words in (
        "kept: 388 px; event 1 of the result",
        "a disk of radius 2 fits nowhere into its 40 px",
        "lost at the border: one of its 100 px",
        "25 px, after the clean-up 13 px, which is not more than 15",
    ):
        assert words in " ".join(out.split())
    assert "DIFFERS" not in out


@pytest.mark.parametrize(
    ("at", "fate", "pixels"),
    [
        ("40,30", "kept", [400, 400, 400, 388, 388]),
        ("66,15", "opening", [40, 40, 40, 0]),
        ("75,59", "border", [100, 0]),
        ("100,22", "size", [25, 25, 25, 13, 0]),
    ],
)
def test_the_nearest_object_is_explained(
    folder: Path, capsys: pytest.CaptureFixture[str], at: str, fate: str, pixels: list[int]
) -> None:
    found = explain(capsys, "raw_dcn.rtdc", "--frame", "7", "--at", at)
    assert found["explained"]["fate"] == fate
    assert list(found["explained"]["pixels"].values()) == pixels
    assert found["explained"]["event"] == (1 if fate == "kept" else None)
    assert main(["explain", "raw_dcn.rtdc", "-n", "7", "--at", at, "-o", "a.png"]) == 0
    out = capsys.readouterr().out
    assert found["explained"]["verdict"] in " ".join(out.replace("nearest", "").split())
    assert (folder / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_event_is_the_one_in_the_result(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = explain(capsys, "raw_dcn.rtdc", "--frame", "7", "--at", "40,30")["explained"]
    with HDF5Data("raw_dcn.rtdc") as result:
        assert result["area_um"][one["event"]] == one["features"]["area_um"]
        centre = result["pos_x"][one["event"]] / result.pixel_size
    assert centre == pytest.approx(one["x"], abs=1)


def test_frames_that_repeat_say_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = explain(capsys, "raw_dcn.rtdc", "--frame", "8")
    assert found["objects"]["lost"]["repeated"] == 4
    assert found["compared_with_result"]
    assert all("equals the frame before" in one["verdict"] for one in found["each"])


def test_a_frame_without_objects_tells_the_values(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", "raw.rtdc", "--frame", "20", "--at", "5,6"]) == 0
    out = capsys.readouterr().out
    assert "no object; grey value 150, background 150, difference 0" in out
    assert "0 objects of 0 px" in out


def test_what_differs_from_the_result_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File("raw_dcn.rtdc", "a") as h5:
        h5["events/deform"][1] += 0.01
    found = explain(capsys, "raw_dcn.rtdc", "--frame", "7", code=3)
    (text,) = found["differences"]
    assert text.startswith("deform of event 1 is ")
    assert explain(capsys, "raw_dcn.rtdc", "--frame", "3")["differences"] == []
    # with other settings there is nothing to compare
    words = ["raw_dcn.rtdc", "--frame", "7", "--set", "segmenter.thresh=-5"]
    assert not explain(capsys, *words)["compared_with_result"]


def test_an_input_that_has_changed_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File("raw.rtdc", "a") as h5:
        h5["events/image"][7, 20:40, 30:50] = 150
    text = " ".join(explain(capsys, "raw_dcn.rtdc", "--frame", "7", code=3)["differences"])
    assert "the result has 1 event in frame 7, the analysis 0" in text
    assert "raw.rtdc" in text  # which has another content now


def test_frames_that_were_not_measured_are_not_compared(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not explain(capsys, "even.rtdc", "--frame", "7")["compared_with_result"]
    found = explain(capsys, "even.rtdc", "--frame", "8")
    assert found["compared_with_result"]
    assert [one["event"] for one in found["each"]].count(0) == 1  # the frame before it is 6
    assert found["differences"] == []


def test_what_is_no_pixel_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "raw.rtdc", "-n", "7", "--at", "120,3"]) == 2
    assert "the last column is 119, the last row 59" in capsys.readouterr().err
    assert main(["explain", "raw.rtdc", "-n", "7", "--at", "here"]) == 2
