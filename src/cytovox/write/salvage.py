"""From a torn file and its ledger to a new file with which a run resumes."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .ledger import CHUNK_NOTE, FRAMES, Checkpoint, Ledger, Record
from .writer import HDF5Writer

__all__ = ["bytes_to_copy", "complete_checkpoint", "salvage"]


def complete_checkpoint(records: Sequence[Record], file: Path) -> Checkpoint | None:
    """Return the last checkpoint if the file is finished and has the size that was noted."""
    last = records[-1]
    if last.size is None or not file.is_file() or file.stat().st_size != last.size:
        return None
    return Checkpoint(last.frames, last.events, last.objects, is_complete=True)


def bytes_to_copy(records: Sequence[Record]) -> int:
    """Return the size of all chunks."""
    return sum(size for r in records for _, size, *_ in CHUNK_NOTE.iter_unpack(r.chunks))


def salvage(
    records: Sequence[Record],
    torn: Path,
    ledger: Ledger,
    ds_kwds: Mapping[str, Any],
    on_chunk: Callable[[], None],
) -> Checkpoint | None:
    """Copy the chunks of the last checkpoint that holds into the file of a new ledger.

    The new ledger takes the place of the old one at the end. Returns the
    checkpoint, or None if none holds. `on_chunk` is called before each chunk.
    """
    records = [record for record in records if record.size is None]
    while records:
        ledger.forget()
        whole = _copy(records, torn, ledger, ds_kwds, on_chunk)
        if whole == len(records):
            checkpoint = _checkpoint(records)
            ledger.restart(checkpoint)
            return checkpoint
        records = records[:whole]
    return None


def _copy(
    records: Sequence[Record],
    torn: Path,
    ledger: Ledger,
    ds_kwds: Mapping[str, Any],
    on_chunk: Callable[[], None],
) -> int:
    """Copy chunks up to the first that is not there; return how many records hold."""
    last = records[-1]
    features = list(zip(last.features, last.rests, strict=True))
    with torn.open("rb", buffering=0) as file, HDF5Writer(ledger.sink, ds_kwds=ds_kwds) as writer:
        datasets = [
            writer.require_feature(name, rest.shape[1:], rest.dtype)[0] for name, rest in features
        ]
        sizes = [dataset.chunks[0] for dataset in datasets]
        lengths = [0] * len(features)
        for number, record in enumerate(records):
            for feature, size, check, place in CHUNK_NOTE.iter_unpack(record.chunks):
                on_chunk()
                content = _read(file, place, size)
                if zlib.crc32(content) != check or feature >= len(features):
                    return number
                row = lengths[feature]
                lengths[feature] += sizes[feature]
                with writer.guard():
                    ledger.write_chunk(datasets[feature], row, content, lengths[feature])
        writer.require_feature(FRAMES, (), np.uint32)
    counts = [record.counts for record in records]
    rows = [length + len(rest) for length, (_, rest) in zip(lengths, features, strict=True)]
    fits = {*rows, sum(int(part.sum()) for part in counts)} == {last.events}
    return len(records) if fits and sum(map(len, counts)) == last.frames else 0


def _read(file: BinaryIO, place: int, size: int) -> bytes:
    """Return what is at a place; nothing if the disk does not give it."""
    try:
        file.seek(place)
        return file.read(size)
    except OSError:
        return b""


def _checkpoint(records: Sequence[Record]) -> Checkpoint:
    last = records[-1]
    counts = np.concatenate([record.counts for record in records])
    rests = {name: rest.copy() for name, rest in zip(last.features, last.rests, strict=True)}
    rests[FRAMES] = np.repeat(np.arange(len(counts), dtype=np.uint32), counts)
    return Checkpoint(last.frames, last.events, last.objects, counts, rests)
