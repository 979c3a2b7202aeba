"""What a run writes about itself into its output, and reads of such records in its input."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import json
import platform
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from .. import __version__
from ..read import HDF5Data
from ..read.members import member
from ..recipe.identity import compute_pipeline_hash
from ..run.rows import CAUSES
from .json_encoder import ExtendedJSONEncoder

__all__ = [
    "ID_ATTRIBUTES",
    "Tasks",
    "free_stamp",
    "hash_of_stated",
    "job_record",
    "read_record",
    "recorded_input",
    "recorded_objects",
    "tasks_for",
    "time_stamp",
    "wrap_lines",
    "write_identity",
    "version_of",
]

_LIBRARIES = ("h5py", "hdf5plugin", "llvmlite", "numba", "numpy", "torch")
#: Longest line of a log that readers accept without complaint.
_LINE = 100
#: Attribute below ``pipeline:dcnum`` for each part of the identifier.
ID_ATTRIBUTES = {
    "generation": "gen_id",
    "data": "dat_id",
    "background": "bg_id",
    "segmenter": "seg_id",
    "feature": "feat_id",
    "gate": "gate_id",
}


def time_stamp() -> str:
    """Return the time (UTC) in the form that names logs."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d-%H.%M.%S")


def free_stamp(h5: h5py.File, stamp: str) -> str:
    """Return a time stamp, with a number if a log of that second exists already."""
    logs = member(h5, "logs", {})
    number = 1
    free = stamp
    while f"dcnum-job-{free}" in logs or f"dcnum-log-{free}" in logs:
        number += 1
        free = f"{stamp}-{number}"
    return free


def job_record(
    kwargs: Mapping[str, Any],
    ids: Mapping[str, str],
    pphash: str,
    tasks: Tasks,
    segmenter_source: Mapping[str, str] | None = None,
    *,
    source: Mapping[str, Any] | None = None,
    objects: Mapping[str, Any] | None = None,
    automatic: Collection[str] = (),
) -> list[str]:
    """Return the record of a job as lines of JSON."""
    uname = platform.uname()
    record = {
        "cytovox version": __version__,
        "automatic": sorted(automatic),
        "job": dict(kwargs),
        "pipeline": {"hash": pphash, "identifiers": dict(ids)},
        "python": {
            "build": ", ".join(platform.python_build()),
            "implementation": platform.python_implementation(),
            "libraries": {name: version_of(name) for name in _LIBRARIES},
            "version": platform.python_version(),
        },
        "system": {
            "info": platform.platform(),
            "machine": uname.machine,
            "name": uname.system,
            "release": uname.release,
            "version": uname.version,
        },
        "tasks": {"background": tasks.background, "segmentation": tasks.segmentation},
    }
    if segmenter_source:
        record["segmenter file"] = dict(segmenter_source)
    if source:
        record["read"] = dict(source)
    if objects is not None:
        record["objects"] = dict(objects)
    text = json.dumps(record, indent=2, sort_keys=True, cls=ExtendedJSONEncoder)
    return text.splitlines()


def read_record(result: HDF5Data) -> dict[str, Any]:
    """Return the record of the last run; an empty one if it cannot be read."""
    records = sorted(name for name in result.logs if name.startswith("dcnum-job-"))
    try:
        found = json.loads("\n".join(result.logs[records[-1]]))
    except (IndexError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def recorded_objects(record: Mapping[str, Any], events: int) -> dict[str, Any] | None:
    """Return what became of objects, as a run has recorded it; None unless it adds up."""
    told = record.get("objects")
    lost = told.get("lost") if isinstance(told, dict) else None
    if not isinstance(told, dict) or not isinstance(lost, dict):
        return None
    counts = {cause: lost.get(cause) for cause in CAUSES}
    numbers: list[Any] = [told.get("found"), *counts.values()]
    if any(type(number) is not int or number < 0 for number in numbers):
        return None
    if numbers[0] != events + sum(numbers[1:]):
        return None
    return {"found": numbers[0], "kept": events, "lost": counts}


def recorded_input(result: HDF5Data) -> str | None:
    """Return the path of the recording that the last run has read, if it says so."""
    try:
        return str(read_record(result)["read"]["files"][0]["path"])
    except (LookupError, TypeError):
        return None


def write_identity(
    h5: h5py.File,
    *,
    ids: Mapping[str, str],
    pphash: str,
    mapping: str,
    events: int,
    pixel_size: float,
) -> None:
    """Write into a measured file how it was made."""
    parts = {f"pipeline:dcnum {name}": ids[key] for name, key in ID_ATTRIBUTES.items()}
    h5.attrs.update(
        {
            **parts,
            "pipeline:dcnum hash": pphash,
            "pipeline:dcnum mapping": mapping,
            "pipeline:dcnum yield": events,
            "experiment:event count": events,
            "imaging:pixel size": pixel_size,
        }
    )


def wrap_lines(lines: Sequence[str]) -> list[str]:
    """Break long lines of a log."""
    wrapped = []
    for line in lines:
        wrapped += textwrap.wrap(line, _LINE, subsequent_indent="  ") or [""]
    return wrapped


@functools.cache
def version_of(library: str) -> str | None:
    """Return the version of a library, None if it is not installed."""
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True, slots=True)
class Tasks:
    """Which parts of the pipeline have to run, since the input does not hold their result."""

    background: bool
    segmentation: bool


def hash_of_stated(stated: Mapping[str, Any]) -> str | None:
    """Return the hash of the identifier that attributes state; None if a part is missing."""
    parts = {
        key: str(stated.get(f"pipeline:dcnum {name}", "")) for name, key in ID_ATTRIBUTES.items()
    }
    return compute_pipeline_hash(**parts) if all(parts.values()) else None


def tasks_for(data: HDF5Data, wanted: Mapping[str, str]) -> Tasks:
    """Compare what a file says of its making with what is wanted."""
    stored = {
        key: str(data.meta.get(f"pipeline:dcnum {name}", "0"))
        for name, key in ID_ATTRIBUTES.items()
    }
    differs = {key for key, text in stored.items() if text != wanted[key]}
    background = "image_bg" not in data or bool(differs & {"gen_id", "dat_id", "bg_id"})
    segmentation = (
        background
        or bool(differs)
        or str(data.meta.get("pipeline:dcnum hash")) != hash_of_stated(data.meta)
        or not _is_number(data.meta.get("pipeline:dcnum yield"), len(data))
        or data.index_mapping is not None
    )
    return Tasks(background, segmentation)


def _is_number(stored: Any, number: int) -> bool:
    """Return whether an attribute, which can be anything, is a number."""
    return isinstance(stored, (int, float, np.integer, np.floating)) and bool(stored == number)
