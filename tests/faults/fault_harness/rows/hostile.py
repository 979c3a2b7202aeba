"""Row 9: files that were made to harm."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

from cytovox.errors import CytovoxError
from support.hostile import (
    SECRET,
    HostileCase,
    hostile_cases,
    read_everything,
    write_secret,
)

from ..corpus import RECORDING_WORDS, VOLUME_WORDS
from ..helpers import say
from ..matrix import Case, Fault
from .fuzz import in_bounded_process

__all__ = ["FAULTS"]

#: Seconds of computing in which everything that is in a file is refused or read.
_LIMIT = 20.0


def _cases() -> list[HostileCase]:
    """Return the cases, those of the small selection first."""
    quick = hostile_cases(quick=True)
    names = {case.name for case in quick}
    return [*quick, *(case for case in hostile_cases() if case.name not in names)]


def _hostile(case: Case) -> str:
    """Read all that is in a file, and let the program work on it."""
    hostile = _cases()[case.number % len(_cases())]
    target = hostile.build(write_secret(case.folder))
    _from_python(hostile, target)
    out = case.folder / ("out.rtdc" if hostile.kind == "recording" else "out.zarr")
    if hostile.kind == "recording":
        said = say("run", target, "-o", out, *RECORDING_WORDS)
    else:
        said = say("volume", "segment", target, out, *VOLUME_WORDS)
    told = f"{hostile.name}: exit code {said.code}: {said.out}"
    assert "please report" not in said.out, told
    if said.code in (0, 3):
        assert not _holds_secret(out), told
        return "done without what harms" if hostile.refused else "opened, and leads nowhere"
    assert not out.exists(), f"a final name in spite of {told}"
    assert "inbox" in said.out, f"the file is not named: {told}"
    return "refused, and named" if hostile.refused else "opened, and leads nowhere"


def _from_python(hostile: HostileCase, target: Path | str) -> None:
    parts: list[Any] = []
    said = ""
    try:
        parts += read_everything(hostile, target)
    except CytovoxError as err:
        said = str(err)
    assert hostile.refused == bool(said), f"{hostile.name}: {said or 'it was opened'}"
    assert re.search(hostile.says, said, re.DOTALL), f"{hostile.name}: {said}"
    assert not any((part == SECRET).any() for part in parts), f"{hostile.name}: it was read"


def _holds_secret(out: Path) -> bool:
    """Return whether what was made holds what nobody may read."""
    files = [out] if out.is_file() else [path for path in out.rglob("*") if path.is_file()]
    return any(bytes([SECRET]) * 20 in path.read_bytes() for path in files)


FAULTS = [
    Fault(
        row=9,
        name="Files that were made to harm",
        quick=len(hostile_cases(quick=True)),
        full=len(hostile_cases()),
        bound="refused and named, or harmless; within 20 s and 1 GiB; nothing outside is read",
        peer="external storage, links and basins are read; bombs fill the memory",
        run=partial(in_bounded_process, _hostile, limit=_LIMIT),
        note="Links, storage elsewhere, basins, bombs, lies about sizes, objects",
    )
]
