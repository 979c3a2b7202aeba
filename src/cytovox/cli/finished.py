"""Whether an output is there already, and whether it is the one that is wanted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..logic import DCNumPipelineJob
    from ..read import HDF5Data

#: Outputs of up to this size are read in full before they are skipped [bytes].
_SMALL = 32 << 20

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
    is_outgrown
        Whether it was made while the recording was still written, which has
        more frames now: it can be replaced.
    """

    refusal: str | None = None
    events: int = 0
    is_outgrown: bool = False


def look_at_output(job: DCNumPipelineJob, data: HDF5Data, *, thorough: bool = False) -> Finished:
    """Compare the existing output of a job with what the job would make.

    It is the same if it carries the hash of the same pipeline identifier (in
    which frames and pixel size are part), was made from the same measurement
    with the same basin strategy, holds all its events, and the recording has
    not changed since. It must not be damaged: small outputs are read in full,
    of others lengths and headers.

    Parameters
    ----------
    job
        The job; its output exists.
    data
        Its input.
    thorough
        Whether outputs of any size are read in full.
    """
    import h5py

    from ..errors import InputError
    from ..logic.verify import verify_recording
    from ..read.members import members
    from ..read.opening import open_hdf5_file

    ppid, pphash = job.get_ppid(ret_hash=True)
    path = Path(job["path_out"])
    try:
        with open_hdf5_file(path) as h5:
            attributes = {key: _text(value) for key, value in members(h5.attrs)}
            events = h5["events"]
            lengths = {
                len(events[name]) for name in events if isinstance(events[name], h5py.Dataset)
            }
            record = _record(h5)
            strategy = _strategy(h5, record)
    except (InputError, OSError, LookupError, RuntimeError, ValueError, TypeError, AttributeError):
        return Finished("the output exists and is no result of a run, or a damaged one")
    if "pipeline:dcnum hash" not in attributes:
        return Finished("the output exists and is no result of a run")
    if attributes["pipeline:dcnum hash"] != pphash:
        return Finished("the output exists and was made by another recipe")
    if attributes.get("experiment:run identifier") not in _identifiers(data, pphash):
        return Finished("the output exists and was made from another measurement")
    count = attributes.get("experiment:event count", "")
    if not count.isdecimal() or lengths - {int(count)}:
        return Finished("the output exists and is incomplete")
    if strategy != job["basin_strategy"]:
        return Finished(
            f"the output exists and was made by the same recipe with --basins {strategy}"
        )
    if change := _change(data, record.get("read")):
        read = record["read"]
        return Finished(f"the output exists and {change}", is_outgrown=bool(read.get("growing")))
    try:
        thorough = thorough or path.stat().st_size <= _SMALL
        errors = verify_recording(
            path, thorough=thorough, permissions=job["data_kwargs"].get("permissions")
        ).errors
    except (InputError, OSError) as err:
        return Finished(f"the output exists and is damaged: {err}")
    if errors:
        return Finished(f"the output exists and is damaged: {errors[0].where}: {errors[0].what}")
    return Finished(events=int(count))


def _change(data: HDF5Data, read: Any) -> str | None:
    """Say how the recording differs from what the output was made of, if that is known."""
    from ..run.fingerprint import FileStamp

    if not isinstance(read, dict):
        return None
    frames, files = data.stored_length, [data.place or data.files()[0], *data.files()[1:]]
    if frames != read["frames"]:
        return f"was made from {read['frames']} frames of this recording, which has {frames} now"
    own, *others = read["files"]
    for path in files:
        told = [own] if path == files[0] else [o for o in others if _name(o) == path.name]
        if told:  # what was never read need not be compared
            stamp = FileStamp.of(path)
            if (stamp.size, stamp.content) not in [(one["size"], one["content"]) for one in told]:
                return f"was made from another content of {path}"
    return None


def _name(told: dict[str, Any]) -> str:
    return Path(told["path"]).name


def _identifiers(data: HDF5Data, pphash: str) -> set[str]:
    from ..read import get_measurement_identifier

    own = get_measurement_identifier(data.h5)
    made = f"dcn-{pphash[:7]}"
    # A run that finds nothing to redo keeps the identifier of its input.
    return {made} if own is None else {f"{own}_{made}", own}


def _record(h5: Any) -> dict[str, Any]:
    """Return the record of the last run; an empty one if it cannot be read."""
    records = sorted(name for name in h5.get("logs", ()) if name.startswith("dcnum-job-"))
    try:
        lines = [_text(line) for line in h5["logs"][records[-1]][:]]
        found = json.loads("\n".join(lines))
    except (IndexError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _strategy(h5: Any, record: dict[str, Any]) -> str:
    """Return the basin strategy of a run."""
    try:
        return str(record["job"]["basin_strategy"])
    except (KeyError, TypeError):
        return "drain" if "image" in h5["events"] else "tap"


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
