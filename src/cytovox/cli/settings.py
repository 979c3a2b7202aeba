"""From the words of a command to the settings of a job, checked before any work."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import OptionError

if TYPE_CHECKING:
    from ..read import Permissions

__all__ = [
    "AUTO",
    "STAGES",
    "Settings",
    "describe_stages",
    "is_automatic",
    "parse_frames",
    "parse_settings",
    "stage_options",
    "stages_in_words",
]

#: What may stand before the dot of ``--set``, and the method that declares the options.
STAGES = {
    "data": "",
    "background": "check_user_kwargs",
    "segmenter": "segment_algorithm",
    "mask": "process_labels",
    "feature": "get_events_from_masks",
    "gate": "__init__",
}

#: Value by which an option is set for each recording by looking at it.
AUTO = "auto"
#: Stage, code and option of which that is the default.
_AUTOMATIC = (
    ("data", None, "pixel_size"),
    ("background", "sparsemed", "offset_correction"),
)

#: Whose place in the registry the options of a stage are found in.
_OWNER = {"mask": "segmenter"}


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a job needs but its paths; workers None for one per core."""

    #: Code of each stage: background, segmenter, feature, gate.
    codes: Mapping[str, str]
    #: Options of each key of `STAGES`, checked and converted.
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    basin_strategy: str = "drain"
    compression: str = "zstd-5"
    workers: int | None = None
    debug: bool = False
    preflight: bool = True
    permissions: Permissions | None = None
    #: Models that may be run, besides those that may anyway.
    trusted: frozenset[str] = frozenset()

    def job_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of a job; new dictionaries every time."""
        arguments: dict[str, Any] = {
            "basin_strategy": self.basin_strategy,
            "compression": self.compression,
            "num_procs": self.workers,
            "debug": self.debug,
            "data_kwargs": dict(self.options.get("data", {})),
        }
        if self.permissions:
            arguments["data_kwargs"]["permissions"] = self.permissions
        for stage, code in self.codes.items():
            arguments[f"{stage}_code"] = code
            arguments[f"{stage}_kwargs"] = dict(self.options.get(stage, {}))
        if mask := self.options.get("mask"):
            arguments["segmenter_kwargs"]["kwargs_mask"] = dict(mask)
        return arguments

    @property
    def automatic(self) -> set[str]:
        """Options that are to be set by a look at each recording."""
        return {
            option
            for stage, code, option in _AUTOMATIC
            if self.codes.get(stage) == code and option not in self.options.get(stage, {})
        }

    def check(self) -> None:
        """Raise an error if a stage would refuse its options, before any input is opened."""
        from ..logic import DCNumPipelineJob
        from ..recipe.trust import trusting

        arguments = self.job_arguments()
        # With a pixel size the job has no need to look into the file.
        arguments["data_kwargs"].setdefault("pixel_size", 1.0)
        with trusting(self.trusted):
            DCNumPipelineJob("input.rtdc", **arguments).check_options()


def parse_settings(words: Sequence[str], codes: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Read ``stage.key=value`` words and check them against what the stages declare.

    Examples
    --------
    >>> parse_settings(["segmenter.thresh=-3"], {"segmenter": "thresh"})
    {'segmenter': {'thresh': -3.0}}
    """
    from ..recipe.options import check_options

    given: dict[str, dict[str, Any]] = {}
    for word in words:
        stage, key, value = _split(word)
        if key in given.setdefault(stage, {}):
            raise OptionError(f"--set {stage}.{key} is given twice", hint="give it once")
        given[stage][key] = value
    for stage in _asked(codes):
        options = stage_options(stage, codes)
        automatic = [key for key in given.get(stage, {}) if is_automatic(stage, codes, key)]
        for key in automatic:
            if str(given[stage][key]).lower() == AUTO:
                del given[stage][key]
        if stage in given:
            given[stage] = check_options(_name(stage, codes), options, given[stage])
    return given


def is_automatic(stage: str, codes: Mapping[str, str], option: str) -> bool:
    """Return whether an option is set by a look at each recording unless it is given."""
    return (stage, codes.get(stage), option) in _AUTOMATIC


def stage_options(stage: str, codes: Mapping[str, str]) -> tuple[Any, ...]:
    """Return the options that a stage declares."""
    from ..recipe.options import options_of
    from ..recipe.registry import load_stage

    if stage == "data":
        return options_of(_data)
    owner = _OWNER.get(stage, stage)
    if owner == "segmenter":
        # Also finds what a file of the user has just defined.
        from ..segm import get_segmenter

        cls = get_segmenter(codes[owner])
    else:
        cls = load_stage(owner, codes[owner])
    if stage == "mask" and not cls.mask_postprocessing:
        return ()
    return options_of(getattr(cls, STAGES[stage]))


