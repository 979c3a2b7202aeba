"""Which recordings a command means, and where their results go."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import CytovoxError, InputError, InputNotFoundError, UsageError

__all__ = [
    "SUFFIX",
    "Found",
    "begins_as_hdf5",
    "find_inputs",
    "is_recording_name",
    "output_path",
    "output_paths",
    "recordings_in",
    "refuse_clashes",
]

#: What an output's name adds to the stem of its input.
SUFFIX = "_dcn"
#: First bytes of an HDF5 file.
_HDF5 = b"\x89HDF\r\n\x1a\n"
#: What begins the name of a file in which macOS keeps attributes of another.
_APPLE_DOUBLE = "._"
_MACOS = "holds only what macOS notes of another file"


@dataclass(slots=True)
class Found:
    """What the words of a command stand for."""

    #: Recordings, each once, in the order of the words; sorted by name within a folder
    #: or pattern.
    inputs: list[Path] = field(default_factory=list)
    #: Folder of each recording below the one that was searched for it.
    below: dict[Path, Path] = field(default_factory=dict)
    #: Each file or folder that was left out, and why.
    left_out: list[tuple[Path, str]] = field(default_factory=list)
    #: What is wrong with words that stand for nothing.
    errors: list[CytovoxError] = field(default_factory=list)

    def take(
        self,
        paths: Iterable[Path],
        word: str,
        kind: str,
        root: Path,
        own: Path,
        *,
        may_be_none: bool = False,
    ) -> None:
        """Take what is an input of what was found for a word, below `root`."""
        inputs, skipped = [], []
        for path in paths:
            if (reason := _reason_to_leave_out(path)) is not None:
                skipped.append((path, reason))
            else:
                inputs.append(path)
                self.below[path] = own / path.parent.relative_to(root)
        self.inputs += inputs
        self.left_out += skipped
        if not inputs and not may_be_none:
            more = " but what is left out" if skipped else ""
            what = f"the {kind} holds no .rtdc recordings{more}"
            self.errors.append(UsageError(what, path=word, hint="name another"))


def is_recording_name(name: str) -> bool:
    """Return whether a name ends as that of a recording does, in any case."""
    return name.lower().endswith(".rtdc")


def find_inputs(
    words: Sequence[str],
    *,
    recurse: bool = False,
    out: Path | None = None,
    wanted: Callable[[Path], bool] | None = None,
) -> Found:
    """Find the recordings that files, folders and patterns stand for.

    A file that was made by a run is not an input where it was merely found in a
    folder or by a pattern, or where its own input is named as well; named
    alone it is taken. Only regular files are looked into. The folder `out` of
    the results is not searched. Of what is found in a folder, only what is
    `wanted` is looked at, if that is given.
    """
    found = Found()
    named: list[Path] = []
    folders = [word for word in words if Path(word).is_dir()]
    for word in words:
        path = Path(word)
        if not word:
            hint = "name a file or folder; the current one is ."
            found.errors.append(UsageError("this is an empty name", path="''", hint=hint))
        elif path.is_dir():
            # With several, each keeps its name, so that they do not meet in the output.
            own = Path(path.resolve().name) if recurse and len(folders) > 1 else Path()
            inside: Iterable[Path] = recordings_in(path, recurse, out, found)
            if wanted is not None:
                inside = filter(wanted, inside)
            found.take(inside, word, "folder", path, own, may_be_none=wanted is not None)
        elif not os.path.lexists(path) and glob.has_magic(word):
            matches = sorted(Path(name) for name in glob.glob(word, recursive=True))
            found.take(matches, word, "pattern", _fixed_part(word), Path())
        elif not path.exists():
            what, hint = "there is no such file or folder", "check the spelling"
            found.errors.append(InputNotFoundError(what, path=word, hint=hint))
        elif not path.is_file():
            hint = "give a recording (.rtdc)"
            found.errors.append(InputError("this is not a file", path=word, hint=hint))
        elif path.name.startswith(_APPLE_DOUBLE) and not begins_as_hdf5(path):
            found.left_out.append((path, _MACOS))
        else:
            named.append(path)
            found.inputs.append(path)
    found.inputs = _once(found, named)
    return found


def output_paths(
    inputs: Sequence[Path],
    out: Path | None,
    below: dict[Path, Path] | None = None,
    recipe: str = "",
) -> list[Path]:
    """Return where the result of each input goes.

    That is the folder `out`, or below it, or a file of that name for a single
    input, or beside the input if `out` is None. One of several recipes has a
    folder of its own in `out`, or beside the input.
    """
    if out is not None and is_recording_name(out.name) and not out.is_dir():
        if len(inputs) > 1 or recipe:
            what = "results of several recipes" if recipe else f"{len(inputs)} inputs"
            raise UsageError(f"{what} cannot go to one file", path=out, hint="name a folder")
        return [out for _ in inputs]
    folders = [
        p.parent / recipe if out is None else out / recipe / (below or {}).get(p, "")
        for p in inputs
    ]
    return [folder / f"{p.stem}{SUFFIX}.rtdc" for folder, p in zip(folders, inputs, strict=True)]


def output_path(path: Path, out: Path | None, *endings: str) -> Path:
    """Return where what is made of a file goes: beside it, into a folder, or to a file.

    A name is made with the first ending; a file that is given has that of one of them.
    """
    name = f"{path.stem}{endings[0]}"
    if out is None:
        return path.parent / name  # of a path without a name, too
    if out.is_dir() or not out.suffix:
        return out / name
    suffixes = [ending[ending.rindex(".") :] for ending in endings]
    if out.suffix.lower() not in suffixes:
        hint = f"name a folder, or a file that ends in {suffixes[0]}"
        raise UsageError(f"the output is not named {' or '.join(suffixes)}", path=out, hint=hint)
    return out


def refuse_clashes(
    inputs: Sequence[Path], outputs: Sequence[Path]
) -> tuple[list[tuple[Path, Path]], list[CytovoxError]]:
    """Return each input with its output, without those that meet another, and what is wrong."""
    owners: dict[str, list[Path]] = {}
    for path, result in zip(inputs, outputs, strict=True):
        owners.setdefault(os.path.realpath(result), []).append(path)
    pairs: list[tuple[Path, Path]] = []
    errors: list[CytovoxError] = []
    for path, result in zip(inputs, outputs, strict=True):
        target = os.path.realpath(result)
        others = [str(other) for other in owners[target] if other is not path]
        if target == os.path.realpath(path):
            what = "the output would replace its input"
            errors.append(UsageError(what, path=path, hint="rename it"))
        elif others:
            what = f"its result would go to {result}, as would that of {', '.join(others)}"
            hint = "name the folder above them with --recurse, rename one, or run them apart"
            errors.append(UsageError(what, path=path, hint=hint))
        else:
            pairs.append((path, result))
    return pairs, errors


def recordings_in(folder: Path, recurse: bool, out: Path | None, found: Found) -> Iterator[Path]:
    """Yield what is named like a recording, folder by folder, sorted by name.

    What is wrong with folders, and which are left out, is noted in `found`.
    """

    def complain(error: OSError) -> None:
        place = error.filename or folder
        what = f"the folder cannot be read: {error.strerror or error}"
        found.errors.append(InputError(what, path=place, hint="check its rights"))

    results = None if out is None else os.path.realpath(out)
    for name, folders, files in os.walk(folder, onerror=complain):
        place = Path(name)
        for inner in sorted(folders):
            reason = _reason_not_to_enter(place / inner, recurse, results)
            if reason is not None:
                folders.remove(inner)
                if reason:
                    found.left_out.append((place / inner, reason))
        folders.sort()
        yield from (place / file for file in sorted(files) if is_recording_name(file))


def _reason_not_to_enter(folder: Path, recurse: bool, results: str | None) -> str | None:
    """Return why a folder is not searched; empty if that need not be said, None if it is."""
    if not recurse:
        try:
            holds_some = any(map(_may_be_input, os.listdir(folder)))
        except OSError:
            holds_some = False
        return "is not searched without --recurse" if holds_some else ""
    if os.path.realpath(folder) == results:
        return "is the folder of the results"
    if folder.name.startswith("."):
        return "is hidden"
    return "is a link to a folder, which is not followed" if folder.is_symlink() else None


def _may_be_input(name: str) -> bool:
    is_result = Path(name).stem.endswith(SUFFIX)
    return is_recording_name(name) and not is_result and not name.startswith(".")


def _reason_to_leave_out(path: Path) -> str | None:
    """Return why what was found is not an input, looking into regular files only."""
    if path.name.startswith(_APPLE_DOUBLE):
        return _MACOS
    if path.name.startswith("."):
        return "is hidden"
    try:
        mode = path.stat().st_mode
    except OSError:
        return None  # the run will say what is wrong with it
    if not stat.S_ISREG(mode):
        return "is a folder" if stat.S_ISDIR(mode) else "is not a regular file"
    if path.stem.endswith(f"{SUFFIX}_live"):
        return "holds provisional events"
    return "is a result itself" if _is_output(path) else None


def _fixed_part(pattern: str) -> Path:
    """Return the folder below which all matches of a pattern lie."""
    parts: list[str] = []
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return Path(*parts)


def _once(found: Found, named: Sequence[Path]) -> list[Path]:
    """Return each input once, and no result that was named beside its own input."""
    seen: dict[Path, Path] = {}
    for path in found.inputs:
        first = seen.setdefault(Path(os.path.realpath(path)), path)
        if first is not path:
            found.left_out.append((path, f"is {first}, which is there already"))
    stems = {(real.parent, real.stem): path for real, path in seen.items()}
    kept = []
    for real, path in seen.items():
        source = stems.get((real.parent, real.stem.removesuffix(SUFFIX)), path)
        if path in named and source is not path:
            found.left_out.append((path, f"is the result of {source.name}"))
        else:
            kept.append(path)
    return kept


def begins_as_hdf5(path: Path) -> bool:
    """Return whether a file begins as HDF5 does; True if that cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(_HDF5)) == _HDF5
    except OSError:
        return True  # the run will say what is wrong with it


def _is_output(path: Path) -> bool:
    if path.stem.endswith(SUFFIX):
        return True
    import h5py

    from ..read.members import stated

    try:
        with h5py.File(path, "r") as h5:
            return stated(h5.attrs, "pipeline:dcnum hash") is not None
    except OSError:
        # Not ours to judge: the run will say what is wrong with it.
        return False
