"""Middle slices of a volume with the outlines of its labels, and sizes of objects at seams."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..read.open_volume import open_volume
from ..read.volume import Volume
from ..read.volume_view import VolumeView
from .style import FAINT, INK, MEASURED, TRUE, label_axes, new_figure, save_figure, title

__all__ = [
    "Panel",
    "colours_of",
    "draw_seams",
    "draw_volume",
    "made_by_blocks",
    "middle_slices",
    "outlines",
    "seam_sizes",
    "slice_picture",
]

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
        along, values = np.moveaxis(edge, axis, 0), np.moveaxis(labels, axis, 0)
        change = values[1:] != values[:-1]
        along[1:] |= change
        along[:-1] |= change
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
        panels = middle_slices(raw, found)
    with_seams = made_by_blocks(labels)
    columns = len(panels) + with_seams
    figure = new_figure(4.6 * columns, 4.7)
    axes = np.atleast_1d(figure.subplots(1, columns))
    for place, panel in zip(axes, panels, strict=False):
        title(place, panel.name, panel.detail)
        place.imshow(panel.picture, interpolation="nearest", aspect=panel.aspect)
        place.set_xticks([])
        place.set_yticks([])
        for spine in place.spines.values():
            spine.set_color(FAINT)
    if with_seams:
        draw_seams(axes[-1], *seam_sizes(labels))
    return save_figure(figure, out)


class Panel(NamedTuple):
    """A slice with the outlines of objects."""

    picture: Bytes
    name: str
    detail: str
    #: How much taller than wide a voxel is.
    aspect: float


def middle_slices(raw: Volume | None, found: Volume, most: int = _MOST) -> list[Panel]:
    """Return the middle slices of labels over their image; along each axis, if there are three.

    Of large ones, `most` voxels along an axis are shown.
    """
    shape = found.spatial_shape
    if raw is not None and raw.spatial_shape != shape:
        raise InputError(
            f"the labels have {shape} voxels, but the image has {raw.spatial_shape}",
            path=os.fspath(found.url),
        )
    across = range(3) if len(shape) == 3 and min(shape) > 1 else range(1)
    return [_panel(raw, found, axis, most) for axis in across]


def _panel(raw: Volume | None, found: Volume, axis: int, most: int) -> Panel:
    """Return the middle slice across an axis, or an image as it is."""
    shape = found.spatial_shape
    room = [min(size, most) for size in shape]
    names, voxel = list(found.axes[-len(shape) :]), list(found.voxel_size)
    name, detail = "Image", ""
    if len(shape) == 3:
        room[axis] = 1
        name = f"{names.pop(axis)} = {shape[axis] // 2}"
        detail = " over ".join(names)
        del voxel[axis]
    starts = [size // 2 - part // 2 for size, part in zip(shape, room, strict=True)]
    box = [(start, start + part) for start, part in zip(starts, room, strict=True)]
    flat = [part for i, part in enumerate(room) if len(shape) == 2 or i != axis]
    labels = found.read(box).reshape(flat)
    image = np.zeros(flat, np.uint8)
    if raw is not None:
        image = raw.read((*[(0, 1)] * (raw.ndim - len(shape)), *box)).reshape(flat)
    return Panel(slice_picture(image, labels), name, detail, voxel[0] / voxel[1])


def made_by_blocks(labels: str | os.PathLike[str]) -> bool:
    """Return whether labels have evidence of their blocks beside them."""
    from ..blockwise.recipe import side_folder

    return "://" not in os.fspath(labels) and (side_folder(labels) / "lookup.json").is_file()


def seam_sizes(
    output: str | os.PathLike[str],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the size of each object, and whether it touches a seam."""
    from ..blockwise.evidence_file import EvidenceFolder
    from ..blockwise.lookup import load_lookup
    from ..blockwise.recipe_file import find_run

    folder = find_run(output)
    lookup = load_lookup(folder)
    load = EvidenceFolder(folder / "blocks", faces=False, shell=False)
    voxels = np.zeros(lookup.count + 1, np.int64)
    at_seam = np.zeros(lookup.count + 1, np.bool_)
    for index in range(len(lookup.offsets) - 1):
        final = lookup.slice(index)[1:]
        evidence = load(index)
        np.add.at(voxels, final, evidence.sizes.astype(np.int64))
        at_seam[final[evidence.at_seam]] = True
    return voxels[1:], at_seam[1:]


def draw_seams(axes: Any, voxels: npt.NDArray[np.int64], at_seam: npt.NDArray[np.bool_]) -> None:
    """Draw the sizes of objects that touch a seam against those that do not."""
    title(axes, "Objects at seams and inside of blocks")
    label_axes(axes, "Voxels", "Share of objects")
    if not voxels.size:
        axes.text(0.5, 0.5, "no objects", transform=axes.transAxes, ha="center", color=FAINT)
        return
    low, high = np.log10(max(1, voxels.min())), np.log10(max(2, voxels.max()))
    edges = np.logspace(low - 0.05, high + 0.05, 24)
    for chosen, colour, name in ((~at_seam, MEASURED, "inside"), (at_seam, TRUE, "at a seam")):
        count = int(chosen.sum())
        if count:
            axes.hist(
                voxels[chosen], edges, weights=np.full(count, 1 / count), histtype="stepfilled",
                color=colour, alpha=0.45, label=f"{name} ({count})",
            )  # fmt: skip
    axes.set_xscale("log")
    if high - low > 1:
        axes.xaxis.set_minor_formatter("")
    else:
        axes.tick_params(axis="x", which="minor", labelsize=8, rotation=30)
    axes.legend(frameon=False, fontsize=10, labelcolor=INK)
