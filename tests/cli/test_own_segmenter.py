"""The segmenter of the how-to page runs from its file and when it is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from cytovox.testing import simulate_recording

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "own-segmenter.md"


@pytest.fixture(scope="module")
def code() -> str:
    """The program on the page."""
    (first, *_) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    return first


def cytovox(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cytovox", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "site"), "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=600,
        check=False,
    )


def test_the_page_keeps_its_promise_of_twenty_lines(code):
    body = code[code.index("class SegmentMine") : code.index("image = np.zeros")]
    assert len([line for line in body.splitlines() if line.strip()]) <= 20


def test_from_a_file_and_from_an_entry_point(tmp_path, code):
    simulate_recording(tmp_path / "raw.rtdc", frames=30, shape=(60, 120), save_truth=False)
    (tmp_path / "my_file.py").write_text(code, encoding="utf-8")
    package = tmp_path / "site" / "mypackage"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(code, encoding="utf-8")
    info = tmp_path / "site" / "mypackage-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mypackage\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[cytovox.segmenters]\nmine = mypackage:SegmentMine\n", encoding="utf-8"
    )
    for out, name in (("a.rtdc", "my_file.py:SegmentMine"), ("b.rtdc", "mine")):
        done = cytovox(
            tmp_path,
            *("run", "raw.rtdc", "-o", out, "--segmenter", name, "--workers", "2"),
            *("--set", "segmenter.level=7"),
        )
        assert done.returncode == 0, done.stdout + done.stderr
    with h5py.File(tmp_path / "a.rtdc") as a, h5py.File(tmp_path / "b.rtdc") as b:
        assert a.attrs["pipeline:dcnum segmenter"].startswith("mine.")
        assert b.attrs["pipeline:dcnum segmenter"].startswith("mine:l=7^n=2:")
        assert len(a["events/mask"]) > 10
        assert a["events/mask"][:].tobytes() == b["events/mask"][:].tobytes()
        assert a["events/deform"][:].tobytes() == b["events/deform"][:].tobytes()
