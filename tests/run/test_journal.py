"""The journal: lines only added, torn lines survived, changes noticed and named."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from cytovox.errors import InputNotFoundError, OutputBusyError, StorageError, UsageError
from cytovox.recipe.python_file import load_python_file
from cytovox.run import lock as lock_module
from cytovox.run.fingerprint import describe_function, differences, plain
from cytovox.run.journal import FingerprintChangedError, Journal, read_journal
from cytovox.run.lock import LockOwner

GIVEN = {"function": {"source": "a"}, "parameters": {"sigma": 1}, "geometry": {"block": [4, 4]}}


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "journal.jsonl"
    with Journal(path) as journal:
        assert journal.begin(GIVEN) == []
        journal.started("segment", 0, attempt=1)
        journal.done("segment", 0, seconds=1.5, peak_bytes=7, result={"count": np.uint64(3)})
        journal.started("segment", (1, 2), attempt=1)
        journal.failed("segment", (1, 2), error="ValueError: x", traceback="Traceback\n  a\n")
        journal.started("segment", 2)
        written = journal.content
    content = read_journal(path)
    assert content.stages == written.stages
    assert content.fingerprint == GIVEN
    segment = content.stages["segment"]
    assert (segment[0].state, segment[0].seconds, segment[0].result) == ("done", 1.5, {"count": 3})
    assert segment[1, 2].traceback == "Traceback\n  a\n"
    assert segment[2].state == "started"
    for line in path.read_text().splitlines():
        json.loads(line)


def test_a_result_keeps_what_json_can_hold(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.begin({})
        journal.done("s", 0, result={"n": 1, "plane": np.zeros(9), "names": ["a"], "o": object()})
    assert read_journal(tmp_path / "j").stages["s"][0].result == {"n": 1, "names": ["a"]}


def test_torn_lines_cost_only_themselves(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.begin(GIVEN)
        journal.done("s", 0)
        journal.done("s", 1)
    content = path.read_bytes()
    for cut in range(1, len(content.splitlines()[-1])):
        path.write_bytes(content[:-cut] if cut else content)
        with Journal(path) as journal:
            journal.begin(GIVEN)
            assert 0 in journal.completed("s")
            journal.done("s", 2)
        again = read_journal(path)
        assert {0, 2} <= set(again.stages["s"])
        assert again.runs == 2


def test_lines_outlive_sigkill(tmp_path: Path) -> None:
    code = (
        "import sys; from cytovox.run.journal import Journal\n"
        "with Journal(sys.argv[1]) as journal:\n"
        "    journal.begin({'a': 1})\n"
        "    for i in range(100): journal.done('s', i)\n"
        "    sys.stdout.write('x'); sys.stdout.flush(); sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "j")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.read(1) == b"x"
        with pytest.raises(OutputBusyError), Journal(tmp_path / "j"):
            pass
        child.kill()
    with Journal(tmp_path / "j") as journal:  # the lock died with it
        assert len(journal.completed("s")) == 100


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.begin({})
        with (
            pytest.raises(OutputBusyError, match=f"process {os.getpid()} on"),
            Journal(tmp_path / "j"),
        ):
            pass
        assert read_journal(tmp_path / "j").runs == 1  # reading is always allowed


def test_a_change_is_refused_and_named(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.begin(GIVEN)
        journal.done("s", 0)
    changed = {**GIVEN, "parameters": {"sigma": 2, "mode": "fast"}}
    with Journal(tmp_path / "j") as journal:
        with pytest.raises(FingerprintChangedError) as caught:
            journal.begin(changed)
        assert caught.value.changes == [
            "parameters: mode is new",
            "parameters: sigma was 1 and is 2",
        ]
        assert journal.completed("s") == {0}
        assert journal.begin(changed, on_change="recompute") == caught.value.changes
        assert journal.completed("s") == set()
    assert read_journal(tmp_path / "j").stages == {}


def test_blocks_can_be_forgotten(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.begin(GIVEN)
        for stage in ("a", "b"):
            for i in range(3):
                journal.done(stage, i)
        journal.forget("a", [1])
        journal.forget("b")
        assert journal.completed("a") == {0, 2}
        assert journal.completed("b") == set()
    with Journal(tmp_path / "j") as journal:
        assert journal.completed("a") == {0, 2}
        journal.begin(GIVEN, resume=False)
        assert journal.completed("a") == set()


def test_a_full_disk_is_said_and_the_journal_stays_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.begin(GIVEN)
        journal.done("s", 0)
        real = os.write
        left = [20]

        def full(fd: int, content: bytes) -> int:
            if not left[0]:
                raise OSError(28, "No space left on device")
            some, left[0] = content[: left[0]], 0
            return real(fd, some)

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(StorageError, match="No space left"):
                journal.done("s", 1)
    with Journal(tmp_path / "j") as journal:
        assert journal.completed("s") == {0}
        journal.done("s", 1)
    assert set(read_journal(tmp_path / "j").stages["s"]) == {0, 1}


def test_bad_places_are_reported(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError):
        read_journal(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError), Journal(tmp_path / "file" / "j"):
        pass
    with pytest.raises(UsageError, match="not open"):
        Journal(tmp_path / "j").note("x")


FILE = """
LIMIT = 3
def helper(x): return x + {}
def work(x): return helper(x)
"""


def test_a_file_counts_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FILE.format(1))
    one = describe_function(load_python_file(file).work)
    moved = tmp_path / "other"
    moved.mkdir()
    (moved / "mine.py").write_text(FILE.format(1))
    assert describe_function(load_python_file(moved / "mine.py").work) == one
    file.write_text(FILE.format(2))
    assert describe_function(load_python_file(file).work) != one


def test_a_script_counts_as_far_as_it_is_needed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    tail = "from cytovox.run.fingerprint import describe_function\nprint(describe_function(work))"

    def described(text: str) -> str:
        script.write_text(text + tail)
        return subprocess.run(
            [sys.executable, str(script)], capture_output=True, text=True, check=True
        ).stdout

    one = described(FILE.format(1))
    assert described(FILE.format(1) + "unrelated = 5\n") == one
    assert described(FILE.format(2)) != one


def test_values_that_a_function_holds_count() -> None:
    def make(level: int) -> object:
        return lambda x: x > level

    assert describe_function(make(1)) == describe_function(make(1))
    assert describe_function(make(1)) != describe_function(make(2))
    bound = functools.partial(differences, {})
    assert describe_function(bound)["partial"]["args"] == [{}]
    assert describe_function(np.sqrt)["name"]
    assert describe_function(len)["name"] == "builtins.len"


def test_values_are_returned_as_json_would() -> None:
    big = plain(np.arange(2000))
    assert "sha256" in big
    assert plain(np.arange(2000)) == big != plain(np.arange(1, 2001))
    assert plain({"a": {3, 1}, "b": b"x", "c": np.float32(1)})["a"] == [1, 3]
    assert differences({"a": 1, "b": 2}, {"b": 3, "c": 1}) == [
        "a is gone",
        "b was 2 and is 3",
        "c is new",
    ]


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "done", "stage": "segment", "block": Infinity}',
        '{"event": "done", "stage": "segment", "block": null}',
        '{"event": "failed", "stage": "segment", "block": [[1]]}',
        '{"event": "forget", "stage": "segment", "blocks": ["x"]}',
    ],
)
def test_a_line_that_names_no_block_counts_as_torn(tmp_path, line):
    path = tmp_path / "j.jsonl"
    good = '{"event": "done", "stage": "segment", "block": 3, "seconds": "long", "result": 7}'
    path.write_text(f"{line}\n{good}\n")
    content = read_journal(path)
    assert content.torn == 1
    record = content.stages["segment"][3]
    assert (record.state, record.seconds, record.result) == ("done", None, None)


def test_a_file_system_without_locks_has_one_writer_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_module, "lock_descriptor", lambda descriptor: False)
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.begin(GIVEN)
        with (
            pytest.raises(OutputBusyError, match=f"process {os.getpid()} on") as info,
            Journal(path),
        ):
            pass
        assert info.value.exit_code == 75
        journal.done("segment", 0)
    assert [p.name for p in tmp_path.iterdir()] == ["journal.jsonl"]
    killed = asdict(LockOwner(boot="an earlier start", suffixes=("",)))
    (tmp_path / "journal.jsonl.lock").write_text(json.dumps(killed))
    with Journal(path) as journal:
        assert journal.completed("segment") == {0}
    assert [p.name for p in tmp_path.iterdir()] == ["journal.jsonl"]


def test_a_journal_that_the_caller_guards_needs_no_lock_file(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", guarded=True):
        assert [p.name for p in tmp_path.iterdir()] == ["j"]
