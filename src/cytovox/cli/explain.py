"""``cytovox explain``: what each step makes of a frame, with the number that decided."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OptionError, escaped
from .command_options import INPUT, OUTPUT, AllowedToRecordings, Said, option, options
from .console import FINDINGS, in_columns, show
from .looking import FrameFile, FrameOptions, LookedAt, looking_at, save_picture

if TYPE_CHECKING:
    from ..logic.frame_steps import Step, Stored

__all__ = ["explain"]

#: Objects that are listed, events first; the others are in the JSON.
_LISTED = 40


def _pixel(text: str, name: str) -> tuple[int, int]:
    match = re.fullmatch(r"\s*(\d{1,12})\s*,\s*(\d{1,12})\s*", text)
    if match is None:
        hint = f"write {name} X,Y: column and row of a pixel, from 0"
        raise OptionError(f"{name} '{text}' is not a pixel", hint=hint)
    return int(match[1]), int(match[2])


@options
class _Asked:
    at: tuple[int, int] | None = option(
        None,
        "Explain the object nearest to this pixel: its column and row, from 0 at the top left.",
        metavar="X,Y",
        panel=INPUT,
        read=_pixel,
    )
    out: Path | None = option(
        None, "Draw each step into this picture.", "--out", "-o", panel=OUTPUT, metavar="PNG"
    )
    force: bool = option(False, "Replace a picture that exists already.", panel=OUTPUT)


def explain(
    file: FrameFile,
    what: FrameOptions,
    asked: _Asked,
    allowed: AllowedToRecordings,
    said: Said,
) -> int:
    """Say what each step makes of the objects of a frame, and why each is kept or lost.

    Of a result, it is said which event an object is (by its row, from 0, as in
    dclab), and the result is compared with what is found now: exit code 3 if
    they differ. With other settings, nothing is compared.

    Example: cytovox explain raw_dcn.rtdc --frame 41 --at 210,40
    """
    from ..logic.frame_steps import Stored, compare_with_result, nearest_object, steps_of
    from ..report.frame_picture import steps_picture
    from .progress_display import showing_progress

    with (
        showing_progress(quiet=said.is_quiet) as display,
        looking_at(file, what, allowed, display) as found,
    ):
        analysis = found.analysis
        index = None
        if asked.at is not None:
            _check_pixel(asked.at, analysis.frames.image.shape[1:])
            index = nearest_object(analysis, 0, *asked.at)
        steps = steps_of(analysis, 0, found.job)
        stored = Stored()
        if found.result is not None:
            stored = compare_with_result(analysis, 0, found.result)
        differences = [*stored.differences, *(found.reasons if stored.differences else ())]
        plain = _plain(found, steps, stored, index, differences)
        if asked.at is not None:
            plain["pixel"] = _values_at(found, *asked.at)
        if asked.out is not None:
            heading = found.heading
            if index is not None:
                heading += f"\nobject {index + 1}: {plain['explained']['verdict']}"
            figure = steps_picture(analysis, 0, steps, index, heading)
            save_picture(figure, asked.out, force=asked.force)
            plain["picture"] = str(asked.out)
    show(plain, _in_words(found.heading, plain), as_json=said.as_json)
    return int(plain["exit_code"])


def _check_pixel(at: tuple[int, int], shape: tuple[int, ...]) -> None:
    x, y = at
    if not (x < shape[1] and y < shape[0]):
        hint = f"the last column is {shape[1] - 1}, the last row {shape[0] - 1}"
        raise OptionError(f"--at {x},{y} is outside of the frame", hint=hint)


def _values_at(found: LookedAt, x: int, y: int) -> dict[str, Any]:
    """Return the values of a pixel."""
    from ..logic.frame_steps import difference

    frames, corrected = found.analysis.frames, difference(found.analysis, 0)
    return {
        "x": x,
        "y": y,
        "frame": int(frames.image[0, y, x]),
        "background": None if frames.image_bg is None else int(frames.image_bg[0, y, x]),
        "difference": None if corrected is None else float(corrected[y, x]),
    }


def _plain(
    found: LookedAt,
    steps: list[Step],
    stored: Stored,
    index: int | None,
    differences: list[str],
) -> dict[str, Any]:
    objects = [
        _object(found, steps, stored, number) for number in range(len(found.analysis.objects))
    ]
    return {
        "exit_code": FINDINGS if differences else 0,
        **found.plain(),
        "steps": [{"step": step.name, "text": step.sentence} for step in steps],
        "each": objects,
        "explained": None if index is None else objects[index],
        "compared_with_result": found.result is not None,
        "differences": differences,
    }


def _object(found: LookedAt, steps: list[Step], stored: Stored, index: int) -> dict[str, Any]:
    """Return what is known of an object; the first one is number 1, as in pictures."""
    from ..logic.fates import fate_of, verdict
    from ..logic.frame_steps import trail_of

    analysis = found.analysis
    objects = analysis.objects
    top, bottom, left, right = objects.box[index].tolist()
    trail = trail_of(analysis, steps, index)
    return {
        "object": index + 1,
        "fate": fate_of(analysis, index),
        "verdict": verdict(analysis, index),
        "event": stored.rows.get(index),
        "x": (left + right - 1) // 2,
        "y": (top + bottom - 1) // 2,
        "pixels": {step.name: left for step, left in zip(steps, trail, strict=False)},
        "features": {
            name: float(values[index])
            for name, values in objects.features.items()
            if math.isfinite(values[index])
        },
    }


def _in_words(heading: str, plain: dict[str, Any]) -> str:
    lines = [heading]
    rows = [(step["step"], step["text"]) for step in plain["steps"]]
    if plain["explained"] is None:
        if pixel := plain.get("pixel"):
            rows.append((f"at {pixel['x']},{pixel['y']}", f"no object; {_values_in_words(pixel)}"))
        each = sorted(plain["each"], key=lambda one: one["fate"] != "kept")
        rows += [(f"object {one['object']}", _one_in_words(one)) for one in each[:_LISTED]]
        if len(each) > _LISTED:
            rows.append(("objects", f"{len(each) - _LISTED} more, see --json"))
    else:
        one, pixel = plain["explained"], plain["pixel"]
        trail = ", ".join(f"{number} after {step}" for step, number in one["pixels"].items())
        rows = [
            (f"at {pixel['x']},{pixel['y']}", _values_in_words(pixel)),
            ("nearest", f"object {one['object']} {_one_in_words(one)}"),
            ("pixels", trail),
        ]
    lines += [f"  {line}" for line in in_columns(rows, fold=85, once=True)]
    lines += [escaped(f"  DIFFERS: {text}") for text in plain["differences"]]
    return "\n".join(lines)


def _values_in_words(pixel: dict[str, Any]) -> str:
    if pixel["difference"] is None:
        return f"grey value {pixel['frame']}, no background"
    values = f"{pixel['frame']}, background {pixel['background']}"
    return f"grey value {values}, difference {pixel['difference']:.4g}"


def _one_in_words(one: dict[str, Any]) -> str:
    event = "" if one["event"] is None else f"; event {one['event']} of the result"
    return f"at {one['x']},{one['y']}: {one['verdict']}{event}"
