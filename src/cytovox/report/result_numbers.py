"""The numbers of a result that a report shows, each as the file holds it or gives it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BasinNotFoundError, InputError
from ..logic.record import read_record, recorded_objects
from ..logic.stated_pipeline import describe_pipeline
from ..logic.verify import verify_recording
from ..read import HDF5Data, RefusedInputError
from ..run.findings import Severity
from ..run.rows import CAUSES
from .columns import RESULT_COLUMNS

__all__ = ["ResultNumbers", "Series", "images_of", "read_numbers"]

Floats = npt.NDArray[np.float64]

#: So many places of a result are looked at for the focus, and so many events at each.
_FOCUS_PLACES, _FOCUS_EVENTS = 40, 6
#: Most points of a course over time, and fewest events that each should have.
_MOST_BINS, _EVENTS_OF_BIN = 48, 8
#: What the time is called.
_TIME = "Time (s)"
#: Pixels around the mask of an event in which its focus is measured.
_MARGIN = 3
#: So many lines of a log are shown.
_LISTED = 20


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """How something goes on: its median in each interval, with quarters below and above."""

    x: Floats
    y: Floats
    low: Floats | None = None
    high: Floats | None = None


@dataclass(slots=True, eq=False)
class ResultNumbers:
    """What a report says of a result; arrays have a row for each event."""

    path: str
    #: See `RESULT_COLUMNS`; None for what the file does not tell.
    numbers: dict[str, float | int | None] = field(default_factory=dict)
    #: What `describe_pipeline` returns.
    pipeline: dict[str, Any] = field(default_factory=dict)
    #: Metadata of the measurement that name it.
    about: list[tuple[str, str]] = field(default_factory=list)
    versions: list[tuple[str, str]] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    #: Whether headers and places of the file are as they must be.
    is_whole: bool = True
    area: Floats = field(default_factory=lambda: np.empty(0))
    deform: Floats = field(default_factory=lambda: np.empty(0))
    #: Courses over time: rate, brightness, background, focus.
    courses: dict[str, Series] = field(default_factory=dict)
    #: What the courses are drawn over.
    axis: str = ""

    def plain(self) -> dict[str, Any]:
        """Return the numbers, and what made them, as values that JSON knows."""
        return {
            "file": self.path,
            **self.numbers,
            "pipeline": self.pipeline["identifier"],
            "hash": self.pipeline["hash"],
            "findings": list(self.findings),
        }

    @property
    def lost(self) -> dict[str, int] | None:
        """How many objects were lost, by cause; None if the file does not say."""
        if self.numbers["found"] is None:
            return None
        return {cause: int(self.numbers[f"lost_{cause}"] or 0) for cause in CAUSES}


def read_numbers(data: HDF5Data, path: str) -> ResultNumbers:
    """Return the numbers of a result that is open; an error if it is none."""
    pipeline = describe_pipeline(data.meta)
    if pipeline is None:
        raise InputError(
            "this is not a result of a run",
            path=data.place,
            hint="measure it first: cytovox run",
        )
    record = read_record(data)
    found = ResultNumbers(path, pipeline=pipeline)
    found.about = list(_about(data))
    found.versions = list(_versions(data, record))
    found.area, found.deform = (_column(data, name) for name in ("area_um", "deform"))
    focus = _focus_of_events(data)
    found.axis, moments = _moments(data)
    found.courses = _courses(data, moments, focus)
    found.numbers = _numbers(data, record, moments, found.axis, focus[1])
    found.findings = list(_findings(data, found))
    found.is_whole = _verify(data, path, found.findings)
    return found


def _numbers(
    data: HDF5Data, record: Mapping[str, Any], moments: Floats | None, axis: str, focus: Floats
) -> dict[str, float | int | None]:
    numbers: dict[str, float | int | None] = dict.fromkeys(column.key for column in RESULT_COLUMNS)
    numbers["events"] = events = len(data)
    numbers |= _ledger(record, events)
    read = record.get("read")
    numbers["frames"] = _count(read.get("frames")) if isinstance(read, dict) else None
    span = 0.0 if moments is None or not moments.size else float(np.ptp(moments))
    if span > 0 and events > 1 and axis == _TIME:
        numbers["rate"] = events / span
    for name in ("area_um", "deform", "bright_avg", "bg_med"):
        numbers[name] = _median(_column(data, name))
    numbers["focus"] = _median(focus)
    return numbers


def _ledger(record: Mapping[str, Any], events: int) -> dict[str, float | int | None]:
    """Return what the record says of objects, if it adds up with the events of the file."""
    objects = recorded_objects(record, events)
    if objects is None:
        return {}
    found = objects["found"]
    share = 100 * events / found if found else None
    lost = {f"lost_{cause}": number for cause, number in objects["lost"].items()}
    return {"found": found, "kept_percent": share} | lost


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _column(data: HDF5Data, name: str) -> Floats:
    """Return a feature of all events; NaN where it cannot be had."""
    try:
        if name in data and data.locate(name) is not None:
            return np.asarray(data[name][:], np.float64)
    except (BasinNotFoundError, RefusedInputError):
        pass
    return np.full(len(data), np.nan)


def images_of(data: HDF5Data, *names: str) -> list[Any] | None:
    """Return images of several kinds; None if one of them is in a file that cannot be read."""
    try:
        found = [data.get_image_cache(name) for name in names] if len(data) else [None]
    except (BasinNotFoundError, RefusedInputError):
        return None
    return None if any(one is None for one in found) else found


def _median(values: Floats) -> float | None:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else None


def _moments(data: HDF5Data) -> tuple[str, Floats | None]:
    """Return when each event was, and what that is called."""
    for name, axis in (("time", _TIME), ("frame", "Frame")):
        values = _column(data, name)
        if values.size and np.isfinite(values).all():
            return axis, values
    return "", None


def _courses(
    data: HDF5Data, moments: Floats | None, focus: tuple[npt.NDArray[np.int64], Floats]
) -> dict[str, Series]:
    """Return how rate, brightness, background and focus go on."""
    if moments is None or np.ptp(moments) <= 0:
        return {}
    bins = int(np.clip(moments.size // _EVENTS_OF_BIN, 4, _MOST_BINS))
    edges = np.linspace(moments.min(), moments.max(), bins + 1)
    counts, _ = np.histogram(moments, edges)
    courses = {"rate": Series(edges, counts / np.diff(edges))}
    for name in ("bright_avg", "bg_med"):
        courses[name] = _course(moments, _column(data, name), edges)
    events, sharpness = focus
    if events.size:
        # It is known of fewer events.
        few = int(np.clip(events.size // _FOCUS_EVENTS, 4, bins))
        edges = np.linspace(moments.min(), moments.max(), few + 1)
        courses["focus"] = _course(moments[events], sharpness, edges)
    return {name: course for name, course in courses.items() if course.y.size}


def _course(moments: Floats, values: Floats, edges: Floats) -> Series:
    fine = np.isfinite(values)
    place = np.clip(np.searchsorted(edges, moments[fine], side="right") - 1, 0, len(edges) - 2)
    rows, x = [], []
    for interval in range(len(edges) - 1):
        inside = values[fine][place == interval]
        if inside.size:
            rows.append(np.percentile(inside, (25, 50, 75)))
            x.append((edges[interval] + edges[interval + 1]) / 2)
    low, middle, high = np.array(rows).reshape(-1, 3).T
    return Series(np.array(x), middle, low, high)


def _focus_of_events(data: HDF5Data) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return events spread over a result, and how sharp each is.

    That is the variance of the Laplacian (of the four neighbours) of its image, in the
    box of its mask and some pixels around it. Few images are read.
    """
    if (both := images_of(data, "image", "mask")) is None:
        return np.empty(0, np.int64), np.empty(0)
    starts = np.linspace(0, max(len(data) - _FOCUS_EVENTS, 0), _FOCUS_PLACES)
    events: list[int] = []
    sharpness: list[float] = []
    for start in np.unique(starts.round().astype(np.int64)).tolist():
        place = slice(max(start, events[-1] + 1 if events else 0), start + _FOCUS_EVENTS)
        images, masks = (one[place] for one in both)
        events += range(place.start, place.start + len(images))
        sharpness += map(_focus, images, masks)
    return np.array(events, np.int64), np.array(sharpness)


