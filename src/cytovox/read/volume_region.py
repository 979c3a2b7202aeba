"""Regions in whole world units (`funlib.geometry.Roi`) and boxes of voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .volume_axes import metres
from .volume_limits import Box

if TYPE_CHECKING:
    from funlib.geometry import Coordinate, Roi

__all__ = ["RegionGrid", "region_grid"]

#: Finer units that are tried until voxels are whole.
_FINER = ("millimeter", "micrometer", "nanometer", "picometer")


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
