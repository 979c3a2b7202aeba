"""Copies of a volume for viewers: coarser scales, and precomputed; labels stay labels."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import OptionError, UsageError
from ..kernels.downsample import downsample_mean, downsample_mode, downsample_nearest
from ..read.open_volume import open_volume
from ..read.volume import Volume
from ..read.volume_address import Address, parse_address, safe_join
from ..read.volume_limits import Box, box_shape, slices
from ..read.volume_store import remove_tree
from .precomputed import add_scale, write_segment_properties
from .volume_creation import create_labels, create_volume
from .volume_metadata import (
    VolumePlan,
    array_documents,
    image_of_labels,
    multiscales,
    read_attributes,
    read_image,
    refresh_consolidated,
    write_documents,
    write_group,
)

__all__ = ["METHODS", "export_precomputed", "levels_of_image", "tiles", "write_pyramid"]

Kernel = Callable[[npt.NDArray[Any], Sequence[int]], npt.NDArray[Any]]

#: How a coarser scale is made.
METHODS: dict[str, Kernel] = {
    "mode": downsample_mode,
    "nearest": downsample_nearest,
    "mean": downsample_mean,
}
#: A scale that is this short along each axis needs no coarser one.
_SMALL = 64
_MOST_SCALES = 16
#: Bytes that are copied at once.
_COPIED_BYTES = 2**26
#: Voxels that are made coarser at once [bytes].
_READ_BYTES = 16 << 20


def write_pyramid(
    volume: Volume | str | os.PathLike[str],
    *,
    levels: int | None = None,
    method: str = "mode",
) -> list[tuple[int, ...]]:
    """Add coarser scales to a volume that is complete.

    Each scale halves the axes along which voxels are finest; coarse axes wait
    until the others are as coarse. A voxel gets the label that most of its
    voxels in the finer scale have, never a mean of labels. Only a write unit of
    the new scale and a chunk of what it is made of are in memory at a time.
    Scales that were there before are replaced.

    Parameters
    ----------
    volume
        OME-Zarr or precomputed, or where it is.
    levels
        Number of scales in all. By default as many as the image has that the
        labels are kept with, else until a scale is at most 64 voxels long; of a
        precomputed volume, as many as begin at a whole voxel.
    method
        ``"mode"``, or ``"nearest"``, which is faster and misses small objects;
        ``"mean"`` is for images, not for labels.

    Returns
    -------
    list
        Shape of each scale in space, the finest first.

    Raises
    ------
    OptionError
        If the method is unknown, or the format has no scales.
    StorageError
        If the store refuses.

    Examples
    --------
    >>> from cytovox.write.volume_creation import create_labels
    >>> url = getfixture("tmp_path") / "labels.zarr"
    >>> create_labels(url, shape=(40, 100, 100)).close()
    >>> write_pyramid(url)
    [(40, 100, 100), (20, 50, 50)]
    """
    if method not in METHODS:
        raise OptionError(f"method '{method}' is not known", hint=f"take {', '.join(METHODS)}")
    address = parse_address(volume.url if isinstance(volume, Volume) else volume)
    with ExitStack() as stack:
        finer = stack.enter_context(open_volume(str(address), writable=True))
        scales = [_plan_of(finer, address)]
        precomputed = finer.format == "precomputed"
        if not precomputed:
            if not finer.format.startswith("ome-zarr"):
                raise OptionError(
                    f"{finer.format} has no scales",
                    path=str(address),
                    hint="write OME-Zarr or precomputed",
                )
            levels = levels or levels_of_image(str(address))
            _forget_coarser(scales)
        while len(scales) < (levels or _MOST_SCALES):
            small = levels is None and max(scales[-1].spatial_shape) <= _SMALL
            step = None if small else _next_scale(scales[-1])
            if step is None:
                break
            factors, scale = step
            if levels is None and precomputed and not _begins(scales[0], scale):
                break
            add = _add_scale if precomputed else _add_array
            coarser = stack.enter_context(add(scales, scale))
            _copy_coarser(finer, coarser, factors, METHODS[method])
            scales.append(scale)
            finer = coarser
        if not precomputed:
            _list_scales(scales, method)
    return [scale.spatial_shape for scale in scales]


def _plan_of(volume: Volume, address: Address) -> VolumePlan:
    return VolumePlan(
        address,
        volume.shape,
        volume.dtype,
        volume.axes,
        volume.voxel_size,
        volume.offset,
        volume.units,
        volume.write_unit,
        None,
        True,
    )


def _begins(finest: VolumePlan, scale: VolumePlan) -> bool:
    """Return whether a volume begins at a voxel of a coarser scale."""
    starts = (o / v for o, v in zip(finest.offset, scale.voxel_size, strict=True))
    return all(abs(start - round(start)) < 1e-4 for start in starts)


def _next_scale(scale: VolumePlan) -> tuple[tuple[int, ...], VolumePlan] | None:
    """Return by what each axis of space is made coarser and what comes out, or None."""
    shape, size = scale.spatial_shape, scale.voxel_size
    finest = min((v for v, n in zip(size, shape, strict=True) if n > 1), default=None)
    if finest is None:
        return None
    factors = tuple(2 if n > 1 and v < 2 * finest else 1 for v, n in zip(size, shape, strict=True))
    halved = (-(-n // f) for n, f in zip(shape, factors, strict=True))
    return factors, replace(
        scale,
        shape=(*scale.shape[: -len(shape)], *halved),
        voxel_size=tuple(v * f for v, f in zip(size, factors, strict=True)),
        # the centre of the first voxel moves by half a voxel less half a finer one
        offset=tuple(
            o + v * (f - 1) / 2 for o, v, f in zip(scale.offset, size, factors, strict=True)
        ),
    )


def _copy_coarser(source: Volume, target: Volume, factors: Sequence[int], kernel: Kernel) -> None:
    """Fill a volume with another made coarser, write unit by write unit."""
    full = (1,) * (source.ndim - len(factors)) + tuple(factors)
    # what comes from one chunk of the source, where that fits; several are read side by side
    piece = [
        min(c // f, most) if c % f == 0 else most
        for c, f, most in zip(source.chunk, full, target.chunk, strict=True)
    ]
    piece = _grown(piece, target.chunk, math.prod(full) * source.dtype.itemsize, _READ_BYTES)
    for unit in tiles(tuple((0, n) for n in target.shape), target.write_unit):
        made = np.empty(box_shape(unit), target.dtype)
        for part in tiles(unit, piece):
            wanted = tuple(
                (a * f, min(b * f, n))
                for (a, b), f, n in zip(part, full, source.shape, strict=True)
            )
            made[slices(part, unit)] = kernel(source.read(wanted), full)
        target.write(unit, made)


def tiles(box: Box, size: Sequence[int]) -> Iterator[Box]:
    """Cut a box into boxes of a size, smaller at the ends."""
    ranges = [range(a, b, s) for (a, b), s in zip(box, size, strict=True)]
    for start in itertools.product(*ranges):
        yield tuple((a, min(a + s, b)) for a, s, (_, b) in zip(start, size, box, strict=True))


def levels_of_image(url: str | os.PathLike[str]) -> int | None:
    """Return the number of scales of the image in whose folder labels are, if there is one."""
    top = image_of_labels(url)
    image = None if top is None else read_image(top)
    return None if image is None else len(image.levels)


def _forget_coarser(scales: Sequence[VolumePlan]) -> None:
    """List the finest scale only, and remove the others."""
    address = scales[0].address
    image = read_image(address)
    if image is None or image.levels[0].path != "0":
        raise OptionError(
            "scales are added to images whose finest one is named 0", path=str(address)
        )
    _list_scales(scales, None)
    for number in range(1, len(image.levels)):
        remove_tree(safe_join(address, str(number)))


def _add_scale(scales: Sequence[VolumePlan], scale: VolumePlan) -> Volume:
    add_scale(len(scales), scales[0], scale)
    return open_volume(str(scale.address), scale=len(scales), writable=True)


def _add_array(scales: Sequence[VolumePlan], scale: VolumePlan) -> Volume:
    """Make the array of a scale, which the image does not list before it is complete."""
    target = safe_join(scale.address, str(len(scales)))
    remove_tree(target)
    write_documents(target, array_documents(scale, read_attributes(scale.address)[0]))
    return open_volume(str(target), writable=True)


def _list_scales(scales: Sequence[VolumePlan], method: str | None) -> None:
    address = scales[0].address
    version, attributes = read_attributes(address)
    made = multiscales(scales, version, method)
    # what else was said of the image stays
    if version == 3:
        made = {"ome": {**attributes.get("ome", {}), **made["ome"]}}
    write_group(address, {**attributes, **made}, version)
    refresh_consolidated(address)


def export_precomputed(
    volume: Volume | str | os.PathLike[str],
    url: str | os.PathLike[str],
    *,
    table: Mapping[str, npt.ArrayLike] | None = None,
    labels: bool | None = None,
    levels: int | None = None,
    overwrite: bool = False,
) -> list[tuple[int, ...]]:
    """Copy a volume to neuroglancer's format, with scales and properties.

    Parameters
    ----------
    volume
        What is copied, block by block.
    url
        Folder or URL to make.
    table
        Columns of the objects, see `write_segment_properties`.
    labels
        Whether voxels are labels; by default if they are integers of 32 or 64
        bits.
    levels
        Number of scales, see `write_pyramid`.
    overwrite
        Replace a volume that is there.

    Returns
    -------
    list
        Shape of each scale.

    Raises
    ------
    OptionError
        If the format cannot hold it.
    OutputExistsError
        If there is something already.

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> with create_labels(folder / "a.zarr", shape=(8, 80, 80), units="nm") as labels:
    ...     export_precomputed(labels, folder / "a", table={"label": [1], "size": [5]})
    [(8, 80, 80), (4, 40, 40)]
    """
    if not isinstance(volume, Volume):
        with open_volume(volume) as opened:
            return export_precomputed(
                opened, url, table=table, labels=labels, levels=levels, overwrite=overwrite
            )
    if labels is None:
        labels = str(volume.dtype) in ("int32", "int64", "uint32", "uint64")
    dtype = volume.dtype
    if labels and dtype.kind == "i":
        dtype = np.dtype(f"u{dtype.itemsize}")
    # an image of two axes is a slice
    flat = len(volume.spatial_shape) == 2
    lead = volume.shape[: volume.ndim - len(volume.spatial_shape)]
    target = (create_labels if labels else create_volume)(
        url,
        shape=(*lead, *(1,) * flat, *volume.spatial_shape),
        dtype=dtype,
        voxel_size=(*(min(volume.voxel_size),) * flat, *volume.voxel_size),
        units=volume.units,
        offset=(*(0.0,) * flat, *volume.offset),
        format="precomputed",
        overwrite=overwrite,
    )
    with target:
        # whole write units, wide, since many inputs are kept by rows and pages
        size = _grown(target.write_unit, target.shape, dtype.itemsize, _COPIED_BYTES)
        for box in tiles(tuple((0, n) for n in target.shape), size):
            part = volume.read((*box[: len(lead)], *box[len(lead) + flat :]))
            if labels and part.dtype.kind == "i" and part.size and part.min() < 0:
                raise UsageError(
                    "precomputed cannot hold labels below 0",
                    path=volume.url,
                    hint="relabel them",
                )
            part = part.astype(dtype, copy=False)
            target.write(box, np.expand_dims(part, len(lead)) if flat else part)
    if table is not None:
        write_segment_properties(url, table)
    return write_pyramid(url, levels=levels, method="mode" if labels else "mean")


def _grown(size: Sequence[int], most: Sequence[int], voxel: int, limit: int) -> list[int]:
    """Return a size doubled along the last axes first, as far as it needs no more memory."""
    grown = list(size)
    for axis in reversed(range(len(grown))):
        while grown[axis] < most[axis]:
            if 2 * math.prod(grown) * voxel > limit:
                return grown
            grown[axis] *= 2
    return grown
