"""The images of a TIFF: of which pages each consists, and which one is meant."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InputError, OptionError
from .volume_address import Address
from .volume_folder import check_regular
from .volume_tiff_metadata import ome_images, voxel_sizes
from .volume_tiff_pages import PageKind, TiffFiles, TiffImage, image_of, incomplete

__all__ = ["choose_image"]

#: Place inside of a file: its pages, whatever its metadata say.
_PAGES = "pages"
_LISTED = 8


def choose_image(files: TiffFiles, address: Address) -> tuple[TiffImage, str]:
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
        if number < 0 or number >= len(images):
            number = names.index(wanted) if wanted in names else number
        if not 0 <= number < len(images):
            hint = f"it has {'; '.join(listed)}"
            raise OptionError(f"there is no image {wanted!r} in it", path=files.path, hint=hint)
    elif len(images) > 1 and (stack := _stack_of(files, images)) is not None:
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


def _images(files: TiffFiles) -> list[TiffImage]:
    tiff, path = files.tiff, files.path
    if tiff.pages.first.is_ome and not tiff.is_mmstack:
        return ome_images(files)
    if tiff.is_mmstack or tiff.is_ndtiff:
        for other in path.parent.glob("*.tif*"):  # tifffile opens those of the same set
            check_regular(other)
    kinds = dict(files.kinds(path))
    images = []
    for series in tiff.series:
        if len(kinds) > 1 or series.is_multifile:
            _check_pages(series, kinds, path)
        images.append(_image_of_series(files, series))
    _check_planned(files, images)
    _check_taken(images, len(kinds), path)
    generic = [image for image in images if image.kind == "generic"]
    shapes = {kind.shape for kind in kinds.values()}
    if len(generic) > len(shapes) and not any(i.levels or i.keyframe.subifds for i in generic):
        # pages that differ only in how they are compressed are of one image
        return _plain_images(files)
    return images


def _image_of_series(files: TiffFiles, series: Any) -> TiffImage:
    pages = [page for page in series if page is not None] if series.is_multifile else []
    others = {Path(page.parent.filehandle.path) for page in pages} - {files.path}
    frame = series.keyframe
    return TiffImage(
        series.axes,
        tuple(series.shape),
        frame,
        len(series),
        series.__getitem__,
        (files.path, *sorted(others)),
        series.name,
        series.kind,
        voxel_sizes(files.tiff, frame),
        levels=tuple(_image_of_series(files, level) for level in series.levels[1:]),
        # planes after each other with one list of tags
        start=series.dataoffset if len(series) == 1 and frame.is_final else None,
    )


def _check_pages(series: Any, kinds: dict[int, PageKind], path: Path) -> None:
    """Check that the pages that tifffile takes for an image are there and alike."""
    frame = series.keyframe
    expected = kinds.get(frame.offset)
    for number in range(len(series)):
        page = series[number]
        if page is None or (series.kind == "mmstack" and not page.dataoffsets[0]):
            raise incomplete(f"plane {number} of {len(series)} is missing", path)
        found = expected
        if page.parent is frame.parent:
            found = kinds.get(page.offset, expected)
        else:
            page.parent.filehandle.set_lock(True)  # opened by each thread that reads from it
        if found != expected or page.keyframe.hash != frame.hash:
            what = (
                f"page {number} has another shape, type or compression than page 0 of the "
                "same image"
            )
            raise incomplete(what, path)


def _check_planned(files: TiffFiles, images: list[TiffImage]) -> None:
    """Compare the planes that are there with those that programs say they have written."""
    if not images:
        return
    tiff, first = files.tiff, images[0]
    if first.kind == "mmstack":
        # a run was stopped, or the set lacks files
        summary = (tiff.micromanager_metadata or {}).get("Summary", {})
        planned = _product(summary, ("Channels", "Slices", "Frames", "Positions"))
        if planned > first.count:
            warnings.warn(
                f"{files.path}: {first.count} of the {planned} planes that Micro-Manager planned "
                "are there",
                stacklevel=2,
            )
    if first.kind != "imagej" and tiff.is_imagej:
        said = _product(tiff.imagej_metadata or {}, ("channels", "slices", "frames"))
        found = sum(image.count for image in images)
        if said > max(found, 1) * first.keyframe.samplesperpixel:
            what = f"it has {said} planes after ImageJ's description, and {found} are there"
            raise incomplete(what, files.path)


def _check_taken(images: list[TiffImage], pages: int, path: Path) -> None:
    """Check that no page is left out by a description that another program has kept."""
    if not images or images[0].kind not in ("shaped", "imagej"):
        return
    levels = [level for image in images for level in (image, *image.levels)]
    taken = sum(math.prod(level.shape) // math.prod(level.keyframe.shape) for level in levels)
    if taken < pages:
        what = f"it has {pages} pages, and its description is of {taken}"
        raise incomplete(what, path)


def _product(said: dict[str, Any], names: tuple[str, ...]) -> int:
    numbers = [said.get(name) for name in names]
    return math.prod(n for n in numbers if isinstance(n, int) and n > 0)


def _plain_images(files: TiffFiles) -> list[TiffImage]:
    """Return pages of one shape and type as images, whatever the metadata say."""
    groups: dict[Any, list[int]] = {}
    for number, (_, kind) in enumerate(files.kinds(files.path)):
        groups.setdefault(kind.shape, []).append(number)
    return [_stack(files, numbers) for numbers in groups.values()]


def _stack(files: TiffFiles, numbers: list[int]) -> TiffImage:
    planes = [(files.path, number) for number in numbers]
    stack = image_of(files, planes, {"I": len(numbers)})
    return replace(stack, sizes=voxel_sizes(files.tiff, stack.keyframe))


def _stack_of(files: TiffFiles, images: list[TiffImage]) -> TiffImage | None:
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
    return _stack(files, [image.keyframe.index for image in images])
