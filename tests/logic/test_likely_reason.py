"""A recording with few events says why, and what would give more; never at the cost of the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cytovox.cli.main import main
from cytovox.logic import DCNumPipelineJob
from cytovox.logic import likely_reason as module
from cytovox.logic.frame_source import FrameSource
from cytovox.logic.likely_reason import is_few, likely_reason
from support.drawn import draw_recording

FAINT = (20, 40, 30, 50, 5)
CELL = (20, 40, 30, 50, 60)
THIN = (10, 12, 60, 80, 60)


def draw(path: Path, *patches: Any, frames: int = 30) -> Path:
    """Draw a few frames with the same patches, and flat ones between them."""
    return draw_recording(path, [list(patches) if n % 3 == 1 else [] for n in range(frames)])


def reason_of(path: Path, **options: Any) -> str | None:
    job = DCNumPipelineJob(path, num_procs=1, **options)
    with FrameSource(job) as source:
        return likely_reason(source, job)


@pytest.mark.parametrize(
    ("events", "frames", "few"), [(0, 1, True), (9, 1000, True), (10, 1000, False), (0, 0, False)]
)
def test_few_are_less_than_one_in_a_hundred_frames(events: int, frames: int, few: bool) -> None:
    assert is_few(events, frames) == few


def test_a_run_says_which_threshold_would_find_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = draw(tmp_path / "faint.rtdc", FAINT)
    assert main(["run", str(path), "-q", "--json"]) == 3
    (one,) = json.loads(capsys.readouterr().out)["results"]
    reason = one["likely_reason"]
    assert reason == (
        "in 30 frames no pixel is below -6: the lowest difference is -5; "
        "-4 would give 10 events in 30 frames"
    )
    assert any(reason in text for text in one["warnings"])
    words = ["run", str(path), "-q", "--json", "--force", "--set", "segmenter.thresh=-4"]
    assert main(words) == 0
    (one,) = json.loads(capsys.readouterr().out)["results"]
    assert one["events"] == 10
    assert one["likely_reason"] is None


def test_the_table_has_a_line_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = draw(tmp_path / "thin.rtdc", THIN)
    assert main(["run", str(path)]) == 3
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (
        f"{path}: no events, likely because in 30 frames 10 objects are found at -6, 10 are lost "
        "to opening; the largest of these is lost to opening: a disk of radius 2 fits nowhere "
        "into its 40 px"
    )


def test_repeated_frames_are_the_reason(tmp_path: Path) -> None:
    path = draw_recording(tmp_path / "raw.rtdc", [[]] * 30)
    assert reason_of(path) == "29 of 30 frames equal the frame before"


def test_a_threshold_that_is_too_strict_is_named(tmp_path: Path) -> None:
    path = draw(tmp_path / "raw.rtdc", CELL)
    reason = reason_of(path, segmenter_kwargs={"thresh": -90})
    assert reason is not None
    assert reason.endswith("-45 would give 10 events in 30 frames")


def test_not_more_than_200_frames_are_looked_at(tmp_path: Path) -> None:
    path = draw(tmp_path / "raw.rtdc", FAINT, frames=700)
    assert "events in 200 frames" in str(reason_of(path))


def test_it_is_never_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "analyse", fail)
    path = draw(tmp_path / "faint.rtdc", FAINT)
    assert main(["run", str(path), "-q", "--json"]) == 3
    (one,) = json.loads(capsys.readouterr().out)["results"]
    assert (one["state"], one["findings"], one["likely_reason"]) == ("done", ["no events"], None)
