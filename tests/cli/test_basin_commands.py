"""``cytovox relink``, ``drain`` and ``tap``: results keep their data wherever these are."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cytovox.cli import progress_display
from cytovox.cli.main import main
from cytovox.logic.verify import verify_recording
from cytovox.read import HDF5Data, Permissions
from cytovox.read.basin_definitions import extract_basin_dicts
from cytovox.run.progress import ProgressEvent, StageFinished, StageProgress, StageStarted
from cytovox.testing import simulate_recording
from cytovox.write import create_with_basins


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recording and what a run makes of it in both ways; it is only copied."""
    folder = tmp_path_factory.mktemp("made") / "first"
    folder.mkdir()
    simulate_recording(folder / "raw.rtdc", frames=60, seed=4, shape=(48, 96), save_truth=False)
    with h5py.File(folder / "raw.rtdc", "a") as h5:
        h5["events/temp"] = np.linspace(20, 25, 60)
    for way in ("drain", "tap"):
        out = folder / f"{way}.rtdc"
        words = ["run", str(folder / "raw.rtdc"), "-o", str(out), "--basins", way, "-q"]
        assert main(words) == 0
    return folder.rename(folder.with_name("kept"))  # so that the copies are the only ones


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "day1"))


def contents(path: Path) -> dict[str, np.ndarray]:
    """Return all that a file itself holds of events."""
    with h5py.File(path) as h5:
        groups = [name for name in ("events", "basin_events") if name in h5]
        return {f"{g}/{name}": ds[:] for g in groups for name, ds in h5[g].items()}


def definitions(path: Path) -> list[dict[str, Any]]:
    with h5py.File(path) as h5:
        found = extract_basin_dicts(h5)
    for one in found:
        one["paths"] = [Path(p).name for p in one["paths"]]  # the folder was copied
    return sorted(found, key=str)


def assert_same(one: Path, two: Path) -> None:
    left, right = contents(one), contents(two)
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].dtype == right[name].dtype, name
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def features_of(path: Path, *roots: Path) -> dict[str, np.ndarray]:
    """Return all features of a file, wherever they are."""
    with HDF5Data(path, permissions=Permissions(basin_roots=roots)) as data:
        return {name: np.asarray(data[name][:]) for name in data.offered()}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[ProgressEvent]:
    """What is shown of the progress."""
    events: list[ProgressEvent] = []
    monkeypatch.setattr(progress_display.Lines, "show", lambda _, event: events.append(event))
    return events


def assert_all_was_shown(shown: list[ProgressEvent], stage: str) -> None:
    begin, *_, last, end = shown
    assert begin == StageStarted(stage, 1, "MB")
    assert isinstance(last, StageProgress)
    assert isinstance(end, StageFinished)


def test_drain_gives_what_a_run_with_drain_gives(folder: Path, shown: list[ProgressEvent]) -> None:
    assert main(["drain", str(folder / "tap.rtdc"), "-o", str(folder / "share")]) == 0
    assert_all_was_shown(shown, "copy")
    out = folder / "share" / "tap_drained.rtdc"
    assert_same(out, folder / "drain.rtdc")
    (folder / "raw.rtdc").unlink()
    with HDF5Data(out) as data:
        assert [basin["type"] for basin in data.basins] == ["internal"]
        assert data["image"][0].shape == (48, 96)
    found = verify_recording(out)
    assert [*found.errors, *found.warnings] == []


def test_tap_gives_what_a_run_with_tap_gives(folder: Path, shown: list[ProgressEvent]) -> None:
    assert main(["tap", str(folder / "drain.rtdc"), "-o", str(folder / "small.rtdc")]) == 0
    assert_all_was_shown(shown, "compare")
    out = folder / "small.rtdc"
    assert_same(out, folder / "tap.rtdc")
    assert definitions(out) == definitions(folder / "tap.rtdc")
    assert out.stat().st_size < (folder / "drain.rtdc").stat().st_size / 2
    one, two = features_of(out), features_of(folder / "drain.rtdc")
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def test_a_run_that_has_nothing_to_do_drains_as_well(folder: Path) -> None:
    out = folder / "again.rtdc"
    assert main(["run", str(folder / "tap.rtdc"), "-o", str(out), "-q"]) == 0
    assert_same(out, folder / "drain.rtdc")
    assert [one["type"] for one in definitions(out)] == ["internal"]


