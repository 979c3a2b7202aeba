"""``cytovox diff``: events gained and lost, and how features have shifted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cytovox.cli.diff import _names
from cytovox.cli.main import main
from cytovox.logic import compare
from cytovox.logic.origin import frames_of_events
from cytovox.read import HDF5Data
from cytovox.testing import Truth, simulate_recording
from support.drawn import draw_recording

CELL, THIN = (20, 40, 30, 50, 60), (20, 24, 70, 100, 60)
FAINT, RIM = (22, 38, 90, 106, 4), (17, 20, 27, 53, 4)
FRAMES: list[Any] = [[]] * 30
FRAMES[3] = [CELL, THIN]
FRAMES[7] = [CELL, FAINT]
FRAMES[9] = [CELL, RIM]


def run(raw: Path, out: Path, *words: str) -> Path:
    assert main(["run", str(raw), "-o", str(out), "-q", *words]) == 0
    return out


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a drawn recording: as it is, with a weaker threshold, and small."""
    folder = tmp_path_factory.mktemp("diff")
    raw = draw_recording(folder / "raw.rtdc", FRAMES)
    run(raw, folder / "a.rtdc", "--set", "mask.closing_disk=1")
    run(raw, folder / "weak.rtdc", "--set", "segmenter.thresh=-3")
    run(raw, folder / "tap.rtdc", "--basins", "tap", "--set", "mask.closing_disk=1")
    return folder


def diff(
    capsys: pytest.CaptureFixture[str], one: Path, two: Path, *words: str, code: int = 3
) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["diff", str(one), str(two), *words, "--json"]) == code
    return dict(json.loads(capsys.readouterr().out))


