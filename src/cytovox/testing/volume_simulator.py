"""Volumes of any size whose labels are known exactly, drawn block by block."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import OptionError, OutputExistsError
from ..read.volume import Volume
from ..read.volume_limits import Box
from ..write.volume_creation import create_labels, create_volume
from .volume_drawing import SITE_COLUMNS, add_block, draw_blobs, draw_cells
from .volume_truth import VOLUME_TRUTH_DTYPE, VolumeTruth

__all__ = ["BLOB_THRESHOLD", "simulate_volume"]

#: Voxels of blobs are brighter than this, all others are not, up to noise 24.
BLOB_THRESHOLD = 100
_THREADS = 4

Numbers = npt.NDArray[np.float64]
_MOST_SITES = 50_000_000


def simulate_volume(
    url: str | os.PathLike[str],
    *,
    shape: Sequence[int],
    seed: int = 0,
    kind: Literal["blobs", "cells"] = "blobs",
    diameter: float = 20.0,
    filled: float = 0.8,
    noise: float = 20.0,
    voxel_size: Sequence[float] | None = None,
    units: str = "nanometer",
    block: Sequence[int] | None = None,
    overwrite: bool = False,
) -> VolumeTruth:
    """Write a volume and, beside it, what is true of it.

    ``blobs`` are textured ellipsoids in an uneven background that do not touch:
    the connected components (of any connectivity) of all voxels above
    `BLOB_THRESHOLD` are exactly the true labels while `noise` is at most 24.
    ``cells`` fill space and touch each other, with dark membranes between them.
    Some objects are cut by the border.

    Only a few blocks are in memory at any time. The labels go to
    ``NAME.truth.zarr`` and a table of them to ``NAME.truth.csv``.

    Parameters
    ----------
    url
        Folder to make (OME-Zarr 0.5), or a TIFF stack to write (``.tif``).
    shape
        Voxels along (z,) y, x.
    seed
        The same seed gives the same volume, whatever the block.
    kind
        ``"blobs"`` or ``"cells"``.
    diameter
        Typical diameter of an object, voxels along the finest axis, at least 8.
    filled
        Share of places that hold an object.
    noise
        Most that noise changes a voxel, grey levels.
    voxel_size
        Size of a voxel along each axis, in `units`; 1 by default.
    units
        Unit of `voxel_size`.
    block
        Voxels that are drawn at once.
    overwrite
        Replace what is there.

    Returns
    -------
    VolumeTruth
        Where everything is, and the table.

    Raises
    ------
    OptionError
        If an option has a value that is not allowed.
    OutputExistsError
        If there is something already.

    Examples
    --------
    >>> truth = simulate_volume(getfixture("tmp_path") / "a.zarr", shape=(20, 48, 48), seed=1)
    >>> with truth.open_labels() as labels:
    ...     bool(labels[:].max() == len(truth) > 0)
    True
    """
    scene = _plan(shape, seed, kind, diameter, filled, noise, voxel_size)
    path = Path(os.path.abspath(os.fspath(url)))
    stem = path.name.removesuffix(path.suffix)
    labels_path = path.with_name(f"{stem}.truth.zarr")
    table_path = path.with_name(f"{stem}.truth.csv")
    stack = path.suffix.lower() in (".tif", ".tiff")
    if not overwrite:
        for there in (path, labels_path, table_path):
            if there.exists():
                raise OutputExistsError("it exists", path=there, hint="say overwrite")
    flat = len(tuple(shape)) == 2
    if stack:
        planes = max(1, min(16, 2**26 // max(1, scene.shape[1] * scene.shape[2])))
        block = (planes, *scene.shape[1:])[flat:]
    block = tuple(block or ((512, 512) if flat else (128, 128, 128)))
    common: dict[str, Any] = {
        "shape": tuple(shape),
        "voxel_size": voxel_size,
        "units": units,
        "block": block,
        "overwrite": overwrite,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with create_labels(labels_path, dtype=np.uint32, **common) as labels:
        if stack:
            _write_stack(scene, path, labels, units)
        else:
            with create_volume(path, dtype=np.uint8, **common) as image:
                _write_blocks(scene, image, labels)
    truth = VolumeTruth(path, labels_path, tuple(shape), scene.table())
    truth.save(table_path)
    return truth


@dataclass
class _Scene:
    """What is where; blocks are drawn from it in any order."""

    shape: tuple[int, int, int]
    seed: int
    kind: str
    noise: float
    scale: Numbers
    spacing: tuple[int, int, int]
    origin: tuple[int, int, int]
    sites: Numbers  # one per place of the lattice, shape (Z, Y, X, 9)
    waves: tuple[Numbers, Numbers, Numbers]
    sums: list[npt.NDArray[np.int64]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def draw(self, box: Box) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32]]:
        """Draw a box, and add it to the sums."""
        size = [b - a for a, b in box]
        image = np.empty(size, np.uint8)
        labels = np.empty(size, np.uint32)
        start = np.array([a for a, _ in box], np.int64)
        near = []
        for (a, b), origin, step, count in zip(
            box, self.origin, self.spacing, self.sites.shape[:3], strict=True
        ):
            near.append(
                slice(max(0, (a - origin) // step - 1), min(count, (b - origin) // step + 2))
            )
        sites = np.ascontiguousarray(self.sites[tuple(near)].reshape(-1, len(SITE_COLUMNS)))
        if self.kind == "blobs":
            wz, wy, wx = (w[slice(*b)] for w, b in zip(self.waves, box, strict=True))
            sites = sites[sites[:, -1] > 0]
            draw_blobs(start, sites, (wz, wy, wx), self.seed, self.noise, image, labels)
        else:
            draw_cells(start, sites, self.scale, self.seed, self.noise, image, labels)
        with self.lock:
            add_block(start, labels, *self.sums)
        return image, labels

    def table(self) -> npt.NDArray[Any]:
        """Return what is true of each label, after all blocks were drawn."""
        count, total, low, high = (s[1:] for s in self.sums)
        table = np.zeros(len(count), VOLUME_TRUTH_DTYPE)
        table["label"] = np.arange(1, len(count) + 1)
        table["voxels"] = count
        ends = np.array(self.shape) - 1
        cut = ((low == 0) | (high == ends)) & (ends > 0)
        table["touches_border"] = cut.any(axis=1)
        for axis, name in enumerate("zyx"):
            table[name] = total[:, axis] / count
            table[f"{name}_start"] = low[:, axis]
            table[f"{name}_stop"] = high[:, axis] + 1
        return table


def _plan(
    shape: Sequence[int],
    seed: int,
    kind: str,
    diameter: float,
    filled: float,
    noise: float,
    voxel_size: Sequence[float] | None,
) -> _Scene:
    sizes = tuple(int(n) for n in shape)
    fine = np.ones(len(sizes)) if voxel_size is None else np.asarray(voxel_size, float)
    if len(sizes) not in (2, 3) or min(sizes) < 1 or fine.shape != (len(sizes),):
        raise OptionError(f"shape {sizes} with voxels {voxel_size} is not a volume")
    if kind not in ("blobs", "cells"):
        raise OptionError(f"there are no '{kind}'", hint="take blobs or cells")
    if not (8 <= diameter <= 1000 and 0 <= filled <= 1 and 0 <= noise <= 255 and seed >= 0):
        raise OptionError("diameter (8 to 1000), filled (0 to 1), noise or seed is out of range")
    if len(sizes) == 2:
        sizes, fine = (1, *sizes), np.array([fine.min(), *fine])
    full = (sizes[0], sizes[1], sizes[2])
    scale = fine / fine.min()
    apart = 1.3 if kind == "blobs" else 1.0
    step = [
        max(8, round(diameter * apart / s)) if n > 1 else 1
        for s, n in zip(scale, full, strict=True)
    ]
    spacing = (step[0], step[1], step[2])
    # cells cover the volume; blobs are shifted, so that some are cut by its border
    origin = tuple(-(s // 3) if kind == "blobs" and s > 1 else 0 for s in spacing)
    counts = [-(-(n - o) // s) for n, o, s in zip(full, origin, spacing, strict=True)]
    if np.prod(counts) > _MOST_SITES:
        raise OptionError("too many objects", hint="make them larger, or the volume smaller")
    rng = np.random.default_rng(seed)
    make = _blob_sites if kind == "blobs" else _cell_sites
    sites = make(rng, full, spacing, origin, counts, diameter / scale)
    present = rng.random(counts) < filled
    centre = sites[..., :3]
    present &= ((centre >= 0) & (centre <= np.array(full) - 1)).all(axis=-1)
    number = int(present.sum())
    sites[..., -1][present] = np.arange(1, number + 1)
    phase = rng.uniform(0, 2 * np.pi, 3)
    tz, ty, tx = (
        18.0 + 2.0 * np.sin(np.arange(n) * 2 * np.pi / 300 + p)
        for n, p in zip(full, phase, strict=True)
    )
    begin = (origin[0], origin[1], origin[2])
    scene = _Scene(full, seed, kind, float(noise), scale, spacing, begin, sites, (tz, ty, tx))
    far = np.iinfo(np.int64).max
    scene.sums = [
        np.zeros(number + 1, np.int64),
        np.zeros((number + 1, 3), np.int64),
        np.full((number + 1, 3), far),
        np.full((number + 1, 3), -1),
    ]
    return scene


def _lattice(counts: Sequence[int], spacing: Sequence[int], origin: Sequence[int]) -> Numbers:
    """Return sites whose first columns are the middles of the places."""
    sites = np.zeros((*counts, len(SITE_COLUMNS)))
    for axis, (n, step, begin) in enumerate(zip(counts, spacing, origin, strict=True)):
        middle = begin + step * np.arange(n) + (step - 1) / 2
        sites[..., axis] = middle.reshape([-1 if a == axis else 1 for a in range(3)])
    return sites


def _blob_sites(
    rng: np.random.Generator,
    shape: Sequence[int],
    spacing: Sequence[int],
    origin: Sequence[int],
    counts: Sequence[int],
    diameter: Numbers,
) -> Numbers:
    sites = _lattice(counts, spacing, origin)
    for axis in range(3):
        # a free voxel on each side keeps neighbours apart
        most = (spacing[axis] - 1) / 2 - 0.75
        radius = diameter[axis] / 2 * rng.uniform(0.7, 1.1, counts)
        sites[..., 3 + axis] = np.clip(radius, 2.5, most)
    reach = np.maximum(sites[..., 4], sites[..., 5])
    for axis in range(3):
        room = (spacing[axis] - 1) / 2 - 0.75 - (sites[..., 3] if axis == 0 else reach)
        sites[..., axis] += np.maximum(room, 0) * rng.uniform(-1, 1, counts)
    # columns are shifted against each other, or some slices would be empty
    sites[..., 0] += spacing[0] * rng.uniform(-0.5, 0.5, (1, *counts[1:]))
    if shape[0] == 1:
        sites[..., 0], sites[..., 3] = 0.0, 1.0
    square = spacing[1] == spacing[2]
    sites[..., 6] = rng.uniform(0, np.pi, counts) if square else 0.0
    sites[..., 7] = rng.uniform(142, 200, counts)
    return sites


def _cell_sites(
    rng: np.random.Generator,
    shape: Sequence[int],
    spacing: Sequence[int],
    origin: Sequence[int],
    counts: Sequence[int],
    diameter: Numbers,
) -> Numbers:
    sites = _lattice(counts, spacing, origin)
    for axis in range(3):
        sites[..., axis] += 0.28 * spacing[axis] * rng.uniform(-1, 1, counts)
        sites[..., axis] = np.clip(sites[..., axis], 0, shape[axis] - 1)
    if shape[0] == 1:
        sites[..., 0] = 0.0
    sites[..., 7] = rng.uniform(110, 200, counts)
    return sites


def _boxes(shape: Sequence[int], block: Sequence[int]) -> Iterator[Box]:
    ranges = [range(0, n, b) for n, b in zip(shape, block, strict=True)]
    for start in itertools.product(*ranges):
        yield tuple((a, min(a + b, n)) for a, b, n in zip(start, block, shape, strict=True))


def _write_blocks(scene: _Scene, image: Volume, labels: Volume) -> None:
    unit = tuple(max(a, b) for a, b in zip(image.write_unit, labels.write_unit, strict=True))
    flat = len(unit) == 2
    size = (1, *unit) if flat else unit

    def make(box: Box) -> None:
        drawn, true = scene.draw(box)
        image.write(box[flat:], drawn[0] if flat else drawn)
        labels.write(box[flat:], true[0] if flat else true)

    workers = min(_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        boxes = _boxes(scene.shape, size)
        # no more than a few blocks wait, however many there are
        while batch := list(itertools.islice(boxes, 4 * workers)):
            list(pool.map(make, batch))


def _write_stack(scene: _Scene, path: Path, labels: Volume, units: str) -> None:
    import tifffile

    flat = len(labels.shape) == 2
    size = (1, *labels.write_unit) if flat else labels.write_unit
    size = (size[0], *scene.shape[1:])

    def pages() -> Iterator[npt.NDArray[np.uint8]]:
        for box in _boxes(scene.shape, size):
            drawn, true = scene.draw(box)
            labels.write(box[flat:], true[0] if flat else true)
            yield from drawn

    *_, y, x = labels.voxel_size
    steps = {"Z": labels.voxel_size[0] if not flat else 1.0, "Y": y, "X": x}
    short = {"micrometer": "µm", "nanometer": "nm", "millimeter": "mm"}.get(units, units)
    about: dict[str, Any] = {"axes": "ZYX"}
    for axis, step in steps.items():
        about |= {f"PhysicalSize{axis}": step, f"PhysicalSize{axis}Unit": short}
    with tifffile.TiffWriter(path, ome=True, bigtiff=int(np.prod(scene.shape)) > 2**31) as out:
        out.write(pages(), shape=scene.shape, dtype=np.uint8, compression="zlib", metadata=about)
