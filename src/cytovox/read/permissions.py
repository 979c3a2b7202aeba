"""What an input may lead to, and how much it may claim.

By default a recording is only what is in its own file and in files of its own
folder that belong to the same measurement. Everything else has to be allowed,
by an argument; where none is given, the environment says what is allowed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError, OptionError

__all__ = [
    "ALLOW_VARIABLE",
    "KINDS",
    "ROOTS_VARIABLE",
    "Permissions",
    "RefusedInputError",
    "default_permissions",
    "existing_folder",
    "is_on_server",
]

#: Environment variable: kinds of `KINDS`, separated by commas.
ALLOW_VARIABLE = "CYTOVOX_ALLOW"
#: Environment variable: folders, separated as in PATH.
ROOTS_VARIABLE = "CYTOVOX_BASIN_ROOTS"
#: What may be allowed, and what each means.
KINDS = {
    "external": "data outside of the input: external and virtual storage, links",
    "unidentified": "basins that do not name the measurement they are of",
    "oversized": "sizes beyond the limits, and any compression filter",
    "growing": "recordings that another program still writes",
}


class RefusedInputError(InputError):
    """An input leads elsewhere, or claims more than is allowed."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """What an input may do.

    Parameters
    ----------
    external
        Whether data outside of the file are followed: raw data in other files,
        virtual datasets of other files, and links to other files.
    unidentified
        Whether a basin may lack the identifier that its file has.
    oversized
        Whether no limits of size hold and chunks are not looked at before they
        are unpacked.
    growing
        Whether another program may have the file open for writing; then what is
        there when it is opened is read.
    basin_roots
        Folders, besides that of the input, in which basins may be.

    Examples
    --------
    >>> Permissions(basin_roots=("/data",)).hint_for("external")
    'if you trust the input, allow it with --allow-external'
    """

    external: bool = False
    unidentified: bool = False
    oversized: bool = False
    growing: bool = False
    basin_roots: tuple[str | os.PathLike[str], ...] = ()

    def within(self, *folders: str | os.PathLike[str]) -> Permissions:
        """Return permissions that allow basins in further folders.

        Parameters
        ----------
        *folders
            Folders.
        """
        new = [folder for folder in folders if folder not in self.basin_roots]
        return replace(self, basin_roots=(*self.basin_roots, *new)) if new else self

    def include(self, other: Permissions) -> bool:
        """Return whether all that others allow is allowed.

        Parameters
        ----------
        other
            Permissions of another reader.
        """
        flags = all(getattr(self, kind) >= getattr(other, kind) for kind in KINDS)
        return flags and set(self.basin_roots) >= set(other.basin_roots)

    def is_allowed_place(self, path: Path) -> bool:
        """Return whether a file is in one of the roots, also after all symbolic links.

        Parameters
        ----------
        path
            Absolute path.
        """
        try:
            there = path.resolve()
            return any(there.is_relative_to(Path(root).resolve()) for root in self.basin_roots)
        except (OSError, ValueError, RuntimeError):
            return False  # a path of another system, or links in a loop

    @staticmethod
    def hint_for(kind: str) -> str:
        """Return what to do in order to allow something.

        Parameters
        ----------
        kind
            One of `KINDS`.
        """
        return f"if you trust the input, allow it with --allow-{kind}"


def is_on_server(path: str) -> bool:
    r"""Return whether a path names another computer, as Windows does."""
    return path[:1] in ("/", "\\") and path[1:2] in ("/", "\\")


def default_permissions() -> Permissions:
    """Return what the environment allows, for readers that are given no permissions."""
    words = os.environ.get(ALLOW_VARIABLE, "")
    roots = os.environ.get(ROOTS_VARIABLE, "")
    if not words and not roots:
        return _NOTHING
    kinds = {word.strip() for word in words.split(",")} - {""}
    for kind in kinds.difference(KINDS):
        hint = f"choose from {', '.join(KINDS)}"
        raise OptionError(f"'{kind}' cannot be allowed", hint=hint)
    return Permissions(
        **dict.fromkeys(kinds, True),
        basin_roots=tuple(folder for folder in roots.split(os.pathsep) if folder),
    )


_NOTHING = Permissions()


def existing_folder(folder: str | os.PathLike[str]) -> str:
    """Return the absolute path of a folder in which basins may be."""
    path = Path(folder).absolute()
    if not path.is_dir():
        raise OptionError(f"there is no folder '{folder}'", hint="name a folder that exists")
    return str(path)
