"""TIFF: an image of many pages in one file or several, or a folder of pages."""

from __future__ import annotations

import contextlib
import itertools
import math
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError, OptionError
from .permissions import Permissions
from .volume_address import Address
from .volume_axes import SPATIAL, name_axes, normalize_unit, place_axes
from .volume_folder import digest_files, file_identity
from .volume_limits import Box, check_chunk, check_dtype, check_shape
from .volume_npy import MappedSource, map_file
from .volume_ome import choose_level
from .volume_tiff_images import choose_image
from .volume_tiff_pages import (
    TiffFiles,
    TiffImage,
    check_strips,
    image_of,
    opened,
    read_page,
    reading,
)
from .volume_view import Described, ReadOnlySource

__all__ = ["TiffSource", "open_tiff", "open_tiff_folder"]

_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")


def open_tiff(address: Address, scale: int | str | None) -> TiffSource | MappedSource:
    """Open an image of a file, at one of its scales.

    Pages are decoded one strip or tile at a time, and only those that are
    asked for. Planes of OME-TIFF may be in other files of the same folder.
    """
    with reading(address.path), contextlib.ExitStack() as stack:
        files = stack.enter_context(contextlib.closing(TiffFiles(address.path)))
        image, series = choose_image(files, address)
        levels = [image, *image.levels]
        numbers = [str(number) for number in range(len(levels))]
        level = levels[choose_level(numbers, scale, str(address))]
        described = _describe(level, image, str(address), series)
        if (start := level.contiguous()) is not None:
            stored = np.dtype(level.keyframe.dtype).newbyteorder(files.tiff.byteorder)
            mapped = map_file(address.path, stored, start, described.shape)
            return MappedSource(address.path, mapped, described)
        source = TiffSource(files, level, described, address.permissions)
        stack.pop_all()
        return source


def open_tiff_folder(
    address: Address, scale: int | str | None
) -> TiffSource | MappedSource | None:
    """Open a folder of files of one page each, in natural order of their names.

    The files of one OME-TIFF are in the order that their metadata say. Returns
    None if there is no TIFF in it.
    """
    found = [p for p in address.path.iterdir() if p.suffix.lower() in _SUFFIXES]
    paths = sorted((p for p in found if not p.name.startswith(".")), key=_natural)
    if not paths:
        return None
    front = replace(address, url=str(paths[0]))
    with reading(paths[0]), contextlib.ExitStack() as stack:
        files = stack.enter_context(contextlib.closing(TiffFiles(paths[0])))
        image = choose_image(files, front)[0]
        if len(paths) == 1 or set(paths) != set(image.files):
            if scale is not None:
                where = str(address)
                raise OptionError("a folder of pages has no scales", path=where, hint="omit scale")
            source = _open_pages(files, paths, image, address)
            stack.pop_all()
            return source
    return open_tiff(front, scale)


def _open_pages(
    files: TiffFiles, paths: list[Path], first: TiffImage, address: Address
) -> TiffSource:
    if len(files.kinds(paths[0])) != 1 or first.count != 1 or len(first.shape) != 2:
        raise InputError(
            f"it holds an image of shape {first.shape}, not one grey page",
            path=paths[0],
            hint="give one file, or a folder of files with one page each",
        )
    stack = image_of(files, [(path, 0) for path in paths], {"Z": len(paths)}, alone=True)
    stack = replace(stack, kind=first.kind, sizes=first.sizes)
    described = replace(_describe(stack, stack, str(address)), format="tiff-folder")
    return TiffSource(files, stack, described, address.permissions)


