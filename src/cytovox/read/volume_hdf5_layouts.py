"""HDF5 files of which a program has a layout of its own: Imaris and BigDataViewer.

Where the voxels are is known by name; how large they are, and which of them are
of the image, stands elsewhere in the file or in a file beside it.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .dataset import read_checked
from .volume_axes import SPATIAL, normalize_unit
from .volume_folder import check_regular
from .volume_limits import MAX_DOCUMENT_BYTES
from .volume_ome import choose_level
from .volume_xml import parse_xml, read_xml

if TYPE_CHECKING:
    import h5py

__all__ = ["Layout", "default_array", "dimension_scales", "layout_of"]

_IMARIS = re.compile(r"DataSet/ResolutionLevel (\d+)/TimePoint (\d+)/Channel (\d+)/Data")
#: Longest axis whose coordinates are compared.
_MAX_COORDINATES = 2**20
_BDV = re.compile(r"t(\d{5,})/s(\d{2,})/(\d+)/cells")


@dataclass(frozen=True, slots=True)
class Layout:
    """What is known of an array besides its attributes; axes are z, y, x."""

    format: str
    shape: tuple[int, ...]
    size: tuple[float, ...]
    offset: tuple[float, ...]
    unit: str
    #: Type of the voxels, where the stored one is another.
    dtype: np.dtype[Any] | None = None


def default_array(
    file: h5py.File, names: list[str], scale: int | str | None, path: Path
) -> str | None:
    """Return the first image of a file of such a program, or None if it is of another."""
    for form, level in ((_IMARIS, 1), (_BDV, 3)):
        found = [match for match in map(form.fullmatch, names) if match is not None]
        if not found:
            continue
        numbers = {tuple(int(g) for g in match.groups()): match[0] for match in found}
        scales = sorted({int(match[level]) for match in found})
        chosen = scales[choose_level([str(s) for s in scales], scale, str(path))]
        keys = sorted(key for key in numbers if key[level - 1] == chosen)
        name = numbers[keys[0]]
        if len(keys) > 1:
            warnings.warn(
                f"{path}: /{name} is read, the first of {len(keys)} channels and time points; "
                f"name another by its path, as {path}:/{numbers[keys[-1]]}",
                stacklevel=2,
            )
        return name
    return None


def layout_of(array: h5py.Dataset, path: Path) -> Layout | None:
    """Return what the layout of its program says of an array, or None."""
    name = array.name.strip("/")
    if len(array.shape) != 3:
        return None
    if _IMARIS.fullmatch(name):
        return _imaris(array, path)
    if (match := _BDV.fullmatch(name)) is not None:
        return _bdv(array, match[2], int(match[3]), path)
    return None


def _imaris(array: h5py.Dataset, path: Path) -> Layout:
    """Chunks are padded to their full size, so an array is larger than its image."""
    image = _member(array.file, "DataSetInfo/Image")
    said = {} if image is None else image.attrs
    finest = "/ResolutionLevel 0/" in array.name
    shape = []
    for axis, stored in zip("ZYX", array.shape, strict=True):
        length = _number(array.parent.attrs, f"ImageSize{axis}")
        length = _number(said, axis) if length is None and finest else length
        length = stored if length is None else int(length)
        if not 1 <= length <= stored:
            raise InputError(
                f"an image of {length} voxels along {axis.lower()} cannot be in {stored}",
                path=path,
                hint="it is damaged; copy it again",
            )
        shape.append(length)
    size, offset = [], []
    for number, length in zip((2, 1, 0), shape, strict=True):
        start, end = _number(said, f"ExtMin{number}"), _number(said, f"ExtMax{number}")
        if start is None or end is None or start == end:
            warnings.warn(f"{path}: it does not say how large voxels are", stacklevel=2)
            return Layout("imaris", tuple(shape), (1.0,) * 3, (0.0,) * 3, "")
        size.append(float(f"{abs(end - start) / length:.12g}"))
        offset.append(min(start, end))
    unit = normalize_unit(_text(said, "Unit") or "um")
    return Layout("imaris", tuple(shape), tuple(size), tuple(offset), unit)


def _member(file: h5py.File, name: str) -> Any:
    """Return what is in the file itself, or None; links may lead to other files."""
    import h5py

    here: Any = file
    for part in name.split("/"):
        link = here.get(part, getlink=True) if isinstance(here, h5py.Group) else None
        here = here[part] if isinstance(link, h5py.HardLink) else None
    return here


def _text(attributes: Any, name: str) -> str:
    """Return a text, of which Imaris stores each character alone."""
    value = attributes.get(name)
    if isinstance(value, np.ndarray) and value.dtype.kind == "S":
        value = b"".join(value.ravel().tolist())
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)


def _number(attributes: Any, name: str) -> float | None:
    try:
        number = float(_text(attributes, name))
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _bdv(array: h5py.Dataset, setup: str, level: int, path: Path) -> Layout:
    size, unit = _bdv_size(path, int(setup))
    factors = np.ones(3)
    table = _member(array.file, f"s{setup}/resolutions")
    if (
        hasattr(table, "ndim")
        and table.ndim == 2
        and table.shape[1] == 3
        and level < len(table) <= 64
    ):
        said = np.asarray(table[level], float)[::-1]
        factors = said if (said > 0).all() and np.isfinite(said).all() else factors
    # a coarser voxel begins where the first of its fine ones does
    offset = tuple(float(s * (f - 1) / 2) for s, f in zip(size, factors, strict=True))
    voxel = tuple(float(f"{s * f:.12g}") for s, f in zip(size, factors, strict=True))
    # BigDataViewer has unsigned voxels only, and stores them as signed
    dtype = np.dtype(np.uint16) if array.dtype == np.int16 else None
    return Layout("bigdataviewer", array.shape, voxel, offset, unit, dtype)


def _bdv_size(path: Path, setup: int) -> tuple[tuple[float, ...], str]:
    """Return size and unit of the finest voxels from the XML beside the file."""
    there = path.with_suffix(".xml")
    if not check_regular(there) or there.stat().st_size > MAX_DOCUMENT_BYTES:
        warnings.warn(
            f"{path}: it does not say how large voxels are; {there.name} is missing", stacklevel=2
        )
        return (1.0,) * len(SPATIAL), ""
    setups: list[dict[str, str]] = []

    def start(place: tuple[str, ...], _: dict[str, str]) -> None:
        if place[-1] == "ViewSetup":
            setups.append({})

    def characters(place: tuple[str, ...], written: str) -> None:
        if "ViewSetup" in place[:-1]:
            key = "/".join(place[place.index("ViewSetup") + 1 :])
            setups[-1][key] = setups[-1].get(key, "") + written

    parse_xml(read_xml(there), there, start, characters)
    for found in setups:
        if found.get("id", "").strip() == str(setup):
            try:
                size = [float(v) for v in found.get("voxelSize/size", "").split()]
            except ValueError:
                break
            if len(size) == 3 and min(size) > 0 and np.isfinite(size).all():
                return tuple(size[::-1]), normalize_unit(found.get("voxelSize/unit", ""))
    warnings.warn(f"{path}: {there.name} does not say how large voxels are", stacklevel=2)
    return (1.0,) * len(SPATIAL), ""


def dimension_scales(array: h5py.Dataset) -> dict[str, Any]:
    """Return names, sizes (0 if unknown) and units of axes from the coordinates of each."""
    names, sizes, units = [], [], []
    for dimension, length in zip(array.dims, array.shape, strict=True):
        scale = dimension[0] if len(dimension) else None
        names.append("" if scale is None else scale.name.rpartition("/")[2])
        size = 0.0
        if scale is not None and scale.shape == (length,) and 1 < length <= _MAX_COORDINATES:
            if scale.dtype.kind in "iuf" and not scale.is_virtual and not scale.external:
                steps = np.diff(np.asarray(read_checked(scale), float))
                even = np.isfinite(steps).all() and np.allclose(steps, steps[0], rtol=1e-3)
                size = abs(float(steps.mean())) if even else 0.0
            units.append(_text(scale.attrs, "units"))
        else:
            units.append("")
        sizes.append(float(f"{size:.9g}"))
    found: dict[str, Any] = {"axis_names": names} if all(names) else {}
    if any(sizes) and any(units):
        found |= {"voxel_size": sizes, "units": units}
    return found
