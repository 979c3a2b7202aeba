"""``cytovox verify``: whether files are whole; one bad file never stops the others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ..errors import CytovoxError, UsageError, escaped
from ..run.extras import require
from .command_options import Allowed, SaidOfWork, argument, option, options
from .console import (
    FINDINGS,
    counted,
    describe,
    exit_code_of,
    exit_code_of_all,
    in_columns,
    report_error,
    show,
)
from .inputs import begins_as_hdf5

if TYPE_CHECKING:
    from ..run.findings import Verification
    from ..run.lock import LockOwner
    from .progress_display import Quiet

__all__ = ["Check", "kind_of", "verify"]

#: Exit code of a file that is damaged.
DAMAGED = 1
#: State of what is not checked, by its kind.
_STATES = {"unfinished": "unfinished", "folder": "nothing"}
#: So many folders are named that may have been meant.
_NAMED = 5
#: What ends the name of a file that is not finished.
_UNFINISHED = "~"


@dataclass(slots=True)
class Check:
    """What has come of the check of one file."""

    path: str
    #: See `kind_of`.
    kind: str = "unknown"
    #: What was found; None if it could not be checked, for the reason in `error`.
    result: Verification | None = None
    error: str | None = None
    #: What this file alone would give.
    exit_code: int = 0

    @property
    def state(self) -> str:
        """One word: good, look, DAMAGED, REFUSED, unfinished, nothing, UNREADABLE."""
        if self.kind in _STATES:
            return _STATES[self.kind]
        if self.result is None:
            return "UNREADABLE"
        if errors := self.result.errors:
            from ..run.findings import Severity

            refused = any(one.severity is Severity.REFUSED for one in errors)
            return "REFUSED" if refused else "DAMAGED"
        return "look" if self.result.warnings else "good"

    def fail(self, error: Exception) -> None:
        """Note why the file could not be checked."""
        if isinstance(error, CytovoxError) and error.path is None:
            error.path = self.path
        self.error, self.exit_code = describe(error), exit_code_of(error)


@options
class _Way:
    quick: bool = option(False, "Look at headers and places only, not at the data.")
    workers: int | None = option(
        None, "Number of threads; as many as cores if not given.", min=1, metavar="N"
    )


def verify(
    files: Annotated[
        tuple[str, ...],
        argument(
            "FILE...",
            "Recordings, results and volumes of any program; folders are searched for them.",
        ),
    ],
    way: _Way,
    said: SaidOfWork,
    allowed: Allowed,
) -> int:
    """Check that files are complete and undamaged.

    Of recordings: lengths of all features, checksums of all chunks, header,
    pipeline identifier, basins, logs. Of volumes: every chunk and shard, all
    scales; of labels that were made here also the blocks, the numbers of the
    labels and the table of objects. Nothing is written. A bad file does not
    stop the others.

    Example: cytovox verify results labels.zarr
    """
    from .progress_display import showing_progress

    how = {"thorough": not way.quick, "workers": way.workers, "permissions": allowed.permissions()}
    checks = list(_find(files))
    with showing_progress(quiet=said.is_quiet) as display:
        for check in checks:
            if check.error is not None:
                continue
            check.kind = kind_of(check.path)
            try:
                check.result = found = _verify(check, display, how)
            except Exception as error:
                check.fail(error)
                if said.debug:
                    report_error(error, debug=True)
            else:
                check.exit_code = DAMAGED if found.errors else FINDINGS * bool(found.warnings)
    code = exit_code_of_all([check.exit_code for check in checks])
    shown = [check for check in checks if not said.quiet or check.exit_code]
    plain = {"exit_code": code, "files": [_plain(check) for check in checks]}
    show(plain, _table(shown, len(checks)) if shown else "", as_json=said.as_json)
    return code


def _find(words: Sequence[str]) -> Iterator[Check]:
    """Yield what is to be checked: files, URLs, volumes, and what is in folders."""
    for word in words:
        path = Path(word)
        if "://" in word or not path.is_dir() or _is_volume(path):
            yield Check(word)
            continue
        inside = [Check(str(one)) for one in sorted(path.iterdir()) if _is_checked(one)]
        yield from inside
        if not inside:
            check = Check(word, "folder")
            check.fail(_nothing_in(path))
            yield check


def _nothing_in(folder: Path) -> UsageError:
    """Return the error for a folder that holds nothing to be checked, unless in its folders."""
    inner = [
        str(one)
        for one in sorted(folder.iterdir())
        if one.is_dir() and not one.name.startswith(".") and any(map(_is_checked, one.iterdir()))
    ]
    what = "the folder holds no recordings or volumes"
    hint = "name another"
    if inner:
        what = f"{what} itself, but folders in it do"
        hint = f"name them: {' '.join(inner[:_NAMED])}"
    return UsageError(what, path=folder, hint=hint)


def _is_volume(path: Path) -> bool:
    from ..read.const import VOLUME_FILES

    return path.name.endswith(".cytovox") or any((path / name).exists() for name in VOLUME_FILES)


def _is_checked(path: Path) -> bool:
    """Return whether something in a folder is a recording, a volume, or not finished."""
    if path.is_dir():
        # The folder beside labels is checked with them.
        return path.suffix in (".zarr", ".n5", ".precomputed") and _is_volume(path)
    is_note = path.name.startswith("._")  # macOS keeps notes of other files there
    return not is_note and path.name.lower().endswith((".rtdc", ".rtdc~", ".ozx", ".zarr.zip"))


def kind_of(path: str) -> str:
    """Return what is checked how: recording, hdf5 (or a recording), volume or unfinished."""
    place = Path(path)
    if path.endswith(_UNFINISHED):
        return "unfinished"
    if "://" in path or place.is_dir() or Path(f"{path}.cytovox").is_dir():
        return "volume"
    if place.suffix.lower() == ".rtdc":
        return "recording"
    if place.is_file() and begins_as_hdf5(place):
        return "hdf5"
    return "volume"  # may be file.h5:/inside; else its reader says what is wrong


def _verify(check: Check, display: Quiet, how: dict[str, Any]) -> Verification:
    if check.kind == "unfinished":
        return _unfinished(check.path)
    from .progress_display import showing_bytes

    with showing_bytes(display, Path(check.path).name, "check") as listen:
        if check.kind == "volume":
            require("volumes", "volumes")
            from ..blockwise.verify_labels import verify_volume

            return verify_volume(check.path, on_progress=listen, **how)
        from ..logic.verify import verify_recording

        hdf5 = check.kind == "hdf5"
        return verify_recording(check.path, or_hdf5=hdf5, on_progress=listen, **how)


def _unfinished(path: str) -> Verification:
    """Report of a temporary file whether its run still works or was killed."""
    from ..run.findings import Verification

    found = Verification(path, "unfinished")
    place = Path(path)
    found.counts["bytes"] = place.stat().st_size
    owner = _owner(place)
    if owner is None:
        found.warn(place.name, "is the temporary file of a run of which nothing else is left")
    elif owner.may_live():
        found.note(place.name, f"is being written by {owner}")
    else:
        found.warn(place.name, f"is left of {owner}, which was stopped; the same command resumes")
    return found


def _owner(path: Path) -> LockOwner | None:
    """Return who made a temporary file, as the lock beside it says; the lock is not taken."""
    from ..run.lock import read_owner

    for lock in path.parent.glob("*.rtdc.lock"):
        if not path.name.startswith(f"{lock.name.removesuffix('.rtdc.lock')}_"):
            continue
        with contextlib.suppress(OSError, CytovoxError):
            owner = read_owner(lock)
            suffixes = () if owner is None else owner.suffixes
            if any(path.name.endswith(f"_{suffix}.rtdc~") for suffix in suffixes):
                return owner
    return None


def _plain(check: Check) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "path": check.path,
        "kind": check.kind,
        "state": check.state.lower(),
        "exit_code": check.exit_code,
        "error": check.error,
    }
    return plain | (dict(check.result.as_plain()) if check.result is not None else {})


def _table(checks: Sequence[Check], number: int) -> str:
    """Return all as aligned text, what was found below each file."""
    rows = [("file", "kind", "checked", "seconds", "state")]
    below: list[list[object]] = []
    for check in checks:
        if (result := check.result) is None:
            rows.append((check.path, "-", "-", "-", check.state))
            below.append([str(check.error).removeprefix(f"{escaped(check.path)}: ")])
            continue
        size = result.counts.get("bytes_checked", 0)
        amount = f"{size / 1e6:.1f} MB" if size else "-"
        rows.append((check.path, result.kind, amount, f"{result.seconds:.1f}", check.state))
        below.append([*result.findings])
    head, *lines = in_columns(rows, right=(2, 3))
    text = [head]
    for line, found in zip(lines, below, strict=True):
        text += [line, *(f"  {escaped(one)}" for one in found)]
    good = number - sum(1 for check in checks if check.exit_code)
    summary = f"{counted(number, 'file')}: {good} good, {number - good} not"
    return "\n".join([*text, summary])
