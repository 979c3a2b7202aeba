"""Which results files and folders stand for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import InputNotFoundError, UsageError
from ..read import HDF5Data
from ..read.const import VOLUME_FILES

__all__ = ["find_results", "is_labels"]

#: What the folder that a run keeps beside labels is called, after them.
_BESIDE = ".cytovox"


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
        if is_labels(path):
            found[path] = None
        elif not path.exists():
            found[path] = InputNotFoundError("there is no such file or folder", path=text)
        elif path.is_dir() and not any((path / name).exists() for name in VOLUME_FILES):
            inside = list(_results_in(path, recurse))
            found |= {one: None for one in inside if one not in found}
            if not inside:
                hint = "measure recordings first: cytovox run"
                found[path] = UsageError("the folder holds no results", path=text, hint=hint)
        else:
            found[path] = None
    return list(found.items())


def is_labels(path: Path) -> bool:
    """Return whether a path is that of labels of a volume, which a run has made or makes."""
    return Path(f"{path}{_BESIDE}").is_dir()


def _results_in(folder: Path, recurse: bool) -> Iterator[Path]:
    """Yield results in a folder, by name."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.name.endswith(_BESIDE) and path.is_dir():
            yield path.with_name(path.name.removesuffix(_BESIDE))
        elif path.is_dir():
            is_volume = any((path / name).exists() for name in VOLUME_FILES)
            if recurse and not is_volume and not path.is_symlink():
                yield from _results_in(path, recurse)
        elif path.suffix.lower() == ".rtdc" and path.is_file() and _may_be_result(path):
            yield path


def _may_be_result(path: Path) -> bool:
    try:
        with HDF5Data(path) as data:
            return "pipeline:dcnum hash" in data.meta
    except Exception:  # noqa: BLE001 - what is wrong with it is said where it is read
        return True