def test_tap_refers_to_where_the_recording_has_its_images(folder: Path) -> None:
    view = folder / "view.rtdc"
    create_with_basins(view, [folder / "raw.rtdc"])
    for way in ("drain", "tap"):
        out = folder / f"view_{way}.rtdc"
        assert main(["run", str(view), "-o", str(out), "--basins", way, "-q"]) == 0
    assert main(["tap", str(folder / "view_drain.rtdc")]) == 0
    out = folder / "view_drain_tapped.rtdc"
    assert definitions(out) == definitions(folder / "view_tap.rtdc")
    assert {p for one in definitions(out) for p in one["paths"]} == {"raw.rtdc", "basin_events"}


def test_dclab_opens_both(folder: Path) -> None:
    dclab = pytest.importorskip("dclab")
    assert main(["drain", str(folder / "tap.rtdc")]) == 0
    assert main(["tap", str(folder / "drain.rtdc")]) == 0
    with dclab.new_dataset(folder / "drain.rtdc") as expected:
        for name in ("tap_drained.rtdc", "drain_tapped.rtdc"):
            with dclab.new_dataset(folder / name) as found:
                for feature in ("deform", "temp", "time"):
                    np.testing.assert_array_equal(found[feature][:], expected[feature][:])
                last = len(expected) - 1
                np.testing.assert_array_equal(found["image"][last], expected["image"][last])