def parse_frames(text: str) -> int | slice | list[int]:
    """Read which frames to use: the first, from and to without the last, step, or a list.

    Examples
    --------
    >>> parse_frames("100"), parse_frames("10-100-2"), parse_frames("3,5,9")
    (100, slice(10, 100, 2), [3, 5, 9])
    """
    text = text.strip()
    if re.fullmatch(r"\d+", text) and int(text) > 0:
        return int(text)
    if match := re.fullmatch(r"(\d+)[-:](\d+)(?:[-:](\d+))?", text):
        start, stop, step = (int(part or 1) for part in match.groups())
        if start < stop and step > 0:
            return slice(start, stop, step)
    if re.fullmatch(r"\d+(,\d+)+", text):
        frames = [int(part) for part in text.split(",")]
        if all(a < b for a, b in zip(frames, frames[1:], strict=False)):
            return frames
    raise OptionError(
        f"--frames '{text}' does not name frames in rising order",
        hint="write 100 for the first hundred, 10-100-2 for a range, or 3,5,9",
    )


def _data(
    *, pixel_size: float | None = None, image_chunk_size: int = 1000, image_cache_size: int = 2
) -> None:
    """Declare what can be said about the input; the frames have a word of their own."""


def _split(word: str) -> tuple[str, str, str]:
    match = re.fullmatch(r"\s*(\w+)\.(\w+)\s*=\s*(.*?)\s*", word)
    if match is None:
        raise OptionError(
            f"--set '{word}' is not of the form stage.key=value",
            hint="write for example --set segmenter.thresh=-3",
        )
    stage, key, value = match.groups()
    if stage not in STAGES:
        close = difflib.get_close_matches(stage, STAGES, 1)
        hint = f"did you mean '{close[0]}'?" if close else f"choose one of {', '.join(STAGES)}"
        raise OptionError(f"--set {word}: there is no stage '{stage}'", hint=hint)
    return stage, key, value


def _asked(codes: Mapping[str, str]) -> list[str]:
    # Stages without options are looked up as well, so that a wrong code is reported early.
    return [stage for stage in STAGES if stage == "data" or _OWNER.get(stage, stage) in codes]


def _name(stage: str, codes: Mapping[str, str]) -> str:
    if stage == "data":
        return "data"
    return f"{stage} of {codes['segmenter']}" if stage == "mask" else f"{stage} {codes[stage]}"


def describe_stages() -> list[dict[str, Any]]:
    """Return kind, code, title and options of every stage, as plain values."""
    from ..recipe.registry import GROUPS, codes

    return [_describe(kind, code) for kind in GROUPS for code in codes(kind)]


def _describe(kind: str, code: str) -> dict[str, Any]:
    from ..recipe.registry import load_stage

    cls = load_stage(kind, code)
    doc = inspect.getdoc(cls) or ""
    declared = stage_options(kind, {kind: code})
    automatic = {o.name: AUTO for o in declared if is_automatic(kind, {kind: code}, o.name)}
    options = [_option(kind, option, automatic) for option in declared]
    if kind == "segmenter":
        preferred = cls.mask_default_kwargs
        options += [_option("mask", o, preferred) for o in stage_options("mask", {kind: code})]
    return {
        "kind": kind,
        "code": code,
        "title": doc.splitlines()[0].rstrip(".") if doc else "",
        "available": bool(cls.is_available()) if hasattr(cls, "is_available") else True,
        "class": f"{cls.__module__}.{cls.__qualname__}",
        "options": options,
    }


def _option(stage: str, option: Any, preferred: dict[str, Any]) -> dict[str, Any]:
    default = preferred.get(option.name, None if option.required else option.default)
    return {
        "set": f"{stage}.{option.name}",
        "type": option.type.__name__,
        "default": default,
        "required": option.required,
    }


def stages_in_words(described: Sequence[Mapping[str, Any]]) -> str:
    """Return what `describe_stages` returned as text for people."""
    lines = []
    for stage in described:
        missing = "" if stage["available"] else " (what it needs is not installed)"
        lines.append(f"{stage['kind']} {stage['code']}: {stage['title']}{missing}")
        for option in stage["options"]:
            value = option["default"]
            plain = str(value).lower() if value is None or isinstance(value, bool) else value
            lines.append(f"    --set {option['set']}={plain}")
    return "\n".join(lines)
