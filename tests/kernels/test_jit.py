"""Compiled kernels are kept, and never outlive what they were made of."""

from __future__ import annotations

import os
import subprocess
import sys

from cytovox.kernels import jit


def run(folder, cache):
    code = "import outer, numba; print(outer.twice(3), sum(outer.twice.stats.cache_hits.values()))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "CYTOVOX_CACHE_DIR": str(cache), "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    return done.stdout.split()


OUTER = """
from pathlib import Path
from cytovox.kernels import jit
jit._HERE = Path(__file__).parent
from inner import once

DECLARES = '''
from .inner import once
'''

@jit.kernel()
def twice(x):
    return 2 * once(x)
"""
INNER = """
from cytovox.kernels.jit import kernel

@kernel()
def once(x):
    return x + {}
"""


def test_a_changed_import_makes_a_kernel_new(tmp_path):
    cache = tmp_path / "cache"
    (tmp_path / "outer.py").write_text(OUTER, encoding="utf-8")
    (tmp_path / "inner.py").write_text(INNER.format(1), encoding="utf-8")
    assert run(tmp_path, cache) == ["8", "0"]
    assert run(tmp_path, cache) == ["8", "1"]
    (tmp_path / "inner.py").write_text(INNER.format(5), encoding="utf-8")
    assert run(tmp_path, cache) == ["16", "0"]


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("x")
    monkeypatch.setenv("CYTOVOX_CACHE_DIR", str(blocked / "below"))
    jit.cache_folder.cache_clear()
    try:
        assert jit.cache_folder().is_dir()
    finally:
        jit.cache_folder.cache_clear()


def test_other_code_keeps_its_own_cache():
    import numba

    before = numba.config.CACHE_DIR

    @jit.kernel()
    def one(x):
        return x

    assert one(1) == 1
    assert before == numba.config.CACHE_DIR
