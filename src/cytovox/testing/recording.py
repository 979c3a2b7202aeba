"""Raw recordings as an instrument would write them, with known truth."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from ..read.opening import open_own_file
from .drawing import channel_background, draw_frames
from .plan import FramePlan, Scene, plan_frames
from .shapes import egg_area, egg_centroid, egg_deformation, egg_volume
from .truth import TRUTH_DTYPE, Truth

__all__ = ["simulate_recording"]

#: bytes of frames drawn at once
_BLOCK_BYTES = 8 * 2**20


def simulate_recording(
    path: str | os.PathLike[str],
    *,
    frames: int,
    seed: int = 0,
    shape: tuple[int, int] = (80, 400),
    pixel_size: float = 0.2645,
    frame_rate: float = 3000.0,
    cells: float = 1.0,
    separated: bool = True,
    border: float = 0.05,
    duplicates: float = 0.01,
    empty: float = 0.05,
    drift: float = 0.015,
    flicker: float = 0.0,
    noise: float | npt.NDArray[Any] = 1.5,
    size: float = 1.0,
    contrast: float = 1.0,
    chunk_frames: int | None = None,
    save_truth: bool = True,
) -> Truth:
    """Write a raw recording whose cells are known exactly.

    The channel has dark walls with bright fringes, uneven light, dust, and
    drifts slowly in brightness; the camera adds noise. Cells have a dark rim, a
    brighter, textured inside, and a smooth convex outline of known area,
    perimeter and centroid.

    The true outline is a curve, while a measured one runs through the centres
    of the outermost pixels of a mask. So that both mean the same, the rim is
    drawn such that pixels whose centre is up to 0.35 px outside the true
    outline are more than 6 grey levels darker than the background. The area of
    the hull then has no bias (see `drawing.EDGE_OFFSET`).

    Parameters
    ----------
    path
        File to write, ``.rtdc``; an existing one is replaced.
    frames
        Number of frames.
    seed
        The same seed gives the same recording, and a longer one begins the same.
    shape
        Height and width of a frame, px, at least 8 each.
    pixel_size
        Width of a pixel, um.
    frame_rate
        Frames per second.
    cells
        Mean number of cells in a frame (Poisson).
    separated
        Whether cells keep their distance from each other. If there is no room
        for all, some are left out.
    border
        Share of cells that are cut by the left or right edge of the image.
    duplicates
        Share of frames that repeat their predecessor pixel for pixel.
    empty
        Share of frames that are kept free of cells.
    drift
        Amplitude of the slow change of brightness, relative.
    flicker
        Standard deviation of the brightness of each frame, relative.
    noise
        Standard deviation of a pixel, grey levels: one for all or, measured from
        a camera, one for each, shape (H, W).
    size
        Diameter of cells, relative to the usual one (7 to 9 um on the mean).
    contrast
        How much cells are darker than the background, relative to the usual one
        (rim 44 to 58 grey levels). Where their edge is does not depend on it.
    chunk_frames
        Frames per HDF5 chunk; about 1 MiB if None. Has no effect on the data.
    save_truth
        Whether to write the truth beside the recording, with suffix ``.truth.csv``.

    Returns
    -------
    Truth
        All cells with what should be measured.

    Raises
    ------
    OptionError
        If a value is not allowed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     truth = simulate_recording(Path(folder, "raw.rtdc"), frames=20, seed=1)
    >>> len(truth) > 5
    True
    """
    scene = Scene(
        frames, seed, (int(shape[0]), int(shape[1])), pixel_size, frame_rate, cells, separated,
        border, duplicates, empty, drift, flicker, size, contrast,
    )  # fmt: skip
    _check(scene)
    height, width = scene.shape
    rng = np.random.default_rng([7, seed])
    background = channel_background(scene.shape, rng)
    spread = _noise_map(noise, scene.shape)
    chunk = _chunk_length(chunk_frames, height * width)
    path = Path(path)
    unfinished = path.with_name(path.name + "~")
    rows: list[npt.NDArray[Any]] = []
    repeated: list[int] = []
    try:
        with open_own_file(unfinished, "w") as h5:
            h5.attrs.update(_metadata(scene))
            image = _prepare(h5, scene, min(chunk, frames))
            # Whole chunks at a time, so that none is compressed twice.
            block = max(1, _BLOCK_BYTES // (chunk * height * width)) * chunk
            for start, plans in _blocks(plan_frames(scene, rng), block):
                image[start : start + len(plans)] = _draw(plans, background, spread, seed)
                rows.append(_rows(plans, start, pixel_size))
                repeated += [start + i for i, p in enumerate(plans) if p.identity < start + i]
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    truth = Truth(frames, pixel_size, np.concatenate(rows), np.array(repeated, dtype=np.int64))
    if save_truth:
        truth.save(path.with_suffix(".truth.csv"))
    return truth


def _check(scene: Scene) -> None:
    if scene.frames < 1:
        raise OptionError(f"frames is {scene.frames}", hint="it must be 1 or more")
    if min(scene.shape) < 8:
        raise OptionError(f"shape is {scene.shape}", hint="both must be 8 or more")
    for name in ("pixel_size", "frame_rate", "size", "contrast"):
        if not getattr(scene, name) > 0:
            raise OptionError(f"{name} is {getattr(scene, name)}", hint="it must be above 0")
    for name in ("border", "duplicates", "empty"):
        if not 0 <= getattr(scene, name) <= 1:
            raise OptionError(f"{name} is {getattr(scene, name)}", hint="it must be from 0 to 1")
    for name in ("cells", "seed"):
        if not getattr(scene, name) >= 0:
            raise OptionError(f"{name} is {getattr(scene, name)}", hint="it must be 0 or more")


def _noise_map(noise: float | npt.NDArray[Any], shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    given = np.asarray(noise, dtype=np.float32)
    if given.shape not in ((), shape) or not np.all(given >= 0):
        raise OptionError(
            "noise must be 0 or more", hint=f"give one number or an array of shape {shape}"
        )
    return np.ascontiguousarray(np.broadcast_to(given, shape))


def _chunk_length(wanted: int | None, pixels: int) -> int:
    if wanted is None:
        return min(1000, max(10, 2**20 // pixels))
    if wanted < 1:
        raise OptionError(f"chunk_frames is {wanted}", hint="it must be 1 or more")
    return wanted


def _blocks(plans: Iterator[FramePlan], length: int) -> Iterator[tuple[int, list[FramePlan]]]:
    start = 0
    while block := list(islice(plans, length)):
        yield start, block
        start += len(block)


def _draw(
    plans: list[FramePlan],
    background: npt.NDArray[np.float32],
    noise: npt.NDArray[np.float32],
    seed: int,
) -> npt.NDArray[np.uint8]:
    out = np.empty((len(plans), *background.shape), np.uint8)
    cells = np.concatenate([p.cells.drawn for p in plans])
    firsts = np.cumsum([0, *(len(p.cells.drawn) for p in plans)]).astype(np.int64)
    identities = np.array([p.identity for p in plans], dtype=np.int64)
    gains = np.array([p.gain for p in plans])
    draw_frames(background, noise, seed, identities, gains, cells, firsts, out)
    return out


def _rows(plans: list[FramePlan], start: int, pixel_size: float) -> npt.NDArray[Any]:
    """Return the truth about some frames, without repeated ones."""
    new = [(start + i, p.cells) for i, p in enumerate(plans) if p.identity == start + i]
    rows = np.zeros(sum(len(c.drawn) for _, c in new), TRUTH_DTYPE)
    if not len(rows):
        return rows
    x, y, a, b, k, tilt = np.concatenate([c.drawn for _, c in new]).T[:6]
    along = egg_centroid(a, k)
    rows["frame"] = np.repeat([i for i, _ in new], [len(c.drawn) for _, c in new])
    rows["pos_x"] = (x + along * np.cos(tilt)) * pixel_size
    rows["pos_y"] = (y + along * np.sin(tilt)) * pixel_size
    rows["area_um"] = egg_area(a, b) * pixel_size**2
    rows["deform"] = egg_deformation(a, b, k)
    rows["volume"] = egg_volume(a, b, k) * pixel_size**3
    rows["length"], rows["width"] = 2 * a * pixel_size, 2 * b * pixel_size
    rows["tilt"] = np.abs(tilt)
    for name in ("population", "touches_border", "touches_other"):
        rows[name] = np.concatenate([getattr(c, name) for _, c in new])
    return rows


def _prepare(h5: h5py.File, scene: Scene, chunk: int) -> h5py.Dataset:
    """Write what is known beforehand; return the dataset of the images."""
    events = h5.create_group("events")
    zstd = dict(hdf5plugin.Zstd(clevel=5))
    index = np.arange(scene.frames)
    events.create_dataset(
        "frame", data=(index + 1).astype(np.uint64), chunks=True, fletcher32=True, **zstd
    )
    events.create_dataset(
        "time", data=index / scene.frame_rate, chunks=True, fletcher32=True, **zstd
    )
    image = events.create_dataset(
        "image",
        shape=(scene.frames, *scene.shape),
        dtype=np.uint8,
        chunks=(chunk, *scene.shape),
        fletcher32=True,
        **zstd,
    )
    image.attrs["CLASS"] = np.bytes_("IMAGE")
    image.attrs["IMAGE_VERSION"] = np.bytes_("1.2")
    image.attrs["IMAGE_SUBCLASS"] = np.bytes_("IMAGE_GRAYSCALE")
    return image


def _metadata(scene: Scene) -> dict[str, Any]:
    height, width = scene.shape
    return {
        "experiment:date": "2024-05-02",
        "experiment:event count": scene.frames,
        "experiment:run identifier": f"simulated-{scene.seed}-{scene.frames}",
        "experiment:run index": 1,
        "experiment:sample": "simulated cells",
        "experiment:time": "12:00:00",
        "imaging:flash device": "LED (undefined)",
        "imaging:flash duration": 2.0,
        "imaging:frame rate": scene.frame_rate,
        "imaging:pixel size": scene.pixel_size,
        "imaging:roi position x": 0,
        "imaging:roi position y": 0,
        "imaging:roi size x": width,
        "imaging:roi size y": height,
        "setup:channel width": 20.0,
        "setup:chip region": "channel",
        "setup:flow rate": 0.06,
        "setup:flow rate sample": 0.015,
        "setup:flow rate sheath": 0.045,
        "setup:identifier": "simulated",
        "setup:medium": "CellCarrierB",
        "setup:module composition": "simulator",
        "setup:software version": "cytovox",
    }