def test_equal_results_are_equal(drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = diff(capsys, drawn / "a.rtdc", drawn / "tap.rtdc", code=0)
    assert found["equal"]
    assert (found["matched"], found["lost"], found["gained"]) == (4, [], [])
    assert found["features"] == {}
    assert found["recipe"] == []


def test_what_is_gained_and_lost_is_named(drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = diff(capsys, drawn / "a.rtdc", drawn / "weak.rtdc")
    assert found["events"] == {"first": 4, "second": 4}
    assert found["matched"] == 3
    with HDF5Data(drawn / "a.rtdc") as one, HDF5Data(drawn / "weak.rtdc") as two:
        assert frames_of_events(one)[found["lost"]].tolist() == [3]  # too thin for a larger disk
        assert frames_of_events(two)[found["gained"]].tolist() == [7]  # fainter than -6
    assert found["recipe"] == [
        {"option": "segmenter.thresh", "first": "-6.0", "second": "-3.0"},
        {"option": "mask.closing_disk", "first": "1", "second": "2"},
    ]


def test_shifts_are_those_of_the_second_against_the_first(
    drawn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = diff(capsys, drawn / "a.rtdc", drawn / "weak.rtdc")
    with HDF5Data(drawn / "a.rtdc") as one, HDF5Data(drawn / "weak.rtdc") as two:
        before = np.delete(one["area_um"], found["lost"])
        after = np.delete(two["area_um"], found["gained"])
    shift = found["features"]["area_um"]
    assert shift["changed"] == np.count_nonzero(before != after)
    assert shift["median"] == pytest.approx(np.median(after - before))
    assert shift["largest"] == pytest.approx((after - before)[np.argmax(abs(after - before))])
    assert shift["largest"] > 0  # the faint rim belongs to the cell now
    assert found["overlap"]["low"] < 1


@pytest.mark.parametrize(
    ("second", "names"),
    [
        ("new/b.rtdc", ["a.rtdc", "b.rtdc"]),
        ("new/a.rtdc", ["old/a.rtdc", "new/a.rtdc"]),
        ("old/a.rtdc", ["old/a.rtdc", "old/a.rtdc"]),
    ],
)
def test_the_picture_names_results_so_that_they_are_told_apart(
    second: str, names: list[str]
) -> None:
    assert _names(Path("old/a.rtdc"), Path(second)) == names


def test_words_and_picture(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["diff", str(drawn / "a.rtdc"), str(drawn / "weak.rtdc")]
    assert main([*words, "-o", str(tmp_path / "a.png")]) == 3
    out = " ".join(capsys.readouterr().out.split())
    assert "events 4 -> 4: 3 in both, 1 lost, 1 gained" in out
    assert "segmenter.thresh: -6.0 -> -3.0" in out
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert main([*words, "-o", str(tmp_path / "a.png")]) not in (0, 3)
    assert "--force" in capsys.readouterr().err


def test_a_recording_that_is_gone_is_named(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = tmp_path / "tap.rtdc"
    alone.write_bytes((drawn / "tap.rtdc").read_bytes())
    with h5py.File(alone, "a") as h5:  # the recording is beside the other one
        for name, basin in h5["basins"].items():
            lines = "".join(basin.asstr()[:])
            del h5["basins"][name]
            h5["basins"][name] = [lines.replace(str(drawn), str(tmp_path))]
    found = diff(capsys, drawn / "a.rtdc", alone)
    assert (found["only_in_first"], found["only_in_second"]) == ([], [])
    (unread,) = found["unread"]
    assert (unread["file"], "time" in unread["features"]) == (str(alone), True)
    assert "raw.rtdc" in unread["reason"]
    assert main(["diff", str(drawn / "a.rtdc"), str(alone)]) == 3
    out = " ".join(capsys.readouterr().out.split())
    assert f"not read of {alone}: " in out
    assert "images were not compared" in out


def test_numbers_that_are_unknown_are_null(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = tmp_path / "a.rtdc"
    unknown.write_bytes((drawn / "a.rtdc").read_bytes())
    with h5py.File(unknown, "a") as h5:
        h5["events/deform"][:] = np.nan
    assert diff(capsys, drawn / "a.rtdc", unknown)["features"]["deform"]["median"] is None


def test_blocks_change_nothing(
    drawn: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = diff(capsys, drawn / "a.rtdc", drawn / "weak.rtdc")
    monkeypatch.setattr(compare, "_BLOCK", 1)
    assert diff(capsys, drawn / "a.rtdc", drawn / "weak.rtdc") == whole


def test_without_masks_positions_decide(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = tmp_path / "a.rtdc"
    one.write_bytes((drawn / "a.rtdc").read_bytes())
    with h5py.File(one, "a") as h5:
        del h5["events/mask"]
    found = diff(capsys, one, drawn / "weak.rtdc")
    masks = diff(capsys, drawn / "a.rtdc", drawn / "weak.rtdc")
    assert found["overlap"] is None
    assert (found["lost"], found["gained"]) == (masks["lost"], masks["gained"])


def test_other_recordings_are_refused(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = draw_recording(tmp_path / "other.rtdc", FRAMES[:20])
    other = run(raw, tmp_path / "other_dcn.rtdc", "--set", "mask.closing_disk=1")
    words = ["diff", str(drawn / "a.rtdc"), str(other)]
    assert main(words) == 1
    assert "--anyway" in capsys.readouterr().err
    assert main([*words, "--anyway"]) == 0  # what is left out has no events
    assert main(["diff", str(drawn / "a.rtdc"), str(drawn / "raw.rtdc")]) == 1
    assert "this is no result" in capsys.readouterr().err


@pytest.fixture(scope="module")
def flickering(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    """Results of a recording that flickers, with and without correction of the offset."""
    folder = tmp_path_factory.mktemp("flicker")
    truth = simulate_recording(
        folder / "raw.rtdc", frames=60, cells=2, seed=5, flicker=0.02, duplicates=0
    )
    for name in ("true", "false"):
        words = ["--set", f"background.offset_correction={name}"]
        run(folder / "raw.rtdc", folder / f"{name}.rtdc", *words)
    return folder, truth


def test_correcting_the_offset_of_a_recording_that_flickers(
    flickering: tuple[Path, Truth], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, truth = flickering
    found = diff(capsys, folder / "true.rtdc", folder / "false.rtdc")
    assert [one["option"] for one in found["recipe"]] == ["background.offset_correction"]
    assert found["only_in_first"] == ["bg_off"]
    cells = truth.whole
    with (
        HDF5Data(folder / "true.rtdc") as corrected,
        HDF5Data(folder / "false.rtdc") as uncorrected,
    ):
        # What the correction gives is the cells; what is lost without it are cells, what
        # is gained are none.
        assert len(corrected) == len(cells)
        assert nearest_cell(corrected, found["lost"], cells).max(initial=0) < 1
        gained = nearest_cell(uncorrected, found["gained"], cells)
        assert len(gained) > 10
        assert np.mean(gained > 3) > 0.9
        # The offset is what is missing in the brightness.
        offset = np.delete(corrected["bg_off"], found["lost"])
    shift = found["features"]["bright_bc_avg"]
    assert shift["changed"] == found["matched"]
    assert shift["median"] == pytest.approx(np.median(offset), abs=0.5)
    assert shift["high"] == pytest.approx(np.quantile(offset, 0.95), abs=1)


def nearest_cell(data: HDF5Data, rows: list[int], cells: Truth) -> np.ndarray:
    """Return how far, in um, the nearest cell of its frame is from each event."""
    frames = frames_of_events(data)
    distances = [
        np.min(
            np.hypot(cells["pos_x"] - data["pos_x"][row], cells["pos_y"] - data["pos_y"][row])[
                cells["frame"] == frames[row]
            ],
            initial=np.inf,
        )
        for row in rows
    ]
    return np.array(distances)
