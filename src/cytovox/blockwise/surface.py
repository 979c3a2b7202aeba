"""Surfaces of objects made of voxels, from how often lines enter and leave them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from ..kernels.lattice import Int64s

__all__ = ["faces_area", "surface_weights"]

Floats = npt.NDArray[np.float64]


def surface_weights(directions: Int64s, voxel_size: Floats) -> Floats:
    """Return the surface (perimeter) that each crossing of the border stands for.

    Crofton's formula: the surface is a multiple of the number of times that
    random lines cross it. The lines are those through the voxel centres in
    given directions, and each direction counts by its share of the sphere
    (of the circle), which is the area that is nearer to it than to others.
    With voxels of volume V, and lines in direction v, there is one line for
    each V / |v| of area perpendicular to it. Hence

    - surface = 2 * sum(share * crossings * V / |v|),
    - perimeter = pi / 2 * sum(share * crossings * V / |v|).

    For cubic voxels this is the estimator of Legland, Kiêu & Devaux (Image
    Analysis & Stereology 26, 2007); here voxels may have any proportions.
    """
    steps = directions * np.asarray(voxel_size, np.float64)
    length = np.linalg.norm(steps, axis=1)
    shares = _shares(steps / length[:, None])
    factor = np.pi / 2 if directions.shape[1] == 2 else 2.0
    weights: Floats = factor * shares * np.prod(voxel_size) / length
    return weights


def _shares(units: Floats) -> Floats:
    """Return the part of all directions that is nearest to each, float64 of sum 1."""
    if units.shape[1] == 2:
        angles = np.arctan2(units[:, 0], units[:, 1]) % np.pi
        order = np.argsort(angles)
        ahead = np.diff(angles[order], append=angles[order[0]] + np.pi)
        shares = np.empty(len(units))
        shares[order] = (ahead + np.roll(ahead, 1)) / (2 * np.pi)
        return shares
    if units.shape[1] != 3:
        raise OptionError("surfaces are defined in two and three dimensions")
    from scipy.spatial import SphericalVoronoi

    both = np.concatenate([units, -units])
    try:
        areas = SphericalVoronoi(both, radius=1.0).calculate_areas()
    except ValueError as err:  # directions that differ by less than can be told
        raise OptionError(
            "voxels are so much longer along one axis than along another that no surface "
            "can be measured",
            hint="give another voxel size, or measure no surface",
        ) from err
    shares = areas[: len(units)] + areas[len(units) :]
    total: Floats = shares / shares.sum()
    return total


def faces_area(directions: Int64s, voxel_size: Floats) -> Floats:
    """Return the area of the voxel face in each direction; 0 for diagonal ones."""
    size = np.asarray(voxel_size, np.float64)
    straight = np.abs(directions).sum(axis=1) == 1
    areas: Floats = np.where(straight, size.prod() / (np.abs(directions) @ size), 0.0)
    return areas
