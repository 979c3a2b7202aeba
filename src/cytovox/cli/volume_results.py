"""What is said of a run on a volume: while it works, at the end, and by which exit code."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CytovoxError, escaped
from .console import SOME_FAILED, counted, print_json, print_text, say
from .signals import STOPPED_TEXT, resumable

if TYPE_CHECKING:
    from ..blockwise.block_result import BlockFailed, BlockFailure, VolumeResult
    from ..blockwise.lookup import SeamReport
    from .command_options import Said, SaidOfWork

__all__ = ["failures_in_words", "near", "seams_in_words", "show_volume", "showing"]

#: So many blocks that failed are listed.
_LISTED = 20
#: Characters of an error that are shown.
_MOST_TEXT = 2_000


@contextmanager
def showing(name: str, said: Said) -> Iterator[Callable[[Any], None]]:
    """Show progress, or warnings only; yield the function to call with each event."""
    import logging

    from ..blockwise.block_result import BlockFailed, WorkerLost
    from .progress_display import showing_progress

    told: set[str] = set()

    def listen(event: Any) -> None:
        display.show(event)
        if isinstance(event, BlockFailed) and (error := _told(event)) not in told:
            told.add(error)  # the summary says how many blocks failed so
            state = "failed" if event.final else f"attempt {event.attempt} failed"
            display.note(f"{name}: block {event.block} {state}: {error}")
        elif isinstance(event, WorkerLost):
            display.note(f"{name}: {event.worker} {event.how}")

    # What the log says of blocks is shown here already.
    silent = logging.NullHandler()
    logging.getLogger("cytovox").addHandler(silent)
    try:
        with showing_progress(quiet=said.is_quiet) as display, resumable():
            display.begin(name)
            yield listen
    except KeyboardInterrupt:
        say(f"{name}: {STOPPED_TEXT}")
        raise
    finally:
        logging.getLogger("cytovox").removeHandler(silent)


def show_volume(
    result: VolumeResult,
    said: SaidOfWork,
    *,
    output: str,
    replays: bool = True,
    picture: str | None = None,
) -> int:
    """Say what came of a run; return the exit code, 0 only if all voxels were done.

    `replays` is whether ``cytovox volume replay`` knows what was done.
    """
    code = 0 if result else SOME_FAILED
    if said.as_json:
        print_json(
            {
                "exit_code": code,
                "output": result.output,
                "objects": result.objects,
                "table": result.table,
                "blocks": result.blocks,
                "failed": [_failure(failure) for failure in result.failed],
                "untried": result.untried,
                "was_finished": result.was_finished,
                "seams": None if result.report is None else result.report.as_dict(),
                "seconds": round(result.seconds, 3),
                "picture": picture,
            }
        )
        return code
    if not result:
        say(*failures_in_words(result, output, replays=replays))
        return code
    if not said.quiet:
        before = "was finished before, " if result.was_finished else ""
        objects = f"{result.objects} objects, " if result.report is not None else ""
        blocks = counted(result.blocks, "block")
        print_text(f"{escaped(output)}: {before}{objects}{blocks} in {result.seconds:.1f} s")
        if result.table is not None:
            print_text(f"table: {escaped(near(result.table))}")
        if result.report is not None:
            print_text(seams_in_words(result.report))
        if picture is not None:
            print_text(f"picture: {escaped(near(picture))}")
    return code


def near(path: str | os.PathLike[str]) -> str:
    """Return a path as one would type it here."""
    try:
        return str(Path(path).absolute().relative_to(Path.cwd()))
    except ValueError:  # it is elsewhere
        return str(path)


def failures_in_words(result: VolumeResult, output: str, *, replays: bool = True) -> list[str]:
    """Return a line for each way in which blocks failed, and what to do."""
    ways: dict[str, list[BlockFailure]] = {}
    for one in result.failed:
        ways.setdefault(_told(one), []).append(one)
    import shlex

    quoted = shlex.quote(output)
    lines = [
        f"error: {output}: {_blocks(alike)}: {error} (attempts: {alike[0].attempts})"
        for error, alike in list(ways.items())[:_LISTED]
    ]
    if len(ways) > _LISTED:
        lines.append(f"and {len(ways) - _LISTED} more, see: cytovox volume info {quoted}")
    first = result.failed[0].block if result.failed else 0
    look = (
        f"cytovox volume replay {quoted} {first} shows where the first one fails"
        if replays
        else f"cytovox volume info {quoted} shows what is done"
    )
    others = ""
    if result.untried:
        others = f", from all over the volume; the other {result.untried} were not tried"
    lines.append(
        f"{len(result.failed)} of {result.blocks} blocks failed{others}; the same command does "
        f"only those again, and {look}"
    )
    return lines


def _blocks(failed: list[BlockFailure]) -> str:
    """Return the blocks that failed in the same way."""
    named = ", ".join(str(one.block) for one in failed[:3])
    more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
    return f"block{'s' if len(failed) > 1 else ''} {named}{more}"


def _told(failed: BlockFailure | BlockFailed) -> str:
    """Return what happened to a block, which is named beside it."""
    from ..run.team_worker import shortened

    if not isinstance(failed.exception, CytovoxError):
        return failed.error
    error = copy.copy(failed.exception)
    error.block = None
    time = getattr(failed, "time", None)
    return shortened(str(error), _MOST_TEXT) + (
        f" (time point {time})" if time is not None else ""
    )


def seams_in_words(report: SeamReport) -> str:
    """Return a report about the seams as text."""
    from ..blockwise.run_state import seam_lines

    return "seams: " + "\n       ".join(seam_lines(report.as_dict()))


def _failure(failure: BlockFailure) -> dict[str, Any]:
    names = ("block", "reason", "error", "attempts", "traceback")
    return {name: getattr(failure, name) for name in names}
