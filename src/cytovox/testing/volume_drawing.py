"""Drawing blocks of a volume, such that no block knows of another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..kernels.jit import kernel

__all__ = ["SITE_COLUMNS", "add_block", "draw_blobs", "draw_cells"]

Numbers = npt.NDArray[np.float64]

#: numbers that describe a site of the lattice
SITE_COLUMNS = (
    "z",  # centre, voxels
    "y",
    "x",
    "rz",  # semi-axes, voxels
    "ry",
    "rx",
    "tilt",  # about z, rad
    "level",  # grey levels
    "label",  # 0 where there is nothing
)

#: width of a subcube in which the same sites are near
_CUBE = 8
#: half the thickness of a membrane, voxels
_MEMBRANE = 1.6


@kernel()
def _hash(number: int) -> np.uint64:
    """Return 64 bits that look random (the output function of SplitMix64)."""
    mixed = np.uint64(number) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


@kernel()
def _granules(z: int, y: int, x: int, seed: int) -> float:
    """Return a texture of grains of 4 voxels that depends on the place, -1 to 1."""
    total = 0.0
    fz, fy, fx = (z % 4) / 4, (y % 4) / 4, (x % 4) / 4
    for k in range(2):
        for j in range(2):
            node = _hash(((z // 4 + k) * 131071 + y // 4 + j) * 131071 + x // 4 + seed)
            next_node = _hash(((z // 4 + k) * 131071 + y // 4 + j) * 131071 + x // 4 + 1 + seed)
            a = np.float64(node >> np.uint64(11)) / 2.0**52 - 1
            b = np.float64(next_node >> np.uint64(11)) / 2.0**52 - 1
            weight = (fz if k else 1 - fz) * (fy if j else 1 - fy)
            total += weight * (a * (1 - fx) + b * fx)
    return total


@kernel()
def _noisy(value: float, z: int, y: int, x: int, seed: int, noise: float) -> np.uint8:
    """Return a grey level with noise of a triangular distribution, at most `noise`."""
    bits = _hash(((z * 1048583) + y) * 1048583 + x + seed * 7919)
    first = np.float64(bits & np.uint64(65535)) / 65536
    second = np.float64((bits >> np.uint64(16)) & np.uint64(65535)) / 65536
    value += noise * (first + second - 1) + 0.5
    return np.uint8(min(max(value, 0.0), 255.0))


@kernel()
def draw_blobs(
    start: npt.NDArray[np.int64],
    sites: Numbers,
    waves: tuple[Numbers, Numbers, Numbers],
    seed: int,
    noise: float,
    image: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.uint32],
) -> None:
    """Draw ellipsoids on an uneven background."""
    depth, height, width = image.shape
    labels[:] = 0
    for n in range(len(sites)):
        cz, cy, cx, rz, ry, rx, tilt, level, label = sites[n]
        cos, sin, reach = np.cos(tilt), np.sin(tilt), max(ry, rx)
        for z in range(max(0, int(np.ceil(cz - rz)) - start[0]), depth):
            w = (z + start[0] - cz) / rz
            if w > 1:
                break
            for y in range(max(0, int(np.ceil(cy - reach)) - start[1]), height):
                dy = y + start[1] - cy
                if dy > reach:
                    break
                for x in range(max(0, int(np.ceil(cx - reach)) - start[2]), width):
                    dx = x + start[2] - cx
                    if dx > reach:
                        break
                    u, v = (cos * dx + sin * dy) / rx, (cos * dy - sin * dx) / ry
                    if u * u + v * v + w * w <= 1:
                        labels[z, y, x] = np.uint32(label)
                        image[z, y, x] = np.uint8(level)
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                place = (z + start[0], y + start[1], x + start[2])
                if labels[z, y, x]:
                    value = np.float64(image[z, y, x])
                    value += 16 * _granules(place[0], place[1], place[2], seed)
                else:
                    value = waves[0][z] + waves[1][y] + waves[2][x]
                image[z, y, x] = _noisy(value, place[0], place[1], place[2], seed, noise)


@kernel()
def draw_cells(
    start: npt.NDArray[np.int64],
    sites: Numbers,
    scale: Numbers,
    seed: int,
    noise: float,
    image: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.uint32],
) -> None:
    """Draw cells that fill space, with dark membranes between them.

    Each voxel is of the site that is nearest.
    """
    depth, height, width = image.shape
    near = np.empty(len(sites), np.int64)
    distance = np.empty(len(sites), np.float64)
    for z0 in range(0, depth, _CUBE):
        for y0 in range(0, height, _CUBE):
            for x0 in range(0, width, _CUBE):
                corner = (z0 + start[0], y0 + start[1], x0 + start[2])
                found = _near(corner, sites, scale, near, distance)
                for z in range(z0, min(z0 + _CUBE, depth)):
                    for y in range(y0, min(y0 + _CUBE, height)):
                        for x in range(x0, min(x0 + _CUBE, width)):
                            place = (z + start[0], y + start[1], x + start[2])
                            best, gap = _nearest(place, sites, scale, near[:found])
                            label = np.uint32(sites[best, 8])
                            labels[z, y, x] = label
                            value = 70.0
                            if label:
                                value = sites[best, 7]
                                value += 16 * _granules(place[0], place[1], place[2], seed)
                            if gap < 2 * _MEMBRANE:
                                value = 20.0 + (value - 20.0) * gap / (4 * _MEMBRANE)
                            image[z, y, x] = _noisy(
                                value, place[0], place[1], place[2], seed, noise
                            )


@kernel()
def _near(
    corner: tuple[int, int, int],
    sites: Numbers,
    scale: Numbers,
    near: npt.NDArray[np.int64],
    distance: Numbers,
) -> int:
    """Find the sites that may be nearest or second nearest within a cube."""
    half = 0.5 * (_CUBE - 1)
    reach = half * np.sqrt(scale[0] ** 2 + scale[1] ** 2 + scale[2] ** 2)
    first = second = np.inf
    for n in range(len(sites)):
        total = 0.0
        for axis in range(3):
            total += ((corner[axis] + half - sites[n, axis]) * scale[axis]) ** 2
        distance[n] = np.sqrt(total)
        if distance[n] < first:
            first, second = distance[n], first
        elif distance[n] < second:
            second = distance[n]
    found = 0
    for n in range(len(sites)):
        if distance[n] <= second + 2 * reach:
            near[found] = n
            found += 1
    return found


@kernel()
def _nearest(
    place: tuple[int, int, int], sites: Numbers, scale: Numbers, near: npt.NDArray[np.int64]
) -> tuple[int, float]:
    """Return the nearest site and how much farther the next is."""
    first = second = np.inf
    best = near[0]
    for n in near:
        dz = (place[0] - sites[n, 0]) * scale[0]
        dy = (place[1] - sites[n, 1]) * scale[1]
        dx = (place[2] - sites[n, 2]) * scale[2]
        total = dz * dz + dy * dy + dx * dx
        if total < first:
            first, second, best = total, first, n
        elif total < second:
            second = total
    return best, np.sqrt(second) - np.sqrt(first)


@kernel()
def add_block(
    start: npt.NDArray[np.int64],
    labels: npt.NDArray[np.uint32],
    count: npt.NDArray[np.int64],
    total: npt.NDArray[np.int64],
    low: npt.NDArray[np.int64],
    high: npt.NDArray[np.int64],
) -> None:
    """Add the voxels of a block to the sums of each label."""
    depth, height, width = labels.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                label = labels[z, y, x]
                if label:
                    count[label] += 1
                    place = (z + start[0], y + start[1], x + start[2])
                    for axis in range(3):
                        total[label, axis] += place[axis]
                        low[label, axis] = min(low[label, axis], place[axis])
                        high[label, axis] = max(high[label, axis], place[axis])
