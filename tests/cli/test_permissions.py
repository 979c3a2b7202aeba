"""What the options of a command allow goes with what it reads, not through the process."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from cytovox.cli.main import main
from cytovox.read import HDF5Data, Permissions, const, open_volume
from cytovox.read.permissions import ALLOW_VARIABLE, ROOTS_VARIABLE
from cytovox.testing import simulate_recording


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a recording with a log that is longer than is read."""
    monkeypatch.setitem(const.MAX_TEXT_BYTES, "logs", 300)
    path = tmp_path / "raw.rtdc"
    simulate_recording(path, frames=30)
    with h5py.File(path, "a") as h5:
        h5.create_dataset("logs/long", data=["a line of a log"] * 40, dtype=h5py.string_dtype())
    return path


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be allowed by the environment, nor set there."""
    for name in (ALLOW_VARIABLE, ROOTS_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    monkeypatch.setattr(os, "environ", _Frozen(before))


class _Frozen(dict):
    def __setitem__(self, name: str, value: str) -> None:
        assert not name.startswith("CYTOVOX"), f"{name} was set"
        super().__setitem__(name, value)


def test_a_run_that_may_read_more_copies_it_and_says_so(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = raw.with_name("out.rtdc")
    words = ["run", str(raw), "-o", str(out), "--quiet"]
    assert main(words) == 1
    assert "'logs/long'" in capsys.readouterr().err
    assert main([*words, "--allow-oversized"]) == 0
    with HDF5Data(out, permissions=Permissions(oversized=True)) as data:
        assert len(data.logs["long"]) == 40
    out.unlink()
    assert main(words) == 1  # the next command may not


def test_info_that_may_read_more(raw: Path) -> None:
    assert main(["info", str(raw), "--allow-oversized"]) == 0
    assert main(["info", str(raw)]) == 1


def test_verify_of_basins_in_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw, tap = tmp_path / "day" / "raw.rtdc", tmp_path / "results" / "tap.rtdc"
    raw.parent.mkdir()
    simulate_recording(raw, frames=30)
    assert main(["run", str(raw), "-o", str(tap), "--basins", "tap", "--quiet"]) == 0
    words = ["verify", str(tap)]
    for allowed in ([], ["--basin-root", str(raw.parent)], []):
        assert main([*words, *allowed]) == 0
        assert ("was not looked at" in capsys.readouterr().out) != bool(allowed)


def test_commands_of_volumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = np.zeros((20, 24), "u1")
    image[5:15, 5:15] = 200
    (tmp_path / "voxels.raw").write_bytes(image.tobytes())
    with h5py.File(tmp_path / "a.h5", "w") as h5:
        kept = [(str(tmp_path / "voxels.raw"), 0, image.nbytes)]
        h5.create_dataset("raw", image.shape, image.dtype, external=kept)
    volume, labels = f"{tmp_path / 'a.h5'}:/raw", str(tmp_path / "labels.zarr")
    mask = str(tmp_path / "mask.zarr")
    segment = ["segment", volume, labels, "-f", "label", "--set", "threshold=100"]
    for words in (
        ["info", volume],
        ["plan", volume, "-f", "label", "--set", "threshold=100", "--stitch", "touch"],
        [*segment, "--stitch", "touch", "--workers", "1"],
        ["replay", labels, "0"],
        ["threshold", volume, mask, "-t", "100", "--workers", "1"],
        ["relabel", volume, str(tmp_path / "numbered.zarr"), "--workers", "1"],
    ):
        assert main(["volume", *words]) == 1, words
        assert "voxels.raw" in capsys.readouterr().err
        assert main(["volume", "--allow-external", *words]) == 0, words
        capsys.readouterr()
    with open_volume(mask) as found:
        np.testing.assert_array_equal(found[...], image > 100)
