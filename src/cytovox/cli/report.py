"""``cytovox report``: a page about results that one can keep, print and send."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ..errors import escaped
from .command_options import AllowedToRecordings, SaidOfWork, argument, option, options
from .console import (
    FINDINGS,
    counted,
    describe,
    exit_code_of,
    exit_code_of_all,
    report_error,
    show,
)

if TYPE_CHECKING:
    from ..report.html_report import Report, Reported

__all__ = ["report"]


@options
class _Page:
    out: Path | None = option(
        None,
        "The page, a file ending in .html, or a folder for it. Without it, report.html in the "
        "folder, or beside the first result.",
        "--out",
        "-o",
        metavar="OUT",
    )
    recurse: bool = option(False, "Search folders within folders too.", "--recurse", "-r")
    force: bool = option(False, "Replace existing files.")


def report(
    results: Annotated[
        tuple[str, ...],
        argument(
            "RESULT...",
            "Results of cytovox run, labels of cytovox volume segment, folders of such.",
        ),
    ],
    page: _Page,
    allowed: AllowedToRecordings,
    said: SaidOfWork,
) -> int:
    """Write a page about results: one HTML file that needs no other file and no network.

    Of a recording: found, kept and lost, events and lost objects with their
    outlines, size and deformation, their course over time, background, recipe,
    versions. Of several: a table that marks what is far from the others, and
    recipes that differ. Beside it are summary.csv and cytovox_mqc.json, which
    MultiQC reads.

    Example: cytovox report results -o report.html
    """
    from ..report import write_report
    from ..report.find_results import is_labels
    from .progress_display import showing_progress

    first = Path(results[0])
    out = page.out or (first if first.is_dir() and not is_labels(first) else first.parent)
    with showing_progress(quiet=said.is_quiet) as display:
        written = write_report(
            results,
            out,
            recurse=page.recurse,
            force=page.force,
            permissions=allowed.permissions(),
            on_result=lambda path: display.note(f"{path}: is read"),
        )
    failed = [one.error for one in written.results if one.error is not None]
    for error in failed:
        report_error(error, debug=said.debug)
    code = exit_code_of_all([_code(one) for one in written.results])
    show(_plain(written, code), "" if said.quiet else _text(written), as_json=said.as_json)
    return code


def _code(one: Reported) -> int:
    if one.error is not None:
        return exit_code_of(one.error)
    return 0 if one.is_whole else FINDINGS


def _plain(written: Report, code: int) -> dict[str, Any]:
    results = [
        {"file": one.path, **one.numbers, "error": one.error and describe(one.error)}
        for one in written.results
    ]
    return {
        "exit_code": code,
        "page": str(written.page),
        "summary": str(written.summary),
        "multiqc": [str(path) for path in written.multiqc],
        "results": results,
    }


def _text(written: Report) -> str:
    good = sum(one.error is None for one in written.results)
    bad = len(written.results) - good
    about = counted(good, "result") + (f", {bad} could not be read" if bad else "")
    size = written.page.stat().st_size / 1e6
    numbers = ", ".join(map(str, (written.summary, *written.multiqc)))
    lines = (f"{written.page}: {about}, {size:.1f} MB", f"numbers: {numbers}")
    return "\n".join(map(escaped, lines))
