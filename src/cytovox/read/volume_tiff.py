"""TIFF stacks: one file of many pages, or a folder of files of one page each."""

from __future__ import annotations

import itertools
import logging
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import CytovoxError, InputError, OptionError
from .volume_address import Address
from .volume_axes import name_axes, normalize_unit
from .volume_limits import Box, check_chunk, check_dtype, check_shape
from .volume_npy import MappedSource, map_file
from .volume_ome import choose_level
from .volume_source import Described, ReadOnlySource, digest_files
from .volume_tiff_page import check_page_list, check_strips, read_page

if TYPE_CHECKING:
    import tifffile

__all__ = ["TIFF_SUFFIXES", "TiffFolderSource", "TiffSource", "open_tiff", "open_tiff_folder"]

# It logs whatever is odd about a file, which is shown where nobody says how to
# log. Those who say so see it; to the others an error tells what matters.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")


def open_tiff(address: Address, scale: int | str | None) -> TiffSource | MappedSource:
    """Open the first image of a file, at one of its scales.

    Pages are decoded one strip or tile at a time, and only those that are
    asked for. OME-TIFF that keeps pages in other files is refused.

    Raises
    ------
    InputError
        If it is no TIFF, cut short, or compressed in an unknown way.
    OptionError
        If there is no such scale.
    """
    file = _open(address.path)
    try:
        return _open_level(file, address, scale)
    except CytovoxError:
        file.close()
        raise
    except Exception as err:
        # damaged tags make any kind of error
        file.close()
        raise _unreadable(err, address.path) from err


def _open_level(
    file: tifffile.TiffFile, address: Address, scale: int | str | None
) -> TiffSource | MappedSource:
    series = file.series[0]
    level = series.levels[_number(scale, len(series.levels), str(address))]
    described = _describe(file, level, series, str(address))
    if level.dataoffset is None:
        return TiffSource(file, level, described, address.path)
    stored = np.dtype(level.dtype).newbyteorder(file.byteorder)
    mapped = map_file(address.path, stored, int(level.dataoffset), described.shape)
    file.close()
    return MappedSource(address.path, mapped, described)


def _number(scale: int | str | None, count: int, where: str) -> int:
    return choose_level([str(n) for n in range(count)], scale, where)


def _open(path: Path) -> tifffile.TiffFile:
    import tifffile

    check_page_list(path)
    file = None
    try:
        file = tifffile.TiffFile(path, _multifile=False)
        if file.series:
            return file
    except Exception as err:
        # damaged tags make any kind of error
        if file is not None:
            file.close()
        raise _unreadable(err, path) from err
    file.close()
    raise InputError("there is no image in it", path=path)


def _unreadable(err: Exception, path: Path) -> InputError:
    return InputError(
        f"this is no TIFF that can be read: {str(err)[:200]}", path=path, hint="copy it again"
    )


def _describe(file: tifffile.TiffFile, level: Any, finest: Any, where: str) -> Described:
    shape = check_shape(tuple(level.shape), where)
    dtype = check_dtype(level.dtype, where)
    names = ["z" if a in "QI" and "Z" not in level.axes else a for a in level.axes.upper()]
    axes = name_axes(len(shape), names, where)
    page = level.keyframe
    tile = (page.tilelength, page.tilewidth) if page.is_tiled else None
    rows, columns = tile or (min(page.rowsperstrip, page.imagelength), page.imagewidth)
    by_axis = {"y": rows, "x": columns}
    by_axis["c"] = page.samplesperpixel if "S" in level.axes.upper() else 1
    chunk = tuple(min(by_axis.get(a, 1), n) for a, n in zip(axes, shape, strict=True))
    check_chunk(chunk, shape, dtype, where)
    size, unit = _voxel_size(file, page)
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
        tuple(unit if a in size else "" for a in axes),
    )


def _voxel_size(file: tifffile.TiffFile, page: Any) -> tuple[dict[str, float], str]:
    """Return the size of a voxel and its unit, as OME, ImageJ or the tags have it."""
    if file.is_ome and file.ome_metadata:
        found = dict(re.findall(r'PhysicalSize([XYZ](?:Unit)?)="([^"]*)"', file.ome_metadata))
        unit = normalize_unit(found.get("XUnit", "µm"))
        size = {a.lower(): _positive(found.get(a)) for a in "ZYX"}
        if found.get("X"):
            return size, unit
    imagej = file.imagej_metadata or {}
    tags = {n: page.tags[n].value for n in ("XResolution", "YResolution") if n in page.tags}
    per = {n[0].lower(): _positive(v[0]) / _positive(v[1]) for n, v in tags.items()}
    unit = normalize_unit(imagej.get("unit", ""))
    if not unit and "ResolutionUnit" in page.tags and not imagej:
        unit = {2: "inch", 3: "centimeter"}.get(int(page.tags["ResolutionUnit"].value), "")
        unit = unit if any(v != 1 for v in per.values()) else ""
    size = {"z": _positive(imagej.get("spacing")), "y": 1 / per.get("y", 1.0)}
    size["x"] = 1 / per.get("x", 1.0)
    if unit in ("inch", "centimeter"):
        # dots per inch are of printing and say nothing of microscopes
        return dict.fromkeys("zyx", 1.0), ""
    return size, unit


