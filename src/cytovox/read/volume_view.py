"""What is taken of a volume, what its file does not say, and what it may do."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

from ..errors import UsageError
from .permissions import Permissions
from .volume_axes import SPATIAL, normalize_unit
from .volume_source import Described

__all__ = ["VolumeView"]

_LETTERS = "tczyx"


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
    if wanted in names:
        return names.index(wanted)
    if str(wanted).isdecimal() and int(wanted) < length:
        return int(wanted)
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
