"""From the words of a command to the settings of a job."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any

from ..errors import OptionError
from ..recipe.options import Within, check_options, options_of, suggest
from ..recipe.recording_recipe import (
    AUTO,
    AUTOMATIC,
    STAGES,
    PixelSize,
    RecordingRecipe,
    parse_frames,
)
from .command_options import parse_assignments

if TYPE_CHECKING:
    from ..read import Permissions

__all__ = ["Settings", "changed", "parse_frames", "parse_settings", "recipe_fields"]


@dataclass(frozen=True, slots=True)
class Settings(RecordingRecipe):
    """Everything that a job needs but its paths; workers None for one per core."""

    workers: int | None = None
    debug: bool = False
    preflight: bool = True
    permissions: Permissions | None = None
    #: Models that may be run, besides those that may anyway.
    trusted: frozenset[str] = frozenset()

    def job_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of a job; new dictionaries every time."""
        arguments = RecordingRecipe.job_arguments(self)
        arguments |= {"num_procs": self.workers, "debug": self.debug}
        if self.permissions:
            arguments["data_kwargs"]["permissions"] = self.permissions
        return arguments

    def check(self) -> None:
        """Raise an error if a stage would refuse its options, before any input is opened."""
        from ..logic import DCNumPipelineJob
        from ..recipe.trust import trusting

        arguments = self.job_arguments()
        # With a pixel size the job has no need to look into the file.
        arguments["data_kwargs"].setdefault("pixel_size", 1.0)
        with trusting(self.trusted):
            DCNumPipelineJob("input.rtdc", **arguments).check_options()


def recipe_fields(recipe: RecordingRecipe) -> dict[str, Any]:
    """Return what a recipe holds, to make settings with it."""
    return {one.name: getattr(recipe, one.name) for one in fields(RecordingRecipe)}


def changed(
    recipe: RecordingRecipe,
    words: Sequence[str] = (),
    frames: str | None = None,
    codes: Mapping[str, str] | None = None,
    **stored: str,
) -> RecordingRecipe:
    """Return a recipe with what is said beside it.

    `words` are as for ``--set``. Another stage, in `codes`, keeps no options of the former.
    `stored` may be basin strategy and compression.
    """
    options = {stage: dict(given) for stage, given in recipe.options.items()}
    for stage, code in (codes or {}).items():
        known = recipe.codes[stage]
        # the code of a stage in a file ends with a checksum
        if code.partition(".")[0] != known.partition(".")[0]:
            options.pop(stage, None)
            if stage == "segmenter":
                options.pop("mask", None)
        elif code != known:
            warnings.warn(f"recipe {recipe.name} is of {known}, not {code}", stacklevel=2)
    all_codes = {**recipe.codes, **(codes or {})}
    options = parse_settings(words, all_codes, options)
    if frames is not None:
        data = options.pop("data", {}) | {"index_mapping": parse_frames(frames)}
        options["data"] = {key: value for key, value in data.items() if value is not None}
    return replace(recipe, codes=all_codes, options=options, **stored)


def parse_settings(
    words: Sequence[str],
    codes: Mapping[str, str],
    known: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, dict[str, Any]]:
    """Read ``stage.key=value`` words, which change what is known of options.

    What they say is checked by the job, but for ``data``.
    """
    options = {stage: dict(given) for stage, given in (known or {}).items()}
    told = parse_assignments(words, r"\w+\.\w+", "stage.key=value", "segmenter.thresh=-3")
    for name, value in told.items():
        stage, _, key = name.partition(".")
        if stage not in STAGES:
            hint = suggest(stage, list(STAGES), "choose one of")
            raise OptionError(f"--set {name}={value}: there is no stage '{stage}'", hint=hint)
        if value.lower() == AUTO and key == AUTOMATIC.get((stage, codes.get(stage))):
            options.get(stage, {}).pop(key, None)
        elif stage == "data":
            checked = check_options("data", options_of(_data), {key: value})
            options.setdefault(stage, {}).update(checked)
        else:
            options.setdefault(stage, {})[key] = value
    return {stage: given for stage, given in options.items() if given}


def _data(
    *,
    pixel_size: PixelSize = None,
    image_chunk_size: Annotated[int, Within(least=1, most=10**9)] = 1000,
    image_cache_size: Annotated[int, Within(least=0, most=10**9)] = 2,
) -> None:
    """Declare what can be said about the input; the frames have a word of their own."""
