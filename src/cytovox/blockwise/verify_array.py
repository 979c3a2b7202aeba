"""Whether all voxels of a volume can be read, at all scales; of any format."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import CytovoxError, UsageError
from ..read.const import VOLUME_FILES
from ..read.open_volume import open_volume
from ..read.permissions import Permissions
from ..read.volume import Volume
from ..read.volume_folder import walk
from ..run.findings import Verification
from ..write.pyramid import tiles
from .grid import Box

__all__ = ["check_files", "check_voxels", "files_below", "open_scales", "tiles_of"]

_T = TypeVar("_T")
#: Called with a box and its voxels, from several threads.
Look = Callable[[Box, npt.NDArray[Any]], None]

#: So much is read at a time by a thread [bytes].
_TILE_BYTES = 64 << 20
#: So many boxes for each thread are read or wait to be read at a time.
_AHEAD = 4
#: More boxes of one volume are not listed one by one.
_LISTED = 10
_MOST_SCALES = 64
#: What writers leave behind when they are killed.
_LEFT_BEHIND = (".__lock", ".tmp", ".partial")
_DOCUMENTS = (*VOLUME_FILES, ".zmetadata")


@contextlib.contextmanager
def open_scales(
    url: str | os.PathLike[str], found: Verification, permissions: Permissions | None = None
) -> Iterator[list[Volume]]:
    """Open all scales of a volume and compare them with the finest."""
    with contextlib.ExitStack() as stack:
        scales = [stack.enter_context(open_volume(url, permissions=permissions))]
        for number in range(1, _MOST_SCALES):
            try:
                volume = open_volume(url, scale=number, permissions=permissions)
            except UsageError:
                break  # there is no such scale
            except CytovoxError as err:
                found.error(f"scale {number}", err.what)
                continue
            scales.append(stack.enter_context(volume))
            _compare_scales(scales[0], volume, number, found)
        found.counts["scales"] = len(scales)
        yield scales


def _compare_scales(finest: Volume, scale: Volume, number: int, found: Verification) -> None:
    where = f"scale {number}"
    if scale.dtype != finest.dtype:
        found.error(where, f"holds {scale.dtype} where the finest holds {finest.dtype}")
    factors = [b / a for a, b in zip(finest.voxel_size, scale.voxel_size, strict=True)]
    for axis, length, whole, factor in zip(
        scale.axes[-len(factors) :],
        scale.spatial_shape,
        finest.spatial_shape,
        factors,
        strict=True,
    ):
        exact = whole / factor
        if factor <= 0 or not exact - 1 < length < exact + 1:
            found.error(
                where,
                f"has {length} voxels along {axis}, but {whole} voxels of 1/{factor:g} the size "
                f"make {exact:g}",
            )


def check_files(scales: Sequence[Volume], path: Path, found: Verification) -> None:
    """Look at the files of chunks: empty ones, and what was left behind.

    A chunk that has only the fill value need not be stored.
    """
    stored = left = 0
    for file in files_below(path):
        if file.name.endswith(_LEFT_BEHIND):
            left += 1
        elif file.name not in _DOCUMENTS:
            stored += 1
            if file.stat().st_size == 0:
                name = file.relative_to(path).as_posix()
                found.error(name, "the file is empty: it was torn by a crash")
    if left:
        found.note(path.name, f"{left} files of writers that were killed are left; harmless")
    found.counts["files"] = stored
    found.counts["units"] = sum(
        int(np.prod([-(-n // u) for n, u in zip(s.shape, s.write_unit, strict=True)]))
        for s in scales
    )


def check_voxels(
    volume: Volume,
    where: str,
    found: Verification,
    *,
    boxes: Iterable[Box] | None = None,
    look: Look | None = None,
    workers: int = 2,
    on_box: Callable[[int], None] | None = None,
) -> int:
    """Read all voxels; name what cannot be read."""

    def read(box: Box) -> CytovoxError | None:
        try:
            values = volume.read(box)
        except CytovoxError as err:
            return err
        if look is not None:
            look(box, values)
        return None

    bad = 0
    itemsize = volume.dtype.itemsize
    todo = tiles_of(volume) if boxes is None else iter(boxes)
    for box, err in _in_order(read, todo, max(1, workers)):
        if err is not None:
            bad += 1
            if bad <= _LISTED:
                found.error(f"{where}, voxels {_told(box)}", _of(err, volume, box))
        if on_box is not None:
            on_box(itemsize * int(np.prod([b - a for a, b in box])))
    if bad > _LISTED:
        found.error(where, f"{bad - _LISTED} more parts cannot be read")
    return bad


def _in_order(
    read: Callable[[Box], _T], boxes: Iterator[Box], workers: int
) -> Iterator[tuple[Box, _T]]:
    """Read boxes by threads and yield them in order, few of them ahead."""
    ahead: deque[tuple[Box, Future[_T]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="verify") as pool:
        try:
            for box in boxes:
                ahead.append((box, pool.submit(read, box)))
                if len(ahead) > _AHEAD * workers:
                    box, done = ahead.popleft()
                    yield box, done.result()
            while ahead:
                box, done = ahead.popleft()
                yield box, done.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def tiles_of(volume: Volume) -> Iterator[Box]:
    """Return boxes in space of whole chunks that tile a volume and fit into memory."""
    ndim = len(volume.spatial_shape)
    unit = list(volume.write_unit[-ndim:])
    chunk = volume.chunk[-ndim:]
    channels = int(np.prod(volume.shape[:-ndim], dtype=np.int64)) * volume.dtype.itemsize
    for axis in range(ndim):
        while unit[axis] > chunk[axis] and channels * int(np.prod(unit)) > _TILE_BYTES:
            unit[axis] = max(chunk[axis], unit[axis] // 2 // chunk[axis] * chunk[axis])
    return tiles(tuple((0, n) for n in volume.spatial_shape), unit)


def files_below(path: Path) -> Iterator[Path]:
    """Return all files below a folder in order."""
    return (Path(e.path) for e in walk(path) if e.is_file(follow_symlinks=False))


def _of(err: CytovoxError, volume: Volume, box: Box) -> str:
    unit = volume.write_unit[-len(box) :]
    sharded = tuple(unit) != tuple(volume.chunk[-len(box) :])
    place = "/".join(str(a // u) for (a, _), u in zip(box, unit, strict=True))
    kind = "shard" if sharded else "chunk"
    return f"{kind} {place} is torn or damaged: {err.what}"


def _told(box: Box) -> str:
    return " ".join(f"{a}:{b}" for a, b in box)
