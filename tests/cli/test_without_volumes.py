"""What an installation without the extra ``[volumes]`` does, and what it says of the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import cytovox
import cytovox.blockwise
from cytovox.cli.main import main
from cytovox.errors import UsageError
from cytovox.read import HDF5Data, open_volume
from cytovox.run import extras
from cytovox.testing import simulate_recording

HINT = extras.hint_for("volumes")
#: Python runs this at each start, in worker processes as well.
BLOCKING = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in {{*{sorted(extras.EXTRAS["volumes"])}, "skimage"}} or name == "funlib":
            raise ModuleNotFoundError(f"No module named '{{name}}'", name=name)

sys.meta_path.insert(0, Absent())
"""
DRIVER = """
import json, sys
from cytovox.cli.main import main

if __name__ == "__main__":
    commands = json.loads(sys.argv[1])
    print("codes", *[main(words) for words in commands])
"""


def test_commands_for_recordings_need_none_of_it(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKING)
    (tmp_path / "driver.py").write_text(DRIVER)
    (tmp_path / "day").mkdir()
    for name in "ab":
        simulate_recording(tmp_path / "day" / f"{name}.rtdc", frames=30, seed=ord(name))
    commands = [
        ["demo", "--frames", "40"],
        ["run", "day", "-o", "results"],
        ["info", "results/a_dcn.rtdc"],
        ["verify", "results"],
        ["export", "results/a_dcn.rtdc", "--to", "csv"],
        ["stages"],
        ["doctor"],
    ]
    done = subprocess.run(
        [sys.executable, "driver.py", json.dumps(commands)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    *others, doctor = done.stdout.splitlines()[-1].split()[1:]
    assert others == ["0"] * 6, done.stdout + done.stderr
    assert doctor in "03", done.stdout
    assert f"not installed; for volumes in chunks: {HINT}" in done.stdout
    assert "2 files: 2 done" in done.stdout


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "is_installed", lambda package: package != "tensorstore")


@pytest.mark.parametrize(
    "command",
    [
        ["volume", "segment", "a.tif", "b.zarr", "-f", "label"],
        ["volume", "info", "b.zarr"],
        ["volume", "plan", "a.tif", "-f", "label"],
        ["simulate", "volume", "a.tif"],
        ["demo", "--volume"],
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("absent")
def test_commands_for_volumes_name_the_extra(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    assert capsys.readouterr().err == (
        f"error: tensorstore is not installed, but needed for volumes ({HINT})\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("absent")
def test_help_of_volumes_needs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["volume", "segment", "--help"]) == 0


@pytest.mark.usefixtures("absent")
def test_verify_of_a_volume_names_the_extra(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "zarr.json").write_text("{}")
    assert main(["verify", str(tmp_path / "a.zarr")]) == 2
    assert HINT in capsys.readouterr().out


@pytest.mark.parametrize(
    "use",
    [
        lambda: open_volume("a.zarr"),
        lambda: cytovox.segment_volume,
        lambda: cytovox.blockwise.segment_blockwise,
    ],
    ids=["open_volume", "segment_volume", "blockwise"],
)
@pytest.mark.usefixtures("absent")
def test_python_names_the_extra(use: Callable[[], object]) -> None:
    with pytest.raises(UsageError, match="tensorstore is not installed") as caught:
        use()
    assert caught.value.hint == HINT


def test_a_recording_compressed_by_lzf_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.rtdc"
    simulate_recording(path, frames=5)
    with h5py.File(path, "a") as h5:
        h5.create_dataset("events/speed", data=np.arange(5.0), chunks=(5,), compression="lzf")
    monkeypatch.setattr(extras, "is_installed", lambda package: package != "imagecodecs")
    with pytest.raises(UsageError, match="'speed', which is compressed by lzf") as caught:
        HDF5Data(path)
    assert (caught.value.path, caught.value.hint) == (str(path), HINT)
