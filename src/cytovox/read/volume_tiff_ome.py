"""OME-XML: of which pages of which files an image consists, and how large its voxels are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import InputError
from .permissions import RefusedInputError
from .volume_folder import check_regular
from .volume_tiff_size import Sizes, positive
from .volume_xml import parse_xml

__all__ = ["Ome", "OmeImage", "parse_ome", "plain_pages_hint", "planes_of"]

_MAX_PLANES = 10_000_000


#: Attributes of a block of planes, those of its file, and the identifier of that.
TiffData = tuple[dict[str, str], dict[str, str], list[str]]


@dataclass(slots=True)
class OmeImage:
    """What the metadata say of one image; attributes are as they are written."""

    name: str
    pixels: dict[str, str] = field(default_factory=dict)
    data: list[TiffData] = field(default_factory=list)
    channels: list[str] = field(default_factory=list)

    @property
    def axes(self) -> str:
        """Axes, the slowest first, e.g. ``"TCZYX"``."""
        return self.pixels.get("DimensionOrder", "XYZCT")[::-1].upper()

    @property
    def sizes(self) -> Sizes:
        """Size of a voxel along each axis that has one, and its unit."""
        found = {a: positive(self.pixels.get(f"PhysicalSize{a}")) for a in "ZYX"}
        return {
            a.lower(): (size, self.pixels.get(f"PhysicalSize{a}Unit", "µm"))
            for a, size in found.items()
            if size is not None
        }

    def length(self, axis: str) -> int:
        """Return the number of voxels along an axis."""
        return int(self.pixels[f"Size{axis}"])


@dataclass(slots=True)
class Ome:
    """What the metadata of a file say."""

    uuid: str = ""
    images: list[OmeImage] = field(default_factory=list)
    #: Where the metadata are kept, if not here.
    metadata_file: str = ""


def plain_pages_hint(path: Path) -> str:
    """Return how to read the pages of a file without its metadata."""
    return f"copy the whole set again, or read the pages of this file alone as {path}:/pages"


def parse_ome(text: str, path: Path) -> Ome:
    """Return what a description says."""
    ome = Ome()

    def start(place: tuple[str, ...], attributes: dict[str, str]) -> None:
        data = ome.images[-1].data if ome.images else []
        match place[1:]:
            case ():
                ome.uuid = attributes.get("UUID", "")
            case ("BinaryOnly",):
                ome.metadata_file = attributes.get("MetadataFile", "")
            case ("Image",):
                ome.images.append(OmeImage(attributes.get("Name", "")))
            case ("Image", "Pixels"):
                ome.images[-1].pixels = attributes
            case ("Image", "Pixels", "Channel"):
                names = ome.images[-1].channels
                names.append(attributes.get("Name") or str(len(names)))
            case ("Image", "Pixels", "TiffData"):
                data.append((attributes, {}, []))
            case ("Image", "Pixels", "TiffData", "UUID"):
                data[-1][1].update({"FileName": ""} | attributes)

    def characters(place: tuple[str, ...], written: str) -> None:
        if place[1:] == ("Image", "Pixels", "TiffData", "UUID"):
            ome.images[-1].data[-1][2].append(written)

    parse_xml(text, path, start, characters, plain_pages_hint(path))
    return ome


def planes_of(
    image: OmeImage,
    own: tuple[Path, str],
    count: Callable[[Path], int],
    samples_of: Callable[[Path, int], int],
) -> tuple[tuple[int, ...], list[tuple[Path, int]]]:
    """Return lengths of the axes but y and x, and file and page of each plane."""
    path = own[0]
    data = image.data or [({}, {}, [])]
    alone = len({file.get("FileName", "") for _, file, _ in data}) == 1
    outer = image.axes.replace("Y", "").replace("X", "")
    channels = image.length("C")
    # metadata and pages may differ in how many channels a page has
    samples = samples_of(_file_of(data[0], own, alone=alone), int(data[0][0].get("IFD", 0)))
    if sorted(outer) != ["C", "T", "Z"] or channels % samples:
        raise InputError(
            f"its OME-XML has axes {image.axes} and {channels} channels, and its pages {samples}",
            path=path,
            hint=plain_pages_hint(path),
        )
    shape = tuple(channels // samples if a == "C" else image.length(a) for a in outer)
    total = math.prod(shape)
    if min(shape) < 1 or total > _MAX_PLANES:
        raise InputError(f"its OME-XML promises {total:,} planes", path=path)
    planes: list[tuple[Path, int] | None] = [None] * total
    firsts = _firsts(image, outer, shape, samples)
    for entry, first in zip(data, firsts, strict=True):
        there = _file_of(entry, own, alone=alone)
        attributes = entry[0]
        page = int(attributes.get("IFD", 0))
        planned = attributes.get("PlaneCount", attributes.get("NumPlanes"))
        if planned is not None:
            number_of = int(planned)
        else:
            number_of = 1 if "IFD" in attributes else count(there) - page
        at = int(np.ravel_multi_index(first, shape))
        for number in range(min(number_of, total - at)):
            planes[at + number] = (there, page + number)
    found = [plane for plane in planes if plane is not None]
    if len(found) < total:
        raise InputError(
            f"its OME-XML has {total} planes, and says of {total - len(found)} not where they "
            f"are; the first is plane {planes.index(None)}",
            path=path,
            hint=plain_pages_hint(path),
        )
    return shape, found


def _firsts(
    image: OmeImage, outer: str, shape: tuple[int, ...], samples: int
) -> list[tuple[int, ...]]:
    """Return the place of the first plane of each block; some writers count from 1."""
    columns = []
    for axis, length in zip(outer, shape, strict=True):
        column = [int(attributes.get(f"First{axis}", 0)) for attributes, _, _ in image.data]
        if axis == "C" and column and max(column) >= length:
            column = [number // samples for number in column]
        if column and max(column) == length and min(column) == 1:
            column = [number - 1 for number in column]
        columns.append(column or [0])
    return list(zip(*columns, strict=True))


def _file_of(entry: TiffData, own: tuple[Path, str], *, alone: bool) -> Path:
    """Return the file that a block of planes is in, which must be beside the first."""
    path, uuid = own
    file, identifier = entry[1], "".join(entry[2]).strip()
    name = file.get("FileName", "")
    if not file or name.lower() == path.name.lower() or (identifier and identifier == uuid):
        return path
    if not name or Path(name).name != name or "\\" in name or ":" in name or name in (".", ".."):
        raise RefusedInputError(
            f"its OME-XML names planes in {name[:80] or identifier[:80]!r}, which is not a file "
            "of its folder",
            path=path,
            hint="put all files of the set into one folder, under their names",
        )
    there = path.with_name(name)
    if check_regular(there):
        return there
    if alone and not there.exists():
        return path  # it was renamed
    raise InputError(
        f"planes of the image are in {name}, which is missing",
        path=path,
        hint=plain_pages_hint(path),
    )
