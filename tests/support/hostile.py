"""Files that were made to harm: what they try, and what must become of them.

Each case builds its files in an empty folder. What an attacker wants to read
is in the folder ``private`` beside the folder ``inbox`` of the input, and
every value of it is `SECRET`, which nothing else contains.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["SECRET", "HostileCase", "hostile_cases", "read_everything", "write_secret"]

#: Each pixel, value and byte of the private files.
SECRET = 181

#: Voxels, rows and lines that `read_everything` reads of one thing.
_MOST = 1 << 16


@dataclass(frozen=True, slots=True)
class HostileCase:
    """One thing that a crafted input may try.

    Parameters
    ----------
    name
        What it tries; unique.
    kind
        ``"recording"`` or ``"volume"``.
    build
        Function that writes the files into a folder and returns what is opened.
    says
        Pattern that is found in the error; empty where the file is harmless,
        is opened, and leads nowhere.
    allow
        Permission that lifts the refusal, if any: ``"external"``,
        ``"unidentified"``, ``"oversized"`` or ``"basin_root"``.
    quick
        Whether it belongs to the small selection.
    """

    name: str
    kind: Literal["recording", "volume"]
    build: Callable[[Path], Path | str]
    says: str = ""
    allow: str = ""
    quick: bool = False

    @property
    def refused(self) -> bool:
        """Whether the input must be refused."""
        return bool(self.says)


def hostile_cases(*, quick: bool = False) -> tuple[HostileCase, ...]:
    """Return the cases, always in the same order."""
    from .hostile_basins import BASIN_CASES
    from .hostile_recordings import RECORDING_CASES
    from .hostile_volumes import VOLUME_CASES

    cases = (*RECORDING_CASES, *BASIN_CASES, *VOLUME_CASES)
    return tuple(case for case in cases if case.quick or not quick)


def write_secret(folder: Path) -> Path:
    """Write the private files, and return the folder for the input."""
    from .hostile_recordings import plain_recording

    private, inbox = folder / "private", folder / "inbox"
    for place in (private, inbox):
        place.mkdir()
    (private / "secret.raw").write_bytes(bytes([SECRET]) * (1 << 16))
    plain_recording(private / "secret.rtdc", value=SECRET, identifier="secret measurement")
    return inbox


def read_everything(
    case: HostileCase, target: Path | str, **options: Any
) -> Iterator[npt.NDArray[Any]]:
    """Open an input as a run does, and yield what can be read of it."""
    if case.kind == "volume":
        from cytovox.read import open_volume

        with open_volume(target, **options) as volume:
            shape = volume.shape
            side = [min(n, 64) for n in shape]
            yield volume.read([(0, n) for n in side])
            yield volume.read([(n - m, n) for n, m in zip(shape, side, strict=True)])
        return
    from cytovox.read import HDF5Data

    with HDF5Data(target, **options) as data:
        data.check()
        yield from _recording_contents(data)


def _recording_contents(data: Any) -> Iterator[npt.NDArray[Any]]:
    for feat in data.keys():  # noqa: SIM118
        found = data[feat]
        yield np.asarray(found[: max(1, _MOST // max(1, int(np.prod(found.shape[1:]))))])
    for lines in data.logs.values():
        yield np.frombuffer("\n".join(lines[:_MOST]).encode("utf-8", "replace"), np.uint8)
    for table in data.tables.values():
        columns = table.values() if isinstance(table, dict) else [table]
        for column in itertools.islice(columns, 100):
            yield np.asarray(column)
    _ = data.meta_nest, data.get_ppid()
