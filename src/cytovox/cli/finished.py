"""Whether an output is there already, and whether it is the one that is wanted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..logic import DCNumPipelineJob

__all__ = ["Finished", "look_at_output"]


@dataclass(frozen=True, slots=True)
class Finished:
    """What an existing output is.

    Parameters
    ----------
    refusal
        Why it is not what the job would make; None if it is.
    events
        Number of its events.
    """

    refusal: str | None = None
    events: int = 0


def look_at_output(job: DCNumPipelineJob) -> Finished:
    """Compare the existing output of a job with what the job would make.

    It is the same if it carries the hash of the same pipeline identifier (in
    which frames and pixel size are part), was made from the same measurement
    with the same basin strategy, and holds all its events.

    Parameters
    ----------
    job
        The job; its output exists.
    """
    import h5py

    from ..read.members import members

    ppid, pphash = job.get_ppid(ret_hash=True)
    path = Path(job["path_out"])
    try:
        with h5py.File(path, "r") as h5:
            attributes = {key: _text(value) for key, value in members(h5.attrs)}
            events = h5["events"]
            lengths = {
                len(events[name]) for name in events if isinstance(events[name], h5py.Dataset)
            }
            strategy = _strategy(h5)
    except (OSError, LookupError, RuntimeError, ValueError, TypeError, AttributeError):
        return Finished("the output exists and is no result of a run, or a damaged one")
    if "pipeline:dcnum hash" not in attributes:
        return Finished("the output exists and is no result of a run")
    if attributes["pipeline:dcnum hash"] != pphash:
        return Finished("the output exists and was made by another recipe")
    if attributes.get("experiment:run identifier") not in _identifiers(job, pphash):
        return Finished("the output exists and was made from another measurement")
    count = attributes.get("experiment:event count", "")
    if not count.isdecimal() or lengths - {int(count)}:
        return Finished("the output exists and is incomplete")
    if strategy != job["basin_strategy"]:
        return Finished(
            f"the output exists and was made by the same recipe with --basins {strategy}"
        )
    return Finished(events=int(count))


def _identifiers(job: DCNumPipelineJob, pphash: str) -> set[str]:
    from ..read import HDF5Data, get_measurement_identifier

    with HDF5Data(job["path_in"]) as data:
        own = get_measurement_identifier(data.h5)
    made = f"dcn-{pphash[:7]}"
    # A run that finds nothing to redo keeps the identifier of its input.
    return {made} if own is None else {f"{own}_{made}", own}


def _strategy(h5: Any) -> str:
    """Return the basin strategy from the record of the last run."""
    records = sorted(name for name in h5.get("logs", ()) if name.startswith("dcnum-job-"))
    try:
        lines = [_text(line) for line in h5["logs"][records[-1]][:]]
        return str(json.loads("\n".join(lines))["job"]["basin_strategy"])
    except (IndexError, KeyError, ValueError):
        return "drain" if "image" in h5["events"] else "tap"


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
