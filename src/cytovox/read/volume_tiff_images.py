"""The images of a TIFF: of which pages each consists, and which one is meant."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, OptionError
from .volume_address import Address
from .volume_folder import check_regular
from .volume_tiff_ome import Ome, parse_ome, plain_pages_hint, planes_of
from .volume_tiff_page import PageKind
from .volume_tiff_set import TiffSet, reading
from .volume_tiff_size import Sizes, voxel_sizes
from .volume_xml import read_xml

__all__ = ["TiffImage", "choose_image"]

#: Place inside of a file: its pages, whatever its metadata say.
_PAGES = "pages"
_LISTED = 8


@dataclass(frozen=True, slots=True)
class TiffImage:
    """An image: some axes, then those of a page."""

    name: str
    axes: str
    shape: tuple[int, ...]
    keyframe: Any
    #: Number of pages, and a function that returns one.
    count: int
    page: Callable[[int], Any]
    sizes: Sizes
    kind: str = ""
    #: Offset of the voxels, where it is known without a look at each page.
    start: int | None = None
    files: tuple[Path, ...] = ()
    levels: tuple[TiffImage, ...] = field(default=())
    channels: tuple[str, ...] = ()

    def contiguous(self) -> int | None:
        """Return where the voxels are in the file as in memory, or None."""
        frame = self.keyframe
        if self.start is not None or not frame.is_final or len(self.files) > 1:
            return self.start
        first = self.page(0)
        inside = np.subtract(frame.dataoffsets, frame.dataoffsets[0])
        for number in range(self.count):
            page = self.page(number)
            if page is None or len(page.dataoffsets) != len(inside):
                return None
            begin = first.dataoffsets[0] + number * frame.nbytes
            if not np.array_equal(page.dataoffsets, inside + begin):
                return None
        return int(first.dataoffsets[0])


def choose_image(files: TiffSet, address: Address) -> tuple[TiffImage, str]:
    """Return the image that is meant, and which of how many that is, in words."""
    wanted = address.inner.strip("/")
    if wanted == _PAGES:
        return _plain_images(files)[0], _PAGES
    images = _images(files)
    if not images:
        raise InputError("there is no image in it", path=files.path)
    listed = [f"{number} {_words(image)}" for number, image in enumerate(images[:_LISTED])]
    listed += ["..."] if len(images) > _LISTED else []
    if wanted:
        names = [image.name for image in images]
        number = int(wanted) if wanted.isdecimal() else -1
        number = names.index(wanted) if wanted in names else number
        if not 0 <= number < len(images):
            raise OptionError(
                f"there is no image {wanted!r} in it",
                path=files.path,
                hint=f"it has {'; '.join(listed)}",
            )
    elif len(images) > 1 and (stack := _stacked(images)) is not None:
        return stack, f"{len(images)} images of one page each, as a stack"
    else:
        full = [n for n, image in enumerate(images) if not image.keyframe.is_reduced]
        number = full[0] if full else 0
        if len(full) > 1:
            warnings.warn(
                f"{files.path}: image {number} is read, the first of {len(images)} "
                f"({'; '.join(listed)}); name another as {files.path}:/1",
                stacklevel=2,
            )
    said = f"{number} of {len(images)}" if len(images) > 1 else ""
    return images[number], f"{said} {images[number].name}".strip() if said else ""


def _words(image: TiffImage) -> str:
    size = " x ".join(map(str, image.shape))
    return f"({size} {image.keyframe.dtype}{f', {image.name!r}' if image.name else ''})"


def _images(files: TiffSet) -> list[TiffImage]:
    file = files.file
    if file.pages and file.is_mmstack:
        _refuse_pipes(files.path)
        return _series_images(files)
    if file.pages and file.pages.first.is_ome:
        return _ome_images(files)
    if file.pages and file.is_ndtiff:
        _refuse_pipes(files.path)
    return _series_images(files)


def _refuse_pipes(path: Path) -> None:
    """Refuse what cannot be opened without waiting where other files are looked for."""
    for other in path.parent.glob("*.tif*"):
        check_regular(other)


def _series_images(files: TiffSet) -> list[TiffImage]:
    """Return the images that tifffile finds, after a look at their pages."""
    file = files.file
    kinds = dict(files.kinds(files.path))
    images = []
    for series in file.series:
        for number in range(len(series) if len(kinds) > 1 or series.is_multifile else 0):
            _check_page(series, series[number], number, kinds, files.path)
        images.append(_series_image(file, series, files.path))
    _check_imagej(file, images, files.path)
    if images and images[0].kind == "mmstack":
        _warn_of_fewer_planes(file, images[0], files.path)
    generic = [image for image in images if image.kind == "generic"]
    shapes = {kind.shape for kind in kinds.values()}
    if len(generic) > len(shapes) and not any(i.levels or i.keyframe.subifds for i in generic):
        # pages that differ only in how they are compressed are of one image
        return _plain_images(files)
    return images


def _series_image(file: Any, series: Any, path: Path) -> TiffImage:
    alone = len(series) == 1
    return TiffImage(
        series.name,
        series.axes,
        tuple(series.shape),
        series.keyframe,
        len(series),
        series.__getitem__,
        voxel_sizes(file, series.keyframe),
        series.kind,
        # planes after each other with one list of tags
        series.dataoffset if alone and series.keyframe.is_final else None,
        (path, *_others(series, path)),
        tuple(_series_image(file, level, path) for level in series.levels[1:]),
    )


def _others(series: Any, path: Path) -> list[Path]:
    if not series.is_multifile:
        return []
    found = {Path(page.parent.filehandle.path) for page in series if page is not None}
    return sorted(found - {path})


def _check_page(
    series: Any, page: Any, number: int, kinds: dict[int, PageKind], path: Path
) -> None:
    if page is None or (series.kind == "mmstack" and not page.dataoffsets[0]):
        raise InputError(
            f"plane {number} of {len(series)} is missing",
            path=path,
            hint=plain_pages_hint(path),
        )
    frame = series.keyframe
    here = page.parent is frame.parent
    if not here:
        page.parent.filehandle.set_lock(True)  # opened by each thread that reads from it
    expected, found = kinds.get(frame.offset), kinds.get(page.offset)
    if (here and found not in (None, expected)) or page.keyframe.hash != frame.hash:
        raise InputError(
            f"page {number} has another shape, type or compression than page 0 of the same image",
            path=path,
            hint=plain_pages_hint(path),
        )


def _warn_of_fewer_planes(file: Any, image: TiffImage, path: Path) -> None:
    """Say what a run that was stopped, or a set that lacks files, has less than planned."""
    summary = file.micromanager_metadata.get("Summary", {})
    lengths = [summary.get(n) for n in ("Channels", "Slices", "Frames", "Positions")]
    planned = math.prod(n for n in lengths if isinstance(n, int) and n > 0)
    if planned > image.count:
        warnings.warn(
            f"{path}: {image.count} of the {planned} planes that Micro-Manager planned are there",
            stacklevel=2,
        )


def _check_imagej(file: Any, images: list[TiffImage], path: Path) -> None:
    meta = (file.imagej_metadata if file.is_imagej else None) or {}
    lengths = [meta.get(n, 1) for n in ("channels", "slices", "frames")]
    said = math.prod(n for n in lengths if isinstance(n, int))
    found = sum(image.count for image in images)
    if images and images[0].kind != "imagej" and said > max(found, 1):
        channels = images[0].keyframe.samplesperpixel
        if said > found * channels:
            raise InputError(
                f"it has {said} planes after ImageJ's description, and {found} are there",
                path=path,
                hint=plain_pages_hint(path),
            )


def _plain_images(files: TiffSet) -> list[TiffImage]:
    """Return pages of one shape and type as images, whatever the metadata say."""
    groups: dict[Any, list[int]] = {}
    for number, (_, kind) in enumerate(files.kinds(files.path)):
        groups.setdefault(kind.shape, []).append(number)
    images = []
    for numbers in groups.values():
        frame = files.page(files.path, numbers[0])
        page = lambda n, numbers=numbers: files.page(files.path, numbers[n])  # noqa: E731
        images.append(
            TiffImage(
                "",
                "I" + frame.axes,
                (len(numbers), *frame.shape),
                frame,
                len(numbers),
                page,
                voxel_sizes(files.file, frame),
                files=(files.path,),
            )
        )
    return images


def _stacked(images: list[TiffImage]) -> TiffImage | None:
    """Return images of one page each that were written one after another, as a stack."""
    first = images[0]
    alike = all(
        (i.count, i.kind, i.axes, i.shape, i.name) == (1, "shaped", first.axes, first.shape, "")
        and i.keyframe.dtype == first.keyframe.dtype
        and not i.levels
        for i in images
    )
    if not alike or first.axes.strip("S") != "YX" or first.keyframe.is_reduced:
        return None
    return replace(
        first,
        axes="I" + first.axes,
        shape=(len(images), *first.shape),
        count=len(images),
        page=lambda number: images[number].page(0),
        start=None,
    )


def _ome_images(files: TiffSet) -> list[TiffImage]:
    path = files.path
    ome, path_of = _metadata(files, parse_ome(files.description, path))
    images = []
    for image in ome.images:
        if image.pixels:
            with reading(path):
                images.append(_ome_image(files, ome, image, path_of))
    if not images:
        raise InputError("its OME-XML describes no image", path=path, hint=plain_pages_hint(path))
    return images


def _metadata(files: TiffSet, ome: Ome) -> tuple[Ome, Path]:
    """Return the metadata of the set, and the file that they call their own."""
    name = ome.metadata_file
    if not name:
        return ome, files.path
    there = files.path.with_name(Path(name).name)
    if Path(name).name != name or not there.is_file() or there == files.path:
        raise InputError(
            f"its metadata are in {name[:80]!r}, which is not a file of its folder",
            path=files.path,
            hint=plain_pages_hint(files.path),
        )
    if there.suffix.lower() in (".ome", ".xml"):
        found = parse_ome(read_xml(there), there)
        return replace(found, metadata_file=""), there
    return parse_ome(str(files.page(there, 0).description), there), there


def _ome_image(files: TiffSet, ome: Ome, image: Any, own: Path) -> TiffImage:
    outer, planes = planes_of(
        image,
        (own, ome.uuid),
        lambda path: len(files.kinds(path)),
        lambda path, number: int(files.page(path, number).keyframe.samplesperpixel),
    )
    frame = files.page(*planes[0]).keyframe
    lengths = (image.length("Y"), image.length("X"))
    at = frame.axes.index("Y")
    if frame.shape[at : at + 2] != lengths:
        raise InputError(
            f"a plane of {lengths} voxels is kept in pages of {frame.shape}",
            path=files.path,
            hint=plain_pages_hint(files.path),
        )
    page = _matching(files, planes, frame)
    axes = image.axes.replace("Y", "").replace("X", "")
    axes = "".join(a for a, n in zip(axes, outer, strict=True) if n > 1)
    outer = tuple(n for n in outer if n > 1)
    levels = []
    for level in range(len(frame.subifds or ())):
        coarse = files.subpage(*planes[0], level)
        get = lambda n, level=level: files.subpage(*planes[n], level)  # noqa: E731
        levels.append(
            TiffImage(
                "",
                axes + coarse.axes,
                (*outer, *coarse.shape),
                coarse,
                len(planes),
                get,
                image.sizes,
            )
        )
    used = tuple(dict.fromkeys(p for p, _ in planes))
    return TiffImage(
        image.name,
        axes + frame.axes,
        (*outer, *frame.shape),
        frame,
        len(planes),
        page,
        image.sizes,
        "ome",
        channels=tuple(image.channels),
        files=tuple(dict.fromkeys((files.path, *used))) if used != (files.path,) else used,
        levels=tuple(levels),
    )


def _matching(files: TiffSet, planes: list[tuple[Path, int]], frame: Any) -> Callable[[int], Any]:
    """Return a function that gives pages, which must be as the first."""

    def page(number: int) -> Any:
        found = files.page(*planes[number])
        key = found.keyframe
        if (key.shape, key.axes, key.dtype) != (frame.shape, frame.axes, frame.dtype):
            raise InputError(
                f"it holds a plane of {key.shape} voxels of {key.dtype}, not of {frame.shape} of "
                f"{frame.dtype} as the first",
                path=planes[number][0],
                hint="keep only files of one set in the folder",
            )
        return found

    return page
