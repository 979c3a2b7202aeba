"""``cytovox live``: measure a recording while it is written."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ..errors import InputNotFoundError, UsageError
from .command_options import (
    INPUT,
    OUTPUT,
    SAFETY,
    AllowedToRecordings,
    SaidOfWork,
    argument,
    option,
    options,
)
from .console import report_error, say
from .run_options import AllowedToRun, StoredOptions, Work, measurings, one_recipe
from .signals import exit_code_of_interrupt, stop_gently

if TYPE_CHECKING:
    from .one_recording import Measuring, Outcome, Recording
    from .progress_display import Quiet

__all__ = ["live"]

_STOPPED = "stopped; cytovox run takes over what was measured, or the same command begins anew"


@options
class _Settings(StoredOptions):
    recipes: tuple[str, ...] = one_recipe()


@options
class _Live(SaidOfWork):
    out: Path | None = option(
        None,
        "File for the result, ending in .rtdc, or its folder; NAME_dcn.rtdc beside the recording "
        "if not given. The provisional events are beside it, with _live in their name.",
        "--out",
        "-o",
        panel=OUTPUT,
        metavar="OUT",
    )
    workers: int | None = option(
        None, "Number of workers; as many as cores if not given.", min=1, metavar="N"
    )
    patience: float = option(
        60.0,
        "Seconds without a new frame after which a recording is given up that is not complete.",
        panel=INPUT,
        min=0.0,
        metavar="SECONDS",
    )
    stable: float = option(
        1.0,
        "Seconds for which a complete recording must have stayed the same.",
        panel=INPUT,
        min=0.0,
        metavar="SECONDS",
    )
    force: bool = option(False, "Replace a result that exists already.", panel=SAFETY)
    findings_ok: bool = option(False, "End with exit code 0 in place of 3.", panel=SAFETY)


def live(
    recording: Annotated[Path, argument("RECORDING", "Recording that is being written (.rtdc).")],
    how: _Live,
    what: _Settings,
    allowed: AllowedToRecordings,
) -> int:
    """Measure a recording while it is written; its result is ready soon after its end.

    Shows each second what was measured, and warns of a drifting background,
    flickering light, missing cells and a clogged channel. Provisional events
    can be opened by dclab meanwhile. When the recording is complete, the
    result is made as by cytovox run, from what was measured where that is
    final.

    Example: cytovox live raw.rtdc -o results
    """
    from .batch import run_batch
    from .outcomes import show_outcomes
    from .progress_display import showing_progress

    work = Work(
        out=how.out,
        workers=how.workers,
        force=how.force,
        findings_ok=how.findings_ok,
        as_json=how.as_json,
        quiet=how.quiet,
        debug=how.debug,
    )
    measurings_ = measurings(what, AllowedToRun(**vars(allowed)), work)
    if len(measurings_) > 1:
        raise UsageError("live measures by one recipe", hint="give one --recipe")
    (measuring,) = measurings_.values()
    todo = _recording(recording, how.out, measuring)
    with showing_progress(quiet=work.is_quiet) as display:
        display.begin(recording.name)
        outcome = _follow(todo, measuring, display, how)
        outcomes = [outcome] if outcome else run_batch([todo], measurings_, display)
    return show_outcomes(outcomes, work)


def _recording(path: Path, out: Path | None, measuring: Measuring) -> Recording:
    from .inputs import output_paths
    from .one_recording import Recording

    if not path.absolute().parent.is_dir():
        raise InputNotFoundError("there is no such folder", path=path.parent)
    (result,) = output_paths([path], out)
    return Recording(str(path), str(result), recipe=measuring.name)


def _follow(todo: Recording, measuring: Measuring, display: Quiet, how: _Live) -> Outcome | None:
    """Measure until the recording is complete; return what became of it otherwise."""
    from ..logic.run_folder import RunFolder
    from ..recipe.trust import trusting
    from .changes import Changes
    from .live_follower import Follower
    from .one_recording import folder_for

    outcome, stopped = todo.outcome(), threading.Event()
    measuring.load_segmenter()
    folder = RunFolder(todo.out.absolute())
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(trusting(measuring.trusted))
            stack.enter_context(folder_for(todo.out))
            stack.enter_context(stop_gently(stopped.set))
            folder.lock()
            stack.callback(folder.leave, keep=True)
            changes = stack.enter_context(contextlib.closing(Changes(todo.path, stopped)))
            given: dict[str, Any] = {"patience": how.patience, "stable": how.stable}
            follower = Follower(todo, measuring, display, wait=changes.wait, **given)
            with follower:
                follower.follow(stopped.is_set)
    except KeyboardInterrupt as interrupt:
        say(f"{todo.input}: {_STOPPED}")
        outcome.state, outcome.exit_code = "stopped", exit_code_of_interrupt(interrupt)
        return outcome
    except Exception as error:  # noqa: BLE001 - what became of it is shown in one way
        outcome.fail(todo.named(error))
        report_error(error, debug=how.debug)
        return outcome
    return None