def _focus(image: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]) -> float:
    y, x = np.nonzero(mask)
    if not y.size:
        return float("nan")
    top, left = max(y.min() - _MARGIN, 0), max(x.min() - _MARGIN, 0)
    box = image[top : y.max() + _MARGIN + 1, left : x.max() + _MARGIN + 1]
    return _sharpness(box.astype(np.float64))


def _sharpness(image: Floats) -> float:
    if min(image.shape) < 3:
        return float("nan")
    inner = image[1:-1, 1:-1]
    around = image[:-2, 1:-1] + image[2:, 1:-1] + image[1:-1, :-2] + image[1:-1, 2:]
    return float(np.var(around - 4 * inner))


def _about(data: HDF5Data) -> Iterator[tuple[str, str]]:
    """Yield what names the measurement."""
    names = {
        "experiment:sample": "sample",
        "experiment:date": "date",
        "experiment:time": "time",
        "experiment:run index": "run",
        "experiment:run identifier": "identifier",
        "setup:identifier": "instrument",
        "setup:chip region": "region",
        "setup:medium": "medium",
        "setup:channel width": "channel width (µm)",
        "setup:flow rate": "flow rate (µL/s)",
        "imaging:frame rate": "frame rate (1/s)",
        "imaging:pixel size": "pixel size (µm)",
        "imaging:roi size x": "image width (px)",
        "imaging:roi size y": "image height (px)",
    }
    for key, name in names.items():
        value = data.meta.get(key)
        if value is not None:
            yield name, f"{value:g}" if isinstance(value, float) else str(value)


