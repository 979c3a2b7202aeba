"""Row 13: places that cannot be written, or vanish, and clocks that jump."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ..helpers import in_helper, say
from ..matrix import Case, Fault
from ..programs import run
from ..recordings import assert_right, recording
from ..system import watch
from .disk import command_for, many_checkpoints, number_of_operations

__all__ = ["FAULTS"]

_FRAMES = 120


def _place(case: Case) -> str:
    """Do something to the folder of the output, or to the clock."""
    kinds = (_read_only, _vanished, _stale, _no_folder, _dangling, _clock, _mounted, _denied)
    return kinds[case.number % len(kinds)](case)


def _fails(case: Case, out: Path, before: Callable[[str, Path, int], None] | None = None) -> str:
    """Let a run fail over its output, and return what it said."""
    command = command_for(recording(_FRAMES), out)
    with many_checkpoints(), watch(case.folder.resolve(), before or (lambda *_: None)):
        said = say(*command)
    assert said.code == 74, f"exit code {said.code}: {said.out}"
    assert len(said.out.strip().splitlines()) == 1, said.out
    assert str(case.folder) in said.out, f"the place is not named: {said.out}"
    return said.out


def _then_right(out: Path) -> None:
    said = say(*command_for(recording(_FRAMES), out))
    assert said.code == 0, said.out
    assert_right(out, _FRAMES)
    left = sorted(path.name for path in out.parent.iterdir())
    assert left == ["out.rtdc"], f"{left} are left"


def _refusing(number: int, start: int) -> Callable[[str, Path, int], None]:
    """Return what refuses all operations from one on."""
    count = 0

    def refuse(kind: str, path: Path, size: int) -> None:
        nonlocal count
        count += 1
        if count > start:
            raise OSError(number, os.strerror(number), str(path))

    return refuse


def _read_only(case: Case) -> str:
    out = case.folder.resolve() / "out.rtdc"
    start = case.random.choice([0, case.random.randrange(number_of_operations() // 2)])
    text = _fails(case, out, _refusing(errno.EROFS, start))
    assert os.strerror(errno.EROFS) in text, text
    assert not out.exists()
    _then_right(out)
    return "read-only: said, then right"


def _stale(case: Case) -> str:
    out = case.folder.resolve() / "out.rtdc"
    start = case.random.randrange(number_of_operations() // 2)
    text = _fails(case, out, _refusing(errno.ESTALE, start))
    assert os.strerror(errno.ESTALE) in text, text
    assert not out.exists()
    _then_right(out)
    return "stale handle: said, then right"


def _vanished(case: Case) -> str:
    folder = case.folder.resolve() / "results"
    folder.mkdir()
    out = folder / "out.rtdc"
    start, count = case.random.randrange(number_of_operations() * 3 // 4), 0

    def remove(kind: str, path: Path, size: int) -> None:
        nonlocal count
        count += 1
        if count == start + 1:
            shutil.rmtree(folder)

    with many_checkpoints(), watch(folder, remove):
        said = say(*command_for(recording(_FRAMES), out))
    if said.code == 0:  # it was made again
        assert_right(out, _FRAMES)
        return "vanished early: right"
    assert said.code == 74, f"exit code {said.code}: {said.out}"
    assert len(said.out.strip().splitlines()) == 1, said.out
    assert str(folder) in said.out, f"the place is not named: {said.out}"
    assert not out.exists()
    shutil.rmtree(folder, ignore_errors=True)
    _then_right(out)
    return "vanished: said, then right"


def _no_folder(case: Case) -> str:
    (case.folder / "results").write_text("a file")
    _fails(case, case.folder.resolve() / "results" / "out.rtdc")
    assert (case.folder / "results").read_text() == "a file"
    return "a file in place of the folder: said"


def _dangling(case: Case) -> str:
    (case.folder / "results").symlink_to(case.folder / "nowhere" / "at all")
    _fails(case, case.folder.resolve() / "results" / "out.rtdc")
    return "a link to nowhere in place of the folder: said"


def _clock(case: Case) -> str:
    """Set the clock back or forth while the run goes on."""
    out = case.folder.resolve() / "out.rtdc"
    jump = case.random.choice([-1, 1]) * case.random.choice([60, 3600, 86400 * 400])
    start, count = case.random.randrange(number_of_operations()), 0
    real = time.time

    def shift(kind: str, path: Path, size: int) -> None:
        nonlocal count
        count += 1
        if count == start + 1:
            time.time = lambda: real() + jump

    try:
        with many_checkpoints(), watch(out.parent, shift):
            said = say(*command_for(recording(_FRAMES), out))
    finally:
        time.time = real
    assert said.code == 0, said.out
    assert_right(out, _FRAMES)
    return "the clock jumps: right"


def _mounted(case: Case) -> str:
    """Write into a file system that is really mounted read-only."""
    if shutil.which("unshare") is None:
        return "no mounts here: not tried"
    out = case.folder / "out.rtdc"
    mount = f"mount -t tmpfs -o ro none '{case.folder}' || exit 99"
    words = " ".join(f"'{word}'" for word in command_for(recording(_FRAMES), out))
    script = f"{mount}; exec '{sys.executable}' -m cytovox {words}"
    ended = run(["unshare", "-rm", "sh", "-c", script])
    if ended.code == 99 or "unshare" in ended.out:
        return "no mounts here: not tried"
    assert ended.code == 74, ended.out
    assert str(case.folder) in ended.out, ended.out
    assert os.strerror(errno.EROFS) in ended.out, ended.out
    return "mounted read-only: said"


def _denied(case: Case) -> str:
    """Write into a folder of somebody else."""
    out = case.folder.resolve() / "out.rtdc"
    text = _fails(case, out, _refusing(errno.EACCES, 0))
    assert os.strerror(errno.EACCES) in text, text
    _then_right(out)
    return "not allowed: said, then right"


FAULTS = [
    Fault(
        row=13,
        name="Folder read-only, vanished, stale, not allowed, no folder at all; clock that jumps",
        quick=8,
        full=120,
        bound="exit 74, the place in one line; a clock changes nothing",
        peer="read-only: exit 1",
        run=in_helper(_place),
    )
]
