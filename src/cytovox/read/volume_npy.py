"""NumPy files, only read, through a memory map."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError, OptionError
from .volume_address import Address
from .volume_axes import name_axes, place_axes
from .volume_folder import file_identity
from .volume_limits import Box, check_dtype, check_shape
from .volume_view import Described, ReadOnlySource

__all__ = ["MappedSource", "map_file", "open_npy"]


def open_npy(address: Address, scale: int | str | None) -> MappedSource:
    """Open a ``.npy`` file; objects are refused, since reading them runs programs."""
    if scale is not None:
        raise OptionError("a NumPy file has no scales", path=str(address), hint="omit scale")
    where = str(address)
    try:
        with address.path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # headers written by Python 2
            if np.lib.format.read_magic(file) == (1, 0):
                shape, fortran, stored = np.lib.format.read_array_header_1_0(file)
            else:
                shape, fortran, stored = np.lib.format.read_array_header_2_0(file)
            start = file.tell()
    except Exception as err:
        # the header is parsed as Python, which fails in many ways
        raise InputError("this is not a NumPy file", path=where, hint="save it again") from err
    shape, dtype = check_shape(shape, where), check_dtype(stored, where)
    mapped = map_file(address.path, stored, start, shape, "F" if fortran else "C")
    axes = name_axes(len(shape), None, where)
    row = (1,) * (len(shape) - 1) + shape[-1:]
    described = Described("npy", shape, dtype, axes, row, row, *place_axes(axes, {}, where))
    return MappedSource(address.path, mapped, described)


def map_file(
    path: Path, dtype: Any, start: int, shape: tuple[int, ...], order: Any = "C"
) -> np.memmap[Any, Any]:
    """Map the part of a file that holds an array."""
    needed = start + math.prod(shape) * np.dtype(dtype).itemsize
    if path.stat().st_size < needed:
        raise InputError(
            f"the file has {path.stat().st_size} bytes, and {needed} are needed for {shape}",
            path=path,
            hint="it was cut short; copy it again",
        )
    return np.memmap(path, dtype, "r", start, shape, order)


class MappedSource(ReadOnlySource):
    """An array that is in a file as in memory."""

    def __init__(self, path: Path, mapped: npt.NDArray[Any], described: Described) -> None:
        self._path = path
        self._mapped: npt.NDArray[Any] | None = mapped
        self.described = described

    def read_into(self, box: Box, out: npt.NDArray[Any]) -> None:
        """Copy a box."""
        if self._mapped is not None:
            out[...] = self._mapped[tuple(slice(*b) for b in box)]

    def identity(self) -> dict[str, Any]:
        """Return size and time of the file."""
        return file_identity(self._path)

    def close(self) -> None:
        """Close the map."""
        self._mapped = None
