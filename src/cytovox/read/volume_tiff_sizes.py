"""The size of a voxel of a TIFF, as the programs that write such files say it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .volume_axes import normalize_unit

if TYPE_CHECKING:
    import tifffile

__all__ = ["Sizes", "positive", "voxel_sizes"]

#: Size of a voxel and its unit as it is written, by axis; absent if unknown.
Sizes = dict[str, tuple[float, str]]

#: What the tag ResolutionUnit means.
_RESOLUTION_UNITS = {2: "inch", 3: "centimeter", 4: "millimeter", 5: "micrometer"}
#: Dots per inch of printers and screens, and of unknown origin: they are not measured.
_PRINTING = (1, 2.54, 72, 75, 96, 100, 120, 144, 150, 180, 200, 240, 300, 350, 360, 400, 600, 1200)


def positive(value: Any) -> float | None:
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
        said["z"] = (positive(meta.get("spacing", 1.0)) or 1.0, unit)
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
        name, size = str(entry[0]).strip().lower(), positive(entry[3])
        if name in ("x", "y", "z") and size is not None:
            said[name] = (size, str(entry[4]))
    return said


def _named(
    said: Any, z: str, y: str, x: str, unit: str = "micrometer", factor: float = 1.0
) -> Sizes:
    """Return the numbers of these names that are sizes."""
    names = {"z": z, "y": y, "x": x} if isinstance(said, dict) else {}
    found = {axis: positive(said.get(name)) for axis, name in names.items()}
    return {axis: (size * factor, unit) for axis, size in found.items() if size is not None}


_READERS = {
    "lsm": _lsm,
    "micromanager": _micromanager,
    "imagej": _imagej,
    "stk": _stk,
    "svs": _svs,
    "fluoview": _fluoview,
}
