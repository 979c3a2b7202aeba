"""OME-TIFF: of which pages of which files an image consists, after its OME-XML."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from .permissions import RefusedInputError
from .volume_folder import check_regular
from .volume_tiff_pages import Plane, TiffFiles, TiffImage, image_of, incomplete, reading
from .volume_tiff_sizes import Sizes, positive
from .volume_xml import parse_xml, read_xml

__all__ = ["ome_images"]

_MAX_PLANES = 10_000_000


@dataclass(slots=True)
class _Block:
    """A row of planes; attributes are as they are written."""

    said: dict[str, str] = field(default_factory=dict)
    file: str | None = None
    identifier: str = ""

    def number(self, name: str) -> int:
        return int(self.said.get(name, 0))


@dataclass(slots=True)
class _Image:
    name: str
    pixels: dict[str, str] = field(default_factory=dict)
    blocks: list[_Block] = field(default_factory=list)
    channels: list[str] = field(default_factory=list)

    @property
    def sizes(self) -> Sizes:
        """Size of a voxel along each axis that has one, and its unit."""
        found = {a: positive(self.pixels.get(f"PhysicalSize{a}")) for a in "ZYX"}
        return {
            a.lower(): (size, self.pixels.get(f"PhysicalSize{a}Unit", "µm"))
            for a, size in found.items()
            if size is not None
        }


@dataclass(slots=True)
class _Ome:
    #: The file that the metadata call their own.
    path: Path
    uuid: str = ""
    images: list[_Image] = field(default_factory=list)
    #: Where the metadata are kept, if not here.
    elsewhere: str = ""


def ome_images(files: TiffFiles) -> list[TiffImage]:
    """Return the images that the metadata describe, if all of their planes are there."""
    path = files.path
    ome = _parse(str(files.tiff.pages.first.description), path)
    if ome.elsewhere:
        ome = _companion(files, ome.elsewhere)
    images = []
    for image in ome.images:
        if image.pixels:
            with reading(path):
                images.append(_image(files, ome, image))
    if not images:
        raise incomplete("its OME-XML describes no image", path)
    return images


def _companion(files: TiffFiles, name: str) -> _Ome:
    there = files.path.with_name(Path(name).name)
    if Path(name).name != name or not there.is_file() or there == files.path:
        what = f"its metadata are in {name[:80]!r}, which is not a file of its folder"
        raise incomplete(what, files.path)
    if there.suffix.lower() in (".ome", ".xml"):
        return _parse(read_xml(there), there)
    return _parse(str(files.page(there, 0).description), there)


def _parse(text: str, path: Path) -> _Ome:
    ome = _Ome(path)

    def start(place: tuple[str, ...], said: dict[str, str]) -> None:
        match place[1:]:
            case ():
                ome.uuid = said.get("UUID", "")
            case ("BinaryOnly",):
                ome.elsewhere = said.get("MetadataFile", "")
            case ("Image",):
                ome.images.append(_Image(said.get("Name", "")))
            case ("Image", "Pixels"):
                ome.images[-1].pixels = said
            case ("Image", "Pixels", "Channel"):
                names = ome.images[-1].channels
                names.append(said.get("Name") or str(len(names)))
            case ("Image", "Pixels", "TiffData"):
                ome.images[-1].blocks.append(_Block(said))
            case ("Image", "Pixels", "TiffData", "UUID"):
                ome.images[-1].blocks[-1].file = said.get("FileName", "")

    def characters(place: tuple[str, ...], written: str) -> None:
        if place[1:] == ("Image", "Pixels", "TiffData", "UUID"):
            block = ome.images[-1].blocks[-1]
            block.identifier = (block.identifier + written)[:1000]

    parse_xml(text, path, start, characters, incomplete("", path).hint)
    return ome


def _image(files: TiffFiles, ome: _Ome, image: _Image) -> TiffImage:
    axes = image.pixels.get("DimensionOrder", "XYZCT")[::-1].upper()
    axes = axes.replace("Y", "").replace("X", "")
    lengths = {axis: int(image.pixels[f"Size{axis}"]) for axis in (*axes, "Y", "X")}
    blocks = image.blocks or [_Block()]
    alone = len({block.file for block in blocks}) == 1
    paths = [_file_of(block, ome, alone=alone) for block in blocks]
    # metadata and pages may differ in how many channels a page has
    samples = int(files.page(paths[0], blocks[0].number("IFD")).keyframe.samplesperpixel)
    if sorted(axes) != ["C", "T", "Z"] or lengths["C"] % samples:
        what = (
            f"its OME-XML has axes {axes}YX and {lengths['C']} channels, and its pages {samples}"
        )
        raise incomplete(what, ome.path)
    shape = tuple(lengths[a] // (samples if a == "C" else 1) for a in axes)
    planes = _planes(files, (axes, shape, samples), list(zip(blocks, paths, strict=True)), ome)
    outer = {a: n for a, n in zip(axes, shape, strict=True) if n > 1}
    found = image_of(files, planes, outer)
    frame = found.keyframe
    at = frame.axes.index("Y")
    if frame.shape[at : at + 2] != (lengths["Y"], lengths["X"]):
        what = (
            f"a plane of {(lengths['Y'], lengths['X'])} voxels is kept in pages of {frame.shape}"
        )
        raise incomplete(what, files.path)
    levels = [image_of(files, planes, outer, level) for level in range(len(frame.subifds or ()))]
    return replace(
        found,
        name=image.name,
        kind="ome",
        sizes=image.sizes,
        channels=tuple(image.channels),
        levels=tuple(levels),
    )


def _planes(
    files: TiffFiles,
    outer: tuple[str, tuple[int, ...], int],
    blocks: list[tuple[_Block, Path]],
    ome: _Ome,
) -> list[Plane]:
    """Return file and page of each plane."""
    axes, shape, samples = outer
    total = math.prod(shape)
    if min(shape) < 1 or total > _MAX_PLANES:
        raise InputError(f"its OME-XML promises {total:,} planes", path=ome.path)
    firsts = []
    for axis, length in zip(axes, shape, strict=True):
        column = [block.number(f"First{axis}") for block, _ in blocks]
        if axis == "C" and max(column) >= length:
            column = [number // samples for number in column]
        if max(column) == length and min(column) == 1:  # some writers count from 1
            column = [number - 1 for number in column]
        firsts.append(column)
    planes: list[Plane | None] = [None] * total
    for (block, there), *first in zip(blocks, *firsts, strict=True):
        page = block.number("IFD")
        planned = block.said.get("PlaneCount", block.said.get("NumPlanes"))
        if planned is not None:
            count = int(planned)
        else:
            count = 1 if "IFD" in block.said else len(files.kinds(there)) - page
        at = int(np.ravel_multi_index(first, shape))
        for number in range(min(count, total - at)):
            planes[at + number] = (there, page + number)
    found = [plane for plane in planes if plane is not None]
    if len(found) < total:
        what = (
            f"its OME-XML has {total} planes, and says of {total - len(found)} not where they "
            f"are; the first is plane {planes.index(None)}"
        )
        raise incomplete(what, ome.path)
    return found


def _file_of(block: _Block, ome: _Ome, *, alone: bool) -> Path:
    """Return the file that a block of planes is in, which must be beside the first."""
    path, name = ome.path, block.file
    if name is None or name.lower() == path.name.lower():
        return path
    identifier = block.identifier.strip()
    if identifier and identifier == ome.uuid:
        return path
    if Path(name).name != name or "\\" in name or ":" in name or name in ("", ".", ".."):
        raise RefusedInputError(
            f"its OME-XML names planes in {name[:80] or identifier[:80]!r}, which is not a "
            "file of its folder",
            path=path,
            hint="put all files of the set into one folder, under their names",
        )
    there = path.with_name(name)
    if check_regular(there):
        return there
    if alone and not there.exists():
        return path  # it was renamed
    raise incomplete(f"planes of the image are in {name}, which is missing", path)
