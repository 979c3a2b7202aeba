"""Row 4: operations that the system refuses. Row 5: a disk that is full. Row 6: a power cut."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from support.disk import Operation, after_power_cut

from ..helpers import apart, in_helper, say
from ..matrix import Case, Fault
from ..programs import run
from ..recordings import assert_right, digest, recording, right_digest
from ..system import RecordingSystem, watch

__all__ = ["FAULTS", "command_for", "many_checkpoints", "number_of_operations"]

_FRAMES = 120
#: Seconds from a refusal to the end of the program.
_END_WITHIN = 5.0
_CAUSES = (errno.ENOSPC, errno.EIO, errno.EDQUOT)
_WORDS = ("-q", "--workers", "2", "-s", "data.image_chunk_size=20")
#: Space with which a run that was refused goes on [bytes].
_AMPLE = 32 << 20
#: Program that has a small disk of its own.
_SMALL_DISK = Path(__file__).resolve().parents[1] / "small_disk.py"


def command_for(path: Path, out: Path, *words: str) -> list[str]:
    """Return the words that measure a recording in chunks of 20 frames."""
    return ["run", str(path), "-o", str(out), *_WORDS, *words]


@contextmanager
def many_checkpoints() -> Iterator[None]:
    """Let each group of frames be noted, so that short recordings are like long ones."""
    from cytovox.logic import resume

    before = resume._SECONDS, resume._DURABLE_SECONDS  # noqa: SLF001
    resume._SECONDS, resume._DURABLE_SECONDS = 0.0, 0.02  # type: ignore[misc]  # noqa: SLF001
    try:
        yield
    finally:
        resume._SECONDS, resume._DURABLE_SECONDS = before  # type: ignore[misc]  # noqa: SLF001


@cache
def number_of_operations() -> int:
    """Return how many operations a run asks for."""
    import tempfile

    seen: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        with many_checkpoints(), watch(folder, lambda kind, *_: seen.append(kind)):
            said = say(*command_for(recording(_FRAMES), folder / "out.rtdc"))
        assert said.code == 0, said.out
    return len(seen)


def _refused(case: Case) -> str:
    """Let the k-th operation fail, or all from the k-th on; then run again."""
    total = number_of_operations()
    stride = next(n for n in range(int(total * 0.618), 0, -1) if math.gcd(n, total) == 1)
    k = case.number * stride % total
    cause = _CAUSES[case.number % len(_CAUSES)]
    lasting = bool(case.number // total % 2) if case.number >= total else case.number % 2 == 1
    folder = case.folder.resolve()
    out = folder / "out.rtdc"
    count = 0
    refused: list[tuple[float, str]] = []

    def refuse(kind: str, path: Path, size: int) -> None:
        nonlocal count
        count += 1
        if count == k + 1 or (lasting and refused):
            refused.append((time.perf_counter(), f"{kind} of {path.name}"))
            raise OSError(cause, os.strerror(cause), str(path))

    command = command_for(recording(_FRAMES), out)
    with many_checkpoints(), watch(folder, refuse):
        said = say(*command)
    end = time.perf_counter()
    if said.code == 0:
        assert_right(out, _FRAMES)
        if not refused:
            return "right, fewer operations than that"
        return "right all the same"
    assert refused, f"nothing was refused, and yet exit code {said.code}: {said.out}"
    what = f"{refused[0][1]}: exit code {said.code}: {said.out}"
    assert said.code == 74, what
    assert not out.exists(), f"a final file in spite of {what}"
    assert os.strerror(cause) in said.out, f"the cause is not named: {what}"
    assert len(said.out.strip().splitlines()) == 1, f"more than one line: {what}"
    assert end - refused[0][0] <= _END_WITHIN, f"{end - refused[0][0]:.1f} s to the end: {what}"
    again = say(*command)
    assert again.code == 0, f"after {what}: {again.out}"
    assert_right(out, _FRAMES)
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["out.rtdc"], f"{left} are left after {what}"
    return "refused with its cause, then right"


def _small_disk(case: Case) -> str:
    """Measure onto a disk that is too small, or is so for a while."""
    if not _can_mount():
        return "not tried: this system allows no mounts"
    returning = case.number % 2 == 1
    need = apart(_bytes_needed)
    size = int(need * case.random.uniform(0.05, 1.3))
    command = [
        *("unshare", "-rm", sys.executable, str(_SMALL_DISK)),
        *(str(recording(_FRAMES)), str(case.folder), str(size), str(need + _AMPLE)),
        *("returning" if returning else "staying", str(case.random.uniform(0, 1))),
    ]
    ended = run(command, {"PYTHONPATH": str(_SMALL_DISK.parents[1])})
    assert ended.code == 0, ended.out
    told: dict[str, Any] = json.loads(ended.last_line)
    right = right_digest(_FRAMES)
    if told["code"] == 0:
        assert told["digest"] == right, "the events differ"
        return "right, space came back" if returning else "right, there was room"
    assert told["code"] == 74, told
    assert told["digest"] is None, "a final file in spite of a full disk"
    assert os.strerror(errno.ENOSPC) in told["out"] or "are free" in told["out"], told
    assert told["again"] == right, f"with space it went wrong: {told}"
    return "refused with its cause, then right with more space"


@cache
def _can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    words = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


@cache
def _bytes_needed() -> int:
    """Return about how much room a run takes: its result, and what it needs meanwhile."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out.rtdc"
        said = say(*command_for(recording(_FRAMES), out))
        assert said.code == 0, said.out
        return int(out.stat().st_size * 1.3)


