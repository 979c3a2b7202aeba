"""Whether an output that exists is what a job would make."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CytovoxError, InputError, OutputExistsError

if TYPE_CHECKING:
    from ..logic import DCNumPipelineJob
    from ..read import HDF5Data

__all__ = ["OutgrownError", "change_since", "counts_of_output"]

#: Outputs of up to this size are read in full before they are skipped [bytes].
_SMALL = 32 << 20


class OutgrownError(OutputExistsError):
    """The output was made while the recording was still written, which has more frames now."""


def counts_of_output(
    job: DCNumPipelineJob, data: HDF5Data, *, thorough: bool = False
) -> tuple[int, dict[str, Any] | None]:
    """Return events and objects of an existing output, if it is what a job would make of `data`.

    It is the same if it carries the hash of the same pipeline identifier (of
    which frames and pixel size are part), was made from the same measurement
    with the same basin strategy, and the recording has not changed since. It
    must not be damaged: small outputs are read in full, of others lengths and
    headers, unless `thorough` is set. An error says what does not fit.
    """
    from ..logic.recipes import basin_strategy_of
    from ..logic.record import read_record, recorded_objects
    from ..logic.verify import verify_recording
    from ..read import HDF5Data
    from ..read.members import as_count

    path, may = Path(job["path_out"]), job["data_kwargs"].get("permissions")
    with contextlib.ExitStack() as stack:
        try:
            result = stack.enter_context(HDF5Data(path, permissions=may, opened=data.opened))
            meta = {key: str(value) for key, value in result.meta.items()}
            record = read_record(result)
            strategy = basin_strategy_of(result, record)
        except (CytovoxError, OSError, LookupError, RuntimeError, ValueError, TypeError) as err:
            raise _refusal(job, f"is not a result of a run, or a damaged one: {err}") from err
        if refused := _compare(job, data, meta, strategy):
            raise _refusal(job, refused)
        if (count := as_count(meta.get("experiment:event count"))) is None:
            raise _refusal(job, "is incomplete")
        if change := change_since(data, record.get("read")):
            kind = OutgrownError if record["read"].get("growing") else OutputExistsError
            raise _refusal(job, change, kind)
        thorough = thorough or path.stat().st_size <= _SMALL
        try:
            errors = verify_recording(
                path, thorough=thorough, permissions=may, opened=result.opened
            ).errors
        except (InputError, OSError) as err:
            raise _refusal(job, f"is damaged: {err}") from err
    if errors:
        raise _refusal(job, f"is damaged: {errors[0].where}: {errors[0].what}")
    return count, recorded_objects(record, count)


def _compare(
    job: DCNumPipelineJob, data: HDF5Data, meta: dict[str, str], strategy: str
) -> str | None:
    """Say how what an output states of its making differs from what the job would do."""
    pphash = job.get_ppid(ret_hash=True)[1]
    if "pipeline:dcnum hash" not in meta:
        return "is not a result of a run"
    if meta["pipeline:dcnum hash"] != pphash:
        return "was made by another recipe"
    if meta.get("experiment:run identifier") not in _identifiers(data, pphash):
        return "was made from another measurement"
    if strategy != job["basin_strategy"]:
        return f"was made by the same recipe with --basins {strategy}"
    return None


def _refusal(
    job: DCNumPipelineJob, why: str, kind: type[OutputExistsError] = OutputExistsError
) -> OutputExistsError:
    hint = "give --force to replace it, or another -o"
    return kind(f"the output exists and {why}", path=job["path_out"], hint=hint)


def change_since(data: HDF5Data, read: Any) -> str | None:
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
