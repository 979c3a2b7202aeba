"""The skeleton of all worker files: one work, called with each of daisy's blocks.

A work is a value that can be sent to a worker. Opened there, once, it is
called for each block; it may as well be called for blocks of a `Grid`, where a
`Placement` has them done.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ..errors import InputError, UsageError
from ..read.permissions import Permissions
from ..read.volume import Volume
from ..read.volume_view import VolumeView
from ..recipe.python_file import load_python_file
from .block_array import chosen_address
from .checks import checksum
from .daisy_client import loop_over_blocks
from .grid import Block, Box, box_shape, slices
from .kept_open import keep_open

__all__ = ["ArrayWork", "box_of", "load_file", "worker_functions"]

_HERE = Path(__file__).resolve().parent


def load_file(path: str | os.PathLike[str]) -> Any:
    """Return a worker file or a segment-function file, of a user or that ships, as a module."""
    file = Path(path).expanduser().resolve()
    if file.parent == _HERE and file.is_file():
        return importlib.import_module(f"{__package__}.{file.stem}")
    return load_python_file(file)


def box_of(volume: Volume, block: Any) -> tuple[Box, Box]:
    """Return what a block reads and writes in voxels of a volume."""
    if isinstance(block, Block):
        return block.read, block.write
    grid = volume.grid  # a block of daisy is in world units
    return grid.to_box(block.read_roi, volume.url), grid.to_box(block.write_roi, volume.url)


@dataclass(frozen=True, kw_only=True)
class ArrayWork:
    """Read a block with its context, compute, write the block.

    Parameters
    ----------
    input, output
        Paths or URLs of volumes of the same extent; the output exists.
    fill_value
        What is read outside of the input.
    permissions
        What may be read; what the environment of a worker allows if None.
    """

    input: str
    output: str
    fill_value: float = 0
    permissions: Permissions | None = None

    def source(self) -> Volume:
        """Return the input, which stays open in this process."""
        return keep_open(self.input, VolumeView(permissions=self.permissions), self.fill_value)

    def prepared(self, volume: Volume, *, local: bool = True) -> Self:
        """Check what can be known before any block is begun.

        Parameters
        ----------
        volume
            The input.
        local
            Whether workers have the same packages as this process.

        Returns
        -------
        ArrayWork
            What blocks are to be done by.

        Raises
        ------
        CytovoxError
            If each block would fail.
        """
        return self

    def compute(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return what to write, given what was read.

        Parameters
        ----------
        array
            What was read, of the shape of the read region, channels first.

        Returns
        -------
        numpy.ndarray
            Of the shape of the read region, after any channels.
        """
        raise NotImplementedError

    def output_like(self, volume: Volume) -> dict[str, Any]:
        """Return type and number of channels of the output.

        Parameters
        ----------
        volume
            The input.
        """
        raise NotImplementedError

    def __call__(self, block: Any) -> dict[str, Any]:
        """Do a block."""
        source = self.source()
        target = keep_open(self.output, writable=True)
        if source.spatial_shape != target.spatial_shape:
            raise InputError(
                f"it has {target.spatial_shape} voxels, but the input {source.spatial_shape}",
                path=self.output,
            )
        read, write = box_of(source, block)
        # A block may overhang the volume.
        write = tuple(
            (max(a, 0), min(b, n)) for (a, b), n in zip(write, source.spatial_shape, strict=True)
        )
        result = self.compute(source.read(_with_channels(source, read)))
        if result.shape[result.ndim - len(read) :] != box_shape(read):
            raise InputError(f"the result has the shape {result.shape} for a block of {read}")
        place: Any = (..., *slices(write, read))
        inner = np.ascontiguousarray(result[place], target.dtype)
        target.write(_with_channels(target, write), inner)
        return {"written": checksum(inner)}


def _with_channels(volume: Volume, box: Box) -> Box:
    channels = volume.shape[: volume.ndim - len(box)]
    return (*((0, n) for n in channels), *box)


def worker_functions(
    make: Callable[..., Callable[[Any], Mapping[str, Any] | None]],
) -> tuple[Callable[..., Any], Callable[..., None]]:
    """Return ``spawn_worker`` and ``start_worker`` of a worker file, whose work is made by `make`.

    It is made once to check the options, and once in each worker.
    """

    def spawn_worker(**options: Any) -> Any:
        """Return the work of a worker; options are those of the work in this file."""
        for what in ("input", "output"):  # as dacapo calls them
            if f"{what}_array_identifier" in options:
                identifier = options.pop(f"{what}_array_identifier")
                options[what] = chosen_address(what, options.get(what), identifier)
        try:
            return make(**options)
        except TypeError as err:
            raise UsageError(
                f"this worker cannot be started so: {err}", hint="see the parameters of its work"
            ) from err

    def start_worker(arguments: Sequence[str] | None = None) -> None:
        """Be a worker that was started by a command, with options as a JSON object.

        Parameters
        ----------
        arguments
            What stands behind the command; that of this process if None.
        """
        parser = argparse.ArgumentParser(description="work on the blocks of a task")
        parser.add_argument("command", choices=["start-worker"])
        parser.add_argument("--options", type=json.loads, default={}, help="a JSON object")
        loop_over_blocks(make(**parser.parse_args(arguments).options))

    for function in (spawn_worker, start_worker):
        # The file that they belong to is that of the work.
        function.__module__ = make.__module__
        function.__qualname__ = function.__name__
    return spawn_worker, start_worker
