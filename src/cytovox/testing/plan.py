"""Deciding what is on each frame, one frame after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .drawing import CELL_COLUMNS

__all__ = ["Cells", "FramePlan", "Scene", "plan_frames"]

#: px between the outlines of separated cells, and from whole cells to the edge
_GAP = 9.0
_MARGIN = 4.0
#: share, radius (um), spread of radius, aspect and its spread, skew
_POPULATIONS = ((0.7, 3.1, 0.18, 1.5, 0.1, 0.12), (0.3, 3.9, 0.22, 1.95, 0.15, 0.22))


@dataclass(frozen=True, slots=True)
class Scene:
    """What `simulate_recording` was asked for."""

    frames: int
    seed: int
    shape: tuple[int, int]
    pixel_size: float
    frame_rate: float
    cells: float
    separated: bool
    border: float
    duplicates: float
    empty: float
    drift: float
    flicker: float
    size: float
    contrast: float


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of a frame."""

    drawn: npt.NDArray[np.float64]
    """What `drawing.CELL_COLUMNS` says, float64, shape (n, 11)."""
    population: npt.NDArray[np.uint8]
    touches_border: npt.NDArray[np.bool_]
    touches_other: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FramePlan:
    """What is on a frame; a repeated frame has its predecessor's identity."""

    identity: int
    gain: float
    cells: Cells


def plan_frames(scene: Scene, rng: np.random.Generator) -> Iterator[FramePlan]:
    """Yield the plan of each frame; a longer recording begins like a shorter one."""
    plan: FramePlan | None = None
    for i in range(scene.frames):
        repeated, empty, flicker = rng.random(), rng.random(), rng.normal()
        number = int(rng.poisson(scene.cells))
        if plan is None or repeated >= scene.duplicates:
            # Half a minute is about how slowly lamps and chips warm up.
            gain = 1 + scene.drift * np.sin(2 * np.pi * i / scene.frame_rate / 30)
            if empty < scene.empty:
                number = 0
            cells = _plan_cells(scene, number, rng)
            plan = FramePlan(i, float(gain + scene.flicker * flicker), cells)
        yield plan


def _plan_cells(scene: Scene, number: int, rng: np.random.Generator) -> Cells:
    drawn = np.zeros((number, len(CELL_COLUMNS)))
    population = np.zeros(number, np.uint8)
    border = np.zeros(number, np.bool_)
    for i in range(number):
        population[i] = rng.random() >= _POPULATIONS[0][0]
        drawn[i] = _draw_one(scene, _POPULATIONS[population[i]], rng)
        border[i] = rng.random() < scene.border
    keep = _place(scene, drawn, border, rng)
    drawn, population, border = drawn[keep], population[keep], border[keep]
    return Cells(drawn, population, border, _touching(drawn))


def _draw_one(
    scene: Scene, kind: tuple[float, float, float, float, float, float], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return a cell, not yet placed along the flow."""
    height = scene.shape[0]
    _, radius, radius_sd, aspect, aspect_sd, skew = kind
    radius = scene.size * max(radius + radius_sd * np.clip(rng.normal(), -2.5, 2.5), 0.5)
    r = radius / scene.pixel_size
    root = np.sqrt(max(aspect + aspect_sd * np.clip(rng.normal(), -2.5, 2.5), 1.0))
    k = skew * rng.uniform(0.5, 1.3)
    tilt = 0.04 * np.clip(rng.normal(), -2.5, 2.5)
    shift = 0.04 * height * np.clip(rng.normal(), -2.5, 2.5)
    # Cells must leave some rows free above and below, also in a low channel.
    margin = min(_MARGIN, height / 5)
    r = min(r, 0.62 * (height / 2 - margin), 0.2 * scene.shape[1])
    a, b = r * root, r / root
    reach = b * (1 + k) + a * abs(np.sin(tilt))
    middle = (height - 1) / 2
    room = max(middle - margin - reach, 0.0)
    y = middle + float(np.clip(shift, -room, room))
    # The inside stays darker than the default threshold: a bright one would leave
    # dark islands behind when the rim of a cell at the border is removed.
    rim, inside, texture = rng.uniform(44, 58), rng.uniform(-34, -21), rng.uniform(4, 8)
    grain, pattern = rng.uniform(2.0, 4.5), rng.random()
    rim, inside, texture = (scene.contrast * grey for grey in (rim, inside, texture))
    return np.array([0, y, a, b, k, tilt, rim, inside, texture, grain, pattern])


def _place(
    scene: Scene,
    drawn: npt.NDArray[np.float64],
    border: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Set the x of each cell; return those for which there is room."""
    width = scene.shape[1]
    keep: list[int] = []
    low, high = min(_MARGIN, width / 5), width - 1 - min(_MARGIN, width / 5)
    ends = [True, True]
    for i in np.flatnonzero(border).tolist():
        side = int(rng.random() < 0.5)
        inside = rng.uniform(-0.5, 0.5) * drawn[i, 2]
        if scene.separated and not ends[side]:
            continue
        ends[side] = False
        drawn[i, 0] = inside if side == 0 else width - 1 - inside
        if scene.separated and side == 0:
            low = max(low, inside + drawn[i, 2] + _GAP)
        elif scene.separated:
            high = min(high, width - 1 - inside - drawn[i, 2] - _GAP)
        keep.append(i)
    whole = np.flatnonzero(~border).tolist()
    if scene.separated:
        keep += _in_a_row(drawn, whole, low, high, rng)
    else:
        for i in whole:
            drawn[i, 0] = rng.uniform(
                low + drawn[i, 2], max(high - drawn[i, 2], low + drawn[i, 2])
            )
        keep += whole
    return np.array(sorted(keep, key=lambda i: float(drawn[i, 0])), dtype=np.int64)


def _in_a_row(
    drawn: npt.NDArray[np.float64],
    cells: list[int],
    low: float,
    high: float,
    rng: np.random.Generator,
) -> list[int]:
    """Place cells between two ends with at least `_GAP` between them."""
    cells = list(cells)
    while cells and sum(2 * drawn[i, 2] for i in cells) + _GAP * (len(cells) - 1) > high - low:
        cells.pop()
    if not cells:
        return cells
    spare = high - low - sum(2 * drawn[i, 2] for i in cells) - _GAP * (len(cells) - 1)
    at = low
    for i, gap in zip(cells, np.diff(np.sort(rng.random(len(cells))), prepend=0), strict=True):
        at += spare * gap + drawn[i, 2]
        drawn[i, 0] = at
        at += drawn[i, 2] + _GAP
    return cells


def _touching(drawn: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return which cells come near another, by their boxes."""
    touching = np.zeros(len(drawn), np.bool_)
    for i in range(len(drawn)):
        for j in range(i):
            near_x = abs(drawn[i, 0] - drawn[j, 0]) < drawn[i, 2] + drawn[j, 2] + _GAP - 1
            reach = drawn[[i, j], 3] * (1 + drawn[[i, j], 4])
            if near_x and abs(drawn[i, 1] - drawn[j, 1]) < reach.sum() + _GAP - 1:
                touching[[i, j]] = True
    return touching
