"""Checking a list of files; one bad file never stops the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CytovoxError, OutputError, UsageError, escaped
from ..run.findings import Verification
from ..run.lock import LockOwner, read_owner
from ..run.progress import StageFinished, StageProgress, StageStarted
from .batch import FINDINGS, SOME_FAILED
from .console import describe, exit_code_of, print_json, print_text, report_error
from .progress import Quiet, choose_display

if TYPE_CHECKING:
    from ..read import Permissions

__all__ = [
    "Check",
    "exit_code_of_checks",
    "find_files",
    "kind_of",
    "show_checks",
    "verify_files",
]

#: Exit code of a file that is damaged.
DAMAGED = 1
#: What ends the name of a file that is not finished.
_UNFINISHED = "~"
_VOLUME_MARKS = ("zarr.json", ".zarray", ".zgroup", ".zattrs", "attributes.json", "info")
_HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclass(slots=True)
class Check:
    """What a check of one file has come to.

    Parameters
    ----------
    path
        The file, as it was named.
    kind
        What it is; see `kind_of`.
    result
        What was found; None if it could not be checked at all.
    error
        Why not, in one line.
    exit_code
        What this file alone would give.
    """

    path: str
    kind: str = "unknown"
    result: Verification | None = None
    error: str | None = None
    exit_code: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def state(self) -> str:
        """One word or two: good, look, DAMAGED, unfinished, unreadable."""
        if self.kind == "unfinished":
            return "unfinished"
        if self.result is None:
            return "UNREADABLE"
        if self.result.errors:
            return "DAMAGED"
        return "look" if self.result.warnings else "good"


def find_files(words: Sequence[str]) -> list[Check]:
    """Find what is to be checked.

    Parameters
    ----------
    words
        Files, URLs, volumes, or folders that hold some of them.
    """
    checks: list[Check] = []
    for word in words:
        path = Path(word)
        if "://" in word or not path.is_dir() or _is_volume(path):
            checks.append(Check(word))
            continue
        inside = _inside(path)
        checks += [Check(str(one)) for one in inside]
        if not inside:
            error = UsageError(
                "the folder holds no recordings or volumes", path=word, hint="name another"
            )
            checks.append(Check(word, "folder", None, describe(error), error.exit_code))
    return checks


def kind_of(path: str) -> str:
    """Return what is checked how: recording, hdf5, volume or unfinished.

    Parameters
    ----------
    path
        File, folder or URL.

    Examples
    --------
    >>> kind_of("results/a_output_host_1234.rtdc~"), kind_of("s3://bucket/labels.zarr")
    ('unfinished', 'volume')
    """
    place = Path(path)
    if path.endswith(_UNFINISHED):
        return "unfinished"
    if "://" in path or place.is_dir() or Path(f"{path}.cytovox").is_dir():
        return "volume"
    if place.suffix.lower() == ".rtdc":
        return "recording"
    if not place.is_file():
        return "volume"  # may be file.h5:/inside; else its reader says what is wrong
    try:
        with place.open("rb") as file:
            head = file.read(8)
    except OSError:
        return "volume"
    if head != _HDF5:
        return "volume"
    import h5py

    try:
        with h5py.File(place, "r") as h5:
            return "recording" if "experiment:event count" in h5.attrs else "hdf5"
    except OSError:
        return "hdf5"


def verify_files(
    checks: Sequence[Check],
    *,
    thorough: bool,
    workers: int | None,
    debug: bool,
    quiet: bool,
    permissions: Permissions | None = None,
) -> list[Check]:
    """Check one file after the other.

    Parameters
    ----------
    checks
        From `find_files`.
    thorough, workers, permissions
        See `cytovox.logic.verify.verify_recording`.
    debug
        Whether to show tracebacks.
    quiet
        Whether to show no progress.
    """
    display = choose_display(quiet=quiet)
    more = {"thorough": thorough, "workers": workers, "permissions": permissions}
    with display:
        for check in checks:
            if check.error is not None:
                continue
            check.kind = kind_of(check.path)
            try:
                check.result = _verify(check, display, more)
            except Exception as error:
                placed = _placed(error, check.path)
                check.error, check.exit_code = describe(placed), exit_code_of(placed)
                if debug:
                    report_error(placed, debug=True)
            else:
                check.exit_code = _code_of(check.result)
    return list(checks)


def exit_code_of_checks(checks: Sequence[Check]) -> int:
    """Return the exit code of all checks together.

    Examples
    --------
    >>> good, torn = Check("a.rtdc"), Check("b.rtdc", exit_code=1)
    >>> exit_code_of_checks([good]), exit_code_of_checks([torn]), exit_code_of_checks([good, torn])
    (0, 1, 4)
    """
    failed = [check.exit_code for check in checks if check.exit_code not in (0, FINDINGS)]
    if failed:
        return failed[0] if len(checks) == 1 else SOME_FAILED
    return max((check.exit_code for check in checks), default=0)


def show_checks(checks: Sequence[Check], code: int, *, as_json: bool, quiet: bool) -> None:
    """Print what was found.

    Parameters
    ----------
    checks
        All checks.
    code
        Exit code of the program.
    as_json
        Whether to print JSON instead of the table.
    quiet
        Whether to leave out what is good.
    """
    if as_json:
        print_json({"exit_code": code, "files": [_plain(check) for check in checks]})
        return
    shown = [check for check in checks if not quiet or check.exit_code]
    if shown:
        print_text(_table(shown, len(checks)))


def _verify(check: Check, display: Quiet, more: dict[str, Any]) -> Verification:
    begin = time.perf_counter()
    more = {**more, "on_progress": _listener(display, check.path)}
    if check.kind == "unfinished":
        return _unfinished(check.path)
    if check.kind == "recording":
        from ..logic.verify import verify_recording

        result = verify_recording(check.path, **more)
    elif check.kind == "hdf5":
        from ..logic.verify_storage import verify_hdf5

        result = verify_hdf5(check.path, **more)
    else:
        from ..blockwise.verify import verify_volume

        result = verify_volume(check.path, **more)
    if result.counts.get("bytes_checked"):
        display.show(StageFinished("check", time.perf_counter() - begin))
    return result


def _unfinished(path: str) -> Verification:
    """Tell of a temporary file whether its run goes on or was killed."""
    found = Verification(path, "unfinished")
    place = Path(path)
    found.counts["bytes"] = place.stat().st_size
    owner = _owner(place)
    if owner is None:
        found.warn(place.name, "is the temporary file of a run of which nothing else is left")
    elif owner.may_live():
        found.note(place.name, f"is being written by {owner}")
    else:
        found.warn(place.name, f"is left of {owner}, which was stopped; the same command goes on")
    return found


def _owner(path: Path) -> LockOwner | None:
    """Return who made a temporary file, as the lock beside it tells; nothing is taken."""
    for lock in path.parent.glob("*.rtdc.lock"):
        if not path.name.startswith(f"{lock.name.removesuffix('.rtdc.lock')}_"):
            continue
        try:
            owner = read_owner(lock)
        except (OSError, OutputError):
            continue
        if owner and any(path.name.endswith(f"_{suffix}.rtdc~") for suffix in owner.suffixes):
            return owner
    return None


def _listener(display: Quiet, path: str) -> Callable[[int, int], None]:
    """Return a function that shows progress in megabytes."""
    begun = False
    name = Path(path).name

    def listen(done: int, total: int) -> None:
        nonlocal begun
        if not begun:
            begun = True
            display.begin(name)
            display.show(StageStarted("check", max(1, total >> 20), "MiB"))
        display.show(StageProgress("check", done >> 20, max(1, total >> 20)))

    return listen


def _code_of(result: Verification) -> int:
    if result.errors:
        return DAMAGED
    return FINDINGS if result.warnings else 0


def _placed(error: Exception, path: str) -> Exception:
    if isinstance(error, CytovoxError) and error.path is None:
        error.path = path
    return error


def _is_volume(path: Path) -> bool:
    return path.name.endswith(".cytovox") or any((path / name).exists() for name in _VOLUME_MARKS)


def _inside(folder: Path) -> list[Path]:
    """Return recordings, volumes and unfinished files in a folder, sorted by name."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            # The folder beside labels is checked with them.
            if path.suffix in (".zarr", ".n5", ".precomputed") and _is_volume(path):
                found.append(path)
        elif path.name.startswith("._"):  # macOS keeps notes of other files there
            continue
        elif path.name.lower().endswith((".rtdc", ".rtdc~", ".ozx", ".zarr.zip")):
            found.append(path)
    return found