def _natural(path: Path) -> tuple[list[Any], str]:
    """Sort page 10 after page 9."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [int(p) if i % 2 else p for i, p in enumerate(parts)], path.name


def _describe(level: TiffImage, finest: TiffImage, where: str, series: str = "") -> Described:
    shape = check_shape(level.shape, where)
    page = level.keyframe
    dtype = check_dtype(page.dtype, where)
    axes = name_axes(len(shape), _letters(level.axes), where)
    # a tile is decoded as a whole, also where it is larger than the image
    decoded = (*page.chunks, *(1,) * len(shape))[: len(shape)]
    check_chunk(decoded, shape, dtype, where)
    rows, columns = page.chunks[1:3] if page.tiledepth > 1 else page.chunks[:2]
    by_axis = {"y": rows, "x": columns}
    by_axis["c"] = page.samplesperpixel if "S" in level.axes.upper() else 1
    chunk = tuple(min(by_axis.get(a, 1), n) for a, n in zip(axes, shape, strict=True))
    placed = _place(finest, dict(zip(axes, shape, strict=True)), where)
    size = [placed.get(a, (1.0, ""))[0] for a in axes]
    if finest is not level and len(finest.shape) == len(shape):
        # a coarser scale says the resolution of the finest, if any
        sides = zip(axes, size, finest.shape, shape, strict=True)
        size = [s * (m / n) if a in "yx" else s for a, s, m, n in sides]
    said = {"voxel_size": size, "units": [placed.get(a, (1.0, ""))[1] for a in axes]}
    placement = place_axes(axes, said, where)
    return Described("tiff", shape, dtype, axes, chunk, chunk, *placement, series, finest.channels)


def _letters(axes: str) -> list[str]:
    """Return names of axes; those that the file does not name are z, c and t from the last."""
    names = [a.lower() if a in "TCZYX" else "?" for a in axes.upper()]
    if "S" in axes.upper() and "c" not in names:
        names[axes.upper().index("S")] = "c"
    free = iter([a for a in "zct" if a not in names])
    for number in reversed(range(len(names))):
        if axes[number].upper() in "QI":
            names[number] = next(free, "?")
    return names


def _place(image: TiffImage, lengths: dict[str, int], where: str) -> dict[str, tuple[float, str]]:
    """Return size and unit of a voxel along each axis of space."""
    known = {a: (size, normalize_unit(unit)) for a, (size, unit) in image.sizes.items()}
    unit = next((known[a][1] for a in "xyz" if a in known), "")
    # programs that write OME-XML mean 1 where they say nothing
    usual = 1.0 if image.kind == "ome" else known.get("x", (1.0, ""))[0]
    missing = [a for a in SPATIAL if a in lengths and a not in known and lengths[a] > 1]
    if missing and unit:
        warnings.warn(
            f"{where}: it does not say how large voxels are along {' and '.join(missing)}; "
            f"{usual:g} {unit} is taken",
            stacklevel=2,
        )
    return {a: known.get(a, (usual if unit else 1.0, unit)) for a in SPATIAL}


class TiffSource(ReadOnlySource):
    """Pages of an image."""

    def __init__(
        self, files: TiffFiles, level: TiffImage, described: Described, permissions: Permissions
    ) -> None:
        page_dims = len(level.keyframe.shape)
        self._outer = described.shape[: len(described.shape) - page_dims]
        if math.prod(self._outer) != level.count or (
            described.shape[len(self._outer) :] != tuple(level.keyframe.shape)
        ):
            raise InputError(
                f"{level.count} pages cannot be an array of {described.shape}",
                path=files.path,
                hint="the file may be cut short; copy it again",
            )
        check_strips(level.keyframe, files.path)
        self._files = files
        self._level = level
        self._permissions = permissions
        self.described = described

    def read_into(self, box: Box, out: npt.NDArray[Any]) -> None:
        """Decode what a box needs of each page."""
        outer = box[: len(self._outer)]
        for at in itertools.product(*(range(*b) for b in outer)):
            number = int(np.ravel_multi_index(at, self._outer)) if at else 0
            path = self._files.path
            with self._files.lock, opened(self._files.tiff.filehandle), reading(path):
                page = self._level.page(number)
            if page is None:
                raise InputError(f"page {number} is missing", path=path)
            target = out[tuple(i - b[0] for i, b in zip(at, outer, strict=True))]
            read_page(page, box[len(outer) :], target, self._permissions)

    def identity(self) -> dict[str, Any]:
        """Return sizes and times of all files."""
        path, used = self._files.path, self._level.files
        if len(used) > 1 or self.described.format == "tiff-folder":
            return digest_files(path.parent, used)
        return file_identity(path)

    def close(self) -> None:
        """Close the files."""
        self._files.close()
