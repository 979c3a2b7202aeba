"""The folder whose files the page may see, and nothing outside of it."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputNotFoundError, UsageError

__all__ = ["Folder"]

#: More folders below it than these are not offered, nor such as lie deeper.
_MOST_FOLDERS = 500
_DEEPEST = 4


class Folder:
    """A folder, below which names are found; links that lead out of it are refused."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        if not self.path.is_dir():
            raise InputNotFoundError("there is no such folder", path=path, hint="name another")

    def place(self, name: object) -> Path:
        """Return the path of a name below the folder, with ``/`` between its parts.

        What it names need not be there.
        """
        if not isinstance(name, str):
            raise UsageError("this is not the name of a file", hint="reload the page")
        path = self.path.joinpath(name) if name else self.path
        try:
            resolved = Path(os.path.realpath(path))
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                resolved.lstat()
        except (OSError, ValueError) as err:  # too long, or with what no name has
            why = getattr(err, "strerror", None) or "it holds a character that no name has"
            raise UsageError(f"this name cannot be used: {why}", hint="give another") from err
        if resolved != self.path and self.path not in resolved.parents:
            raise UsageError("this lies outside of the folder of the page", path=path)
        return resolved

    def file(self, name: object) -> Path:
        """Return the path of a file that is there."""
        path = self.place(name)
        if not path.is_file():
            raise InputNotFoundError("there is no such file", path=path, hint="reload the page")
        return path

    def name(self, path: Path) -> str:
        """Return the name of a path in the folder, with ``/`` between its parts; empty for it."""
        relative = path.relative_to(self.path).as_posix()
        return "" if relative == "." else relative

    def folders(self) -> list[str]:
        """Return the names of the folder and of those below it, without hidden ones and links."""
        return sorted(itertools.islice(self._below(self.path, 0), _MOST_FOLDERS))

    def _below(self, place: Path, depth: int) -> Iterator[str]:
        yield self.name(place)
        if depth == _DEEPEST:
            return
        try:
            with os.scandir(place) as entries:
                inside = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
        except OSError:
            return
        for name in inside:
            if not name.startswith(".") and not name.endswith((".zarr", ".n5", ".cytovox")):
                yield from self._below(place / name, depth + 1)
