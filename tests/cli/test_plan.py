"""A plan says what a run then does, and writes nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

from cytovox.cli.foresight import Planned, sum_of_minutes
from cytovox.cli.main import main
from cytovox.cli.one_recording import Measuring, Outcome, Recording
from cytovox.errors import InterruptedRunError
from cytovox.logic import DCNumJobRunner, resume
from cytovox.run.lock import OutputLock
from cytovox.testing import simulate_recording
from cytovox.write.ledger import Ledger

BECOMES = {"to do": "done", "skipped": "skipped", "refused": "failed", "left out": "left out"}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "raw.rtdc"
    simulate_recording(path, frames=60, seed=8)
    return path


def said(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, Any]:
    capsys.readouterr()
    code = main([*map(str, words), "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["exit_code"] == code
    return found


def content_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def store_without_frames(source: Path, path: Path) -> None:
    with h5py.File(source) as old, h5py.File(path, "w") as new:
        new.attrs.update(old.attrs)
        new.attrs["experiment:event count"] = 0
        for name, dataset in old["events"].items():
            new.create_dataset(
                f"events/{name}", data=dataset[:0], maxshape=(None, *dataset.shape[1:])
            )


def stop_within(raw: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin a run as the command line would, and stop it when some frames are done."""
    measuring, recording = Measuring(), Recording(str(raw), str(out))
    with measuring.open(recording) as data:
        task = measuring.decide(data, recording, Outcome(str(raw)), lambda _: None)
    task.job.kwargs["data_kwargs"]["image_chunk_size"] = 10
    note = Ledger.note

    def note_and_stop(*args: Any, **kwargs: Any) -> None:
        note(*args, **kwargs)
        raise InterruptedRunError("the run was stopped")

    with monkeypatch.context() as patch:
        patch.setattr(resume, "_SECONDS", 0)
        patch.setattr(Ledger, "note", note_and_stop)
        with pytest.raises(InterruptedRunError), DCNumJobRunner(task.job) as runner:
            runner.run()


