"""``cytovox run``: measure recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from .command_options import argument, option, options
from .console import report_error
from .run_options import AllowedToRun, RecipeOptions, Work, measurings

__all__ = ["run"]


@options
class _Work(Work):
    progress: Path | None = option(
        None,
        "Keep in this file, as JSON, how far the run is, for programs that show it.",
        metavar="FILE",
    )


def run(
    inputs: Annotated[
        tuple[str, ...],
        argument("INPUT...", "Recordings: files, folders, or patterns such as day1/*.rtdc."),
    ],
    work: _Work,
    what: RecipeOptions,
    allowed: AllowedToRun,
) -> int:
    """Measure recordings: find every event, write its features to a new .rtdc file.

    The numbers equal those of dcnum. A result that was already made by the
    same recipe is skipped; a bad file does not stop the others.

    Example: cytovox run day1 -o results --set segmenter.thresh=-3
    """
    from .outcomes import show_outcomes
    from .progress_display import showing_progress
    from .progress_file import keeping_progress, one_run_keeps
    from .work_list import list_work

    how = measurings(what, allowed, work)
    todo = list_work(inputs, work, how)
    for error in todo.errors:
        report_error(error, debug=work.debug)
    outcomes = todo.refused()
    with one_run_keeps(work.progress):
        with showing_progress(quiet=work.is_quiet) as shown:
            display = keeping_progress(work.progress, shown, todo.recordings)
            if work.cluster is None:
                from .batch import run_batch

                outcomes += run_batch(todo.recordings, how, display)
            else:
                from .cluster_batch import run_on_cluster

                outcomes += run_on_cluster(todo.recordings, how, display, work)
        outcomes += todo.left_out
        code = show_outcomes(outcomes, work)
        display.close(outcomes, code)
    return code
