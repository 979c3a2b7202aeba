"""Blocks that are done by threads of this process."""

from __future__ import annotations

import collections
import errno
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cytovox.blockwise.block_result import BlockFailed, BlockStarted
from cytovox.blockwise.threads import uses_threads
from cytovox.errors import StorageError
from cytovox.run.journal import Journal
from support.blocks import run_blocks

BLOCKS = 20


def blocks() -> list[Any]:
    return [SimpleNamespace(index=i) for i in range(BLOCKS)]


@uses_threads
def who(block: Any) -> dict[str, Any]:
    name = threading.current_thread().name
    return {"square": block.index**2, "pid": os.getpid(), "thread": name}


def test_threads_of_this_process_work_at_once(tmp_path: Path) -> None:
    together = threading.Barrier(3)

    @uses_threads
    def meet(block: Any) -> dict[str, Any]:
        if block.index < 3:
            together.wait(600)  # for two others; nobody comes if blocks are done in turn
        return who(block)

    with Journal(tmp_path / "j.jsonl") as journal:
        result = run_blocks(blocks(), meet, workers=3, journal=journal)
        assert journal.completed("blocks") == set(range(BLOCKS))
    assert result
    assert {i: rows["square"] for i, rows in result.rows.items()} == {
        i: i**2 for i in range(BLOCKS)
    }
    assert {rows["pid"] for rows in result.rows.values()} == {os.getpid()}
    names = {rows["thread"] for rows in result.rows.values()}
    assert names == {f"thread {n} of this process" for n in (1, 2, 3)}


@pytest.mark.parametrize("limit", [{"timeout": 60}, {"memory": 2**40}])
def test_limits_need_processes(limit: dict[str, Any]) -> None:
    result = run_blocks(blocks()[:2], who, workers=1, **limit)
    assert result
    assert os.getpid() not in {rows["pid"] for rows in result.rows.values()}


def test_errors_cost_an_attempt() -> None:
    calls: collections.Counter[int] = collections.Counter()

    @uses_threads
    def sick(block: Any) -> None:
        calls[block.index] += 1
        if block.index == 3 or (block.index == 7 and calls[7] == 1):
            raise ValueError(f"no {block.index}")

    result = run_blocks(blocks(), sick, workers=2, retries=1)
    assert not result
    assert result.done == BLOCKS - 1
    assert [(f.block, f.error, f.attempts) for f in result.failed] == [(3, "ValueError: no 3", 2)]
    assert calls == dict.fromkeys(range(BLOCKS), 1) | {3: 2, 7: 2}


def test_a_full_disk_ends_all() -> None:
    begun, told = set(), threading.Event()

    @uses_threads
    def full(block: Any) -> None:
        begun.add(block.index)
        if block.index == 2:
            raise StorageError("the storage is full") from OSError(errno.ENOSPC, "full")
        if block.index == 1:  # holds its thread until the other one has failed
            assert told.wait(600)

    def tell(event: Any) -> None:
        if isinstance(event, BlockFailed):
            told.set()

    with pytest.raises(StorageError, match="no room for the result of block 2"):
        run_blocks(blocks(), full, workers=2, on_event=tell)
    assert begun == {0, 1, 2}
    assert not threads_left()


def threads_left() -> list[threading.Thread]:
    threads = [t for t in threading.enumerate() if t.name.endswith("of this process")]
    for thread in threads:
        thread.join(300)  # a busy machine may be slow to end them
    return [thread for thread in threads if thread.is_alive()]


def test_stopping_waits_for_what_is_worked_on() -> None:
    begun, ended = [], []
    released = threading.Event()

    @uses_threads
    def slow(block: Any) -> None:
        begun.append(block.index)
        assert released.wait(600)
        ended.append(block.index)

    def stop(event: Any) -> None:
        if isinstance(event, BlockStarted) and event.block == 1:
            released.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_blocks(blocks(), slow, workers=2, on_event=stop)
    assert begun == ended == [0]
    assert not threads_left()


def test_what_is_no_error_of_a_block_is_not_kept_back() -> None:
    @uses_threads
    def stopping(block: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_blocks(blocks(), stopping, workers=2)
