"""Evidence of blocks, in memory and in files: what neighbours must know of a block."""

from __future__ import annotations

import contextlib
import os
import uuid
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from ..errors import InputError, StorageError
from ..kernels.block_sums import BlockSums
from ..kernels.lattice import Ids, Int64s
from ..kernels.packed import Packed
from ..run.folder_sync import sync_file
from .grid import Box, box_shape

__all__ = [
    "STITCH_MODES",
    "Evidence",
    "EvidenceFolder",
    "StitchMode",
    "load_evidence",
    "load_sums",
    "load_written",
    "save_evidence",
    "write_atomically",
]

#: How labels of neighbouring blocks are joined; see `cytovox.blockwise.stitch`.
StitchMode = Literal["touch", "overlap", "owner", "none"]
#: All values of `StitchMode`.
STITCH_MODES: tuple[StitchMode, ...] = ("touch", "overlap", "owner", "none")

_FORMAT = 1
#: What reading a file raises that is not there, is cut off or is something else.
_NOT_WHOLE = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What must be known of a block to join its labels with those of its neighbours.

    Parameters
    ----------
    index
        Number of the block.
    count
        Number of labels in the box that it writes: 1 to `count`.
    sizes
        Their voxels there, uint64 of shape (count,).
    at_seam
        Whether they touch the box of a neighbour, bool of shape (count,).
    clipped
        Whether they reach the end of what was read (and not of the volume),
        bool of shape (count,).
    faces
        First and last plane of the written box along each axis, uint32; None
        where there is no neighbour.
    box
        What was read within the volume.
    shell
        Labels of `box`, empty where no neighbour looks; None if not needed.
    centres
        Voxel at the centre of each label as seen in `box`, int64 of shape
        (count, ndim); None if not needed.
    """

    index: int
    count: int
    sizes: npt.NDArray[np.uint64]
    at_seam: npt.NDArray[np.bool_]
    clipped: npt.NDArray[np.bool_]
    faces: tuple[tuple[Ids | None, Ids | None], ...]
    box: Box
    shell: Packed | None = None
    centres: Int64s | None = None

    def facing(self, direction: tuple[int, ...]) -> Ids:
        """Return the voxels that face the neighbour in a direction."""
        axis = next(i for i, step in enumerate(direction) if step)
        plane = self.faces[axis][direction[axis] > 0]
        if plane is None:
            raise InputError("there is no neighbour in this direction", block=self.index)
        others = (step for i, step in enumerate(direction) if i != axis)
        corner: Any = plane[tuple(slice(None) if s == 0 else -(s > 0) for s in others)]
        return np.asarray(corner, np.uint32)

    @property
    def nbytes(self) -> int:
        """Memory that the evidence takes, roughly."""
        planes = sum(0 if p is None else p.nbytes for pair in self.faces for p in pair)
        return 1000 + 10 * self.count + planes + (0 if self.shell is None else self.shell.nbytes)


def save_evidence(
    path: str | os.PathLike[str],
    evidence: Evidence,
    sums: BlockSums | None = None,
    written: int | None = None,
) -> None:
    """Write the evidence of a block, all or nothing."""
    parts: dict[str, Any] = {
        "format": _FORMAT,
        "index": evidence.index,
        "count": evidence.count,
        "sizes": evidence.sizes,
        "at_seam": evidence.at_seam,
        "clipped": evidence.clipped,
        "box": np.array(evidence.box, np.int64),
    }
    for axis, pair in enumerate(evidence.faces):
        for side, plane in enumerate(pair):
            if plane is not None:
                parts[f"face_{axis}_{side}"] = plane
    if evidence.shell is not None:
        parts["shell_first"] = evidence.shell.first
        parts["shell_begin"] = evidence.shell.begin
        parts["shell_value"] = evidence.shell.value
    if evidence.centres is not None:
        parts["centres"] = evidence.centres
    if written is not None:
        parts["written"] = np.uint32(written)
    if sums is not None:
        parts |= {f"sums_{name}": array for name, array in sums.arrays().items()}
    write_atomically(Path(path), parts)


def write_atomically(path: Path, parts: Mapping[str, Any]) -> None:
    """Write arrays as ``.npz`` under another name first."""
    try:
        # Unlike a file of mkstemp, it has the mode that the umask says.
        temporary = path.with_name(f"{path.stem}{uuid.uuid4().hex[:8]}.tmp")
        try:
            with temporary.open("xb") as file:
                _write_parts(file, parts)
                file.flush()
                sync_file(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as err:
        raise StorageError(f"the evidence cannot be written: {err}", path=path) from err


def _write_parts(file: BinaryIO, parts: Mapping[str, Any]) -> None:
    """Write arrays as `numpy.savez_compressed` does, but compress only what is easy."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, part in parts.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asanyarray(part), allow_pickle=False)