def test_tap_refuses_a_recording_with_another_image(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(folder / "drain.rtdc") as h5:
        frame = int(h5["events/basinmap0"][-1])
    with h5py.File(folder / "raw.rtdc", "a") as h5:
        h5["events/image"][frame, 0, 0] ^= 1
    assert main(["tap", str(folder / "drain.rtdc"), "--input", str(folder)]) == 1
    assert f"not that of frame {frame}" in capsys.readouterr().err
    assert not list(folder.glob("*tapped*"))


def test_tap_keeps_what_the_recording_has_otherwise(folder: Path) -> None:
    with h5py.File(folder / "raw.rtdc", "a") as h5:
        h5["events/temp"][3:] += 1
    assert main(["tap", str(folder / "drain.rtdc")]) == 0
    kept, before = contents(folder / "drain_tapped.rtdc"), contents(folder / "drain.rtdc")
    np.testing.assert_array_equal(kept["events/temp"], before["events/temp"])
    assert "events/image" not in kept


def test_tap_looks_for_the_recording_only_where_it_may(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    far = tmp_path / "far"
    far.mkdir()
    (folder / "raw.rtdc").rename(far / "raw.rtdc")
    words = ["tap", str(folder / "drain.rtdc"), "-o", str(folder / "out.rtdc")]
    assert main(words) == 74
    assert "its recording cannot be found" in capsys.readouterr().err
    other = far / "other.rtdc"
    simulate_recording(other, frames=5, seed=1, shape=(48, 96), save_truth=False)
    with h5py.File(other, "a") as h5:
        h5.attrs["experiment:run identifier"] = "another"
    assert main([*words, "--input", str(other)]) == 1
    assert "'another'" in capsys.readouterr().err
    assert main([*words, "--input", str(far)]) == 0


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["drain", "drain.rtdc"], "refers to no other file", 2),
        (["tap", "tap.rtdc"], "holds no images", 2),
        (["tap", "drain.rtdc", "-o", "drain.rtdc", "--force"], "replace its input", 2),
        (["drain", "tap.rtdc", "-o", "drain.rtdc"], "exists already", 1),
        (["drain", "tap.rtdc", "-o", "a.h5"], "not named .rtdc", 2),
        (["relink", "drain.rtdc", "--to", "."], "refers to no other file", 2),
        (["relink", "tap.rtdc", "--to", "none"], "no such file or folder", 74),
        (["relink", "tap.rtdc", "--to", "tap.rtdc"], "refer to itself", 1),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_changed(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
    code: int,
) -> None:
    monkeypatch.chdir(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(words) == code
    assert said in capsys.readouterr().err
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_drain_needs_the_input(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "raw.rtdc").unlink()
    assert main(["drain", str(folder / "tap.rtdc")]) != 0
    assert "cannot be found" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["drain.rtdc", "tap.rtdc"]


def test_an_output_with_damage_gets_no_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cytovox.logic import basin_change

    def lose_one(writer: Any, data: Any, **_: Any) -> None:
        writer.store_feature_chunk("deform", np.zeros(len(data) - 1))

    monkeypatch.setattr(basin_change, "pass_on", lose_one)
    assert main(["drain", str(folder / "tap.rtdc")]) == 1
    assert "deform" in capsys.readouterr().err
    assert sorted(p.name for p in folder.iterdir()) == ["drain.rtdc", "raw.rtdc", "tap.rtdc"]


def moved(folder: Path) -> Path:
    """Move the recording out of sight, and return where it is."""
    away = folder.parent / "archive" / "raw.rtdc"
    away.parent.mkdir()
    return (folder / "raw.rtdc").rename(away)


@pytest.mark.parametrize("to_file", [False, True])
def test_relink_changes_the_paths_and_nothing_else(
    folder: Path, to_file: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "tap.rtdc"
    away = moved(folder)
    with h5py.File(path) as h5:
        attributes, logs = dict(h5.attrs), {k: v[:].tolist() for k, v in h5["logs"].items()}
        old = [basin for basin in extract_basin_dicts(h5) if basin["type"] == "file"]
    before, expected = contents(path), features_of(folder / "drain.rtdc")
    path.chmod(0o640)
    to = away if to_file else away.parent
    assert main(["relink", str(path), "--to", str(to), "--json"]) == 0
    (said,) = json.loads(capsys.readouterr().out)["files"]
    assert {basin["path"] for basin in said["basins"]} == {str(away)}
    assert path.stat().st_mode & 0o777 == 0o640
    with h5py.File(path) as h5:
        assert dict(h5.attrs) == attributes
        assert {k: v[:].tolist() for k, v in h5["logs"].items()} == logs
        new = [basin for basin in extract_basin_dicts(h5) if basin["type"] == "file"]
    assert len(new) == len(old)
    for one in new:
        assert one["paths"][:2] == [str(away), os.path.relpath(away, folder)]
        (same,) = [two for two in old if two["features"] == one["features"]]
        assert one == {**same, "paths": [*one["paths"][:2], *same["paths"]]}
    after = contents(path)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    found = features_of(path, away.parent)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_relink_of_what_did_not_move_keeps_the_link_to_the_result(folder: Path) -> None:
    link = folder / "link.rtdc"
    link.symlink_to(folder / "tap.rtdc")
    assert main(["relink", str(link), "--to", str(folder)]) == 0
    assert link.is_symlink()
    assert definitions(folder / "tap.rtdc")


def other_measurement(path: Path) -> None:
    with h5py.File(path, "a") as h5:
        h5.attrs["experiment:run identifier"] = "another"


def fewer_frames(path: Path) -> None:
    with h5py.File(path, "a") as h5:
        h5.attrs["experiment:event count"] = 59
        for name in list(h5["events"]):
            values = h5["events"][name][:59]
            del h5["events"][name]
            h5["events"][name] = values


def without_images(path: Path) -> None:
    with h5py.File(path, "a") as h5:
        del h5["events/image"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_measurement, "measurement 'another'"),
        (fewer_frames, "has 59 frames, the result refers to one of 60"),
        (lambda path: path.rename(path.with_name("b.rtdc")), "holds no file named raw.rtdc"),
    ],
)
def test_relink_refuses_another_file(
    folder: Path, capsys: pytest.CaptureFixture[str], change: Any, said: str
) -> None:
    away = moved(folder)
    change(away)
    before = (folder / "tap.rtdc").read_bytes()
    assert main(["relink", str(folder / "tap.rtdc"), "--to", str(away.parent)]) != 0
    assert said in capsys.readouterr().err
    assert (folder / "tap.rtdc").read_bytes() == before


def test_relink_says_what_it_has_left(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    away = moved(folder)
    without_images(away)
    assert main(["relink", str(folder / "tap.rtdc"), "--to", str(away)]) == 3
    said = capsys.readouterr().out
    assert "1 basin in" in said
    assert "was left as it is" in said
    assert "has no image" in said


def test_one_bad_result_does_not_stop_the_others(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    away = moved(folder)
    words = ["relink", str(folder / "none.rtdc"), str(folder / "tap.rtdc"), "--to", str(away)]
    assert main(words) == 4
    out, err = capsys.readouterr()
    assert "none.rtdc" in err
    assert "tap.rtdc: 2 basins in" in out


@pytest.mark.parametrize("command", ["drain", "tap"])
def test_an_output_never_replaces_the_recording_behind_a_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    raw, result = tmp_path / "raw.rtdc", tmp_path / "result.rtdc"
    simulate_recording(raw, frames=20, save_truth=False)
    basins = "tap" if command == "drain" else "drain"
    assert main(["run", str(raw), "-o", str(result), "--basins", basins, "-q"]) == 0
    before = raw.read_bytes()
    assert main([command, str(result), "-o", str(raw), "--force"]) == 2
    assert "would replace its input" in capsys.readouterr().err
    assert raw.read_bytes() == before
