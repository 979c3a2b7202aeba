"""A page about results, with their numbers beside it for programs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import CytovoxError, OutputExistsError, StorageError, UsageError
from ..read import HDF5Data, Permissions
from ..run.extras import require
from ..run.folder_sync import replaced_file
from .find_results import find_results, is_labels

if TYPE_CHECKING:
    from markupsafe import Markup

    from .folder_page import Row, VolumeRow

__all__ = ["MOST_BYTES", "Report", "Reported", "write_report"]

#: Largest page [bytes].
MOST_BYTES = 20_000_000
#: What is left for the style of a page, and for each result in the table [bytes].
_REST, _ROW = 250_000, 3_000
#: Names of the files beside a page.
SUMMARY = "summary.csv"
#: The same of what MultiQC reads: of results, and of labels of volumes.
MULTIQC = ("cytovox_mqc.json", "cytovox_volumes_mqc.json")


@dataclass(slots=True)
class Reported:
    """One result in a report.

    Parameters
    ----------
    path
        The result.
    is_volume
        Whether it is labels of a volume, not a result of a recording.
    numbers
        What the report says of it, as plain values; empty if it could not be read.
    error
        Why it could not be read.
    findings
        What should be looked at.
    is_whole
        Whether it is complete, and headers and places of the file are as they must be.
    """

    path: str
    is_volume: bool = False
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
    summary
        The numbers as CSV.
    multiqc
        The numbers as MultiQC reads them; of recordings and of volumes.
    results
        What is in it.
    """

    page: Path
    summary: Path
    multiqc: list[Path]
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

    Beside it, the numbers are written as ``summary.csv``, and for MultiQC as
    ``cytovox_mqc.json``, of volumes as ``cytovox_volumes_mqc.json``. The same
    results give the same bytes.

    Parameters
    ----------
    results
        Results of recordings, labels of volumes that were made here, and folders
        that hold such.
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
    found = find_results(named, recurse=recurse)
    if not found:
        raise UsageError("there is nothing to report", hint="name results, or folders of such")
    kinds = {is_labels(path) for path, _ in found}
    for name in () if force else (page.name, SUMMARY, *(MULTIQC[kind] for kind in kinds)):
        if page.with_name(name).exists():
            hint = "give --force to replace it, or another folder with -o"
            raise OutputExistsError("the file exists", path=page.with_name(name), hint=hint)
    writing = _Writing(permissions, on_result)
    for index, (path, error) in enumerate(found):
        writing.add(path, error, len(found) - index)
    if all(one.error is not None for one in writing.results):
        raise next(one.error for one in writing.results if one.error is not None)
    title = " ".join(Path(os.path.abspath(text)).name for text in named[:3])
    is_table = len(found) > 1 or (Path(named[0]).is_dir() and not is_labels(Path(named[0])))
    contents = {page.name: writing.page(title, is_table=is_table), **dict(writing.tables())}
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            with replaced_file(page.with_name(name)) as file:
                file.write(content)
    except OSError as err:
        what = f"the report cannot be written: {err.strerror or err}"
        raise StorageError(what, path=page, hint="choose another place with -o") from err
    multiqc = [page.with_name(name) for name in MULTIQC if name in contents]
    return Report(page, page.with_name(SUMMARY), multiqc, writing.results)


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
        self._volumes: list[VolumeRow] = []
        self._sections: list[Markup] = []
        self._bytes = 0
        #: How much less than all the last section shows, and how many show less.
        self._level = 0
        self._thinned = 0

    def add(self, path: Path, error: Exception | None, left: int) -> None:
        """Read a result, of which so many are left with this one."""
        reported = Reported(os.fspath(path), is_volume=is_labels(path), error=error)
        self.results.append(reported)
        if error is not None:
            return
        if self._on_result is not None:
            self._on_result(reported.path)
        self._bytes += _ROW
        room = (MOST_BYTES - _REST - self._bytes) // left - _ROW
        try:
            if reported.is_volume:
                self._add_volume(path, reported, room)
            else:
                self._add_recording(path, reported, room)
        except Exception as err:  # noqa: BLE001 - it is told on the page and by the caller
            if isinstance(err, CytovoxError) and err.path is None:
                err.path = reported.path
            reported.error = err

    def _add_recording(self, path: Path, reported: Reported, room: int) -> None:
        from .folder_page import Row
        from .lost_objects import find_lost
        from .result_numbers import read_numbers
        from .result_page import result_section

        anchor = f"result-{len(self._rows) + 1}"
        with HDF5Data(path, permissions=self._permissions) as data:
            numbers = read_numbers(data, reported.path)
            lost = cache(lambda: find_lost(data))
            is_there = self._place(
                room, lambda level: result_section(data, numbers, level, anchor, lost)
            )
        self._rows.append(Row.of(numbers, anchor if is_there else None))
        reported.numbers, reported.findings = numbers.plain(), list(numbers.findings)
        reported.is_whole = numbers.is_whole

    def _add_volume(self, path: Path, reported: Reported, room: int) -> None:
        require("volumes", "a report on labels of a volume")
        from .folder_page import VolumeRow
        from .volume_numbers import read_volume
        from .volume_page import volume_section

        anchor = f"volume-{len(self._volumes) + 1}"
        found = read_volume(path, self._permissions)
        may = self._permissions
        is_there = self._place(room, lambda level: volume_section(found, level, anchor, may))
        self._volumes.append(VolumeRow.of(found, anchor if is_there else None))
        reported.numbers, reported.findings = found.plain(), list(found.findings)
        reported.is_whole = found.is_whole

    def _place(self, room: int, draw: Callable[[int], Markup]) -> bool:
        """Take the section that shows most of what finds room; return whether one does."""
        from .result_page import DETAILS

        for level in range(max(self._level - 1, 0), len(DETAILS)):
            section = draw(level)
            size = len(section.encode("utf-8", "replace"))
            self._level = level
            if size <= room:
                self._sections.append(section)
                self._bytes += size
                break
        self._thinned += level > 0 or size > room
        return size <= room

    def page(self, title: str, *, is_table: bool) -> bytes:
        """Return the page."""
        from .folder_page import results_table, volumes_table
        from .page import render

        parts = list(self._sections)
        if is_table:
            failed = [
                (one.path, str(one.error).removeprefix(f"{one.path}: "))
                for one in self.results
                if one.error is not None
            ]
            if self._volumes:
                parts.insert(0, volumes_table(self._volumes, title))
            if self._rows or failed:
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

    def tables(self) -> Iterator[tuple[str, bytes]]:
        """Yield name and content of the summary and of what MultiQC reads."""
        from .columns import RESULT_COLUMNS, VOLUME_COLUMNS, find_outliers
        from .tables import multiqc_json, sample_names, summary_csv

        good = [one for one in self.results if one.error is None]
        kinds = ((RESULT_COLUMNS, "results", False), (VOLUME_COLUMNS, "volumes", True))
        columns = [c for known, _, kind in kinds if any(one.is_volume == kind for one in good)
                   for c in known]  # fmt: skip
        far = find_outliers([one.numbers for one in good], columns)
        told = {id(one): " ".join(keys) for one, keys in zip(good, far, strict=True)}
        names = [c.key for c in columns] + ["pipeline", "hash"]
        yield (
            SUMMARY,
            summary_csv(
                {"file": one.path}
                | {name: one.numbers.get(name) for name in names}
                | {"outliers": told.get(id(one))}
                | {"error": None if one.error is None else str(one.error)}
                for one in self.results
            ),
        )
        for known, name, kind in kinds:
            samples = [one for one in good if one.is_volume == kind]
            labels = sample_names([one.path for one in samples])
            rows = {label: one.numbers for label, one in zip(labels, samples, strict=True)}
            if rows:
                yield MULTIQC[kind], multiqc_json(rows, known, name)
