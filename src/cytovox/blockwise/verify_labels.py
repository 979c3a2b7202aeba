"""Whether a volume is whole: metadata, voxels, and what a run says of its making."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputNotFoundError
from ..read.permissions import Permissions
from ..read.volume import Volume
from ..read.volume_address import parse_address
from ..run.findings import Verification
from ..run.memory import cpu_count
from .checks import checksum
from .grid import Block, Box
from .recipe import side_folder
from .verify_array import check_files, check_voxels, open_scales
from .verify_run import RunFacts, check_run, check_table

__all__ = ["verify_volume"]

_SIDE = ".cytovox"
#: More labels are not counted one by one; 8 bytes each.
_MOST_LABELS = 1 << 27
_LISTED = 5


def verify_volume(
    path: str | os.PathLike[str],
    *,
    thorough: bool = True,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    permissions: Permissions | None = None,
) -> Verification:
    """Check a volume, made by this program or another.

    Whether the scales fit together and every chunk and shard can be decoded.
    Of labels that were made here also: whether the journal tells that all
    blocks are done, from the input as it is now; whether each block holds what
    was written; whether labels are 1 to N without a gap and the table of
    objects has a row with the right number of voxels for each.

    Parameters
    ----------
    path
        See `cytovox.read.open_volume`; or the folder ``.cytovox`` beside an
        output.
    thorough
        Whether voxels are read.
    workers
        Number of threads; as many as cores if None.
    on_progress
        Called with the bytes that were read and those to read.
    permissions
        What may be read; what the environment allows if None.

    Returns
    -------
    Verification
        A volume that cannot be opened raises instead.

    Raises
    ------
    CytovoxError
        If there is nothing, or it is not a volume.

    Examples
    --------
    >>> import numpy as np
    >>> path = getfixture("tmp_path") / "a.npy"
    >>> np.save(path, np.zeros((4, 5, 6), np.uint8))
    >>> verify_volume(path).ok
    True
    """
    begin = time.perf_counter()
    text = os.fspath(path)
    if text.rstrip("/" + os.sep).endswith(_SIDE):
        text = text.rstrip("/" + os.sep)[: -len(_SIDE)]
    found = Verification(text, "volume")
    facts = _facts_of(text, found, permissions)
    try:
        scales = open_scales(text, found, permissions)
    except InputNotFoundError:
        if facts is None:
            raise
        found.error(text, "the labels are not there yet; the same command as before goes on")
        found.seconds = time.perf_counter() - begin
        return found
    try:
        _check_scales(text, scales, found, facts, thorough, workers or cpu_count(), on_progress)
    finally:
        for scale in scales:
            scale.close()
    found.seconds = time.perf_counter() - begin
    return found


def _facts_of(text: str, found: Verification, permissions: Permissions | None) -> RunFacts | None:
    if parse_address(text).remote:
        return None
    folder = side_folder(text)
    # Masks, other arrays and labels over time keep a journal there, but no blocks of labels.
    is_run = any((folder / name).exists() for name in ("recipe.json", "local.zarr", "blocks"))
    return check_run(text, folder, found, permissions) if is_run else None


def _check_scales(
    text: str,
    scales: Sequence[Volume],
    found: Verification,
    facts: RunFacts | None,
    thorough: bool,
    workers: int,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    total = sum(int(np.prod(s.shape, dtype=np.int64)) * s.dtype.itemsize for s in scales)
    found.counts |= {"voxels": int(np.prod(scales[0].shape, dtype=np.int64)), "bytes": total}
    if "://" not in text and Path(text).is_dir():
        _look_at_files(scales, Path(text), found)
    if facts is not None and facts.shape not in (None, scales[0].spatial_shape):
        found.error(
            text, f"has the shape {scales[0].spatial_shape}, but the run's is {facts.shape}"
        )
        facts = None
    counts = None
    if thorough:
        counts = _read_all(scales, found, facts, workers, total, on_progress)
    if facts is not None:
        check_table(facts, counts, found)


def _look_at_files(scales: Sequence[Volume], place: Path, found: Verification) -> None:
    try:
        check_files(scales, place, found)
    except OSError as err:
        found.error(place.name, f"its files cannot be listed: {err.strerror or err}")


def _read_all(
    scales: Sequence[Volume],
    found: Verification,
    facts: RunFacts | None,
    workers: int,
    total: int,
    on_progress: Callable[[int, int], None] | None,
) -> npt.NDArray[np.int64] | None:
    """Read all voxels; return how many each label has, where a run says their number."""
    done = 0

    def count(number: int) -> None:
        nonlocal done
        done += number
        if on_progress is not None:
            on_progress(done, total)

    look = None if facts is None else _Labels(facts, found)
    bad = 0
    for number, scale in enumerate(scales):
        first = number == 0 and facts is not None
        bad += check_voxels(
            scale,
            f"scale {number}",
            found,
            boxes=[block.write for block in facts.blocks] if first and facts else None,
            look=look if first else None,
            workers=workers,
            on_box=count,
        )
    found.counts["bytes_checked"] = done
    if look is None:
        return None
    look.tell()
    return look.counts if not bad else None


class _Labels:
    """Looks at the blocks of labels while they are read."""

    def __init__(self, facts: RunFacts, found: Verification) -> None:
        self._facts = facts
        self._found = found
        self._blocks: dict[Box, Block] = {block.write: block for block in facts.blocks}
        self._lock = threading.Lock()
        self._changed: list[Block] = []
        self._compared = 0
        self._largest = 0
        number = facts.objects
        known = number is not None and number <= _MOST_LABELS
        self.counts = np.zeros((number or 0) + 1, np.int64) if known else None

    def __call__(self, box: Box, values: npt.NDArray[Any]) -> None:
        """Look at a block."""
        block = self._blocks[box]
        told = self._facts.written.get(block.index)
        same = told is None or told == checksum(values)
        low, high = int(values.min()), int(values.max())
        part = None
        if self.counts is not None and low >= 0 and high < self.counts.size:
            part = np.bincount((values - values.dtype.type(low)).ravel().astype(np.int64))
        with self._lock:
            self._largest = max(self._largest, high)
            self._compared += told is not None
            if not same:
                self._changed.append(block)
            if part is not None and self.counts is not None:
                self.counts[low : low + part.size] += part

    def tell(self) -> None:
        """Tell what was seen."""
        changed = sorted(self._changed, key=lambda block: block.index)
        for block in changed[:_LISTED]:
            self._found.error(
                f"block {block.index}", "holds other labels than were written: chunks are lost"
            )
        if len(changed) > _LISTED:
            self._found.error("blocks", f"{len(changed) - _LISTED} more hold other labels")
        number = self._facts.objects
        if number is not None and self._largest > number:
            self._found.error("labels", f"one is {self._largest}, but there are {number} objects")
        self._found.counts["checksums"] = self._compared
        if self.counts is None:
            return
        self._found.counts["foreground"] = int(self.counts[1:].sum())
        absent = np.flatnonzero(self.counts[1:] == 0) + 1
        if absent.size:
            first = ", ".join(str(label) for label in absent[:_LISTED])
            self._found.error("labels", f"{absent.size} of 1 to {number} have no voxel: {first}")