def _positive(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 1.0
    return number if 0 < number < math.inf else 1.0


class TiffSource(ReadOnlySource):
    """Pages of an open file.

    Parameters
    ----------
    file
        Closed together with this.
    level
        Series of pages.
    described
        What it says about itself.
    path
        For messages.
    """

    def __init__(
        self, file: tifffile.TiffFile, level: Any, described: Described, path: Path
    ) -> None:
        page_dims = len(level.keyframe.shape)
        self._pages_shape = described.shape[: len(described.shape) - page_dims]
        if math.prod(self._pages_shape) != len(level.pages) or (
            described.shape[len(self._pages_shape) :] != tuple(level.keyframe.shape)
        ):
            raise InputError(
                f"{len(level.pages)} pages cannot be an array of {described.shape}",
                path=path,
                hint="the file may be cut short; copy it again",
            )
        check_strips(level.keyframe, path)
        # Pages may be read by several threads, but the place in the file is one.
        file.filehandle.set_lock(True)
        self._file = file
        self._level = level
        self._path = path
        self.described = described

    def read_into(self, box: Box, out: npt.NDArray[Any]) -> None:
        """Decode what a box needs of each page.

        Raises
        ------
        InputError
            If a page is kept elsewhere, damaged, or compressed in an unknown way.
        """
        outer = len(self._pages_shape)
        for at in itertools.product(*(range(*b) for b in box[:outer])):
            number = int(np.ravel_multi_index(at, self._pages_shape)) if at else 0
            with self._file.filehandle.lock:
                page = self._level.pages[number]
            if page is None:
                raise InputError(f"page {number} is kept in another file", path=self._path)
            target = out[tuple(i - b[0] for i, b in zip(at, box[:outer], strict=True))]
            read_page(self._file, page, box[outer:], target, self._path)

    def identity(self) -> dict[str, Any]:
        """Return size and time of the file."""
        status = self._path.stat()
        return {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_tiff_folder(address: Address, scale: int | str | None) -> TiffFolderSource | None:
    """Open a folder of files of one page each, in natural order of their names.

    Returns None if there is no TIFF in it.

    Raises
    ------
    InputError
        If the first file is not to be read.
    """
    found = [p for p in address.path.iterdir() if p.suffix.lower() in TIFF_SUFFIXES]
    files = sorted((p for p in found if not p.name.startswith(".")), key=_natural)
    if not files:
        return None
    if scale is not None:
        raise OptionError("a folder of pages has no scales", path=str(address), hint="omit scale")
    return TiffFolderSource(address.path, files)


def _natural(path: Path) -> tuple[list[Any], str]:
    """Sort page 10 after page 9."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [int(p) if i % 2 else p for i, p in enumerate(parts)], path.name


class TiffFolderSource(ReadOnlySource):
    """Files of one page each, opened one at a time.

    Parameters
    ----------
    folder
        Where they are.
    files
        In order along z.
    """

    def __init__(self, folder: Path, files: list[Path]) -> None:
        with _open(files[0]) as file:
            page = file.series[0]
            if len(file.series) != 1 or len(page.pages) != 1 or len(page.shape) != 2:
                raise InputError(
                    f"it holds an image of shape {page.shape}, not one grey page",
                    path=files[0],
                    hint="give one file, or a folder of files with one page each",
                )
            described = _describe(file, page, page, str(files[0]))
        shape = check_shape((len(files), *described.shape), folder)
        size = (1.0, *described.voxel_size)
        self.described = Described(
            "tiff-folder",
            shape,
            described.dtype,
            ("z", "y", "x"),
            (1, *described.chunk),
            (1, *described.chunk),
            size,
            (0.0,) * 3,
            (described.units[-1],) * 3,
        )
        self._folder = folder
        self._files = files

    def read_into(self, box: Box, out: npt.NDArray[Any]) -> None:
        """Read a box, file by file.

        Raises
        ------
        InputError
            If a page is of another shape or type than the first.
        """
        expected = (self.described.shape[1:], self.described.dtype)
        for number, z in enumerate(range(*box[0])):
            path = self._files[z]
            with _open(path) as file:
                page: Any = file.pages[0]
                found = (tuple(page.shape), np.dtype(page.dtype).newbyteorder("="))
                if found != expected or len(file.pages) != 1:
                    raise InputError(
                        f"it holds {len(file.pages)} pages of {found[0]} voxels of {found[1]}, "
                        f"not one of {expected[0]} of {expected[1]} as the first file",
                        path=path,
                        hint="keep only the pages of one stack in the folder",
                    )
                read_page(file, page, box[1:], out[number], path)

    def identity(self) -> dict[str, Any]:
        """Return sizes and times of all files."""
        return digest_files(self._folder, self._files)

    def close(self) -> None:
        """Do nothing: no file is kept open."""