def _plain(check: Check) -> dict[str, Any]:
    told: dict[str, Any] = {
        "path": check.path,
        "kind": check.kind,
        "state": check.state.lower(),
        "exit_code": check.exit_code,
        "error": check.error,
    }
    return told | (dict(check.result.as_plain()) if check.result is not None else {})


def _table(checks: Sequence[Check], number: int) -> str:
    rows = [("file", "kind", "checked", "seconds", "state")]
    lines_of: list[list[str]] = [[]]
    for check in checks:
        result = check.result
        size = 0 if result is None else result.counts.get("bytes_checked", 0)
        kind = "-" if result is None else result.kind
        seconds = "-" if result is None else f"{result.seconds:.1f}"
        checked = f"{size / 1e6:.1f} MB" if size else "-"
        path = escaped(check.path)
        rows.append((path, kind, checked, seconds, check.state))
        lines = [] if check.error is None else [f"  {_without(check.error, path)}"]
        lines_of.append(
            lines + [f"  {escaped(one)}" for one in (result.findings if result else [])]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    text = []
    for row, lines in zip(rows, lines_of, strict=True):
        parts = [row[0].ljust(widths[0]), row[1].ljust(widths[1])]
        parts += [row[2].rjust(widths[2]), row[3].rjust(widths[3]), row[4]]
        text.append("  ".join(parts))
        text += lines
    good = number - sum(1 for check in checks if check.exit_code)
    files = "1 file" if number == 1 else f"{number} files"
    return "\n".join([*text, f"{files}: {good} good, {number - good} not"])


def _without(error: str, path: str) -> str:
    return error.removeprefix(f"{path}: ")
