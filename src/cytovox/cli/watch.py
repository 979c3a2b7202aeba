"""``cytovox watch``: measure the recordings of a folder as they arrive."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ..errors import InputNotFoundError, UsageError
from .arrivals import Arrivals, Stamp, frames_in
from .command_options import INPUT, OUTPUT, argument, option, options
from .console import BY_SIGNAL, counted, report_error, say, show
from .run_options import AllowedToRun, RecipeOptions, Work, measurings
from .signals import STOPPED_TEXT, stop_gently

if TYPE_CHECKING:
    from .one_recording import Measuring, Outcome
    from .progress_display import Quiet

__all__ = ["Watcher", "watch"]

#: Exit codes of what is no fault of the recording and may be over: no access, another run.
_PASSING = (74, 75)
#: Looks while a recording must be stable, and the longest time between two [s].
_LOOKS, _LONGEST = 4, 15.0


@options
class _Work(Work):
    out: Path | None = option(
        None,
        "Folder for the results. Without it, NAME_dcn.rtdc beside each recording NAME.rtdc.",
        "--out",
        "-o",
        panel=OUTPUT,
        metavar="OUT",
    )


@options
class _Watching:
    stable: float = option(
        60.0,
        "Seconds for which the size, the time of change and the number of frames of a recording "
        "must have stayed the same before it is measured.",
        panel=INPUT,
        min=0.0,
        max=604_800.0,
        metavar="SECONDS",
    )
    once: bool = option(
        False,
        "Look once, measure what has not changed for --stable seconds, and end; for cron.",
        panel=INPUT,
    )
    move_broken: Path | None = option(
        None,
        "Move recordings that are broken to this folder; without it they stay where they are.",
        panel=OUTPUT,
        metavar="DIR",
    )


def watch(
    folder: Annotated[Path, argument("FOLDER", "Folder in which recordings arrive.")],
    watching: _Watching,
    what: RecipeOptions,
    allowed: AllowedToRun,
    work: _Work,
) -> int:
    """Measure the recordings of a folder as they arrive, until it is stopped.

    They are measured as by cytovox run. A recording that is broken is put on
    the list broken.jsonl, beside the results, and not tried again until it
    changes. A report for each day lies there, too. After a restart the same
    command goes on: finished results are skipped.

    Example: cytovox watch /data/incoming -o results
    """
    from .progress_display import showing_progress

    how = measurings(what, allowed, work)
    _check_folders(folder, watching, work)
    with showing_progress(quiet=work.is_quiet) as display:
        watcher = Watcher(folder, work, how, display, watching.stable, watching.move_broken)
        if watching.once:
            outcomes = watcher.look(once=True)
        else:
            code = watcher.stay()
    if watching.once:
        from .outcomes import show_outcomes

        return show_outcomes(outcomes, work)
    states = watcher.counts
    words = ", ".join(f"{number} {state}" for state, number in states.items()) or "none"
    plain = {"exit_code": code, "counts": dict(states)}
    text = f"{counted(states.total(), 'recording')}: {words}"
    show(plain, "" if work.quiet else text, as_json=work.as_json)
    return code


def _check_folders(folder: Path, watching: _Watching, work: Work) -> None:
    if not folder.is_dir():
        raise InputNotFoundError("there is no such folder", path=folder, hint="check the spelling")
    if work.out is not None and work.out.suffix.lower() == ".rtdc":
        raise UsageError("results of a watch cannot go to one file", hint="name a folder with -o")
    aside = watching.move_broken
    if aside is None:
        return
    place, watched = aside.resolve(), folder.resolve()
    if place == watched or (work.recurse and place.is_relative_to(watched)):
        hint = "name one that is not watched"
        raise UsageError("recordings would be moved to where they are looked for", hint=hint)


class Watcher:
    """Looks at a folder again and again, and measures what has arrived."""

    def __init__(
        self,
        folder: Path,
        work: Work,
        how: Mapping[str, Measuring],
        display: Quiet,
        stable: float,
        aside: Path | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] | None = None,
    ) -> None:
        from .watch_files import BrokenList, DailyReport

        permissions = next(iter(how.values())).permissions
        self._folder, self._work, self._how, self._display = folder, work, how, display
        self._aside = aside
        self._interval = min(max(stable / _LOOKS, 1.0), _LONGEST)
        self._arrivals = Arrivals(stable, lambda path: frames_in(path, permissions), clock)
        self._wait = wait or _wait
        notes = work.out or folder
        self._broken = BrokenList(notes / "broken.jsonl", folder)
        self._report = DailyReport(notes)
        self._stamps: dict[Path, Stamp] = {}
        self._errors: dict[str, str] = {}
        self.counts: Counter[str] = Counter()

    def stay(self) -> int:
        """Look until there is a signal; return the exit code that it means."""
        from .signals import exit_code_of_interrupt

        try:
            self._display.note(f"watching {self._folder}; Ctrl-C ends it")
            while True:
                for outcome in self.look():
                    if outcome.exit_code >= BY_SIGNAL:
                        return outcome.exit_code
                self._wait(self._interval)
        except KeyboardInterrupt as interrupt:
            say(STOPPED_TEXT)
            return exit_code_of_interrupt(interrupt)

    def look(self, *, once: bool = False) -> list[Outcome]:
        """Measure what is ready; if only once, that is what the times of the files say."""
        from .one_recording import Outcome

        stamps, outcomes = self._stamps_now()
        self._stamps = stamps
        known = {path: self._broken.reason(path, stamp) for path, stamp in stamps.items()}
        tried = {path: stamp for path, stamp in stamps.items() if known[path] is None}
        ready = self._arrivals.old(tried, time.time()) if once else self._arrivals.ready(tried)
        if ready:
            outcomes += self._measure(ready)
        outcomes += [
            Outcome(str(path), state="left out", reason=f"is known to be broken: {reason}")
            for path, reason in known.items()
            if reason is not None
        ]
        return outcomes

    def _stamps_now(self) -> tuple[dict[Path, Stamp], list[Outcome]]:
        """Return what recordings there are, and what is wrong with folders."""
        from .inputs import Found, recordings_in
        from .one_recording import Outcome

        found = Found()
        stamps: dict[Path, Stamp] = {}
        for path in recordings_in(self._folder, self._work.recurse, self._work.out, found):
            try:
                stamps[path] = Stamp.of(path)
            except OSError:
                continue  # it was removed, or is a link to what is not there yet
        outcomes = [Outcome(str(error.path)) for error in found.errors]
        for outcome, error in zip(outcomes, found.errors, strict=True):
            outcome.fail(error)
            self._say_once(outcome, error)
        if not outcomes:
            self._broken.keep(stamps)
        return stamps, outcomes

    def _say_once(self, outcome: Outcome, error: Exception) -> None:
        if self._is_news(outcome):
            report_error(error, debug=self._work.debug)

    def _is_news(self, outcome: Outcome) -> bool:
        """Return whether the last outcome of the same input was another one; note this one."""
        before = self._errors.pop(outcome.input, None)
        if outcome.error is not None:
            self._errors[outcome.input] = outcome.error
        return outcome.error != before

    def _measure(self, ready: Sequence[Path]) -> list[Outcome]:
        from .batch import run_batch
        from .cluster_batch import run_on_cluster
        from .work_list import list_work

        wanted = set(ready)
        todo = list_work([str(self._folder)], self._work, self._how, wanted=wanted.__contains__)
        outcomes = todo.refused()
        for outcome, error in zip(outcomes, todo.errors, strict=True):
            report_error(error, debug=self._work.debug)
            self._note(outcome)
        if self._work.cluster is None:
            outcomes += run_batch(
                todo.recordings, self._how, self._display, apart=True, seen=self._note
            )
        else:
            outcomes += run_on_cluster(
                todo.recordings, self._how, self._display, self._work, seen=self._note
            )
        passing = {Path(one.input) for one in outcomes if one.exit_code in _PASSING}
        self._arrivals.settle(wanted - passing)
        self._arrivals.postpone(passing)
        return outcomes

    def _note(self, outcome: Outcome) -> None:
        """Note what became of a recording, wherever it must be known later."""
        if outcome.state not in ("done", "skipped", "failed"):
            return
        self.counts[outcome.state] += 1
        if outcome.state == "done":
            self._display.note(f"{outcome.input}: {outcome.verdict}, {outcome.events} events")
        is_news, now = self._is_news(outcome), datetime.now().astimezone()
        try:
            more = self._quarantine(outcome, now) if outcome.is_broken else {}
            if outcome.state == "done" or (outcome.state == "failed" and is_news):
                self._report.add(outcome, now, **more)
        except OSError as error:  # a full disk; there may be room for the next
            report_error(error, debug=self._work.debug)

    def _quarantine(self, outcome: Outcome, now: datetime) -> dict[str, str]:
        """Move a broken recording, or put it on the list; return where it was moved."""
        path = Path(outcome.input)
        if self._aside is not None:
            try:
                target = _free_name(self._aside / path.relative_to(self._folder))
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(path, target)
            except OSError as failed:
                say(f"{path}: it cannot be moved: {failed.strerror or failed}")
            else:
                self._display.note(f"{path}: moved to {target}")
                return {"moved_to": str(target)}
        if path in self._stamps:
            self._broken.add(path, self._stamps[path], str(outcome.error), now)
        return {}


def _free_name(path: Path) -> Path:
    """Return a path at which there is nothing."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def _wait(seconds: float) -> None:
    """Wait until the next look, or until a signal says that there is none.

    There is no notification of changes in a folder that works on all systems, least
    of all for a folder on a server: so it is looked at again after a while.
    """
    stopped = threading.Event()
    with stop_gently(stopped.set):
        stopped.wait(seconds)
