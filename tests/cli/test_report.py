"""``cytovox report``: what it writes, says and returns."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import pytest

from cytovox.cli.main import main
from cytovox.testing import simulate_recording


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    simulate_recording(folder / "raw.rtdc", frames=30, cells=2, seed=4)
    assert main(["run", str(folder / "raw.rtdc"), "--quiet"]) == 0
    return folder / "raw_dcn.rtdc"


def test_a_result(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(result)]) == 0
    out = capsys.readouterr().out
    page = result.with_name("report.html")
    assert out.startswith(f"{page}: 1 result, ")
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert main(["report", str(result)]) == 1
    assert "the file exists (give --force" in capsys.readouterr().err
    assert main(["report", "-q", "--force", "--json", str(result)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["page"] == str(page)
    assert told["exit_code"] == 0
    (numbers,) = told["results"]
    with h5py.File(result) as h5:
        assert numbers["events"] == h5.attrs["experiment:event count"]
    assert numbers["error"] is None


def test_some_that_cannot_be_read(
    result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording, gone = result.with_name("raw.rtdc"), tmp_path / "gone.rtdc"
    page = tmp_path / "new" / "page.html"
    words = ["report", str(result), str(recording), str(gone), "-o", str(page), "--json"]
    assert main(words) == 4
    out, err = capsys.readouterr()
    assert "raw.rtdc: this is not a result of a run (measure it first: cytovox run)" in err
    assert "there is no such file" in err
    errors = [one["error"] for one in json.loads(out)["results"]]
    assert [bool(error) for error in errors] == [False, True, True]
    assert "this is not a result" in page.read_text("utf-8")


def test_none_that_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path / "gone.rtdc"), "-o", str(tmp_path)]) == 74
    assert not list(tmp_path.iterdir())
    assert main(["report", str(tmp_path)]) == 2
    assert "holds no results" in capsys.readouterr().err


def test_a_damaged_result_is_a_finding(result: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.rtdc"
    shutil.copy(result, damaged)
    with h5py.File(damaged, "a") as h5:
        h5.attrs["pipeline:dcnum yield"] = 1
    assert main(["report", str(damaged), "-q"]) == 3
    assert "is DAMAGED" in (tmp_path / "report.html").read_text("utf-8")
