from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from cytovox.errors import InputNotFoundError, UsageError
from cytovox.segm import MPOSegmenter, load_segmenter_file
from cytovox.segm.find_segmenters import file_of_segmenter, is_segmenter_file

USER_FILE = Path(__file__).with_name("user_segmenters.py")
MINE = """
from cytovox.segm import MPOSegmenter

class SegmentMine(MPOSegmenter):
    '''Dark things.'''

    @staticmethod
    def segment_algorithm(image, *, level: int = 90):
        return image < level
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    folder = tmp_path / "a.b c ü 細"
    folder.mkdir()
    path = folder / "my.own file.py"
    path.write_text(MINE, encoding="utf-8")
    return path


def test_class_from_anywhere(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = load_segmenter_file(f"{mine}:SegmentMine")
    assert issubclass(cls, MPOSegmenter)
    digest = hashlib.sha256(mine.read_bytes()).hexdigest()
    assert cls.get_ppid_code() == f"mine.{digest[:8]}"
    assert cls.__doc__ == "Dark things."
    assert cls is load_segmenter_file(mine)
    monkeypatch.chdir(mine.parent)
    assert cls is load_segmenter_file(f"{mine.name}:SegmentMine")
    assert [p.name for p in mine.parent.iterdir()] == [mine.name]  # no litter
    path, digest = file_of_segmenter(cls)
    assert path == mine.resolve()
    assert len(digest) == 16
    assert cls(level=3).get_ppid() == f"mine.{digest[:8]}:l=3:cle=1^f=1^clo=5"


def test_instances_and_classes_cross_processes(mine: Path) -> None:
    cls = load_segmenter_file(mine)
    assert pickle.loads(pickle.dumps(cls)) is cls
    image = np.arange(20, dtype=np.uint8).reshape(4, 5)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        mask = pool.submit(cls(level=7).segment_single, image).result(600)
    np.testing.assert_array_equal(mask, image < 7)


def test_child_needs_nothing_but_the_pickle(mine: Path) -> None:
    text = pickle.dumps(load_segmenter_file(mine)(level=4)).hex()
    code = (
        f"import pickle; s = pickle.loads(bytes.fromhex('{text}'));"
        "print(type(s).__name__, s.kwargs)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True
    )
    assert done.stdout.strip() == "SegmentMine {'level': 4}"


def test_changed_file_is_another_class(mine: Path) -> None:
    old = load_segmenter_file(mine)
    mine.write_text(MINE.replace("90", "80"), encoding="utf-8")
    new = load_segmenter_file(mine)
    assert new is not old
    assert new().kwargs == {"level": 80}
    assert old().kwargs == {"level": 90}


def test_worker_processes(mine: Path) -> None:
    images = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    with load_segmenter_file(mine)(level=33, num_workers=2) as segmenter:
        np.testing.assert_array_equal(segmenter.segment_batch(images), images < 33)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("SegmentUnfinished", "lacks segment_algorithm"),
        ("SegmentBound", "not a static method"),
        ("SegmentDrak", "'SegmentDrak' is not in it.*did you mean 'SegmentDark'"),
        ("NUMBER", "'NUMBER' is not a segmenter class"),
        ("MPOSegmenter", "'MPOSegmenter' is not a segmenter class"),
        ("", "does not define one segmenter.*SegmentDark"),
    ],
)
def test_classes_that_are_refused(spec: str, text: str) -> None:
    with pytest.raises(UsageError, match=text) as caught:
        load_segmenter_file(f"{USER_FILE}:{spec}" if spec else USER_FILE)
    assert caught.value.path == str(USER_FILE)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("def broken(:\n", "SyntaxError.*line 1"),
        ("import not_a_module_at_all\n", "No module named 'not_a_module_at_all'"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("import sys; sys.exit(3)\n", "SystemExit: 3"),
        ("\0", "cannot be loaded"),
        ("", "does not define one segmenter.*defines none"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, source: str, text: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(source, encoding="utf-8")
    for _ in range(2):
        with pytest.raises(UsageError, match=text):
            load_segmenter_file(path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="does not exist"):
        load_segmenter_file(tmp_path / "missing.py")
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        load_segmenter_file(tmp_path / "folder.py")
    with pytest.raises(UsageError, match="does not name a Python file"):
        load_segmenter_file("thresh")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.py:B", True),
        (r"C:\x\a.py:B", True),
        (r"C:\x\a.py", True),
        ("/x:y/a.py", True),
        ("thresh", False),
        ("thresh:t=-6", False),
        ("mod:Class", False),
    ],
)
def test_is_segmenter_file(text: str, expected: bool) -> None:
    assert is_segmenter_file(text) is expected


def test_names_below_the_module_that_mean_nothing() -> None:
    for name in ("nothing", "a:b:!!", "a:b:c:d", "a:b:c"):
        with pytest.raises(ImportError):
            __import__(f"cytovox.recipe.python_file.{name}")


def test_an_edited_file_has_another_code(mine: Path) -> None:
    before = load_segmenter_file(f"{mine}:SegmentMine").get_ppid_code()
    mine.write_text(mine.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")
    assert load_segmenter_file(f"{mine}:SegmentMine").get_ppid_code() != before
