"""From the words of a command to the settings of a job, checked before any work."""

from __future__ import annotations

import difflib
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
    "is_automatic",
    "parse_frames",
    "parse_settings",
    "stage_options",
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
    """Everything that a job needs but its paths.

    Parameters
    ----------
    codes
        Code of each stage: background, segmenter, feature, gate.
    options
        Options of each key of `STAGES`, checked and converted.
    basin_strategy
        ``"drain"`` or ``"tap"``.
    compression
        Such as ``"zstd-5"``.
    workers
        Number of workers; None for one per core.
    debug
        Whether to log in detail and run in one thread.
    preflight
        Whether to look for room before work begins.
    permissions
        What recordings may do; what is allowed in this process if None.
    """

    codes: Mapping[str, str]
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    basin_strategy: str = "drain"
    compression: str = "zstd-5"
    workers: int | None = None
    debug: bool = False
    preflight: bool = True
    permissions: Permissions | None = None

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
        """Check codes and values, before any input is opened.

        Raises
        ------
        UsageError
            If a stage would refuse its options.
        """
        from ..logic import DCNumPipelineJob

        arguments = self.job_arguments()
        # With a pixel size the job has no need to look into the file.
        arguments["data_kwargs"].setdefault("pixel_size", 1.0)
        DCNumPipelineJob("input.rtdc", **arguments).check_options()


def parse_settings(words: Sequence[str], codes: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Read ``stage.key=value`` words and check them against what the stages declare.

    Parameters
    ----------
    words
        What followed each ``--set``.
    codes
        Code of each stage.

    Returns
    -------
    dict
        For each stage that was named, its options.

    Raises
    ------
    OptionError
        If a word has another form, or names an unknown stage, option or value.
    UnknownCodeError
        If a stage has no such code.

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
    """Return the options that a stage declares.

    Parameters
    ----------
    stage
        One of the keys of `STAGES`.
    codes
        Code of each stage.
    """
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
    """Read which frames to use.

    Parameters
    ----------
    text
        ``100`` (the first hundred), ``10-100`` or ``10-100-2`` (from, to
        without the last, step) or ``3,5,9``.

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
