"""`import dcnum` comes to cytovox, here and in processes started from here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cytovox.compat.dcnum.finder import ON_PATH, environment_as_dcnum

IMPORTS = """
import dcnum, dcnum.logic.slot_register, dcnum.common as common
from dcnum import segm
from dcnum.feat import feat_background, feat_contour
from dcnum.segm import segm_thresh
from dcnum.write import *

assert dcnum.__version__.startswith("0.31.0+cytovox"), dcnum.__version__
assert dcnum.__spec__.origin == "cytovox"
assert dcnum.read.HDF5Data.__module__ == "cytovox.read.hdf5_data"
assert segm.segm_thresh.SegmentThresh is segm_thresh.SegmentThresh
assert issubclass(segm_thresh.SegmentThresh, segm.UNISegmenter)
assert HDF5Writer is dcnum.write.writer.HDF5Writer
assert "HDF5Writer" in dir(dcnum.write) and "writer" in dir(dcnum.write)
assert feat_background.BackgroundSparseMed.get_ppid_code() == "sparsemed"
assert common.h5py.__name__ == "h5py"
for wrong in ("dcnum.write.nothing", "dcnum.nothing"):
    try:
        __import__(wrong)
    except ModuleNotFoundError:
        pass
    else:
        raise AssertionError(wrong)
try:
    dcnum.write.nothing
except AttributeError as err:
    assert "cytovox" in str(err)
else:
    raise AssertionError
print("all here")
"""

SPAWNS = """
import multiprocessing, subprocess, sys

def child():
    import dcnum.read
    print("spawned", dcnum.__spec__.origin, dcnum.read.HDF5Data.__module__, flush=True)

if __name__ == "__main__":
    if "install" in sys.argv:
        from cytovox.compat.dcnum import install_as_dcnum
        install_as_dcnum()
        install_as_dcnum()
    process = multiprocessing.get_context("spawn").Process(target=child)
    process.start()
    process.join(600)
    code = "import dcnum.segm; print('started', dcnum.segm.MPOSegmenter.__module__)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)
"""

#: Hides an installed dcnum, as if it were not, and shows that it was run.
SITE = """
import importlib.machinery, os

find_spec = importlib.machinery.FileFinder.find_spec

def hide(self, fullname, target=None):
    if fullname == "dcnum" and "on-path" not in self.path:
        return None
    return find_spec(self, fullname, target)

importlib.machinery.FileFinder.find_spec = hide
os.environ["SITECUSTOMIZE_OF_THE_USER"] = "ran"
"""


def script(folder: Path, text: str, *arguments: str, **environment: str) -> str:
    path = folder / "script.py"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(path), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


INSTALL = "from cytovox.compat.dcnum import install_as_dcnum\ninstall_as_dcnum()\n"


def test_all_ways_to_import(tmp_path: Path) -> None:
    assert "all here" in script(tmp_path, INSTALL + IMPORTS)


def test_the_folder_on_the_path_is_enough(tmp_path: Path) -> None:
    assert "all here" in script(tmp_path, IMPORTS, **environment_as_dcnum(dict(os.environ)))


@pytest.mark.parametrize("how", ["install", "path"])
def test_processes_started_from_there(tmp_path: Path, how: str) -> None:
    environment = environment_as_dcnum({}) if how == "path" else {}
    text = script(tmp_path, SPAWNS, how, **environment)
    assert "spawned cytovox cytovox.read.hdf5_data" in text
    assert "started cytovox.segm.segmenter_mpo" in text


def test_without_dcnum_and_with_a_sitecustomize_of_the_user(
    tmp_path: Path, run_as_dcnum: Callable
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITE, encoding="utf-8")
    (tmp_path / "mine.py").write_text("here = True\n", encoding="utf-8")
    code = "import mine, os; print(mine.here, os.environ['SITECUSTOMIZE_OF_THE_USER'])\n"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    hidden = subprocess.run(
        [sys.executable, "-c", "import dcnum"],
        env=environment,
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert b"No module named 'dcnum'" in hidden.stderr
    text = script(tmp_path, code + IMPORTS, **environment_as_dcnum(environment))
    assert "True ran" in text
    assert "all here" in text


def test_environment_keeps_what_was_there_and_grows_only_once() -> None:
    once = environment_as_dcnum({"PYTHONPATH": "mine", "OTHER": "kept"})
    assert once["PYTHONPATH"].split(os.pathsep) == [str(ON_PATH), "mine"]
    assert once["OTHER"] == "kept"
    assert environment_as_dcnum(once) == once


@pytest.mark.peer
def test_too_late_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("dcnum")
    text = """
import dcnum
from cytovox.compat.dcnum import install_as_dcnum
from cytovox.errors import UsageError
try:
    install_as_dcnum()
except UsageError as err:
    print(err)
"""
    assert "has been imported" in script(tmp_path, text)


def test_importing_the_package_installs_nothing(tmp_path: Path) -> None:
    text = """
import sys
before = list(sys.meta_path), list(sys.path)
import cytovox.compat.dcnum
assert (list(sys.meta_path), list(sys.path)) == before
assert not {"numpy", "h5py", "numba"} & set(sys.modules)
"""
    script(tmp_path, text)
