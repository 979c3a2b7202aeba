"""What the options of a command allow goes with what it reads, not through the process."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import pytest

from cytovox.cli.main import main
from cytovox.read import HDF5Data, Permissions, const
from cytovox.testing import simulate_recording


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Return a recording with a log that is longer than is read."""
    path = tmp_path / "raw.rtdc"
    simulate_recording(path, frames=30)
    with h5py.File(path, "a") as h5:
        h5.create_dataset("logs/long", data=["a line of a log"] * 40, dtype=h5py.string_dtype())
    return path


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch, raw: Path) -> None:
    """Let there be a limit that the log does not keep."""
    monkeypatch.setitem(const.MAX_TEXT_BYTES, "logs", 300)
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
