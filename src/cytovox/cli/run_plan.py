"""``cytovox plan``: what ``cytovox run`` would do, without doing it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from .. import __version__
from ..errors import escaped
from .console import FINDINGS, counted, in_columns, report_error, show
from .run_options import AllowedToRun, RecipeOptions, Work, measurings

if TYPE_CHECKING:
    from .foresight import Disk, Planned

from .command_options import argument

__all__ = ["plan"]


def plan(
    inputs: Annotated[
        tuple[str, ...],
        argument("INPUT...", "Recordings: files, folders, or patterns such as day1/*.rtdc."),
    ],
    work: Work,
    what: RecipeOptions,
    allowed: AllowedToRun,
) -> int:
    """Show what cytovox run would do with the same words; nothing is written.

    Of each recording: frames, minutes and size of the result, both estimated,
    and the pipeline it would get; or why it is skipped, refused or left out.
    Headers and some frames are read.

    Example: cytovox plan day1 -o results --recipe lab.toml
    """
    from .batch import side_by_side
    from .foresight import as_planned, disks_of, foresee, sum_of_minutes
    from .outcomes import exit_code_of_batch
    from .progress_display import showing_progress
    from .work_list import list_work

    how = measurings(what, allowed, work)
    todo = list_work(inputs, work, how)
    errors: list[Exception] = list(todo.errors)
    planned = [as_planned(outcome) for outcome in todo.refused()]
    with showing_progress(quiet=work.is_quiet) as display:
        for recording in side_by_side(todo.recordings, how):
            display.begin(recording.path.name)
            found, error = foresee(recording, how[recording.recipe])
            planned.append(found)
            errors += [] if error is None else [error]
    for error in errors:
        report_error(error, debug=work.debug)
    planned += [as_planned(outcome) for outcome in todo.left_out]
    code = exit_code_of_batch(planned)
    if work.findings_ok and code == FINDINGS:
        code = 0
    disks = disks_of(planned)
    plain = {
        "cytovox": __version__,
        "exit_code": code,
        "minutes": sum_of_minutes(planned),
        "disks": [asdict(disk) for disk in disks],
        "plan": [one.plain() for one in planned],
    }
    show(plain, _table_of(planned, disks), as_json=work.as_json)
    return code


def _table_of(planned: Sequence[Planned], disks: Sequence[Disk]) -> str:
    from ..run.folder_room import in_words
    from .foresight import sum_of_minutes

    rows = [["file", "frames", "minutes", "result", "pipeline", "what"]]
    several = len({one.recipe for one in planned if one.recipe is not None}) > 1
    for one in planned:
        name = f"{one.input} ({one.recipe})" if several and one.recipe else one.input
        minutes = "-" if one.minutes is None else _in_words(one.minutes)
        size = "-" if one.result_bytes is None else in_words(one.result_bytes)
        frames = "-" if one.frames is None else str(one.frames)
        rows.append([name, frames, minutes, size, (one.pipeline_hash or "-")[:7], one.verdict])
    lines = in_columns(rows, right=(1, 2, 3))
    for one in planned:
        lines += [escaped(f"{one.input}: {text}") for text in one.warnings]
    identifiers = {one.pipeline_hash: one.identifier for one in planned if one.identifier}
    lines += [f"{str(pphash)[:7]}: {text}" for pphash, text in identifiers.items()]
    counts = Counter(one.state for one in planned)
    states = ", ".join(f"{number} {state}" for state, number in counts.items())
    lines.append(f"{counted(len(planned), 'file')}: {states}")
    for disk in disks:
        free = "unknown" if disk.free_bytes is None else in_words(disk.free_bytes)
        place = escaped(disk.folder)
        text = f"{in_words(disk.result_bytes)} of results, {free} free at {place}"
        lines.append(f"{text} (TOO LITTLE)" if disk.is_too_small else text)
    if (total := sum_of_minutes(planned)) is not None:
        lines.append(f"{_in_words(total)} minutes in all; minutes and sizes are estimates")
    if any(one.state == "to do" and one.minutes is None for one in planned):
        lines.append("of segmenters other than thresh, it is not known how long they take")
    return "\n".join(lines)


def _in_words(minutes: float) -> str:
    return f"{minutes:.1f}" if minutes >= 0.05 else "<0.1"
