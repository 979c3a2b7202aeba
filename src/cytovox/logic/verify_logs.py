"""Whether the logs of a file can be read, and say what its header says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import h5py

from ..errors import CytovoxError
from ..read.dataset import checked, read_lines
from ..read.identifier import stated
from ..read.permissions import Permissions
from ..read.structure import what_is_odd
from ..run.findings import Verification

__all__ = ["check_logs"]

#: Larger logs are not read [bytes].
_MAX_BYTES = 64 << 20


def check_logs(h5: h5py.File, permissions: Permissions, found: Verification) -> None:
    """Read all logs; compare the records of runs with the header."""
    logs = h5.get("logs") if isinstance(h5.get("logs", getlink=True), h5py.HardLink) else None
    if not isinstance(logs, h5py.Group):
        return
    hashes = set()
    number = 0
    for name, lines in _readable(logs, permissions, found):
        number += 1
        if name.startswith("dcnum-job-"):
            hashes |= _hashes_of(lines, name, found)
    found.counts["logs"] = number
    own = stated(h5.attrs, "pipeline:dcnum hash")
    if hashes and own is not None and own not in hashes:
        found.error("logs", f"no record of a run names the pipeline {own}")


def _readable(
    logs: h5py.Group, permissions: Permissions, found: Verification
) -> Iterator[tuple[str, list[str]]]:
    for name in logs:
        if not isinstance(logs.get(name, getlink=True), h5py.HardLink):
            continue
        try:
            dataset = logs[name]
            if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
                continue
            if odd := what_is_odd(dataset, "logs"):
                found.note(f"logs/{name}", f"is not read: it {odd}")
                continue
            if (dataset.size or 0) * dataset.dtype.itemsize > _MAX_BYTES:
                found.warn(f"logs/{name}", "is too large to be read")
                continue
            lines = read_lines(checked(dataset, permissions))
        except CytovoxError as err:
            found.error(f"logs/{name}", f"cannot be read: {err.what}")
            continue
        except (OSError, RuntimeError, ValueError, KeyError, UnicodeDecodeError) as err:
            found.error(f"logs/{name}", f"cannot be read: {' '.join(str(err).split())[:200]}")
            continue
        yield name, lines


def _hashes_of(lines: list[str], name: str, found: Verification) -> set[str]:
    try:
        record: Any = json.loads("\n".join(lines))
    except json.JSONDecodeError:
        found.warn(f"logs/{name}", "is no record of a run, though it is called so")
        return set()
    pipeline = record.get("pipeline") if isinstance(record, dict) else None
    stated = pipeline.get("hash") if isinstance(pipeline, dict) else None
    return {stated} if isinstance(stated, str) else set()
