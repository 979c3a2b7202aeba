"""Worker file: what a trained model makes of a volume (``pip install "cytovox[torch]"``).

A model is a program. It runs only if its SHA-256 is named or trusted otherwise
(`cytovox.recipe.trust`), and it is loaded once per worker.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ..errors import InputError, InputNotFoundError, OptionError
from ..read.volume import Volume
from ..recipe.trust import require_trust
from ..run.extras import require
from ..segm.segm_torch.torch_model import (
    get_torch,
    load_program,
    one_thread,
    pick_device,
    program_format,
    quiet,
)
from . import worker_file
from .grid import Box, slices

__all__ = ["PredictWork", "fit", "read_write_conflict", "spawn_worker", "start_worker", "tiles"]

#: Whether blocks that overlap exclude each other.
read_write_conflict = False
#: What becomes of the ends of the volume.
fit = "shrink"

Model = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class PredictWork(worker_file.ArrayWork):
    """Run a model on a block.

    The model takes float32 of shape (1, channels, z, y, x), or without z for
    images, and returns the same with channels of its own; its result may be
    smaller by the same margin at both ends.

    Parameters
    ----------
    model
        File with a TorchScript program or an ExportedProgram.
    model_sha256
        SHA-256 of the file, which trusts it; it must be trusted otherwise if
        None.
    factor, shift
        Voxels are multiplied and added to before the model sees them.
    tile
        Voxels that the model sees at once along each axis, or one number for all; the whole block
        with its context if None. Smaller blocks are extended to a tile by
        repeating their last voxels, so the model always sees this size.
    overlap
        Voxels at each end of a tile that are not used.
    channels
        Channels that the model returns; 0 for one, without an axis of its own.
    dtype
        Type of the output; integers take 0 to 1 as their whole range.
    device
        ``"cpu"``, ``"cuda"``; CUDA where there is one if None.
    """

    model: str
    model_sha256: str | None = None
    factor: float = 1.0
    shift: float = 0.0
    tile: tuple[int, ...] | int | None = None
    overlap: tuple[int, ...] | int = 0
    channels: int = 0
    dtype: str = "float32"
    device: str | None = None

    def output_like(self, volume: Volume) -> dict[str, Any]:
        """Return type and channels of the output."""
        channels = (self.channels,) if self.channels else ()
        return {"dtype": _checked_dtype(self.dtype), "channels": channels}

    def prepared(self, volume: Volume, *, local: bool = True) -> Self:
        """Check options, file and trust; the model is not run."""
        _checked_dtype(self.dtype)
        shape = volume.spatial_shape
        tile, overlap = self._tiling(shape)
        if self.tile is not None:
            next(tiles(shape, tile, overlap))
        content, _ = _program(self.model, self.model_sha256)
        if local:
            require("torch", "models")
        digest = hashlib.sha256(content).hexdigest()
        return replace(self, model_sha256=digest, tile=None if self.tile is None else tile)

    def compute(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return what the model makes of a block with its context, of the same shape of space."""
        model = _load(self.model, self.model_sha256, self.device)
        ndim = len(self.source().spatial_shape)
        image = array.astype(np.float32)
        image *= np.float32(self.factor)
        image += np.float32(self.shift)
        if image.ndim == ndim:
            image = image[np.newaxis]
        shape = image.shape[1:]
        tile, overlap = self._tiling(shape)
        result: npt.NDArray[np.float32] | None = None
        for inner, outer in tiles(shape, tile, overlap):
            made = _margin_restored(model(_cut(image, outer)), tile)
            if result is None:
                result = np.zeros((len(made), *shape), np.float32)
            result[(slice(None), *_slices(inner))] = made[(slice(None), *slices(inner, outer))]
        assert result is not None
        if len(result) != max(1, self.channels):
            raise OptionError(
                f"the model returns {len(result)} channels, not {max(1, self.channels)}",
                path=self.model,
                hint=f"say channels={len(result)}",
            )
        return self._as_dtype(result if self.channels else result[0])

    def _tiling(self, shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the size of a tile and what is not used of its ends."""
        ndim = len(shape)
        tile = shape if self.tile is None else self.tile
        tile = (tile,) * ndim if isinstance(tile, int) else tuple(int(n) for n in tile)
        overlap = (self.overlap,) * ndim if isinstance(self.overlap, int) else self.overlap
        if len(tile) != ndim or len(overlap) != ndim:
            raise OptionError(f"tile {tile} and overlap {overlap} need {ndim} numbers each")
        return tile, tuple(overlap)

    def _as_dtype(self, result: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        dtype = _checked_dtype(self.dtype)
        if not np.isfinite(result).all():
            raise InputError("the model returns NaN or infinity", path=self.model)
        if dtype.kind == "f":
            return result.astype(dtype)
        most = np.iinfo(dtype).max
        return np.rint(np.clip(result, 0, 1) * most).astype(dtype)


def tiles(
    shape: Sequence[int], tile: Sequence[int], overlap: Sequence[int]
) -> Iterator[tuple[Box, Box]]:
    """Cover an array with tiles of one size.

    Parameters
    ----------
    shape
        Shape of the array.
    tile
        Shape of a tile.
    overlap
        Voxels on each side of a tile that are not used.

    Yields
    ------
    inner, outer : tuple of (start, stop) along each axis
        What is used of a tile, and the tile, which may reach beyond the end of
        an array that is smaller. The inner boxes cover the array once.

    Examples
    --------
    >>> list(tiles((10,), (6,), (1,)))
    [(((0, 5),), ((0, 6),)), (((5, 10),), ((4, 10),))]
    """
    axes = []
    for size, length, margin in zip(shape, tile, overlap, strict=True):
        if length <= 2 * margin:
            raise OptionError(f"a tile of {length} voxels has nothing but overlap ({margin})")
        axes.append(list(_along(size, length, margin)))
    for pieces in itertools.product(*axes):
        yield tuple(p[0] for p in pieces), tuple(p[1] for p in pieces)


def _along(size: int, length: int, margin: int) -> Iterator[tuple[tuple[int, int], ...]]:
    done = 0
    while done < size:
        start = max(0, min(done - margin, size - length))
        stop = start + length
        end = size if stop >= size else stop - margin
        yield (done, end), (start, stop)
        done = end


def _cut(image: npt.NDArray[np.float32], outer: Box) -> npt.NDArray[np.float32]:
    """Return a tile, extended where the image is smaller."""
    part = image[(slice(None), *_slices(outer))]
    pad = [(0, b - a - n) for (a, b), n in zip(outer, part.shape[1:], strict=True)]
    return np.pad(part, [(0, 0), *pad], mode="edge") if any(p for _, p in pad) else part


def _slices(box: Box) -> Any:
    return tuple(slice(start, stop) for start, stop in box)


def _margin_restored(
    made: npt.NDArray[np.float32], tile: Sequence[int]
) -> npt.NDArray[np.float32]:
    """Return a result of the size of the tile, with zeros where the model gave none."""
    if made.ndim != len(tile) + 1:
        raise InputError(f"the model returns an array of shape {made.shape}, without channels")
    lost = [n - m for n, m in zip(tile, made.shape[1:], strict=True)]
    if any(n < 0 or n % 2 for n in lost):
        raise InputError(f"the model makes {made.shape[1:]} voxels of a tile of {tuple(tile)}")
    return np.pad(made, [(0, 0), *((n // 2, n // 2) for n in lost)]) if any(lost) else made


def _checked_dtype(name: str) -> np.dtype[Any]:
    try:
        dtype = np.dtype(name)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "fiu":
        raise OptionError(f"'{name}' is not a type of a result", hint="float32, uint8 or uint16")
    return dtype


def _program(path: str, sha256: str | None) -> tuple[bytes, str]:
    """Return a program and its kind, after its content was found to be trusted."""
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as err:
        raise InputNotFoundError("there is no such model file", path=path) from err
    except OSError as err:
        raise InputError(f"the model cannot be read: {err.strerror}", path=path) from err
    require_trust(path, hashlib.sha256(content).hexdigest(), sha256)
    kind = program_format(content)
    if kind is None:
        raise InputError(
            "this is neither TorchScript nor an ExportedProgram",
            path=path,
            hint="save it with torch.jit.save or torch.export.save",
        )
    return content, kind


@functools.lru_cache(maxsize=2)
def _load(path: str, sha256: str | None, device: str | None) -> Model:
    """Load a model; a process does so once."""
    content, kind = _program(path, sha256)
    torch = get_torch()
    where = pick_device(torch, device)
    try:
        with quiet():
            module = load_program(torch, content, kind, where)
    except Exception as err:
        told = f"torch {torch.__version__} cannot load this {kind}: {_last_line(err)}"
        raise InputError(told, path=path) from err

    def run(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        given = torch.from_numpy(np.ascontiguousarray(image))[None].to(where)
        try:
            with torch.inference_mode(), one_thread(torch), quiet():
                made = module(given)
            result: npt.NDArray[np.float32] = made[0].float().cpu().numpy()
        except (RuntimeError, AssertionError, TypeError, ValueError, AttributeError) as err:
            raise InputError(
                f"the model failed on an array of shape {tuple(given.shape)}: {_last_line(err)}",
                path=path,
                hint="it is given (1, channels, z, y, x); see channels and tile",
            ) from err
        return result

    return run


def _last_line(err: BaseException) -> str:
    """Return what tells most: TorchScript puts a traceback before it."""
    lines = str(err).strip().splitlines()
    return lines[-1].strip() if lines else type(err).__name__


spawn_worker, start_worker = worker_file.worker_functions(PredictWork)

if __name__ == "__main__":
    start_worker()
