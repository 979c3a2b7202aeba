"""Heaps that the threads of a process share."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cytovox.run.heaps import share_heaps
from cytovox.run.resources import cpu_count

#: Prints how many heaps there are when 40 threads have asked for memory.
COUNT = """
import ctypes, threading
from cytovox.run.heaps import share_heaps
{first}
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
libc.fflush.argtypes = [ctypes.c_void_p]
together = threading.Barrier(40)
def ask():
    libc.malloc(1000)
    together.wait()
threads = [threading.Thread(target=ask) for _ in range(40)]
for thread in threads: thread.start()
for thread in threads: thread.join()
out = libc.fdopen(1, b"w")
libc.malloc_info(0, out)
libc.fflush(out)
"""


def heaps(first: str, **environment: str) -> int:
    ended = subprocess.run(
        [sys.executable, "-c", COUNT.format(first=first)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    return ended.stdout.count("<heap nr=")


needs_glibc = pytest.mark.skipif(not share_heaps(), reason="no glibc, or the user has settled it")


@needs_glibc
def test_many_threads_share_few_heaps() -> None:
    few = max(1, cpu_count() // 2)
    assert heaps("share_heaps()") <= few < heaps("")


@needs_glibc
def test_what_the_user_has_settled_stays() -> None:
    assert heaps("assert not share_heaps()", MALLOC_ARENA_MAX="3") == 3
    tunables = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=3"}
    assert heaps("assert not share_heaps()", **tunables) == 3


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "confstr", lambda name: None, raising=False)
    assert not share_heaps()
    monkeypatch.delattr(os, "confstr")
    assert not share_heaps()
