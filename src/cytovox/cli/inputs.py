"""Which recordings a command means, and where their results go."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import CytovoxError, InputNotFoundError, UsageError

__all__ = ["SUFFIX", "Found", "find_inputs", "output_paths"]

#: What an output's name adds to the stem of its input.
SUFFIX = "_dcn"


@dataclass(slots=True)
class Found:
    """What the words of a command stand for.

    Parameters
    ----------
    inputs
        Recordings, each once, in the order of the words; sorted by name
        within a folder or pattern.
    notes
        One sentence for each file that was left out.
    errors
        What is wrong with words that stand for nothing.
    """

    inputs: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    errors: list[CytovoxError] = field(default_factory=list)


def find_inputs(words: Sequence[str]) -> Found:
    """Find the recordings that files, folders and patterns stand for.

    A file that was made by a run is no input where it was merely found in a
    folder or by a pattern, or where its own input is named as well; named
    alone it is taken.

    Parameters
    ----------
    words
        Files, folders or patterns such as ``day1/*.rtdc``.
    """
    found = Found()
    named: list[Path] = []
    for word in words:
        path = Path(word)
        if path.is_dir():
            _add_from(found, sorted(path.glob("*.rtdc")), word, "folder")
        elif not path.exists() and glob.has_magic(word):
            matches = sorted(Path(name) for name in glob.glob(word, recursive=True))
            _add_from(found, [p for p in matches if p.is_file()], word, "pattern")
        elif path.exists():
            named.append(path)
            found.inputs.append(path)
        else:
            found.errors.append(
                InputNotFoundError(
                    "there is no such file or folder", path=word, hint="check the spelling"
                )
            )
    found.inputs = _once(found, found.inputs, named)
    return found


def output_paths(inputs: Sequence[Path], out: Path | None) -> list[Path]:
    """Return where the result of each input goes.

    Parameters
    ----------
    inputs
        Recordings.
    out
        Folder for all results, or a file name ending in .rtdc for that of a
        single input; None puts each result beside its input.

    Raises
    ------
    UsageError
        If two inputs would go to one file, or one to itself.

    Examples
    --------
    >>> [p.as_posix() for p in output_paths([Path("a.rtdc")], Path("res"))]
    ['res/a_dcn.rtdc']
    """
    if out is not None and out.suffix == ".rtdc" and not out.is_dir():
        if len(inputs) > 1:
            raise UsageError(
                f"{len(inputs)} inputs cannot go to one file", path=out, hint="name a folder"
            )
        outputs = [out for _ in inputs]
    else:
        outputs = [(out or p.parent) / f"{p.stem}{SUFFIX}.rtdc" for p in inputs]
    owner: dict[Path, Path] = {}
    for path, result in zip(inputs, outputs, strict=True):
        key = Path(os.path.realpath(result))
        if key == Path(os.path.realpath(path)):
            raise UsageError("the output would replace its input", path=path, hint="rename it")
        if key in owner:
            raise UsageError(
                f"{owner[key]} and {path} would both go to {result}",
                hint="run them apart, into two folders",
            )
        owner[key] = path
    return outputs


def _add_from(found: Found, paths: Sequence[Path], word: str, kind: str) -> None:
    inputs = []
    for path in paths:
        if _is_output(path):
            found.notes.append(f"{path}: is a result itself, left out")
        else:
            inputs.append(path)
    found.inputs += inputs
    if not inputs:
        more = " but results" if paths else ""
        found.errors.append(
            UsageError(
                f"the {kind} holds no .rtdc recordings{more}", path=word, hint="name another"
            )
        )


def _once(found: Found, paths: Sequence[Path], named: Sequence[Path]) -> list[Path]:
    seen: dict[Path, Path] = {}
    for path in paths:
        seen.setdefault(Path(os.path.realpath(path)), path)
    kept = []
    for real, path in seen.items():
        source = real.with_name(real.name.replace(f"{SUFFIX}.rtdc", ".rtdc"))
        if path in named and source != real and source in seen:
            found.notes.append(f"{path}: is the result of {seen[source].name}, left out")
        else:
            kept.append(path)
    return kept


def _is_output(path: Path) -> bool:
    if path.stem.endswith(SUFFIX):
        return True
    import h5py

    try:
        with h5py.File(path, "r") as h5:
            return "pipeline:dcnum hash" in h5.attrs
    except OSError:
        # Not ours to judge: the run will say what is wrong with it.
        return False
