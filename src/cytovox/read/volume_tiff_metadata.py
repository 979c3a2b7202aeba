"""What the metadata of a TIFF say: planes of OME-TIFF, and sizes of voxels in all dialects."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element

import numpy as np

from ..errors import InputError
from .permissions import RefusedInputError
from .volume_axes import normalize_unit
from .volume_folder import check_regular
from .volume_tiff_pages import Plane, Sizes, TiffFiles, TiffImage, image_of, incomplete, reading
from .volume_xml import parse_xml, read_xml

if TYPE_CHECKING:
    import tifffile

__all__ = ["ome_images", "voxel_sizes"]

_MAX_PLANES = 10_000_000
#: Least bytes of a page: one tag, their number, and the place of the next page.
_PAGE_BYTES = 18
#: Elements of OME-XML that are looked at.
_ELEMENTS = ("BinaryOnly", "Image", "Pixels", "Channel", "TiffData", "UUID")
#: What the tag ResolutionUnit means.
_RESOLUTION_UNITS = {2: "inch", 3: "centimeter", 4: "millimeter", 5: "micrometer"}
#: Dots per inch of printers and screens, and of unknown origin: they are not measured.
_PRINTING = (1, 2.54, 72, 75, 96, 100, 120, 144, 150, 180, 200, 240, 300, 350, 360, 400, 600, 1200)

# ----------------------------------------------------------------------------- OME-TIFF


def ome_images(files: TiffFiles) -> list[TiffImage]:
    """Return the images that the metadata describe, if all of their planes are there."""
    own = files.path
    ome = _parse(str(files.tiff.pages.first.description), own)
    elsewhere = ome.find("BinaryOnly")
    if elsewhere is not None and (name := elsewhere.get("MetadataFile")):
        own = _companion(files, name)
        in_xml = own.suffix.lower() in (".ome", ".xml")
        ome = _parse(read_xml(own) if in_xml else str(files.page(own, 0).description), own)
    images = []
    for image in ome.iterfind("Image"):
        if (pixels := image.find("Pixels")) is not None:
            with reading(files.path):
                found = _ome_image(files, pixels, own, ome.get("UUID", ""))
                images.append(replace(found, name=image.get("Name", "")))
    if not images:
        raise incomplete("its OME-XML describes no image", files.path)
    return images


def _parse(text: str, path: Path) -> Element:
    return parse_xml(text, path, _ELEMENTS, incomplete("", path).hint)


def _companion(files: TiffFiles, name: str) -> Path:
    there = files.path.with_name(Path(name).name)
    if Path(name).name != name or not there.is_file() or there == files.path:
        what = f"its metadata are in {name[:80]!r}, which is not a file of its folder"
        raise incomplete(what, files.path)
    return there


def _ome_image(files: TiffFiles, pixels: Element, own: Path, uuid: str) -> TiffImage:
    """Return an image; the file of the metadata may call itself by an identifier."""
    axes = pixels.get("DimensionOrder", "XYZCT")[::-1].upper().replace("Y", "").replace("X", "")
    lengths = {axis: int(pixels.get(f"Size{axis}", "")) for axis in (*axes, "Y", "X")}
    blocks = _blocks(pixels, own, uuid)
    # metadata and pages may differ in how many channels a page has
    first, there = blocks[0]
    samples = int(files.page(there, int(first.get("IFD", 0))).keyframe.samplesperpixel)
    if sorted(axes) != ["C", "T", "Z"] or lengths["C"] % samples:
        channels = f"{lengths['C']} channels, and its pages {samples}"
        raise incomplete(f"its OME-XML has axes {axes}YX and {channels}", own)
    outer = {axis: lengths[axis] // (samples if axis == "C" else 1) for axis in axes}
    planes = _planes(files, outer, samples, blocks, own)
    outer = {axis: length for axis, length in outer.items() if length > 1}
    image = image_of(files, planes, outer)
    frame = image.keyframe
    at, side = frame.axes.index("Y"), (lengths["Y"], lengths["X"])
    if frame.shape[at : at + 2] != side:
        what = f"a plane of {side} voxels is kept in pages of {frame.shape}"
        raise incomplete(what, files.path)
    levels = [image_of(files, planes, outer, level) for level in range(len(frame.subifds or ()))]
    names = [channel.get("Name") for channel in pixels.iterfind("Channel")]
    return replace(
        image,
        kind="ome",
        sizes=_ome_sizes(pixels),
        channels=tuple(name or str(number) for number, name in enumerate(names)),
        levels=tuple(levels),
    )


def _blocks(pixels: Element, own: Path, uuid: str) -> list[tuple[Element, Path]]:
    """Return each block of planes, and the file that it is in."""
    blocks = pixels.findall("TiffData") or [Element("TiffData")]
    files = [block.find("UUID") for block in blocks]
    alone = len({"" if file is None else file.get("FileName", "") for file in files}) == 1
    paths = [own if file is None else _file_of(file, own, uuid, alone=alone) for file in files]
    return list(zip(blocks, paths, strict=True))


def _file_of(file: Element, own: Path, uuid: str, *, alone: bool) -> Path:
    """Return a file of the set, which must be beside the first."""
    name, identifier = file.get("FileName", ""), (file.text or "").strip()
    if name.lower() == own.name.lower() or (identifier and identifier == uuid):
        return own
    if Path(name).name != name or "\\" in name or ":" in name or name in ("", ".", ".."):
        raise RefusedInputError(
            f"its OME-XML names planes in {name[:80] or identifier[:80]!r}, which is not a file "
            "of its folder",
            path=own,
            hint="put all files of the set into one folder, under their names",
        )
    there = own.with_name(name)
    if check_regular(there):
        return there
    if alone and not there.exists():
        return own  # it was renamed
    raise incomplete(f"planes of the image are in {name}, which is missing", own)


def _planes(
    files: TiffFiles,
    outer: dict[str, int],
    samples: int,
    blocks: list[tuple[Element, Path]],
    own: Path,
) -> list[Plane]:
    """Return file and page of each plane."""
    shape = tuple(outer.values())
    total = math.prod(shape)
    if min(shape) < 1 or total > _MAX_PLANES:
        raise InputError(f"its OME-XML promises {total:,} planes", path=own)
    firsts = []
    for axis, length in outer.items():
        column = [int(block.get(f"First{axis}", 0)) for block, _ in blocks]
        if axis == "C" and max(column) >= length:
            column = [number // samples for number in column]
        if max(column) == length and min(column) == 1:  # some writers count from 1
            column = [number - 1 for number in column]
        firsts.append(column)
    planes: list[Plane | None] = [None] * total
    named = 0
    for (block, there), *first in zip(blocks, *firsts, strict=True):
        page = int(block.get("IFD", 0))
        planned = block.get("PlaneCount", block.get("NumPlanes"))
        if planned is not None:
            count = int(planned)
        else:
            count = 1 if "IFD" in block.attrib else len(files.kinds(there)) - page
        at = int(np.ravel_multi_index(first, shape))
        count, size = min(count, total - at), there.stat().st_size
        named += count
        if count * _PAGE_BYTES > size or named > _MAX_PLANES:
            what = f"its OME-XML names {named:,} planes; {there.name} has {size:,} bytes"
            raise incomplete(what, own)
        for number in range(count):
            planes[at + number] = (there, page + number)
    found = [plane for plane in planes if plane is not None]
    if len(found) < total:
        missing = f"of {total - len(found)} not where they are; the first is plane"
        what = f"its OME-XML has {total} planes, and says {missing} {planes.index(None)}"
        raise incomplete(what, own)
    return found


# ------------------------------------------------------------------- size of a voxel


def _positive(value: Any) -> float | None:
    """Return a number as a size, or None if it is not one; signs are of the direction."""
    try:
        number = abs(float(value.replace(",", ".") if isinstance(value, str) else value))
    except (TypeError, ValueError):
        return None
    return number if 0 < number < math.inf else None


def voxel_sizes(file: tifffile.TiffFile, page: Any) -> Sizes:
    """Return what the file says besides OME-XML, else what its tags say."""
    for kind, read in _READERS.items():
        if getattr(file, f"is_{kind}", False) and (said := read(file, page)):
            return said
    return _tags(page)


def _ome_sizes(pixels: Element) -> Sizes:
    said = {axis: _positive(pixels.get(f"PhysicalSize{axis}")) for axis in "ZYX"}
    return {
        axis.lower(): (size, pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        for axis, size in said.items()
        if size is not None
    }


def _tags(page: Any, unit: str = "") -> Sizes:
    """Return the size of a pixel from the number of pixels in a unit."""
    said = {}
    for axis in "yx":
        tag = page.tags.get(f"{axis.upper()}Resolution")
        numbers = () if tag is None else tag.value
        if isinstance(numbers, (tuple, list)) and len(numbers) == 2 and numbers[0] and numbers[1]:
            said[axis] = numbers[1] / numbers[0]
    if not unit and "ResolutionUnit" in page.tags:
        unit = _RESOLUTION_UNITS.get(page.tags["ResolutionUnit"].value, "")
        inches = {"inch": 1.0, "centimeter": 2.54}.get(unit, 0.0)
        dots = [inches / size for size in said.values()]
        if any(abs(d / n - 1) < 0.005 for d in dots for n in _PRINTING):
            return {}
    return {axis: (size, unit) for axis, size in said.items()}


def _imagej(file: tifffile.TiffFile, page: Any) -> Sizes:
    meta = file.imagej_metadata or {}
    unit = str(meta.get("unit", ""))
    said = _tags(page, unit) if normalize_unit(unit) else _tags(page)
    unit = next((u for _, u in said.values()), unit)
    # ImageJ does not write sizes of 1, nor that of a single slice
    said = {a: said.get(a, (1.0, unit)) for a in "yx"}
    if "spacing" in meta or meta.get("images", 1) != 1 or len(file.pages) > 1:
        said["z"] = (_positive(meta.get("spacing", 1.0)) or 1.0, unit)
    return {a: (size, str(meta.get(f"{a}unit", u))) for a, (size, u) in said.items()}


def _lsm(file: tifffile.TiffFile, page: Any) -> Sizes:
    return _named(file.lsm_metadata, "VoxelSizeZ", "VoxelSizeY", "VoxelSizeX", factor=1e6)


def _micromanager(file: tifffile.TiffFile, page: Any) -> Sizes:
    summary = (file.micromanager_metadata or {}).get("Summary")
    return _named(summary, "z-step_um", "PixelSize_um", "PixelSize_um")


def _stk(file: tifffile.TiffFile, page: Any) -> Sizes:
    meta = file.stk_metadata or {}
    unit = str(meta.get("CalibrationUnits", ""))
    distances = meta.get("ZDistance")
    z = distances[0] if distances is not None and len(distances) else None
    said = {**meta, "ZDistance": z}
    return _named(said, "ZDistance", "YCalibration", "XCalibration", unit) if unit else {}


def _svs(file: tifffile.TiffFile, page: Any) -> Sizes:
    parts = (part.partition("=") for part in str(page.description).split("|"))
    said = {name.strip(): value.strip() for name, _, value in parts}
    return _named(said, "", "MPP", "MPP")


def _fluoview(file: tifffile.TiffFile, page: Any) -> Sizes:
    said = {}
    for entry in (file.fluoview_metadata or {}).get("Dimensions", ()):
        name, size = str(entry[0]).strip().lower(), _positive(entry[3])
        if name in ("x", "y", "z") and size is not None:
            said[name] = (size, str(entry[4]))
    return said


def _named(
    said: Any, z: str, y: str, x: str, unit: str = "micrometer", factor: float = 1.0
) -> Sizes:
    """Return the numbers of these names that are sizes."""
    names = {"z": z, "y": y, "x": x} if isinstance(said, dict) else {}
    found = {axis: _positive(said.get(name)) for axis, name in names.items()}
    return {axis: (size * factor, unit) for axis, size in found.items() if size is not None}


_READERS = {
    "lsm": _lsm,
    "micromanager": _micromanager,
    "imagej": _imagej,
    "stk": _stk,
    "svs": _svs,
    "fluoview": _fluoview,
}
