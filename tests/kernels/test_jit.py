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


KINDS = """
import sys
import numpy as np
from cytovox.kernels import jit
from cytovox.kernels.jit import kernel

if "other" in sys.argv:
    jit._LOADS_ALONE = ("0.0.",)

@kernel()
def logs(x):
    made = np.empty(len(x))  # asks for memory
    for i in range(len(x)):
        made[i] = np.log(x[i]) + np.sqrt(x[i]) ** 3
    return made, made[-1]

@kernel()
def check(x, k):
    if k >= len(x):
        raise IndexError("too far")  # can raise
    return x[k]

@kernel()
def late(x):
    return np.sort(x)[0]

if __name__ == "__main__":
    x = np.arange(1.0, 9.0)
    made, total = logs(x)
    assert np.array_equal(made, np.log(x) + np.sqrt(x) ** 3) and total == made[-1]
    assert check(x, 2) == 3.0
    try:
        check(x, 99)
    except IndexError as err:
        assert str(err) == "too far"
    loaded = "numba.np.linalg" not in sys.modules
    if "late" in sys.argv:
        assert late(x) == 1.0
    print(loaded, "numba.np.linalg" in sys.modules)
"""


def test_a_kept_kernel_is_loaded_without_the_compiler(tmp_path):
    (tmp_path / "kinds.py").write_text(KINDS, encoding="utf-8")

    def words(*arguments):
        done = subprocess.run(
            [sys.executable, "kinds.py", *arguments],
            cwd=tmp_path,
            env={**os.environ, "CYTOVOX_CACHE_DIR": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )
        return done.stdout.split()

    assert words() == ["False", "True"]
    assert words() == ["True", "False"]
    # one that is not kept is compiled in a process that has loaded others
    assert words("late") == ["True", "True"]
    # a version of numba of which nobody knows whether that is enough
    assert words("other") == ["False", "True"]


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("x")
    monkeypatch.setenv("CYTOVOX_CACHE_DIR", str(blocked / "below"))
    jit.cache_folder.cache_clear()
    try:
        assert jit.cache_folder().is_dir()
    finally:
        jit.cache_folder.cache_clear()


def test_what_is_done_without_it_is_removed_with_its_process(tmp_path):
    (tmp_path / "kinds.py").write_text(KINDS, encoding="utf-8")
    (tmp_path / "file").write_text("x")
    (tmp_path / "temporary").mkdir()
    done = subprocess.run(
        [sys.executable, "kinds.py"],
        cwd=tmp_path,
        env={
            **os.environ,
            "CYTOVOX_CACHE_DIR": str(tmp_path / "file" / "below"),
            "TMPDIR": str(tmp_path / "temporary"),
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert done.stdout.split() == ["False", "True"]
    assert not list((tmp_path / "temporary").iterdir())


def test_other_code_keeps_its_own_cache():
    import numba

    before = numba.config.CACHE_DIR

    @jit.kernel()
    def one(x):
        return x

    assert one(1) == 1
    assert before == numba.config.CACHE_DIR