def load_evidence(
    path: str | os.PathLike[str],
    *,
    index: int | None = None,
    faces: bool = True,
    shell: bool = True,
) -> Evidence:
    """Read the evidence of a block."""
    with _Opened(path) as parts:
        if index is not None and int(parts["index"]) != index:
            raise ValueError(f"it is that of block {int(parts['index'])}")
        box: Box = tuple((int(start), int(stop)) for start, stop in parts["box"])
        packed = None
        if shell and "shell_first" in parts:
            runs = (parts[f"shell_{name}"] for name in ("first", "begin", "value"))
            packed = Packed(box_shape(box), *runs)

        def plane(axis: int, side: int) -> Ids | None:
            name = f"face_{axis}_{side}"
            return parts[name] if faces and name in parts else None

        return Evidence(
            index=int(parts["index"]),
            count=int(parts["count"]),
            sizes=parts["sizes"],
            at_seam=parts["at_seam"],
            clipped=parts["clipped"],
            faces=tuple((plane(axis, 0), plane(axis, 1)) for axis in range(len(box))),
            box=box,
            shell=packed,
            centres=parts.get("centres"),
        )


def load_written(path: str | os.PathLike[str]) -> int | None:
    """Read the checksum of the labels of a block; None if it was not kept."""
    with _Opened(path) as parts:
        return int(parts["written"]) if "written" in parts else None


def load_sums(path: str | os.PathLike[str]) -> BlockSums | None:
    """Read the sums of a block; None if nothing was measured."""
    with _Opened(path) as parts:
        if "sums_count" not in parts:
            return None
        names = BlockSums.__dataclass_fields__
        return BlockSums(**{name: parts[f"sums_{name}"] for name in names})


class _Opened:
    """An evidence file, with its own words for what can be wrong with it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        self._files = contextlib.ExitStack()

    def __enter__(self) -> Any:
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(open(self.path, "rb"))
                parts = stack.enter_context(np.load(file, allow_pickle=False))
                found = int(parts["format"])
            except _NOT_WHOLE as err:
                raise self._error(err) from err
            if found != _FORMAT:
                raise self._error(f"it is of format {found}, not {_FORMAT}")
            self._files = stack.pop_all()
            return parts

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._files.close()
        if isinstance(error, _NOT_WHOLE):
            raise self._error(error) from error

    def _error(self, why: object) -> StorageError:
        return StorageError(
            f"the evidence of a block cannot be read: {why}",
            path=self.path,
            hint="segment the block again",
        )


class EvidenceFolder:
    """The evidence of all blocks, read as needed; the last used stays in memory."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        keep_bytes: int = 128 << 20,
        faces: bool = True,
        shell: bool = True,
    ) -> None:
        self.folder = Path(folder)
        self.keep_bytes = keep_bytes
        self._parts = {"faces": faces, "shell": shell}
        self._kept: OrderedDict[int, Evidence] = OrderedDict()
        self._bytes = 0

    def path(self, index: int) -> Path:
        """Return the file of a block."""
        return self.folder / f"{index:06d}.npz"

    def __call__(self, index: int) -> Evidence:
        """Return the evidence of a block."""
        found = self._kept.pop(index, None)
        if found is None:
            found = load_evidence(self.path(index), index=index, **self._parts)
            self._bytes += found.nbytes
        self._kept[index] = found
        while self._bytes > self.keep_bytes and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return found

    def is_whole(self, index: int) -> bool:
        """Return whether the evidence of a block is there, to the last byte."""
        path = self.path(index)
        try:
            with zipfile.ZipFile(path) as parts:
                if parts.testzip() is not None:
                    return False
            return load_evidence(path, index=index, faces=False, shell=False).count >= 0
        except (*_NOT_WHOLE, NotImplementedError, RuntimeError):
            return False

    def sums(self, index: int) -> BlockSums | None:
        """Return the sums of a block."""
        return load_sums(self.path(index))
