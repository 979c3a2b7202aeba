"""Functions of a block that behave, and some that do not."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np


class Unit:
    """A block with nothing but an index."""

    def __init__(self, index: int) -> None:
        self.index = index


def square(block: Unit) -> dict:
    return {"square": block.index**2}


def mark(folder: Path, block: Unit) -> dict:
    """Leave a line for each time that a block was done."""
    with open(folder / f"block-{block.index}", "a") as file:
        file.write(f"{os.getpid()}\n")
    return {"index": block.index}


def marking(folder: Path) -> functools.partial:
    return functools.partial(mark, folder)


def first_time(folder: Path, block: Unit) -> bool:
    try:
        (folder / f"first-{block.index}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def misbehave(folder: Path, how: dict, block: Unit) -> dict:
    """Do to each block what `how` says, 'once-...' only the first time."""
    kind = how.get(block.index, "")
    if kind.startswith("once-"):
        kind = kind.removeprefix("once-") if first_time(folder, block) else ""
    if kind == "raise":
        raise ValueError(f"block {block.index} is bad")
    if kind == "exit":
        sys.exit(3)
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "crash":
        ctypes.string_at(0)
    if kind == "hang":
        time.sleep(600)
    if kind == "spin":  # holds the interpreter all the while
        ctypes.PyDLL(None).sleep(600)
    if kind == "eat":
        np.ones(2**31, dtype=np.uint8)
    if kind == "unpicklable":
        return {"file": sys.stdout}
    if kind == "text":
        return "no dict"
    return mark(folder, block)


def misbehaving(folder: Path, how: dict) -> functools.partial:
    return functools.partial(misbehave, folder, how)


def slow(folder: Path, seconds: float, block: Unit) -> dict:
    begun = folder / f"begun-{block.index}"
    new = folder / f"new-{block.index}"
    new.write_text(str(os.getpid()))
    new.replace(begun)  # whole as soon as it is there
    time.sleep(seconds)
    return mark(folder, block)


def slowly(folder: Path, seconds: float) -> functools.partial:
    return functools.partial(slow, folder, seconds)
