"""Drawing frames: background, cells and camera noise, pixel by pixel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..kernels.jit import kernel

__all__ = ["CELL_COLUMNS", "EDGE_OFFSET", "channel_background", "draw_frames"]

Floats = npt.NDArray[np.float32]

#: Where a cell is 6 grey levels darker than the background, px outside its
#: true outline. A measured outline runs through the centres of the outermost
#: pixels of a mask, so it is always a little inside the mask. With this offset
#: the hull through those centres encloses the true area on average (within
#: 0.5 % for radii of 9 to 20 px); found by measuring random eggs.
EDGE_OFFSET = 0.35
#: grey levels below the background at that place
_EDGE_LEVEL = 6.0
#: width of the dark edge's slope, px
_SLOPE = 1.5

#: numbers that describe a cell to `draw_frames`
CELL_COLUMNS = (
    "x",  # centre, px
    "y",
    "a",  # semi-axes, px
    "b",
    "k",  # skew
    "tilt",  # rad
    "rim",  # grey levels that the rim is darker
    "inside",  # grey levels of the inside above the background
    "texture",  # amplitude of the granules, grey levels
    "grain",  # their size, px
    "pattern",  # number of their pattern, 0 to 1
)


def channel_background(shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Return the image of an empty channel: walls, fringes, uneven light and dust."""
    height, width = shape
    y = np.arange(height)[:, np.newaxis] * (80 / height)
    x = np.arange(width)[np.newaxis] / width
    image = 182.0 + 7.0 * (x - 0.5) + 4.0 * np.cos((y - 40) / 40 * np.pi) ** 2 - 3.0
    for wall, side, depth in ((6.0, 1, 75.0), (75.0, -1, 60.0)):
        image = image - depth * np.exp(-(((y - wall) / 2.0) ** 2))
        image += 20.0 * np.exp(-(((y - wall - side * 6.0) / 2.2) ** 2))
        image += 3.0 * np.sin((y - wall) * 1.3) * np.exp(-np.abs(y - wall) / 9.0)
    for _ in range(6):
        at_y, at_x = rng.uniform(0, height), rng.uniform(0, width)
        rows = np.arange(height)[:, np.newaxis] - at_y
        columns = np.arange(width)[np.newaxis] - at_x
        spot = np.exp(-(rows**2 / 2.0 + columns**2 / 5.0))
        image -= rng.uniform(4, 14) * spot
    return np.ascontiguousarray(np.clip(image, 20, 235), dtype=np.float32)


@kernel()
def draw_frames(
    background: npt.NDArray[np.float32],
    noise: npt.NDArray[np.float32],
    seed: int,
    identities: npt.NDArray[np.int64],
    gains: npt.NDArray[np.float64],
    cells: npt.NDArray[np.float64],
    firsts: npt.NDArray[np.int64],
    out: npt.NDArray[np.uint8],
) -> None:
    """Draw frames; a pixel depends on seed, identity and place only."""
    number, height, width = out.shape
    image = np.empty((height, width), np.float32)
    for i in range(number):
        gain = np.float32(gains[i])
        for y in range(height):
            for x in range(width):
                image[y, x] = background[y, x] * gain
        for c in range(firsts[i], firsts[i + 1]):
            _draw_cell(cells[c], image)
        start = np.uint64(seed) * np.uint64(0xD1342543DE82EF95) + (
            np.uint64(identities[i]) * np.uint64(height * width)
        )
        _develop(image, noise, start, out[i])


@kernel()
def _draw_cell(cell: npt.NDArray[np.float64], image: npt.NDArray[np.float32]) -> None:
    x0, y0, a, b, k, tilt, rim, inside, texture, grain, pattern = cell
    height, width = image.shape
    cos, sin = np.cos(tilt), np.sin(tilt)
    reach = max(a, b * (1 + abs(k))) + 10.0
    edge = EDGE_OFFSET + _EDGE_LEVEL * _SLOPE / rim
    for y in range(max(0, int(y0 - reach)), min(height, int(y0 + reach) + 2)):
        for x in range(max(0, int(x0 - reach)), min(width, int(x0 + reach) + 2)):
            along = (x - x0) * cos + (y - y0) * sin
            across = (y - y0) * cos - (x - x0) * sin
            u = along / a
            taper = max(1 + k * u, 0.3)
            v = across / (b * taper)
            rho = np.sqrt(u * u + v * v) + 1e-9
            slope_u = (u - v * v * k / taper) / (a * rho)
            slope_v = v / (b * taper * rho)
            # First-order distance to the outline, < 0 inside; good near it.
            far = (rho - 1) / np.sqrt(slope_u * slope_u + slope_v * slope_v + 1e-12)
            depth = edge - far
            if depth < 0:
                image[y, x] += 3.0 * (-depth / 1.5) * np.exp(1 + depth / 1.5)
            elif depth < _SLOPE:
                image[y, x] -= rim * depth / _SLOPE
            else:
                core = min(max((depth - _SLOPE - 0.8) / 3.0, 0.0), 1.0)
                core = core * core * (3 - 2 * core)
                level = (
                    inside + 5.0 * u + texture * _granules(along / grain, across / grain, pattern)
                )
                image[y, x] += core * level - (1 - core) * rim


@kernel()
def _hash(number: np.uint64) -> np.uint64:
    """Return 64 bits that look random (the output function of SplitMix64)."""
    mixed = number * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


@kernel()
def _granules(u: float, v: float, pattern: float) -> float:
    """Return a smooth random function of the place, from -1 to 1."""
    column, row = np.floor(u), np.floor(v)
    du, dv = u - column, v - row
    du, dv = du * du * (3 - 2 * du), dv * dv * (3 - 2 * dv)
    total = 0.0
    for j in range(2):
        for i in range(2):
            place = int(column) + i + 4096 * (int(row) + j) + int(pattern * 2**40)
            node = _hash(np.uint64(place))
            weight = (du if i else 1 - du) * (dv if j else 1 - dv)
            total += weight * (np.float64(node >> np.uint64(11)) / 2.0**52 - 1)
    return total


@kernel()
def _develop(
    image: npt.NDArray[np.float32],
    noise: npt.NDArray[np.float32],
    start: np.uint64,
    out: npt.NDArray[np.uint8],
) -> None:
    """Add noise and round; the noise is a sum of four hashed bytes."""
    height, width = image.shape
    scale = np.float32(1 / np.sqrt((256.0**2 - 1) / 3))
    mixed = np.uint64(0)
    for y in range(height):
        for x in range(width):
            place = y * width + x
            if place % 2 == 0:
                mixed = _hash(start + np.uint64(place))
            else:
                mixed >>= np.uint64(32)
            total = np.float32(
                (mixed & np.uint64(255))
                + ((mixed >> np.uint64(8)) & np.uint64(255))
                + ((mixed >> np.uint64(16)) & np.uint64(255))
                + ((mixed >> np.uint64(24)) & np.uint64(255))
            )
            value = image[y, x] + noise[y, x] * scale * (total - np.float32(510)) + np.float32(0.5)
            out[y, x] = np.uint8(min(max(value, np.float32(0)), np.float32(255)))
