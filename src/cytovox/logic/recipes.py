"""The recipe of a result, the identifier of a recipe, and a recipe with nothing left open."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import CytovoxError, InputError, OptionError, UnknownCodeError
from ..read import HDF5Data
from ..read.identifier import CODE, get_ppid_index_mapping, get_ppkw_from_ppid
from ..read.permissions import Permissions
from ..recipe.identity import compute_pipeline_hash, ppid_to_kwargs
from ..recipe.recording_recipe import AUTO, AUTOMATIC, RecordingRecipe
from ..recipe.registry import OPTION_METHODS, load_stage
from ..segm import Segmenter
from .job import DCNumPipelineJob
from .record import ID_ATTRIBUTES, hash_of_stated, read_record

__all__ = [
    "basin_strategy_of",
    "complete_recipe",
    "identifier_of",
    "job_of_result",
    "recipe_of_result",
    "stated_identifier",
]

#: Part of the identifier of each stage.
_ID = {"background": "bg_id", "segmenter": "seg_id", "feature": "feat_id", "gate": "gate_id"}
#: Errors of a recipe that is not stated in full.
_UNTOLD = (UnknownCodeError, OptionError, ValueError, TypeError, OverflowError)
#: What stages of users derive from.
_BASES = {"segmenter": Segmenter}


def basin_strategy_of(result: HDF5Data, record: Mapping[str, Any]) -> str:
    """Return the basin strategy of a run."""
    try:
        return str(record["job"]["basin_strategy"])
    except (KeyError, TypeError):
        return "drain" if "image" in result.h5["events"] else "tap"


def stated_identifier(result: HDF5Data) -> tuple[dict[str, str], str]:
    """Return the parts of the identifier that a result states, and its hash."""
    meta = result.meta
    parts = {
        key: str(meta.get(f"pipeline:dcnum {name}", "")) for name, key in ID_ATTRIBUTES.items()
    }
    pphash = hash_of_stated(meta)
    if pphash is None or pphash != str(meta.get("pipeline:dcnum hash")):
        raise InputError(
            "this does not say by which recipe it was made",
            path=result.place,
            hint="give a result of a run",
        )
    return parts, pphash


def recipe_of_result(
    path: str | os.PathLike[str], permissions: Permissions | None = None
) -> RecordingRecipe:
    """Return the recipe by which a result was made, from its identifier and its record.

    Options that were automatic are so again.
    """
    with HDF5Data(path, permissions=permissions) as result:
        parts, _ = stated_identifier(result)
        record = read_record(result)
        basins = basin_strategy_of(result, record)
    try:
        recipe = replace(
            _stated_recipe(parts, record),
            basin_strategy=basins,
            name=Path(path).stem,
            source=os.fspath(path),
        )
        _compare(recipe, parts)
    except _UNTOLD as err:
        raise _refusal(path, err, record) from err
    return _automatic_again(recipe, record, path)


def job_of_result(result: HDF5Data, recording: Path) -> DCNumPipelineJob:
    """Return the job by which a result was made of a recording, with nothing left open.

    No program is run that only the result names.
    """
    parts, pphash = stated_identifier(result)
    record = read_record(result)
    try:
        arguments = _stated_recipe(parts, record).job_arguments()
        arguments["data_kwargs"]["permissions"] = result.permissions
        job = DCNumPipelineJob(recording, num_procs=1, **arguments)
        now, now_hash = job.get_ppid(ret_hash=True)
    except _UNTOLD as err:
        raise _refusal(str(result.place), err, record) from err
    if now_hash != pphash:
        stated = "|".join(parts.values())
        raise InputError(f"it was made by {stated}, which is {now} now", path=result.place)
    return job


def _stated_recipe(parts: Mapping[str, str], record: Mapping[str, Any]) -> RecordingRecipe:
    """Return the recipe that identifier and record state; an error of `_UNTOLD` if they do not."""
    job = record.get("job")
    job = job if isinstance(job, dict) else {}
    codes, options = _stages_of(parts, job)
    options["data"] = _data_of(parts["dat_id"], job)
    compression = str(job.get("compression", "zstd-5"))
    return RecordingRecipe(codes=codes, options=options, compression=compression)


def _stages_of(
    parts: Mapping[str, str], job: Mapping[str, Any]
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return codes and options of the stages as the identifier states them."""
    codes, options = {}, {}
    for stage in _ID:
        code, *texts = parts[_ID[stage]].split(":")
        codes[stage] = code
        cls = load_stage(stage, code, _BASES.get(stage))
        known = job.get(f"{stage}_kwargs")
        tables = (stage, "mask") if stage == "segmenter" else (stage,)
        for table, method, text in zip(tables, OPTION_METHODS[stage], texts, strict=False):
            given = {k: v for k, v in ppid_to_kwargs(cls, method, text).items() if v != "None"}
            if isinstance(known, dict) and table == stage:
                given |= _named_in_full(given, known)
            options[table] = given
    return codes, options


