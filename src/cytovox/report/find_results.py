"""Which results files and folders stand for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import InputNotFoundError, UsageError
from ..read import HDF5Data
from ..read.const import VOLUME_FILES

__all__ = ["find_results", "is_volume"]


def find_results(
    inputs: Iterable[str | os.PathLike[str]], *, recurse: bool = False
) -> list[tuple[Path, Exception | None]]:
    """Return the results that files and folders stand for, each once, and why one is none.

    Of a folder, the recordings that are no results are left out. What cannot be
    opened there is not, since it may be a result.
    """
    found: dict[Path, Exception | None] = {}
    for text in inputs:
        path = Path(text)
        if not path.exists():
            found[path] = InputNotFoundError("there is no such file or folder", path=text)
        elif path.is_dir() and not is_volume(path):
            inside = list(_results_in(path, recurse))
            found |= {one: None for one in inside if one not in found}
            if not inside:
                hint = "measure recordings first: cytovox run"
                found[path] = UsageError("the folder holds no results", path=text, hint=hint)
        else:
            found[path] = None
    return list(found.items())


def is_volume(path: Path) -> bool:
    """Return whether a path is a volume."""
    return path.is_dir() and any((path / name).exists() for name in VOLUME_FILES)


def _results_in(folder: Path, recurse: bool) -> Iterator[Path]:
    """Yield results in a folder, by name."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.endswith(".cytovox"):
            continue
        if path.is_dir():
            if is_volume(path):
                if Path(f"{path}.cytovox").is_dir():
                    yield path
            elif recurse and not path.is_symlink():
                yield from _results_in(path, recurse)
        elif path.suffix.lower() == ".rtdc" and path.is_file() and _may_be_result(path):
            yield path


def _may_be_result(path: Path) -> bool:
    try:
        with HDF5Data(path) as data:
            return "pipeline:dcnum hash" in data.meta
    except Exception:  # noqa: BLE001 - what is wrong with it is said where it is read
        return True
