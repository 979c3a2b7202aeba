"""How functions reach workers, and what their tracebacks name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import daisy
import pytest
from funlib.geometry import Roi

from cytovox.blockwise import DaCapoBlockwiseTask, run_blockwise
from cytovox.blockwise.functions import find_function
from support.blocks import run_blocks

#: What cannot be pickled: only the file itself can make it again.
LOCKED = """
import threading

lock = threading.Lock()
"""
WORKER_FILE = f"""{LOCKED}
def spawn_worker(bad):
    inner = threading.Lock()

    def work(block):
        with lock, inner:
            if block.write_roi.begin[0] == bad:
                raise ValueError("a bad block")

    return work
"""
BLOCKS = [SimpleNamespace(index=0), SimpleNamespace(index=1)]


def region(begin: int, size: int) -> Roi:
    return Roi((begin,), (size,))


def test_a_worker_loads_the_worker_file_itself(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(WORKER_FILE)
    block = region(0, 10)
    result = run_blockwise(file, region(0, 30), block, block, 1, 0, bad=20)
    assert (result.done, result.undone) == (2, 1)
    line = 1 + WORKER_FILE.splitlines().index('                raise ValueError("a bad block")')
    assert f'File "{file}", line {line}, in work\n    ' in result.failed[0].traceback
    assert 'raise ValueError("a bad block")' in result.failed[0].traceback


def test_daisy_itself_runs_a_worker_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(WORKER_FILE)
    block = region(0, 10)
    task = DaCapoBlockwiseTask(file, region(0, 30), block, block, 1, 0, bad=None)
    states = daisy.run_blockwise([task])
    assert states


@pytest.mark.parametrize("made", ["lambda block: None", "make()"])
def test_a_function_of_a_file_travels_by_the_name_it_was_asked_by(
    tmp_path: Path, made: str
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"""{LOCKED}
def make():
    def inner(block):
        with lock:
            return {{"file": __file__}}
    return inner

segment = {made.replace("None", "lock.locked() or {'file': __file__}")}
""")
    result = run_blocks(BLOCKS, find_function(f"{file}:segment"), workers=1)
    assert result.rows[1] == {"file": str(file)}


def test_a_traceback_of_an_inner_function_names_its_file() -> None:
    def misbehave(block: Any) -> None:
        raise ValueError(f"block {block.index} is bad")

    result = run_blocks(BLOCKS, misbehave, workers=1, retries=0)
    line = misbehave.__code__.co_firstlineno + 1
    assert f'File "{__file__}", line {line}, in misbehave' in result.failed[0].traceback


def test_a_traceback_of_a_typed_function_names_its_cell() -> None:
    source = "def misbehave(block):\n    raise ValueError('bad')\n"
    typed: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, "<cell 7>", "exec"), typed)
    result = run_blocks(BLOCKS, typed["misbehave"], workers=1, retries=0)
    assert 'File "<cell 7>", line 2, in misbehave' in result.failed[0].traceback