def _named_in_full(
    given: Mapping[str, Any], known: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Yield options whose file the identifier names without its folder."""
    for key, text in given.items():
        whole = known.get(key)
        if isinstance(text, str) and isinstance(whole, str) and Path(whole).name == text:
            yield key, whole


def _data_of(part: str, job: Mapping[str, Any]) -> dict[str, Any]:
    """Return pixel size and choice of frames."""
    mapping = None
    if "^i=h-" in part:  # the identifier has a checksum of what the record lists
        known = job.get("data_kwargs")
        mapping = known.get("index_mapping") if isinstance(known, dict) else None
        if not _is_list_of_frames(mapping):
            raise ValueError("the frames that were chosen are not recorded")
        part = part.partition("^i=")[0]
    found = get_ppkw_from_ppid(part)
    if mapping is not None:
        found["index_mapping"] = mapping
    return {key: value for key, value in found.items() if value is not None}


def _is_list_of_frames(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 32 for n in value)


def _compare(recipe: RecordingRecipe, parts: Mapping[str, str]) -> None:
    """Raise an error if a recipe is not what it was taken from; say what it states besides."""
    identifier, _ = identifier_of(recipe)
    stated = "|".join(parts.values())
    stages = zip(list(parts.values())[1:], identifier.split("|")[1:], strict=True)
    if any(set(re.split("[:^]", old)) - set(re.split("[:^]", new)) for old, new in stages):
        raise ValueError(f"{stated} would become {identifier}")
    if identifier != stated:  # of another generation, or from before there were some options
        warnings.warn(
            f"{recipe.name} was made by {stated}; its recipe is {identifier} now, which may "
            "give other numbers",
            stacklevel=3,
        )


def _refusal(
    path: str | os.PathLike[str], error: Exception, record: Mapping[str, Any]
) -> CytovoxError:
    file = record.get("segmenter file")
    if isinstance(error, UnknownCodeError) and isinstance(file, dict):
        hint = f"give the file of its segmenter: --segmenter {file.get('path')}"
        return UnknownCodeError(error.what, path=path, hint=hint)
    what = error.what if isinstance(error, CytovoxError) else str(error)
    hint = "give the settings themselves"
    return OptionError(f"its recipe cannot be taken over: {what}", path=path, hint=hint)


def _automatic_again(
    recipe: RecordingRecipe, record: Mapping[str, Any], path: str | os.PathLike[str]
) -> RecordingRecipe:
    """Leave open what was set by a look at the recording, or may have been."""
    options = {stage: dict(given) for stage, given in recipe.options.items()}
    possible = {
        f"{stage}.{option}": (stage, option)
        for (stage, code), option in AUTOMATIC.items()
        if recipe.codes.get(stage) == code and option in options.get(stage, {})
    }
    were = record.get("automatic")
    if not isinstance(were, list):
        were = list(possible)
        values = ", ".join(f"{name}={options[s][o]}" for name, (s, o) in possible.items())
        warnings.warn(
            f"{os.fspath(path)} does not say whether {values} were automatic; they are so now",
            stacklevel=3,
        )
    for name in were:
        if name in possible:
            stage, option = possible[name]
            del options[stage][option]
    return replace(recipe, options=options)


def identifier_of(recipe: RecordingRecipe) -> tuple[str, str | None]:
    """Return the identifier of a recipe, and its hash if nothing in it is automatic."""
    job = _job_of(recipe)
    if "background.offset_correction" in recipe.automatic:
        job.kwargs["background_kwargs"]["offset_correction"] = AUTO
    parts = job.get_ppid(ret_dict=True)[1]
    if "data.pixel_size" in recipe.automatic:
        mapping = get_ppid_index_mapping(job["data_kwargs"].get("index_mapping"))
        parts["dat_id"] = f"{CODE}:p={AUTO}^i={mapping}"
    return "|".join(parts.values()), None if recipe.automatic else compute_pipeline_hash(**parts)


def complete_recipe(recipe: RecordingRecipe) -> RecordingRecipe:
    """Return a recipe that names all that its identifier is made of, with types."""
    job = _job_of(recipe)
    given = {stage: job[f"{stage}_kwargs"] for stage in _ID}
    given["mask"] = given["segmenter"].pop("kwargs_mask")
    codes, options = _stages_of(job.get_ppid(ret_dict=True)[1], {})
    for stage, known in options.items():
        known |= {key: value for key, value in given[stage].items() if value is not None}
    data = job["data_kwargs"]
    options["data"] = {key: data[key] for key in ("pixel_size", "index_mapping") if key in data}
    for name in recipe.automatic:
        stage, _, option = name.partition(".")
        options[stage].pop(option, None)
    return replace(recipe, codes=codes, options=options)


def _job_of(recipe: RecordingRecipe) -> DCNumPipelineJob:
    """Return a job that gets no input."""
    arguments = recipe.job_arguments()
    # With a pixel size the job has no need to look into the file.
    arguments["data_kwargs"].setdefault("pixel_size", 1.0)
    return DCNumPipelineJob("input.rtdc", **arguments)
