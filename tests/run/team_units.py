"""What workers of the tests of teams do; a new process can import it."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import threading
from pathlib import Path

__all__ = ["set_up"]


def set_up(what, *shared):
    """Return the function that does units."""
    if what == "unfit":
        raise LookupError("no such thing")
    if what == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    return functools.partial(globals()[what], *shared)


def square(unit, heartbeat):
    return unit * unit


def who(unit, heartbeat):
    threading.Event().wait(0.005)
    return os.getpid()


def slow(unit, heartbeat):
    threading.Event().wait(unit)
    return unit


def gentle(unit, heartbeat):
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    heartbeat.send(unit)
    return "stopped" if asked.wait(unit) else unit


def angry(unit, heartbeat):
    for part in range(*unit):
        heartbeat(part)
        if part in (13, 17):
            raise ArithmeticError(f"not {part}")
    return unit


def unknown(unit, heartbeat):
    class LocalError(Exception):
        pass

    raise LocalError("it is local")


def leaves(unit, heartbeat):
    raise SystemExit(3)


def peculiar(unit, heartbeat):
    return lambda: unit


def first_time(folder, part, size=1):
    with Path(folder, f"{part}-{size}").open("a") as file:
        file.write("x")
        return file.tell() == 1


def frail(folder, unit, heartbeat):
    """Die once at every third part."""
    for part in range(*unit):
        heartbeat(part)
        if not part % 3 and first_time(folder, part):
            os.kill(os.getpid(), signal.SIGKILL)
    return unit


def deadly(unit, heartbeat):
    for part in range(*unit):
        heartbeat(part)
        if part == 13:
            os._exit(7)
    return unit


def silent(unit, heartbeat):
    """Die over a unit without reporting where."""
    if unit == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return unit


def hang(folder, unit, heartbeat):
    """Hang in foreign code that keeps the interpreter locked, once if there is a folder."""
    if unit == 2 and (not folder or first_time(folder, unit)):
        ctypes.PyDLL(None).sleep(300)
    return unit


def steady(unit, heartbeat):
    """Take longer than the limit, but give signs of life."""
    for part in range(8):
        heartbeat(part)
        threading.Event().wait(0.4)
    return unit


def writes(array, unit, heartbeat):
    array[unit] = unit * unit


def marks(array, unit, heartbeat):
    for part in range(*unit):
        heartbeat(part)
        threading.Event().wait(0.005)
        array[part] = part
    return unit


def stays(folder, unit, heartbeat):
    Path(folder, str(os.getpid())).touch()
    ctypes.PyDLL(None).sleep(300)