def test_a_run_does_what_was_planned(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    names = ["fresh", "finished", "other", "changed", "stopped", "busy"]
    folder, out = tmp_path / "day", tmp_path / "results"
    folder.mkdir()
    for name in names:
        shutil.copy(good, folder / f"{name}.rtdc")
    run = ["run", "-q", "-o", str(out)]
    assert main([*run, str(folder / "finished.rtdc")]) == 0
    assert main([*run, str(folder / "other.rtdc"), "--set", "segmenter.thresh=-7"]) == 0
    shutil.copy(out / "finished_dcn.rtdc", out / "changed_dcn.rtdc")
    with h5py.File(folder / "changed.rtdc", "a") as h5:
        h5["events/image"][3] = 7
    stop_within(folder / "stopped.rtdc", out / "stopped_dcn.rtdc", monkeypatch)
    (folder / "broken.rtdc").write_bytes(b"nothing")
    (folder / "._a.rtdc").write_bytes(b"notes")
    store_without_frames(good, folder / "empty.rtdc")
    shutil.copy(out / "finished_dcn.rtdc", folder / "x_dcn.rtdc")
    words = [folder, "-o", out]
    with OutputLock(out / "busy_dcn.rtdc"):
        before = content_of(tmp_path)
        planned = said(capsys, "plan", *words)
        assert content_of(tmp_path) == before
        made = said(capsys, "run", *words, "--debug")
    plan = {Path(one["input"]).name: one for one in planned["plan"]}
    done = {Path(one["input"]).name: one for one in made["results"]}
    assert plan.keys() == done.keys()
    assert {name: BECOMES[one["state"]] for name, one in plan.items()} == {
        name: one["state"] for name, one in done.items()
    }
    for name, one in plan.items():
        for key in ("output", "error", "reason", "exit_code", "pipeline_hash", "findings"):
            assert one[key] == done[name][key], (name, key)
    assert planned["exit_code"] == made["exit_code"] == 4
    assert "another recipe" in plan["other.rtdc"]["error"]
    assert plan["busy.rtdc"]["exit_code"] == 75
    resumed = plan["stopped.rtdc"]["resumed"]
    assert 0 < resumed < 60
    warnings = done["stopped.rtdc"]["warnings"]
    assert f"resuming a stopped run: {resumed} of 60 frames were done" in warnings
    assert plan["fresh.rtdc"]["resumed"] is None
    assert plan["stopped.rtdc"]["minutes"] <= plan["fresh.rtdc"]["minutes"]
    expected, size = plan["fresh.rtdc"]["result_bytes"], Path(done["fresh.rtdc"]["output"])
    assert expected / 3 < size.stat().st_size < expected * 3
    assert sum(disk["result_bytes"] for disk in planned["disks"]) == sum(
        one["result_bytes"] or 0 for one in planned["plan"]
    )


def test_other_settings_of_a_stopped_run_are_refused_until_forced(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    out = tmp_path / "a_dcn.rtdc"
    stop_within(good, out, monkeypatch)
    words = [good, "-o", out, "--set", "segmenter.thresh=-7"]
    (one,) = said(capsys, "plan", *words)["plan"]
    assert "a run that was stopped had other settings" in one["error"]
    (failed,) = said(capsys, "run", *words)["results"]
    assert failed["error"] == one["error"]
    (one,) = said(capsys, "plan", *words, "--force")["plan"]
    assert (one["state"], one["resumed"]) == ("to do", None)
    assert "cannot be resumed" in " ".join(one["warnings"])


def test_a_folder_that_cannot_be_made_is_refused(good: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_bytes(b"")
    words = [good, "-o", tmp_path / "file" / "results"]
    (one,) = said(capsys, "plan", *words)["plan"]
    (failed,) = said(capsys, "run", *words)["results"]
    assert (one["state"], failed["state"]) == ("refused", "failed")
    assert one["exit_code"] == failed["exit_code"] == 74
    assert "the folder cannot be made" in one["error"]


def test_the_sum_of_all_results_is_compared_with_what_is_free(
    good: Path, tmp_path: Path, free: Callable[[int], None], capsys
) -> None:
    recipes = ["--recipe", "default", "--recipe", "faint", "--recipe", "small"]
    words = [good, "-o", tmp_path / "out", *recipes]
    (disk,) = said(capsys, "plan", *words)["disks"]
    free(disk["result_bytes"] * 2 // 3)
    assert main(["plan", *map(str, words)]) == 0
    out = capsys.readouterr().out
    assert "3 files: 3 to do" in out
    assert f"{good} (faint)" in out
    assert "TOO LITTLE" in out
    free(1000)
    refused = said(capsys, "plan", *words)
    assert refused["exit_code"] == 4
    assert {one["exit_code"] for one in refused["plan"]} == {74}
    assert {one["state"] for one in said(capsys, "plan", *words, "--no-preflight")["plan"]} == {
        "to do"
    }
    assert not (tmp_path / "out").exists()


def test_table_shows_each_file_its_pipeline_and_sums(good: Path, tmp_path: Path, capsys) -> None:
    assert main(["plan", str(good), "-o", str(tmp_path / "out"), "--frames", "20"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["file", "frames", "minutes", "result", "pipeline", "what"]
    assert out[1].split()[:3] == [str(good), "20", "<0.1"]
    assert out[1].endswith("to do")
    (one,) = said(capsys, "plan", good, "--frames", "20")["plan"]
    assert f"{one['pipeline_hash'][:7]}: {one['identifier']}" in out
    assert f"free at {tmp_path}" in out[-2]
    assert "estimates" in out[-1]


def test_recordings_side_by_side_share_the_time() -> None:
    planned = [Planned(name, minutes=1.0, at_once=4) for name in "abcd"]
    assert sum_of_minutes([*planned, Planned("e", minutes=3.0), Planned("f")]) == 4.0


def test_how_long_a_segmenter_takes_may_be_unknown(good: Path, tmp_path: Path, capsys) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        "from cytovox.segm import MPOSegmenter\n"
        "class SegmentDim(MPOSegmenter):\n"
        "    @staticmethod\n"
        "    def segment_algorithm(image, *, level: int = 90):\n"
        "        return image < level\n"
    )
    words = [good, "-o", tmp_path / "out", "--segmenter", own]
    found = said(capsys, "plan", *words)
    assert found["plan"][0]["minutes"] is found["minutes"] is None
    main(["plan", *map(str, words)])
    assert "not known how long" in capsys.readouterr().out


def test_wrong_usage_is_that_of_a_run(good: Path, tmp_path: Path, capsys) -> None:
    assert main(["plan", str(good), "--set", "segmenter.tresh=1"]) == 2
    assert "did you mean 'thresh'?" in capsys.readouterr().err
    assert main(["plan", str(tmp_path / "missing.rtdc")]) == 74
    words = [good, "-o", tmp_path / "o.rtdc", "--recipe", "faint", "--recipe", "small"]
    assert main(["plan", *map(str, words)]) == 2
