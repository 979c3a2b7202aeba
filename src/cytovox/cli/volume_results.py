"""What a volume command says at the end, and by which exit code."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import escaped
from .console import SOME_FAILED, print_json, print_text, say
from .signals import STOPPED_TEXT, resumable

if TYPE_CHECKING:
    from ..blockwise.volume_result import VolumeResult
    from .command_options import SaidOfWork

__all__ = ["failures_in_words", "near", "show_volume", "showing"]

#: So many blocks that failed are listed.
_LISTED = 20


@contextmanager
def showing(name: str, *, quiet: bool) -> Iterator[Callable[[Any], None]]:
    """Show progress, or warnings only; yield the function to call with each event."""
    from ..blockwise.events import BlockFailed, WorkerLost
    from .progress_display import choose_display, reporting_compilation

    display = choose_display(quiet=quiet)
    errors: set[str] = set()

    def listen(event: Any) -> None:
        display.show(event)
        if isinstance(event, BlockFailed) and (error := _without_place(event.error)) not in errors:
            errors.add(error)  # the summary says how many blocks failed so
            state = "failed" if event.final else f"attempt {event.attempt} failed"
            display.note(f"{name}: block {event.block} {state}: {error}")
        elif isinstance(event, WorkerLost):
            display.note(f"{name}: {event.worker} {event.how}")

    # What the log says of blocks is shown here already.
    silent = logging.NullHandler()
    logging.getLogger("cytovox").addHandler(silent)
    try:
        with display, reporting_compilation(display.compiling), resumable():
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
        say(*failures_in_words(result, output, replays=replays).split("\n"))
        return code
    if not said.quiet:
        before = "was finished before, " if result.was_finished else ""
        print_text(f"{output}: {before}{_in_words(result)}")
        if result.table is not None:
            print_text(f"table: {near(result.table)}")
        if result.report is not None:
            from ..report.seams import seams_in_words

            print_text(seams_in_words(result.report))
        if picture is not None:
            print_text(f"picture: {near(picture)}")
    return code


def near(path: str | os.PathLike[str]) -> str:
    """Return a path as one would type it here.

    Examples
    --------
    >>> import os
    >>> near(os.path.join(os.getcwd(), "labels.csv"))
    'labels.csv'
    """
    try:
        return str(Path(path).absolute().relative_to(Path.cwd()))
    except ValueError:  # it is elsewhere
        return str(path)


def failures_in_words(result: Any, output: str, *, replays: bool = True) -> str:
    """Return a line for each way in which blocks failed, and what to do."""
    ways: dict[str, list[Any]] = {}
    for one in result.failed:
        ways.setdefault(_without_place(one.error), []).append(one)
    lines = [
        f"error: {output}: {_blocks(alike)}: {error} (attempts: {alike[0].attempts})"
        for error, alike in list(ways.items())[:_LISTED]
    ]
    if len(ways) > _LISTED:
        lines.append(f"and {len(ways) - _LISTED} more, see: cytovox volume info {output}")
    first = result.failed[0].block if result.failed else 0
    look = (
        f"cytovox volume replay {output} {first} shows where the first one fails"
        if replays
        else f"cytovox volume info {output} shows what is done"
    )
    others = ""
    if result.untried:
        others = f", from all over the volume; the other {result.untried} were not tried"
    lines.append(
        f"{len(result.failed)} of {result.blocks} blocks failed{others}; the same command does "
        f"only those again, and {look}"
    )
    return "\n".join(map(escaped, lines))


def _blocks(failed: list[Any]) -> str:
    """Return the blocks that failed in the same way.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> _blocks([SimpleNamespace(block=i) for i in range(9)])
    'blocks 0, 1, 2 and 6 more'
    """
    named = ", ".join(str(one.block) for one in failed[:3])
    more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
    return f"block{'s' if len(failed) > 1 else ''} {named}{more}"


def _without_place(error: str) -> str:
    """Leave out the kind of our own errors and the block, which is named before."""
    return re.sub(r"^\w+Error: (block \d+: )(?=\S)|^\w+Error: (?=\w+ failed: )", "", error)


def _in_words(result: Any) -> str:
    blocks = "1 block" if result.blocks == 1 else f"{result.blocks} blocks"
    counted = f"{result.objects} objects, " if result.report is not None else ""
    return f"{counted}{blocks} in {result.seconds:.1f} s"


def _failure(failure: Any) -> dict[str, Any]:
    return {
        name: getattr(failure, name)
        for name in ("block", "reason", "error", "attempts", "traceback")
    }
