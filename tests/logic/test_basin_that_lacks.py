"""A basin that lists a feature which its file does not have: the definition is damaged."""

import json
from pathlib import Path

import h5py
import pytest

from cytovox.cli.main import main
from cytovox.testing import simulate_recording


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Return a tapped result in which one letter of a basin has changed."""
    simulate_recording(tmp_path / "source.rtdc", frames=20, save_truth=False)
    result = tmp_path / "raw.rtdc"
    assert main(["run", str(tmp_path / "source.rtdc"), "-o", str(result), "--basins", "tap"]) == 0
    with h5py.File(result, "a") as h5:
        for key, dataset in list(h5["basins"].items()):
            text = "\n".join(line.decode() for line in dataset)
            if "time" in json.loads(text)["features"]:
                del h5["basins"][key]
                lines = text.replace('"time"', '"tima"').encode().split(b"\n")
                h5["basins"][key] = lines
    return result


@pytest.mark.parametrize("basins", ["drain", "tap"])
def test_it_is_not_passed_on(damaged: Path, tmp_path: Path, capsys, basins: str) -> None:
    out = tmp_path / "out.rtdc"
    assert main(["run", str(damaged), "-o", str(out), "--basins", basins]) == 1
    assert f"{damaged}: a basin lists 'tima'" in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


def test_a_run_that_measures_again_says_what_is_not_read(damaged: Path, tmp_path, capsys) -> None:
    words = ["-o", str(tmp_path / "out.rtdc"), "--set", "segmenter.thresh=-5"]
    assert main(["run", str(damaged), *words]) == 0
    assert "not read: a basin lists 'tima'" in " ".join(capsys.readouterr().err.split())