@cache
def _recorded() -> tuple[Path, list[Operation], str]:
    """Record what a run asks of the system; return folder, record, digest of its output."""
    import tempfile

    folder = Path(tempfile.mkdtemp(dir=recording(_FRAMES).parent)).resolve()
    out = folder / "out.rtdc"
    system = RecordingSystem(folder)
    with many_checkpoints(), system.recording():
        said = say(*command_for(recording(_FRAMES), out))
    assert said.code == 0, said.out
    assert_right(out, _FRAMES)
    names = {op.target for op in system.operations if op.kind == "rename"}
    assert out in names, "the final name was given by other means than are recorded"
    return folder, system.operations, hashlib.sha256(out.read_bytes()).hexdigest()


def _power_cut(case: Case) -> str:
    """Play back what a power cut would have left; go on from there now and then."""
    folder, operations, whole = _recorded()
    stop = case.random.randint(0, len(operations))
    files = after_power_cut(operations, stop, random.Random(case.seed))
    out = folder / "out.rtdc"
    there = files.get(out)
    what = f"after {stop} of {len(operations)} operations"
    if there is not None:
        assert hashlib.sha256(there).hexdigest() == whole, f"the final file is not whole {what}"
    if case.number % 50 == 7:
        return _go_on(folder, files, what)
    return "no final file" if there is None else "complete"


def _go_on(folder: Path, files: dict[Path, bytes], what: str) -> str:
    for path in folder.iterdir():
        path.unlink()
    for path, content in files.items():
        path.write_bytes(content)
    out = folder / "out.rtdc"
    finished = out.exists()
    with many_checkpoints():
        said = say(*command_for(recording(_FRAMES), out))
    assert said.code == 0, f"{said.out} {what}"
    assert digest(out) == right_digest(_FRAMES), f"the events differ {what}"
    left = sorted(path.name for path in folder.iterdir())
    if not finished:
        assert left == ["out.rtdc"], f"{left} are left {what}"
    return "complete, was skipped" if finished else "no final file, then right"


FAULTS = [
    Fault(
        row=4,
        name="An operation on files fails with ENOSPC, EIO or EDQUOT, once or from then on",
        quick=12,  # each cause, once and lasting, twice
        full=1200,
        bound="exit 74 within 5 s, the cause in one line, then right",
        peer="full for a while: exit 0 with half of the masks lost; fsync: none",
        run=in_helper(_refused),
        note="Opening, writing, synchronising, renaming, removing, each of them in turn",
    ),
    Fault(
        row=5,
        name="Real disks that are too small, or are so for a while",
        quick=2,  # a disk that stays too small, and one that does not
        full=100,
        bound="exit 74 with the cause and no final file, or the right result",
        peer="exit 0, header says 6739 events, 3358 of a feature are there; tiny disk: SIGSEGV",
        run=_small_disk,
        limit=600,
    ),
    Fault(
        row=6,
        name="Power cut after any operation, what was not synchronised lost, torn or reordered",
        quick=200,
        full=5000,
        bound="the final name is absent or complete; each 50th goes on from there",
        peer="no fsync before the name is given",
        run=in_helper(_power_cut),
    ),
]