def _versions(data: HDF5Data, record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield which programs made the file."""
    for name in ("cytovox version", "dcnum version"):
        if name in record:
            yield name.removesuffix(" version"), str(record[name])
    python = record.get("python")
    if isinstance(python, dict):
        yield "Python", str(python.get("version"))
        libraries = python.get("libraries")
        for name, version in libraries.items() if isinstance(libraries, dict) else ():
            if version:
                yield str(name), str(version)
    system = record.get("system")
    if isinstance(system, dict):
        yield "system", str(system.get("info"))
    if software := data.meta.get("setup:software version"):
        yield "recorded by", str(software)


def _findings(data: HDF5Data, found: ResultNumbers) -> Iterator[str]:
    """Yield what should be looked at."""
    if not found.numbers["events"]:
        yield "there are no events"
    if not found.pipeline["hash_fits"]:
        yield "the pipeline hash does not fit the pipeline identifier"
    if len(data) and found.numbers["found"] is None:
        yield "the file does not say how many objects were found and lost"
    yield from data.unread()
    if len(data) and images_of(data, "image", "mask") is None:
        yield "images or masks of events are not at hand"
    logged = [
        line
        for name in sorted(data.logs)
        if name.startswith("dcnum-log-")
        for line in data.logs[name]
        if " WARNING " in line or " ERROR " in line
    ]
    yield from (f"log: {line}" for line in logged[:_LISTED])
    if len(logged) > _LISTED:
        yield f"log: and {len(logged) - _LISTED} more lines with warnings"


def _verify(data: HDF5Data, path: str, findings: list[str]) -> bool:
    """Look at headers and places of the file; add what is found."""
    found = verify_recording(
        path, thorough=False, permissions=data.permissions, opened=data.opened
    )
    findings += [str(one) for one in found.findings if one.severity is not Severity.NOTE]
    return found.ok
