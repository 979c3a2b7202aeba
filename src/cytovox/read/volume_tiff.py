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
from .volume_axes import SPATIAL, name_axes, normalize_unit
from .volume_limits import Box, check_chunk, check_dtype, check_shape
from .volume_npy import MappedSource, map_file
from .volume_ome import choose_level
from .volume_source import Described, ReadOnlySource, digest_files, file_identity
from .volume_tiff_images import TiffImage, choose_image
from .volume_tiff_page import check_strips, read_page
from .volume_tiff_set import TiffSet, reading

__all__ = ["TIFF_SUFFIXES", "TiffFolderSource", "TiffSource", "open_tiff", "open_tiff_folder"]

TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")


def open_tiff(address: Address, scale: int | str | None) -> TiffSource | MappedSource:
    """Open an image of a file, at one of its scales.

    Pages are decoded one strip or tile at a time, and only those that are
    asked for. Planes of OME-TIFF may be in other files of the same folder.
    """
    with reading(address.path):
        files = TiffSet(address.path)
        try:
            return _open_image(files, address, scale)
        except BaseException:
            files.close()
            raise


def _open_image(
    files: TiffSet, address: Address, scale: int | str | None
) -> TiffSource | MappedSource:
    image, series = choose_image(files, address)
    levels = [image, *image.levels]
    level = levels[choose_level([str(n) for n in range(len(levels))], scale, str(address))]
    described = _describe(level, image, str(address), series)
    start = level.contiguous()
    if start is None:
        return TiffSource(files, level, described, address.permissions)
    stored = np.dtype(level.keyframe.dtype).newbyteorder(files.file.byteorder)
    mapped = map_file(address.path, stored, start, described.shape)
    files.close()
    return MappedSource(address.path, mapped, described)


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
    size, unit = _place(finest, dict(zip(axes, shape, strict=True)), where)
    for axis in ("y", "x"):
        # a coarser scale says the resolution of the finest, if any
        if axis in axes and finest is not level and len(finest.shape) == len(shape):
            number = axes.index(axis)
            size[axis] *= finest.shape[number] / shape[number]
    return Described(
        "tiff",
        shape,
        dtype,
        axes,
        chunk,
        chunk,
        tuple(size.get(a, 1.0) for a in axes),
        (0.0,) * len(shape),
        tuple(unit.get(a, "") for a in axes),
        series,
        finest.channels,
    )


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


def _place(
    image: TiffImage, lengths: dict[str, int], where: str
) -> tuple[dict[str, float], dict[str, str]]:
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
    placed = {a: known.get(a, (usual if unit else 1.0, unit)) for a in SPATIAL}
    return {a: s for a, (s, _) in placed.items()}, {a: u for a, (_, u) in placed.items()}


class TiffSource(ReadOnlySource):
    """Pages of an image."""

    def __init__(
        self, files: TiffSet, level: TiffImage, described: Described, permissions: Permissions
    ) -> None:
        page_dims = len(level.keyframe.shape)
        self._pages_shape = described.shape[: len(described.shape) - page_dims]
        if math.prod(self._pages_shape) != level.count or (
            described.shape[len(self._pages_shape) :] != tuple(level.keyframe.shape)
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
        outer = len(self._pages_shape)
        for at in itertools.product(*(range(*b) for b in box[:outer])):
            number = int(np.ravel_multi_index(at, self._pages_shape)) if at else 0
            # pages may be read by several threads, but the place in the file is one
            handle = self._files.file.filehandle
            with self._files.lock, handle.lock, reading(self._files.path):
                page = self._level.page(number)
            if page is None:
                raise InputError(f"page {number} is missing", path=self._files.path)
            target = out[tuple(i - b[0] for i, b in zip(at, box[:outer], strict=True))]
            path = Path(page.parent.filehandle.path)
            read_page(page, box[outer:], target, path, self._permissions)

    def identity(self) -> dict[str, Any]:
        """Return sizes and times of all files."""
        path = self._files.path
        if len(self._level.files) > 1:
            return digest_files(path.parent, self._level.files)
        return file_identity(path)

    def close(self) -> None:
        """Close the files."""
        self._files.close()


def open_tiff_folder(
    address: Address, scale: int | str | None
) -> TiffFolderSource | TiffSource | MappedSource | None:
    """Open a folder of files of one page each, in natural order of their names.

    The files of one OME-TIFF are in the order that their metadata say. Returns
    None if there is no TIFF in it.
    """
    found = [p for p in address.path.iterdir() if p.suffix.lower() in TIFF_SUFFIXES]
    files = sorted((p for p in found if not p.name.startswith(".")), key=_natural)
    if not files:
        return None
    front = replace(address, url=str(files[0]))
    with contextlib.closing(TiffSet(files[0])) as first, reading(files[0]):
        image = choose_image(first, front)[0]
        if len(files) > 1 and set(files) == set(image.files):
            return open_tiff(front, scale)
        if scale is not None:
            where = str(address)
            raise OptionError("a folder of pages has no scales", path=where, hint="omit scale")
        if len(first.kinds(files[0])) != 1 or image.count != 1 or len(image.shape) != 2:
            raise InputError(
                f"it holds an image of shape {image.shape}, not one grey page",
                path=files[0],
                hint="give one file, or a folder of files with one page each",
            )
        page = _describe(image, image, str(files[0]))
        lengths = {"z": len(files)} | dict(zip(page.axes, page.shape, strict=True))
        return TiffFolderSource(address, files, page, _place(image, lengths, str(address)))


def _natural(path: Path) -> tuple[list[Any], str]:
    """Sort page 10 after page 9."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [int(p) if i % 2 else p for i, p in enumerate(parts)], path.name


class TiffFolderSource(ReadOnlySource):
    """Files of one page each, opened one at a time."""

    def __init__(
        self,
        address: Address,
        files: list[Path],
        page: Described,
        placed: tuple[dict[str, float], dict[str, str]],
    ) -> None:
        shape = check_shape((len(files), *page.shape), address.path)
        size, unit = placed
        self.described = Described(
            "tiff-folder",
            shape,
            page.dtype,
            ("z", "y", "x"),
            (1, *page.chunk),
            (1, *page.chunk),
            tuple(size[a] for a in SPATIAL),
            (0.0,) * 3,
            tuple(unit[a] for a in SPATIAL),
        )
        self._folder = address.path
        self._permissions = address.permissions
        self._files = files

    def read_into(self, box: Box, out: npt.NDArray[Any]) -> None:
        """Read a box, file by file."""
        expected = (self.described.shape[1:], self.described.dtype)
        for number, z in enumerate(range(*box[0])):
            path = self._files[z]
            with contextlib.closing(TiffSet(path)) as file, reading(path):
                page, count = file.page(path, 0), len(file.kinds(path))
                found = (tuple(page.shape), np.dtype(page.dtype).newbyteorder("="))
                if found != expected or count != 1:
                    raise InputError(
                        f"it holds {count} pages of {found[0]} voxels of {found[1]}, "
                        f"not one of {expected[0]} of {expected[1]} as the first file",
                        path=path,
                        hint="keep only the pages of one stack in the folder",
                    )
                read_page(page, box[1:], out[number], path, self._permissions)

    def identity(self) -> dict[str, Any]:
        """Return sizes and times of all files."""
        return digest_files(self._folder, self._files)

    def close(self) -> None:
        """Do nothing: no file is kept open."""
