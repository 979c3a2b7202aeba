"""Whether an output is there already, and whether it is the one that is wanted."""

from __future__ import annotations

import contextlib
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
    """What an existing output is."""

    #: Why it is not what the job would make; None if it is.
    refusal: str | None = None
    #: Number of its events.
    events: int = 0
    #: Whether it was made while the recording was still written, which has more frames
    #: now: it can be replaced.
    is_outgrown: bool = False


def look_at_output(job: DCNumPipelineJob, data: HDF5Data, *, thorough: bool = False) -> Finished:
    """Compare the existing output of a job with what the job would make of `data`.

    It is the same if it carries the hash of the same pipeline identifier (in
    which frames and pixel size are part), was made from the same measurement
    with the same basin strategy, and the recording has not changed since. It
    must not be damaged: small outputs are read in full, of others lengths and
    headers, unless `thorough` is set.
    """
    from ..errors import CytovoxError, InputError
    from ..logic.verify import verify_recording
    from ..read import HDF5Data

    path, may = Path(job["path_out"]), job["data_kwargs"].get("permissions")
    with contextlib.ExitStack() as stack:
        try:
            result = stack.enter_context(HDF5Data(path, permissions=may, opened=data.opened))
            meta = {key: str(value) for key, value in result.meta.items()}
            record = _record(result)
            strategy = _strategy(result, record)
        except (CytovoxError, OSError, LookupError, RuntimeError, ValueError, TypeError) as err:
            return _refused(f"is not a result of a run, or a damaged one: {err}")
        standing = _compare(job, data, meta, record, strategy)
        if standing.refusal is not None:
            return standing
        thorough = thorough or path.stat().st_size <= _SMALL
        try:
            errors = verify_recording(
                path, thorough=thorough, permissions=may, opened=result.opened
            ).errors
        except (InputError, OSError) as err:
            return _refused(f"is damaged: {err}")
    if errors:
        return _refused(f"is damaged: {errors[0].where}: {errors[0].what}")
    return standing


def _compare(
    job: DCNumPipelineJob,
    data: HDF5Data,
    meta: dict[str, str],
    record: dict[str, Any],
    strategy: str,
) -> Finished:
    """Compare what an output states of its making with what the job would do."""
    from ..read.members import as_count

    pphash = job.get_ppid(ret_hash=True)[1]
    if "pipeline:dcnum hash" not in meta:
        return _refused("is not a result of a run")
    if meta["pipeline:dcnum hash"] != pphash:
        return _refused("was made by another recipe")
    if meta.get("experiment:run identifier") not in _identifiers(data, pphash):
        return _refused("was made from another measurement")
    count = as_count(meta.get("experiment:event count"))
    if count is None:
        return _refused("is incomplete")
    if strategy != job["basin_strategy"]:
        return _refused(f"was made by the same recipe with --basins {strategy}")
    if change := _change(data, record.get("read")):
        return _refused(change, is_outgrown=bool(record["read"].get("growing")))
    return Finished(events=count)


def _refused(why: str, **more: bool) -> Finished:
    return Finished(f"the output exists and {why}", **more)


def _change(data: HDF5Data, read: Any) -> str | None:
    """Say how the recording differs from what the output was made of, if that is known."""
    from ..run.fingerprint import FileStamp

    try:
        then = read["frames"]
        own, *others = (
            (Path(one["path"]).name, (one["size"], one["content"])) for one in read["files"]
        )
    except (KeyError, TypeError, ValueError):
        return None
    frames, files = data.stored_length, [data.place or data.files()[0], *data.files()[1:]]
    if frames != then:
        return f"was made from {then} frames of this recording, which has {frames} now"
    for path in files:
        recorded = [own] if path == files[0] else [one for one in others if one[0] == path.name]
        if recorded:  # what was never read need not be compared
            stamp = FileStamp.of(path)
            if (stamp.size, stamp.content) not in [content for _, content in recorded]:
                return f"was made from another content of {path}"
    return None


def _identifiers(data: HDF5Data, pphash: str) -> set[str]:
    from ..read import get_measurement_identifier

    own = get_measurement_identifier(data.h5)
    made = f"dcn-{pphash[:7]}"
    # A run that finds nothing to redo keeps the identifier of its input.
    return {made} if own is None else {f"{own}_{made}", own}


def _record(result: HDF5Data) -> dict[str, Any]:
    """Return the record of the last run; an empty one if it cannot be read."""
    records = sorted(name for name in result.logs if name.startswith("dcnum-job-"))
    try:
        found = json.loads("\n".join(result.logs[records[-1]]))
    except (IndexError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _strategy(result: HDF5Data, record: dict[str, Any]) -> str:
    """Return the basin strategy of a run."""
    try:
        return str(record["job"]["basin_strategy"])
    except (KeyError, TypeError):
        return "drain" if "image" in result.h5["events"] else "tap"
