"""Compiled kernels are kept, and never outlive what they were made of."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numba
import pytest

from cytovox.kernels import jit, kept_kernels

OUTER = """
from pathlib import Path
from cytovox.kernels import jit, kept_kernels
kept_kernels._HERE = Path(__file__).parent
from inner import once

DECLARES = '''
from .inner import once
'''

@jit.kernel()
def twice(x):
    return 2 * once(x)

if __name__ == "__main__":
    from numba.core import event
    with event.install_recorder("numba:compile") as compiling:
        print(twice(3), "compiled" if compiling.buffer else "loaded")
"""
INNER = """
from cytovox.kernels.jit import kernel

@kernel()
def once(x):
    return x + {}
"""
KINDS = """
import sys
import numpy as np
from cytovox.kernels import kept_kernels
from cytovox.kernels.jit import kernel

if "other" in sys.argv:
    kept_kernels._LOADS_ALONE = ("0.0.",)
if "full" in sys.argv:  # what a disk without room does to each file
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

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
def wraps(x):
    return x[0] * x[0]

@kernel(division="numpy")
def ratio(x, y):
    return x[0] / y[0]

@kernel()
def late(x):
    return np.sort(x)[0]

def use():
    x = np.arange(1.0, 9.0)
    made, total = logs(x)
    assert np.allclose(made, np.log(x) + np.sqrt(x) ** 3, 1e-14) and total == made[-1]
    assert check(x, 2) == 3.0
    try:
        check(x, 99)
    except IndexError as err:
        assert str(err) == "too far"
    assert wraps(np.array([2**63 + 3], np.uint64)) == 9
    assert ratio(x, np.zeros(1)) == np.inf

if __name__ == "__main__":
    from numba.core import event
    with event.install_recorder("numba:compile") as compiling:
        use()
    print("compiled" if compiling.buffer else "loaded")
    alone = "numba.np.linalg" not in sys.modules
    if "late" in sys.argv:
        assert late(np.ones(3)) == 1.0
    if "alone" in sys.argv:
        print(alone)
"""
ENCODERS = """
import sys
import numpy as np
from cytovox.kernels.zstd_images import pack_images
from cytovox.kernels.zstd_masks import pack_masks

images = np.arange(8000).reshape(2, 40, 100) % 17
assert len(pack_images(images.astype(np.uint8), 1600, True))
assert len(pack_masks(np.zeros((2, 40, 100), np.uint8)))
print("numba.np.linalg" not in sys.modules)
"""


def words(folder, script, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "error", script, *arguments],
        cwd=folder,
        env={
            **os.environ,
            "NUMBA_DISABLE_JIT": "0",
            "CYTOVOX_CACHE_DIR": str(folder / "cache"),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A folder with a script whose kernels have been compiled once."""
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "kinds.py").write_text(KINDS, encoding="utf-8")
    assert words(folder, "kinds.py") == ["compiled"]
    return folder


@pytest.fixture
def kinds(compiled, tmp_path):
    """Run that script, with kept kernels of its own below ``cache``."""

    def run(*arguments, **environment):
        where = {"CYTOVOX_CACHE_DIR": str(tmp_path / "cache"), **environment}
        return words(compiled, "kinds.py", *arguments, **where)

    run.folder = tmp_path
    return run


@pytest.fixture
def kept(compiled, kinds):
    """The same, with a copy of the kernels that have been compiled."""
    shutil.copytree(compiled / "cache", kinds.folder / "cache")
    return kinds


def test_a_changed_import_makes_a_kernel_new(tmp_path):
    (tmp_path / "outer.py").write_text(OUTER, encoding="utf-8")
    (tmp_path / "inner.py").write_text(INNER.format(1), encoding="utf-8")
    assert words(tmp_path, "outer.py") == ["8", "compiled"]
    assert words(tmp_path, "outer.py") == ["8", "loaded"]
    (tmp_path / "inner.py").write_text(INNER.format(5), encoding="utf-8")
    assert words(tmp_path, "outer.py") == ["16", "compiled"]


def test_a_kept_kernel_is_loaded(kept):
    assert kept() == ["loaded"]
    # one that is not kept is compiled in a process that has loaded others
    assert kept("late") == ["loaded"]


TRIED = pytest.mark.skipif(
    not numba.__version__.startswith(kept_kernels._LOADS_ALONE), reason="not tried with this numba"
)


@TRIED
def test_a_kept_kernel_is_loaded_without_the_compiler(kept):
    assert kept("alone") == ["loaded", "True"]
    # a version of numba with which loading them was not tried without its compiler
    assert kept("alone", "other") == ["loaded", "False"]


@TRIED
def test_encoders_need_no_more_of_numba_than_other_kernels(tmp_path):
    (tmp_path / "encoders.py").write_text(ENCODERS, encoding="utf-8")
    cache = {"CYTOVOX_CACHE_DIR": str(kept_kernels.cache_folder())}
    said = words(tmp_path, "encoders.py", **cache)
    if said == ["False"]:  # these have just been compiled
        said = words(tmp_path, "encoders.py", **cache)
    assert said == ["True"]


@pytest.mark.parametrize("ending", [".nbi", ".nbc"])
def test_a_damaged_file_of_a_kept_kernel_is_replaced(kept, ending):
    for file in (kept.folder / "cache").rglob(f"*{ending}"):
        file.write_bytes(file.read_bytes()[:-20])
    assert kept() == ["compiled"]
    assert kept() == ["loaded"]


def test_a_folder_that_cannot_be_written_is_done_without(kinds):
    (kinds.folder / "file").write_text("x")
    below = str(kinds.folder / "file" / "below")
    assert kinds(CYTOVOX_CACHE_DIR=below) == ["compiled"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no sizes of files")
def test_a_full_disk_is_done_without(kinds):
    assert kinds("full") == ["compiled"]
    assert not [path for path in (kinds.folder / "cache").rglob("*") if ".tmp." in path.name]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no sizes of files")
def test_a_full_disk_does_not_matter_to_kept_kernels(kept):
    assert kept("full") == ["loaded"]


def test_kernels_run_as_python(kinds):
    assert kinds(NUMBA_DISABLE_JIT="1") == ["loaded"]
    assert not (kinds.folder / "cache").exists()


def test_other_code_keeps_its_own_cache():
    before = numba.config.CACHE_DIR

    @jit.kernel()
    def one(x):
        return x

    assert one(1) == 1
    assert before == numba.config.CACHE_DIR
