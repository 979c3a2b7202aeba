"""From the words of a command to the settings of a job; and ``cytovox stages``."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import OptionError
from .command_options import AsJson, parse_assignments
from .console import show

if TYPE_CHECKING:
    from ..read import Permissions

__all__ = ["Settings", "parse_frames", "parse_settings", "stages"]

#: What may stand before the dot of ``--set``.
_STAGES = ("data", "background", "segmenter", "mask", "feature", "gate")
#: Value by which an option is set for each recording by looking at it.
_AUTO = "auto"
#: For a stage and a code, the option of which that is the default.
_AUTOMATIC = {("data", None): "pixel_size", ("background", "sparsemed"): "offset_correction"}


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a job needs but its paths; workers None for one per core."""

    #: Code of each stage: background, segmenter, feature, gate.
    codes: Mapping[str, str]
    #: Options that were given, of each stage and of the mask; the job checks them.
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
            for (stage, code), option in _AUTOMATIC.items()
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
    """Read ``stage.key=value`` words; what they say is checked by the job, but for ``data``."""
    from ..recipe.options import check_options, options_of

    given: dict[str, dict[str, Any]] = {}
    told = parse_assignments(words, r"\w+\.\w+", "stage.key=value", "segmenter.thresh=-3")
    for name, value in told.items():
        stage, _, key = name.partition(".")
        if stage not in _STAGES:
            close = difflib.get_close_matches(stage, _STAGES, 1)
            hint = (
                f"did you mean '{close[0]}'?" if close else f"choose one of {', '.join(_STAGES)}"
            )
            raise OptionError(f"--set {name}={value}: there is no stage '{stage}'", hint=hint)
        if value.lower() != _AUTO or key != _AUTOMATIC.get((stage, codes.get(stage))):
            given.setdefault(stage, {})[key] = value
    if "data" in given:
        given["data"] = check_options("data", options_of(_data), given["data"])
    return given


def _data(
    *, pixel_size: float | None = None, image_chunk_size: int = 1000, image_cache_size: int = 2
) -> None:
    """Declare what can be said about the input; the frames have a word of their own."""


def parse_frames(text: str) -> int | slice | list[int]:
    """Read which frames to use: the first, from and to without the last, step, or a list."""
    text = text.strip()
    if re.fullmatch(r"\d+", text) and int(text) > 0:
        return int(text)
    if match := re.fullmatch(r"(\d+)[-:](\d+)(?:[-:](\d+))?", text):
        start, stop, step = (int(part or 1) for part in match.groups())
        if start < stop and step > 0:
            return slice(start, stop, step)
    if re.fullmatch(r"\d+(,\d+)+", text):
        frames = [int(part) for part in text.split(",")]
        if frames == sorted(set(frames)):
            return frames
    raise OptionError(
        f"--frames '{text}' does not name frames in rising order",
        hint="write 100 for the first hundred, 10-100-2 for a range, or 3,5,9",
    )


def stages(as_json: AsJson = False) -> None:
    """List the stages that are installed, with their options and defaults.

    Stages of other packages are listed beside the built-in ones.

    Example: cytovox run FILE --background rollmed --set background.kernel_size=50
    """
    from ..recipe.registry import GROUPS, codes

    described = [_describe(kind, code) for kind in GROUPS for code in codes(kind)]
    lines = []
    for stage in described:
        missing = "" if stage["available"] else " (what it needs is not installed)"
        lines.append(f"{stage['kind']} {stage['code']}: {stage['title']}{missing}")
        for option in stage["options"]:
            value = option["default"]
            plain = str(value).lower() if value is None or isinstance(value, bool) else value
            lines.append(f"    --set {option['set']}={plain}")
    show({"stages": described}, "\n".join(lines), as_json=as_json)


def _describe(kind: str, code: str) -> dict[str, Any]:
    """Return kind, code, title and options of a stage, as plain values."""
    from ..recipe.registry import OPTION_METHODS, load_stage

    cls = load_stage(kind, code)
    own, *clean_up = (getattr(cls, name) for name in OPTION_METHODS[kind])
    options = _options(kind, own, {_AUTOMATIC.get((kind, code)): _AUTO})
    if clean_up and cls.mask_postprocessing:
        options += _options("mask", clean_up[0], cls.mask_default_kwargs)
    doc = inspect.getdoc(cls) or ""
    return {
        "kind": kind,
        "code": code,
        "title": doc.splitlines()[0].rstrip(".") if doc else "",
        "available": bool(cls.is_available()) if hasattr(cls, "is_available") else True,
        "class": f"{cls.__module__}.{cls.__qualname__}",
        "options": options,
    }


def _options(stage: str, method: Any, preferred: Mapping[Any, Any]) -> list[dict[str, Any]]:
    from ..recipe.options import options_of

    return [
        {
            "set": f"{stage}.{option.name}",
            "type": option.type.__name__,
            "default": preferred.get(option.name, None if option.required else option.default),
            "required": option.required,
        }
        for option in options_of(method)
    ]
