"""The section of a page that shows one result."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from ..read import HDF5Data
from .charts import course_chart, density_chart
from .columns import RESULT_COLUMNS
from .contact_sheet import choose_events, cut_events
from .embedding import crop_svg, grey_range, picture_uri
from .lost_objects import LostObjects
from .page import render
from .result_numbers import ResultNumbers, images_of

__all__ = ["DETAILS", "Detail", "result_section"]

#: What is drawn of each course over time: title, label of the axis, what it is.
_COURSES = {
    "rate": ("Event rate", "Events / s", "events in a second"),
    "bright_avg": (
        "Brightness",
        "Grey value",
        "median of bright_avg, half of the events in the band",
    ),
    "focus": (
        "Focus",
        "Variance",
        "sharpness: variance of the Laplacian in the boxes of events, a few at each of 40 places",
    ),
    "bg_med": ("Background", "Grey value", "median of bg_med, half of the events in the band"),
}
#: What the causes of a loss mean.
CAUSE_HELP = {
    "border": "touched the border of the image",
    "merged": "lay in a hole of another object, which was filled",
    "opening": "nothing was left after the opening",
    "size": "had too few pixels after the clean-up",
    "gate": "had features outside of the online gates",
    "contour": "had no valid outline",
    "repeated": "was in a frame that equals the one before",
}


class Detail(NamedTuple):
    """How much of a result is shown."""

    events: int
    lost: int
    backgrounds: int
    charts: bool


#: From all to little; a page takes the first that leaves room for the others.
DETAILS = (Detail(40, 20, 3, True), Detail(12, 10, 1, True), Detail(0, 0, 0, True),
           Detail(0, 0, 0, False))  # fmt: skip


@dataclass(slots=True)
class _Pictures:
    """What a section shows besides numbers."""

    events: list[tuple[Markup, str]] = field(default_factory=list)
    scale: str = ""  # how wide the pictures of events are [µm]
    lost: list[tuple[str, str, list[tuple[Markup, str]]]] = field(default_factory=list)
    found_again: LostObjects = field(default_factory=LostObjects)
    backgrounds: list[tuple[Markup, str]] = field(default_factory=list)
    charts: list[dict[str, Any]] = field(default_factory=list)
    density: dict[str, Any] | None = None


def result_section(
    data: HDF5Data,
    numbers: ResultNumbers,
    level: int,
    anchor: str,
    find_lost: Callable[[], LostObjects],
) -> Markup:
    """Return the section of a result that is open; of higher levels it shows less."""
    detail = DETAILS[level]
    lost = find_lost() if detail.lost else LostObjects()
    pictures = _Pictures(found_again=lost)
    if detail.charts:
        pictures.charts = list(_charts(numbers))
        pictures.density = _density(numbers)
    _draw_events(data, detail.events, pictures)
    pictures.lost = list(_lost(lost, detail.lost))
    pictures.backgrounds = list(_backgrounds(data, detail.backgrounds))
    return render(
        "result.html",
        it=numbers,
        name=Path(numbers.path).name,
        anchor=anchor,
        pictures=pictures,
        columns=RESULT_COLUMNS,
        detail=detail,
        causes=CAUSE_HELP,
    )


def _charts(numbers: ResultNumbers) -> Iterator[dict[str, Any]]:
    for name, (title, label, what) in _COURSES.items():
        if (course := numbers.courses.get(name)) is not None:
            low, high = float(np.min(course.y)), float(np.max(course.y))
            if name == "rate" and numbers.axis == "Frame":
                label, what = "Events / frame", "events in a frame"
            yield {
                "title": title,
                "uri": course_chart(course, numbers.axis, label),
                "alt": f"{title} over {numbers.axis.lower()}, from {low:.4g} to {high:.4g}",
                "what": what,
            }


def _density(numbers: ResultNumbers) -> dict[str, Any] | None:
    fine = np.isfinite(numbers.area) & np.isfinite(numbers.deform)
    if not fine.any():
        return None
    uri, shown, outside = density_chart(numbers.area, numbers.deform)
    return {"uri": uri, "number": shown, "outside": outside}


def _draw_events(data: HDF5Data, number: int, pictures: _Pictures) -> None:
    """Draw events with their outlines, from small to large."""
    if not number or images_of(data, "image", "mask") is None:
        return
    crops = cut_events(data, choose_events(data, number))
    low, high = grey_range([crop.image for crop in crops])
    for crop in crops:
        label = f"event {crop.event} with its outline"
        drawing = crop_svg(crop.image, crop.mask, low, high, label)
        pictures.events.append((drawing, str(crop.event)))
    if data.pixel_size:
        pictures.scale = f"{crops[0].image.shape[1] * data.pixel_size:.1f}"


def _lost(lost: LostObjects, number: int) -> Iterator[tuple[str, str, list[tuple[Markup, str]]]]:
    """Yield each cause with crops of what it has removed."""
    chosen = lost.choose(number)
    if not chosen:
        return
    low, high = grey_range([one.image for one in chosen])
    for cause, members in itertools.groupby(chosen, lambda one: one.cause):
        crops = []
        for one in members:
            name = f"frame {one.frame}: {one.verdict}"
            crops.append((crop_svg(one.image, one.mask, low, high, name), name))
        yield cause, CAUSE_HELP[cause], crops


def _backgrounds(data: HDF5Data, number: int) -> Iterator[tuple[Markup, str]]:
    """Yield the background of some events, each once."""
    if not number or (found := images_of(data, "image_bg")) is None:
        return
    (images,) = found
    seen: list[bytes] = []
    for event in np.unique(np.linspace(0, len(data) - 1, number).round().astype(int)).tolist():
        image = images[event : event + 1][0]
        if image.tobytes() not in seen:
            seen.append(image.tobytes())
            yield picture_uri(image), f"of event {event}"
