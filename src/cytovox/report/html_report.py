"""A page about results, with their numbers beside it for programs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import CytovoxError, OutputExistsError, StorageError, UsageError
from ..read import HDF5Data, Permissions
from ..run.extras import require
from ..run.folder_sync import replaced_file
from .find_results import find_results

if TYPE_CHECKING:
    from markupsafe import Markup

    from .folder_page import Row

__all__ = ["MOST_BYTES", "Report", "Reported", "write_report"]

#: Largest page [bytes].
MOST_BYTES = 20_000_000
#: What is left for the table and the style of a page [bytes].
_REST = 300_000
#: Names of the files beside a page.
SUMMARY, MULTIQC = "summary.csv", "cytovox_mqc.json"


@dataclass(slots=True)
class Reported:
    """One result in a report.

    Parameters
    ----------
    path
        The result.
    numbers
        What the report says of it, as plain values; empty if it could not be read.
    error
        Why it could not be read.
    findings
        What should be looked at.
    is_whole
        Whether headers and places of the file are as they must be.
    """

    path: str
    numbers: dict[str, Any] = field(default_factory=dict)
    error: Exception | None = None
    findings: list[str] = field(default_factory=list)
    is_whole: bool = True


@dataclass(slots=True)
class Report:
    """What was written.

    Parameters
    ----------
    page
        The page.
    summary, multiqc
        The numbers as CSV, and as MultiQC reads them.
    results
        What is in it.
    """

    page: Path
    summary: Path
    multiqc: Path
    results: list[Reported]


def write_report(
    results: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    recurse: bool = False,
    force: bool = False,
    permissions: Permissions | None = None,
    on_result: Callable[[str], None] | None = None,
) -> Report:
    """Write a page about results: one HTML file that needs no other, and no network.

    Beside it, the numbers are written as ``summary.csv``, and as
    ``cytovox_mqc.json`` for MultiQC. The same results give the same bytes.

    Parameters
    ----------
    results
        Results, and folders that hold such.
    out
        The page, a file ending in ``.html``; or a folder for it.
    recurse
        Whether folders within folders are searched.
    force
        Whether existing files are replaced.
    permissions
        What the results may do, such as refer to recordings in other folders;
        what is allowed in this process if None.
    on_result
        Called with the path of each result before it is read.

    Returns
    -------
    Report
        Results that cannot be read are in it, and on the page, with their errors.

    Raises
    ------
    OutputExistsError
        If a file exists that would be replaced.
    CytovoxError
        If no result can be read: the error of the first.

    Examples
    --------
    >>> from cytovox.logic import DCNumJobRunner, DCNumPipelineJob
    >>> from cytovox.testing import simulate_recording
    >>> folder = getfixture("tmp_path")
    >>> _ = simulate_recording(folder / "a.rtdc", frames=20)
    >>> with DCNumJobRunner(DCNumPipelineJob(folder / "a.rtdc")) as runner:
    ...     runner.run()
    >>> report = write_report(folder, folder / "report.html")
    >>> report.page.name, len(report.results)
    ('report.html', 1)
    """
    require("report", "a report")
    named = [results] if isinstance(results, (str, os.PathLike)) else list(results)
    page = _page_at(Path(out))
    files = (page, page.with_name(SUMMARY), page.with_name(MULTIQC))
    if not force:
        for path in files:
            if path.exists():
                hint = "give --force to replace it, or another folder with -o"
                raise OutputExistsError("the file exists", path=path, hint=hint)
    writing = _Writing(permissions, on_result)
    found = find_results(named, recurse=recurse)
    for index, (path, error) in enumerate(found):
        writing.add(path, error, len(found) - index)
    if all(one.error is not None for one in writing.results):
        raise writing.results[0].error or UsageError("there is nothing to report")
    title = " ".join(Path(os.path.abspath(text)).name for text in named[:3])
    is_table = len(found) > 1 or Path(named[0]).is_dir()
    contents = [writing.page(title, is_table=is_table), *writing.tables()]
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        for path, content in zip(files, contents, strict=True):
            with replaced_file(path) as file:
                file.write(content)
    except OSError as err:
        what = f"the report cannot be written: {err.strerror or err}"
        raise StorageError(what, path=page, hint="choose another place with -o") from err
    return Report(*files, writing.results)


def _page_at(out: Path) -> Path:
    if out.suffix.lower() in (".html", ".htm") and not out.is_dir():
        return out
    if out.exists() and not out.is_dir():
        raise UsageError("the page needs a name ending in .html", path=out)
    return out / "report.html"


class _Writing:
    """What is known of the results so far."""

    def __init__(
        self, permissions: Permissions | None, on_result: Callable[[str], None] | None
    ) -> None:
        self.results: list[Reported] = []
        self._permissions = permissions
        self._on_result = on_result
        self._rows: list[Row] = []
        self._sections: list[Markup] = []
        self._bytes = 0
        #: Index of the detail of the last section, and how many show less than all.
        self._level = 0
        self._thinned = 0

    def add(self, path: Path, error: Exception | None, left: int) -> None:
        """Read a result, of which so many are left with this one."""
        reported = Reported(os.fspath(path), error=error)
        self.results.append(reported)
        if error is not None:
            return
        if self._on_result is not None:
            self._on_result(reported.path)
        room = (MOST_BYTES - _REST - self._bytes) // left
        try:
            self._add_recording(path, reported, room)
        except Exception as err:  # noqa: BLE001 - it is told on the page and by the caller
            if isinstance(err, CytovoxError) and err.path is None:
                err.path = reported.path
            reported.error = err

    def _add_recording(self, path: Path, reported: Reported, room: int) -> None:
        from .folder_page import Row
        from .lost_objects import LostObjects, find_lost
        from .result_numbers import read_numbers
        from .result_page import DETAILS, result_section

        anchor = f"result-{len(self._rows) + 1}"
        section: Markup | None = None
        with HDF5Data(path, permissions=self._permissions) as data:
            numbers = read_numbers(data, reported.path)
            lost: LostObjects | None = None
            for level in range(max(self._level - 1, 0), len(DETAILS)):
                detail = DETAILS[level]
                if lost is None and detail.lost:
                    lost = find_lost(data)
                section = result_section(data, numbers, detail, anchor, lost or LostObjects())
                size = len(section.encode("utf-8", "replace"))
                self._level = level
                if size <= room:
                    break
            else:
                section = None
        self._thinned += self._level > 0
        if section is not None:
            self._sections.append(section)
            self._bytes += size
        self._rows.append(Row.of(numbers, anchor if section is not None else None))
        reported.numbers, reported.findings = numbers.plain(), list(numbers.findings)
        reported.is_whole = numbers.is_whole

    def page(self, title: str, *, is_table: bool) -> bytes:
        """Return the page."""
        from .folder_page import results_table
        from .page import render

        parts = list(self._sections)
        if is_table:
            failed = [
                (one.path, str(one.error).removeprefix(f"{one.path}: "))
                for one in self.results
                if one.error is not None
            ]
            parts.insert(0, results_table(self._rows, failed, title))
        text = render(
            "page.html",
            title=f"{title}: report",
            version=__version__,
            parts=parts,
            thinned=self._thinned,
            most=MOST_BYTES // 1_000_000,
        )
        return text.encode("utf-8", "backslashreplace")

    def tables(self) -> Iterator[bytes]:
        """Yield the summary and what MultiQC reads."""
        from .columns import RESULT_COLUMNS, find_outliers
        from .tables import multiqc_json, sample_names, summary_csv

        good = [one for one in self.results if one.error is None]
        far = find_outliers([one.numbers for one in good], RESULT_COLUMNS)
        told = {id(one): " ".join(keys) for one, keys in zip(good, far, strict=True)}
        yield summary_csv(
            {"file": one.path}
            | {c.key: one.numbers.get(c.key) for c in RESULT_COLUMNS}
            | {"pipeline": one.numbers.get("pipeline"), "hash": one.numbers.get("hash")}
            | {
                "outliers": told.get(id(one)),
                "error": None if one.error is None else str(one.error),
            }
            for one in self.results
        )
        names = sample_names([one.path for one in good])
        rows = {name: one.numbers for name, one in zip(names, good, strict=True)}
        yield multiqc_json(rows, RESULT_COLUMNS, "results")
