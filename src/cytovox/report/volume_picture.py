"""Middle slices of a volume with the outlines of its labels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..read.open_volume import open_volume
from ..read.volume import Volume
from ..read.volume_view import VolumeView
from .seams import draw_seams
from .style import FAINT, new_figure, save_figure, title

__all__ = ["colours_of", "draw_volume", "outlines", "slice_picture"]

#: Most voxels of a slice along either axis; of larger ones the middle is shown.
_MOST = 768

Bytes = npt.NDArray[np.uint8]


def colours_of(labels: npt.NDArray[Any]) -> Bytes:
    """Return a colour for each label, the same in every picture."""
    # Steps of the golden ratio never come close to where they were before.
    hue = (labels.astype(np.float64) * 0.6180339887498949) % 1.0
    level = 0.75 + 0.25 * ((labels.astype(np.float64) * 0.7548776662466927) % 1.0)
    phase = (hue[..., None] * 6 + np.array([0.0, 4.0, 2.0])) % 6
    rgb = np.clip(np.abs(phase - 3) - 1, 0, 1)
    colours: Bytes = np.rint(255 * level[..., None] * (0.25 + 0.75 * rgb)).astype(np.uint8)
    return colours


def outlines(labels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which pixels of objects have a neighbour that is not of their object."""
    edge = np.zeros(labels.shape, np.bool_)
    for axis in range(labels.ndim):
        change = np.diff(labels, axis=axis) != 0
        ahead: list[slice] = [slice(None)] * labels.ndim
        behind = list(ahead)
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        edge[tuple(ahead)] |= change
        edge[tuple(behind)] |= change
    edge &= labels != 0
    return edge


def slice_picture(image: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Bytes:
    """Return a grey slice with coloured outlines."""
    grey = image.astype(np.float64)
    finite = grey[np.isfinite(grey)]
    low, high = np.percentile(finite, (0.5, 99.5)) if finite.size else (0.0, 1.0)
    grey = np.nan_to_num((grey - low) / max(high - low, 1e-12))
    picture = np.repeat(np.rint(255 * np.clip(grey, 0, 1)).astype(np.uint8)[..., None], 3, -1)
    edge = outlines(labels)
    picture[edge] = colours_of(labels[edge])
    return picture


def draw_volume(
    image: str | os.PathLike[str],
    labels: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    view: VolumeView | None = None,
) -> Path:
    """Draw middle slices with outlines, and how objects at seams compare, as one PNG.

    Only the slices are read. Of large ones the middle is shown.
    """
    words = {} if view is None else view.keywords()
    may = words.get("permissions")
    with open_volume(labels, permissions=may) as found:
        first: dict[str, Any] = {"time": 0} if "t" in found.axes else {}
    with (
        open_volume(image, **(first | words)) as raw,
        open_volume(labels, **first, permissions=may) as found,
    ):
        shape = found.spatial_shape
        if raw.spatial_shape != shape:
            raise InputError(
                f"the labels have {shape} voxels, but the image has {raw.spatial_shape}",
                path=os.fspath(labels),
            )
        panels = [_panel(raw, found, axis) for axis in _axes(shape)]
        names = [_name(found, axis) for axis in _axes(shape)]
        tall = [_aspect(found, axis) for axis in _axes(shape)]
    with_seams = _made_by_blocks(labels)
    columns = len(panels) + with_seams
    figure = new_figure(4.6 * columns, 4.7)
    axes = np.atleast_1d(figure.subplots(1, columns))
    for place, picture, name, aspect in zip(axes, panels, names, tall, strict=False):
        title(place, *name)
        place.imshow(picture, interpolation="nearest", aspect=aspect)
        place.set_xticks([])
        place.set_yticks([])
        for spine in place.spines.values():
            spine.set_color(FAINT)
    if with_seams:
        draw_seams(axes[-1], labels)
    return save_figure(figure, out)


def _axes(shape: tuple[int, ...]) -> range:
    """Return the axes across which slices are shown; one image is shown as it is."""
    return range(len(shape)) if len(shape) == 3 and min(shape) > 1 else range(1)


def _name(volume: Volume, axis: int) -> tuple[str, str]:
    axes = volume.axes[-len(volume.spatial_shape) :]
    if len(axes) == 2:
        return "Image", ""
    shown = [name for i, name in enumerate(axes) if i != axis]
    return f"{axes[axis]} = {volume.spatial_shape[axis] // 2}", " over ".join(shown)


def _aspect(volume: Volume, axis: int) -> float:
    """Return how much taller than wide a voxel is in the slice across an axis."""
    size = list(volume.voxel_size)
    if len(size) == 3:
        del size[axis]
    return size[0] / size[1]


def _panel(raw: Volume, found: Volume, axis: int) -> Bytes:
    """Return the middle slice across an axis."""
    shape = found.spatial_shape
    box = []
    for at, size in enumerate(shape):
        middle = size // 2
        if at == axis and len(shape) == 3:
            box.append((middle, middle + 1))
        else:
            room = min(size, _MOST)
            start = (size - room) // 2
            box.append((start, start + room))
    channels = [(0, 1)] * (raw.ndim - len(shape))
    image = raw.read((*channels, *box)).reshape([b - a for a, b in box])
    labels = found.read(box)
    if len(shape) == 3:
        image, labels = image.take(0, axis), labels.take(0, axis)
    return slice_picture(image, labels)


def _made_by_blocks(labels: str | os.PathLike[str]) -> bool:
    from ..blockwise.recipe import side_folder

    return "://" not in os.fspath(labels) and (side_folder(labels) / "lookup.json").is_file()
