"""The wheel builds, installs into an empty environment, and works there."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def call(*words: str | Path, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=environment | {"PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.timeout(600)
def test_demo_runs_from_a_wheel_in_an_empty_environment(tmp_path: Path) -> None:
    pip = ("-m", "pip", "--disable-pip-version-check", "--quiet")
    call(sys.executable, *pip, "wheel", "--no-deps", "-w", tmp_path, ROOT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("cytovox-*.whl")
    venv.create(tmp_path / "env")
    programs = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    # To compile all that is installed would take longer than the rest.
    into = (*pip, "--python", programs / "python", "install", "--no-compile")
    call(sys.executable, *into, wheel, cwd=tmp_path)
    where = call(
        programs / "python", "-c", "import cytovox; print(cytovox.__file__)", cwd=tmp_path
    )
    assert Path(where.strip()).is_relative_to(tmp_path.resolve())
    said = call(programs / "cytovox", "demo", "--out", tmp_path / "demo", cwd=tmp_path)
    assert "found" in said
    (picture,) = (tmp_path / "demo").glob("*.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
