"""Row 14: blocks of volumes, and those who work on them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from cytovox.errors import CytovoxError
from support.processes import descendants

from ..corpus import made
from ..helpers import apart
from ..matrix import Case, Fault
from ..programs import Program, cytovox
from ..recordings import keep_folder

__all__ = ["FAULTS"]

_SIDE, _BLOCK = 48, 16
_LIMIT = 600.0
_FUNCTION = '''
"""Finds what is bright; a file tells which block kills who works on it."""

import os
import signal
import zlib

import numpy as np
from scipy import ndimage


def find(array, *, folder):
    try:
        with open(os.path.join(folder, "poison")) as file:
            poison = int(file.read())
    except OSError:
        poison = -1
    if zlib.crc32(np.ascontiguousarray(array)) == poison:
        os.kill(os.getpid(), signal.SIGKILL)
    return ndimage.label(array > 100)[0].astype(np.uint32)
'''
#: Formats of the output.
_FORMATS = ("ome-zarr-0.5", "zarr2", "ome-zarr-0.4", "precomputed")


def _image() -> Any:
    rng = np.random.default_rng(8)
    return (rng.random((_SIDE,) * 3) < 0.27).astype(np.uint8) * 200


def _inputs(folder: Path) -> None:
    """Write the volume, in shards of a block and in chunks that blocks share."""
    import zarr

    array = zarr.create_array(
        folder / "raw.zarr",
        shape=(_SIDE,) * 3,
        dtype="u1",
        chunks=(_BLOCK // 2,) * 3,
        shards=(_BLOCK,) * 3,
    )
    array[:] = _image()
    (folder / "cells.py").write_text(_FUNCTION)


def _copied(case: Case) -> Path:
    source = made("blocks", _inputs)
    shutil.copytree(source, case.folder, dirs_exist_ok=True)
    return case.folder


def _segment(folder: Path, case: Case, **more: Any) -> Any:
    from cytovox.blockwise.evidence import Measures
    from cytovox.blockwise.volumes import segment_volume

    given: dict[str, Any] = {
        "block": _BLOCK,
        "context": 0,
        "stitch": "touch",
        "connectivity": 6,
        "workers": 0,
        "retries": 1,
        "objects": False,
        "measures": Measures(),  # as the program has it
        "format": _FORMATS[case.number % len(_FORMATS)],
        "parameters": {"folder": str(folder)},
    }
    return segment_volume(
        folder / "raw.zarr", folder / "out.zarr", f"{folder / 'cells.py'}:find", **(given | more)
    )


@cache
def _right() -> Any:
    """Return the labels that come without any fault, which are those of the whole."""
    from scipy import ndimage

    def make(folder: Path) -> None:
        _inputs(folder)
        assert _segment(folder, Case(0, 0, folder))

    labels = _labels_of(made("right blocks", make) / "out.zarr")
    whole, count = ndimage.label(_image() > 100)
    pairs = np.unique(np.stack([labels.ravel(), whole.ravel()]), axis=1)
    # Each label is one of the whole and the other way round, so no face cuts any.
    assert pairs.shape[1] == count + 1 == len(np.unique(labels)) == len(np.unique(pairs[1]))
    return labels


def _labels_of(path: Path) -> Any:
    from cytovox.read.open_volume import open_volume

    with open_volume(path) as volume:
        return volume[...].reshape((_SIDE,) * 3)


def _assert_right(folder: Path, result: Any, told: str) -> None:
    assert result, f"{told}: {[failure.error for failure in result.failed]}"
    labels = _labels_of(folder / "out.zarr")
    np.testing.assert_array_equal(labels, _right(), f"the labels differ after: {told}")


# ------------------------------------------------------------ a killed main process


def _die_at(case: Case, line: int, torn: bool) -> None:
    """Segment, and be killed at a line of the journal or a moment after."""
    from cytovox.run.journal import Journal

    seen = []
    write = Journal._write  # noqa: SLF001

    def die(self: Journal, content: bytes) -> None:
        seen.append(content)
        if len(seen) < line:
            write(self, content)
            return
        if torn:
            write(self, content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, content)
        threading.Timer(
            case.random.expovariate(200), os.kill, (os.getpid(), signal.SIGKILL)
        ).start()

    Journal._write = die  # type: ignore[method-assign]  # noqa: SLF001
    _segment(case.folder, case)
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_main(case: Case) -> str:
    """Kill the main process; return at which line of the journal."""
    line = case.random.randint(1, _lines())
    try:
        apart(_die_at, case, line, case.random.random() < 0.3, limit=_LIMIT, name="victim")
    except AssertionError as err:
        if f"({-signal.SIGKILL})" not in str(err):
            raise
    return f"killed at line {line}"


@cache
def _lines() -> int:
    """Return how many lines the journal of a run has."""
    return int(apart(_count_lines, limit=_LIMIT, name="blocks"))


def _count_lines() -> int:
    _right()
    folder = made("right blocks", _inputs)
    return len((folder / "out.zarr.cytovox" / "journal.jsonl").read_text().splitlines())


def _tear(folder: Path, case: Case) -> str:
    """Tear a file that a run has left, as a killed write does."""
    side = folder / "out.zarr.cytovox"
    files = [
        path
        for path in sorted(side.rglob("*"))
        if path.is_file() and ("c" in path.parts or path.suffix in ("", ".pack", ".npy"))
    ]
    if not files:
        return "nothing was there"
    path = case.random.choice(files)
    content = path.read_bytes()
    keep = case.random.randrange(max(1, len(content)))
    how = case.random.choice(("cut", "zeros", "gone"))
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:keep] + (bytes(len(content) - keep) if how == "zeros" else b""))
    return f"{path.relative_to(side)} {how}"


def _main_killed(case: Case) -> str:
    apart(_copied, case, limit=_LIMIT, name="blocks")
    told = _kill_main(case)
    return str(apart(_go_on_torn, case, told, limit=_LIMIT, name="blocks"))


def _go_on_torn(case: Case, told: str) -> str:
    folder = case.folder
    how = "killed, then right"
    if case.number % 2:
        told = f"{told}, {_tear(folder, case)}"
        how = "killed and torn, then right"
    _assert_right(folder, _segment(folder, case), told)
    return how


def _input_torn(case: Case) -> str:
    apart(_copied, case, limit=_LIMIT, name="blocks")
    told = _kill_main(case)
    return str(apart(_go_on_without_input, case, told, limit=_LIMIT, name="blocks"))


def _go_on_without_input(case: Case, told: str) -> str:
    """Let a part of the input be torn for a while."""
    folder = case.folder
    path = case.random.choice(sorted((folder / "raw.zarr" / "c").rglob("?")))
    while path.is_dir():
        path = case.random.choice(sorted(path.iterdir()))
    away = folder / "away"
    shutil.copy2(path, away)
    with path.open("r+b") as file:
        file.truncate(case.random.randrange(away.stat().st_size))
    finished = (folder / "out.zarr").exists()
    try:
        result = _segment(folder, case)
        said = "" if result else result.failed[0].error
    except CytovoxError as err:
        said = str(err)
    assert said, f"{told}: it was segmented in spite of a torn input"
    assert "raw.zarr" in said or "out.zarr" in said, f"{told}: {said}"
    assert finished or not (folder / "out.zarr").exists(), told
    os.replace(away, path)
    _assert_right(folder, _segment(folder, case), told)
    return "killed, input torn: refused; then right"


# --------------------------------------------------------------------- workers


def _worker_killed(case: Case) -> str:
    """Kill workers of two at random times."""
    folder = _copied(case)
    over = threading.Event()
    killed: list[int] = []

    def kill_some() -> None:
        for _ in range(case.random.randint(1, 2)):
            if over.wait(case.random.uniform(0.2, 1.8)):
                return
            if workers := _workers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim := case.random.choice(workers), signal.SIGKILL)
                    killed.append(victim)

    killer = threading.Thread(target=kill_some)
    killer.start()
    try:
        result = _segment(folder, case, workers=2, retries=3)
    finally:
        over.set()
        killer.join()
    if len(killed) > 1 and not result:
        # Both had the same block, which is then taken to be what kills them.
        assert len(result.failed) == 1, result.failed
        assert not (folder / "out.zarr").exists()
        _assert_right(folder, _segment(folder, case), "a block was taken to be poison")
        return "the block named, then right"
    _assert_right(folder, result, f"{len(killed)} workers killed")
    return "a worker killed, right" if killed else "right before anything was killed"


def _workers() -> list[int]:
    """Return the processes of this one that work on blocks."""
    found = []
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def _poisoned(case: Case) -> str:
    """Let a block kill whoever works on it; then let it be."""
    folder = _copied(case)
    corner = [_BLOCK * case.random.randrange(_SIDE // _BLOCK) for _ in range(3)]
    block = _image()[tuple(slice(start, start + _BLOCK) for start in corner)]
    (folder / "poison").write_text(str(zlib.crc32(np.ascontiguousarray(block))))
    number = int(np.ravel_multi_index([c // _BLOCK for c in corner], (_SIDE // _BLOCK,) * 3))
    result = _segment(folder, case, workers=2)
    assert not result
    failed = [failure.block for failure in result.failed]
    assert failed == [number], f"block {number} is poison, but {failed} have failed"
    assert not (folder / "out.zarr").exists(), "a final name in spite of a block that failed"
    (folder / "poison").unlink()
    result = _segment(folder, case)
    _assert_right(folder, result, "a block was poison")
    return "the block named, then right"


def _all_killed(case: Case) -> str:
    """Kill the main process of some workers; all must go."""
    folder = apart(_copied, case, limit=_LIMIT, name="blocks")
    words = ["-f", f"{folder / 'cells.py'}:find", "--set", f"folder={folder}", "--no-objects"]
    words += ["--stitch", "touch", "--connectivity", "6", "--block", str(_BLOCK), "--context", "0"]
    words += ["--workers", "2", "--retries", "1", "-q"]
    words += ["--format", _FORMATS[case.number % len(_FORMATS)]]
    program = Program(
        cytovox("volume", "segment", folder / "raw.zarr", folder / "out.zarr", *words)
    )
    timer = threading.Timer(case.random.uniform(0.8, 4.0), program.kill)
    timer.start()
    ended = program.end()
    timer.cancel()
    assert ended.code in (0, -signal.SIGKILL), ended.out
    told = f"main process with workers killed after {ended.seconds:.1f} s"
    apart(_go_on, case, told, limit=_LIMIT, name="blocks")
    return "right before anything was killed" if ended.code == 0 else "killed, then right"


def _go_on(case: Case, told: str) -> None:
    _assert_right(case.folder, _segment(case.folder, case), told)


def _in_helper(work: Any) -> Any:
    return lambda case: str(apart(work, case, limit=_LIMIT, name="blocks"))


_WAYS = (
    _main_killed,
    _in_helper(_worker_killed),
    _input_torn,
    _in_helper(_poisoned),
    _all_killed,
)


def _blocks(case: Case) -> str:
    keep_folder()
    return _WAYS[case.number % len(_WAYS)](case)


FAULTS = [
    Fault(
        row=14,
        name="Volumes: killed workers, killed runs, torn chunks and shards, poison blocks",
        quick=5,  # each way and each format; each way in each format from 20 on
        full=500,
        bound="labels equal those of a run without faults, which are those of the whole volume",
        peer="dcnum has no volumes",
        run=_blocks,
        limit=_LIMIT,
    )
]
