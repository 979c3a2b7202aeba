"""What a file says of its array, what of it is taken, and its regions in the world."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from .permissions import Permissions
from .volume_axes import SPATIAL, metres, normalize_unit
from .volume_limits import Box

if TYPE_CHECKING:
    from funlib.geometry import Coordinate, Roi

__all__ = [
    "Described",
    "ReadOnlySource",
    "RegionGrid",
    "Source",
    "VolumeView",
    "region_grid",
]

_LETTERS = "tczyx"
#: Finer units that are tried until voxels are whole.
_FINER = ("millimeter", "micrometer", "nanometer", "picometer")


@dataclass(frozen=True, slots=True)
class Described:
    """What a file says about its array; axes are in the order of the file."""

    #: Name of the format.
    format: str
    shape: tuple[int, ...]
    #: Type of a voxel, native byte order.
    dtype: np.dtype[Any]
    #: One-letter names.
    axes: tuple[str, ...]
    #: Voxels along each axis that are decoded together, and written together.
    chunk: tuple[int, ...]
    write_unit: tuple[int, ...]
    #: One number per axis, in `units`; 1 and 0 where the axis is not of space.
    voxel_size: tuple[float, ...]
    offset: tuple[float, ...]
    #: One name per axis, or empty.
    units: tuple[str, ...]
    #: Which image of how many in the file this is, in words; empty if it is the only one.
    series: str = ""
    #: Names of the channels, as far as the file gives them.
    channels: tuple[str, ...] = ()


class Source(Protocol):
    """An opened array in one of the formats."""

    described: Described

    def read_into(self, box: Box, out: npt.NDArray[Any]) -> None:
        """Read a box that is inside of the array; `out` may have any strides."""

    def write(self, box: Box, array: npt.NDArray[Any]) -> None:
        """Write a box of whole write units."""

    def identity(self) -> dict[str, Any]:
        """Return what changes when the voxels change."""

    def close(self) -> None:
        """Release the resources of the operating system."""


class ReadOnlySource:
    """Base of the formats that are only read."""

    def write(self, box: Box, array: npt.NDArray[Any]) -> None:
        """Refuse."""
        raise UsageError("this format is only read", hint="write OME-Zarr with create_labels")


@dataclass(frozen=True, slots=True)
class VolumeView:
    """What is taken of a volume, what its file does not say, and what it may do.

    Parameters
    ----------
    scale, series, channel, time, axes, voxel_size, units, permissions
        See `cytovox.read.open_volume`.

    Examples
    --------
    >>> VolumeView(channel="GFP", voxel_size=0.5).keywords()
    {'channel': 'GFP', 'voxel_size': 0.5}
    """

    scale: int | str | None = None
    series: int | str | None = None
    channel: int | str | None = None
    time: int | None = None
    axes: str | None = None
    voxel_size: float | tuple[float, ...] | None = None
    units: str | None = None
    permissions: Permissions | None = None

    def keywords(self) -> dict[str, Any]:
        """Return what was given, as keywords."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in given.items() if value is not None}

    def plain(self) -> dict[str, Any]:
        """Return all but the permissions, which no file keeps, as plain values."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "permissions"}

    def describe(self, said: Described, where: str) -> Described:
        """Return what the file says, with what was given in its place.

        Parameters
        ----------
        said
            What the file says.
        where
            For messages.

        Raises
        ------
        UsageError
            If that does not fit the array.
        """
        if self.axes is not None:
            said = replace(said, axes=_checked_axes(self.axes, said.shape, where))
        space = [n for n, axis in enumerate(said.axes) if axis in SPATIAL]
        if self.voxel_size is not None:
            size = _checked_size(self.voxel_size, len(space), where)
            order = sorted(space, key=lambda n: SPATIAL.index(said.axes[n]))
            sizes = list(said.voxel_size)
            for n, value in zip(order, size, strict=True):
                sizes[n] = value
            said = replace(said, voxel_size=tuple(sizes), offset=(0.0,) * len(sizes))
        if self.units is not None:
            unit = normalize_unit(self.units)
            units = tuple(unit if n in space else old for n, old in enumerate(said.units))
            said = replace(said, units=units)
        return said

    def fixed(self, described: Described, where: str) -> dict[int, int]:
        """Return the axes of the file of which one place is taken, and which.

        Parameters
        ----------
        described
            The array, after `describe`.
        where
            For messages.

        Raises
        ------
        UsageError
            If there is no such axis, or no such place.
        """
        found: dict[int, int] = {}
        for letter, what, wanted in (("c", "channel", self.channel), ("t", "time", self.time)):
            if wanted is None:
                continue
            if letter not in described.axes:
                raise UsageError(
                    f"there is no {what} to choose: its axes are {', '.join(described.axes)}",
                    path=where,
                    hint=f"leave {what} out, or name the axes, e.g. axes='{letter}zyx'",
                )
            n = described.axes.index(letter)
            names = described.channels if letter == "c" else ()
            found[n] = _place(wanted, described.shape[n], names, what, where)
        return found


def _place(wanted: Any, length: int, names: tuple[str, ...], what: str, where: str) -> int:
    if str(wanted).isdecimal() and int(wanted) < length:
        return int(wanted)  # also if another one has this number for a name
    if wanted in names:
        return names.index(wanted)
    listed = f" ({', '.join(names)})" if names else ""
    raise UsageError(
        f"there is no {what} '{wanted}'", path=where, hint=f"take one of 0 to {length - 1}{listed}"
    )


def _checked_axes(axes: str, shape: tuple[int, ...], where: str) -> tuple[str, ...]:
    letters = tuple(axes.lower().replace(",", "").replace(" ", ""))
    space = sum(letter in SPATIAL for letter in letters)
    known = set(letters) <= set(_LETTERS) and len(set(letters)) == len(letters)
    if not known or space < 2 or len(letters) != len(shape):
        raise UsageError(
            f"axes '{axes}' do not fit an array of shape {shape}",
            path=where,
            hint="give one letter of t, c, z, y, x for each axis, in the order of the file",
        )
    return letters


def _checked_size(size: Any, ndim: int, where: str) -> tuple[float, ...]:
    numbers = tuple(map(float, size)) if isinstance(size, (tuple, list)) else (float(size),)
    numbers = numbers * ndim if len(numbers) == 1 else numbers
    if len(numbers) != ndim or not all(math.isfinite(n) and n > 0 for n in numbers):
        raise UsageError(
            f"voxel size {size} does not fit {ndim} axes of space",
            path=where,
            hint="give a length above 0 for each of (z,) y, x, or one for all",
        )
    return numbers


@dataclass(frozen=True, slots=True)
class RegionGrid:
    """Voxels on the grid of a `Roi`, whose numbers are whole."""

    #: What one step of a region is, or ``"voxel"``.
    units: str
    #: Steps of a voxel, and place of the first one in steps, along each axis of space.
    voxel: tuple[int, ...]
    origin: tuple[int, ...]

    def coordinate(self) -> Coordinate:
        """Return the size of a voxel."""
        from funlib.geometry import Coordinate

        return Coordinate(self.voxel)

    def to_roi(self, box: Box) -> Roi:
        """Return the region of a box of voxels."""
        from funlib.geometry import Roi

        start = [o + a * v for o, (a, _), v in zip(self.origin, box, self.voxel, strict=True)]
        return Roi(start, [(b - a) * v for (a, b), v in zip(box, self.voxel, strict=True)])

    def to_box(self, roi: Any, where: str) -> Box:
        """Return the voxels of a region."""
        if roi.dims != len(self.voxel) or roi.unbounded or None in tuple(roi.offset):
            raise UsageError(
                f"{roi} is not a region of {len(self.voxel)} bounded axes", path=where
            )
        box, whole = [], True
        for begin, length, voxel, origin in zip(
            roi.offset, roi.shape, self.voxel, self.origin, strict=True
        ):
            start, end = begin - origin, begin - origin + length
            whole &= start % voxel == 0 and end % voxel == 0
            box.append((start // voxel, -(-end // voxel)))
        if not whole:
            raise UsageError(
                f"region {roi} cuts voxels of {self.voxel} {self.units} that begin at "
                f"{self.origin}",
                path=where,
                hint=f"take {self.to_roi(tuple(box))}",
            )
        return tuple(box)


def region_grid(
    voxel_size: Sequence[float], offset: Sequence[float], units: str, shape: Sequence[int]
) -> RegionGrid:
    """Return the coarsest grid on which voxels and their origin are whole numbers.

    A voxel of 0.25 micrometer is 250 nanometer there. Where no unit makes
    voxels whole to a ten-thousandth of a voxel over the length of the volume,
    regions are of voxels.
    """
    length = metres(units)
    tries = [(units, 1.0)]
    if length is not None:
        finer = ((name, metres(name) or 1.0) for name in _FINER)
        tries += [(n, float(f"{length / m:.12g}")) for n, m in finer if m < length]
    for name, factor in tries:
        voxel = [round(v * factor) for v in voxel_size]
        origin = [round(o * factor) for o in offset]
        drift = [
            abs(v * factor - w) * n <= 1e-4 * w and abs(o * factor - p) <= 1e-4 * w
            for v, w, o, p, n in zip(voxel_size, voxel, offset, origin, shape, strict=True)
        ]
        if all(drift) and min(voxel) > 0 and max(map(abs, (*voxel, *origin))) < 2**53:
            return RegionGrid(name, tuple(voxel), tuple(origin))
    return RegionGrid("voxel", (1,) * len(voxel_size), (0,) * len(voxel_size))
