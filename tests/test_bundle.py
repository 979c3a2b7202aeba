"""What ``make bundle`` has built measures recordings where there is no Python."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cytovox.testing import simulate_recording

FOLDER = Path(__file__).resolve().parents[1] / "dist" / "cytovox"
PROGRAM = FOLDER / ("cytovox.exe" if os.name == "nt" else "cytovox")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PROGRAM.is_file(), reason="there is no bundle; say make bundle"),
]


def call(folder: Path, *words: str) -> str:
    """Run the program with nothing in its environment but a home and what Windows needs."""
    kept = {name: os.environ[name] for name in ("SYSTEMROOT", "TEMP") if name in os.environ}
    done = subprocess.run(
        [PROGRAM, *words],
        cwd=folder,
        env={**kept, "HOME": str(folder), "LOCALAPPDATA": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_demo_and_run(tmp_path: Path) -> None:
    assert "missed 0, extra 0" in call(tmp_path, "demo", "--frames", "100")
    kept = [path.suffix for path in tmp_path.rglob("*.nbi")]
    assert kept, "compiled kernels are kept"
    (tmp_path / "day").mkdir()
    for name in "ab":
        simulate_recording(tmp_path / "day" / f"{name}.rtdc", frames=20, seed=ord(name))
    assert "2 files: 2 done" in call(tmp_path, "run", "day", "-o", "results")
    assert "2 files: 2 good, 0 not" in call(tmp_path, "verify", "results")
    call(tmp_path, "report", "results", "-o", "report.html")
    assert "<svg" in (tmp_path / "report.html").read_text("utf-8")
    assert "all is well" in call(tmp_path, "doctor", ".")
