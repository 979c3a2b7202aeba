"""What programs say of arrays in HDF5: size and place of voxels, names of axes, shape and type.

Most say it in attributes of the array. Imaris and BigDataViewer have a layout of
their own: where the voxels are is known by name; how large they are, and which
of them are of the image, stands elsewhere in the file or in a file beside it.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import InputError
from .dataset import read_checked
from .volume_axes import SPATIAL
from .volume_folder import check_regular
from .volume_limits import MAX_DOCUMENT_BYTES
from .volume_ome import choose_level
from .volume_xml import parse_xml, read_xml

__all__ = ["Layout", "default_array", "describe_array", "member_of"]

_IMARIS = re.compile(r"DataSet/ResolutionLevel (\d+)/TimePoint (\d+)/Channel (\d+)/Data")
_BDV = re.compile(r"t(\d{5,})/s(\d{2,})/(\d+)/cells")
_BDV_ELEMENTS = frozenset(
    ("SequenceDescription", "ViewSetups", "ViewSetup", "id", "voxelSize", "size", "unit")
)
#: Attributes that are looked at.
_SIZES = ("voxel_size", "resolution", "offset", "units", "unit", "element_size_um")
_AXES = ("axis_names", "axistags", "axis_units", "DIMENSION_LABELS")
#: Longest axis whose coordinates are compared.
_MAX_COORDINATES = 2**20


@dataclass(frozen=True, slots=True)
class Layout:
    """What is known of an array; `said` is read by `place_axes`."""

    format: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: list[Any] | None
    said: dict[str, Any]


def describe_array(array: h5py.Dataset, path: Path) -> Layout:
    """Return what the file says of an array."""
    said = _attributes(array)
    layout = Layout("hdf5", array.shape, array.dtype, _names(said), said)
    name = array.name.strip("/") if array.ndim == 3 else ""
    if _IMARIS.fullmatch(name):
        return _imaris(array, layout, path)
    if match := _BDV.fullmatch(name):
        return _bdv(array, layout, match, path)
    return layout


def default_array(
    file: h5py.File, names: list[str], scale: int | str | None, path: Path
) -> str | None:
    """Return the first image of a file of such a program, or None if it is of another."""
    for form, level in ((_IMARIS, 0), (_BDV, 2)):
        matches = filter(None, map(form.fullmatch, names))
        found = {tuple(map(int, match.groups())): match[0] for match in matches}
        if not found:
            continue
        scales = sorted({key[level] for key in found})
        chosen = scales[choose_level([str(s) for s in scales], scale, str(path))]
        keys = sorted(key for key in found if key[level] == chosen)
        name = found[keys[0]]
        if len(keys) > 1:
            warnings.warn(
                f"{path}: /{name} is read, the first of {len(keys)} channels and time points; "
                f"name another by its path, as {path}:/{found[keys[-1]]}",
                stacklevel=2,
            )
        return name
    return None


def member_of(file: h5py.File, name: str) -> Any:
    """Return what is in the file itself, or None; or else the first link on the way there.

    Links may lead to other files.
    """
    here: Any = file
    for part in name.split("/"):
        link = here.get(part, getlink=True) if isinstance(here, h5py.Group) else None
        if not isinstance(link, h5py.HardLink):
            return link
        here = here[part]
    return here


# ------------------------------------------------------------------------- attributes


def _attributes(array: h5py.Dataset) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in (*_SIZES, *_AXES):
        # what is not written in a way that h5py knows is left out; it is only a description
        with contextlib.suppress(OSError, TypeError, ValueError):
            if name in array.attrs:
                value = array.attrs[name]
                plain = isinstance(value, (np.ndarray, np.generic))
                found[name] = value.tolist() if plain else value
    if "voxel_size" in found or ("resolution" in found and "element_size_um" not in found):
        return found
    if "element_size_um" in found:
        found |= {"voxel_size": found["element_size_um"], "units": "micrometer"}
        found.pop("offset", None)
    else:
        found |= _tagged_sizes(found)
    if "DIMENSION_LIST" in array.attrs and "voxel_size" not in found:
        with contextlib.suppress(OSError, TypeError, ValueError, KeyError, RuntimeError):
            scales = _dimension_scales(array)
            # names of axes are rather those that are given to them; units were of the values
            found = scales | found | {k: scales[k] for k in ("voxel_size", "units") if k in scales}
    said = found.get("voxel_size")
    if isinstance(said, list) and 0 in said:
        warnings.warn(
            f"{array.file.filename}:{array.name}: it says how large voxels are along some axes "
            "only; 1 is taken for the others",
            stacklevel=2,
        )
        found["voxel_size"] = [s or 1.0 for s in said]
    return found


def _names(attributes: dict[str, Any]) -> list[Any] | None:
    if tags := _tags(attributes):
        return [tag["key"] for tag in tags]
    labels = attributes.get("DIMENSION_LABELS")
    labels = labels if isinstance(labels, list) and all(labels) else None
    names = labels or attributes.get("axis_names")
    return names if isinstance(names, list) else None


def _tags(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what vigra and ilastik say of each axis."""
    found = _json(attributes.get("axistags"))
    axes = found.get("axes") if isinstance(found, dict) else None
    good = isinstance(axes, list) and all(isinstance(a, dict) and "key" in a for a in axes)
    return axes if good and axes is not None else []


def _tagged_sizes(attributes: dict[str, Any]) -> dict[str, Any]:
    tags = [tag for tag in _tags(attributes) if str(tag["key"]).lower() in SPATIAL]
    sizes = [tag.get("resolution") for tag in tags]
    sizes = [abs(s) if isinstance(s, (int, float)) and math.isfinite(s) else 0 for s in sizes]
    if not any(sizes):
        return {}
    units = _json(attributes.get("axis_units"))
    units = units if isinstance(units, dict) else {}
    said = [units.get(tag["key"], tag.get("unit", "")) for tag in tags]
    usual = attributes.get("units", attributes.get("unit", ""))
    return {"voxel_size": sizes, "units": said if any(said) else usual}


def _json(value: Any) -> Any:
    """Return a text in JSON as values, or None; texts of a fixed length are bytes."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    try:
        return json.loads(value)
    except (ValueError, TypeError, RecursionError):
        return None


def _dimension_scales(array: h5py.Dataset) -> dict[str, Any]:
    """Return names, sizes (0 if unknown), places and units of axes from coordinates of each."""
    names, sizes, offset, units = [], [], [], []
    for dimension, length in zip(array.dims, array.shape, strict=True):
        scale = dimension[0] if len(dimension) else None
        names.append("" if scale is None else scale.name.rpartition("/")[2])
        size, first, unit = 0.0, 0.0, ""
        if scale is not None and scale.shape == (length,) and 1 < length <= _MAX_COORDINATES:
            unit = _text(scale.attrs, "units")
            if scale.dtype.kind in "iuf" and not scale.is_virtual and not scale.external:
                places = np.asarray(read_checked(scale), float)
                steps = np.diff(places)
                if np.isfinite(steps).all() and np.allclose(steps, steps[0], rtol=1e-3):
                    size, first = abs(float(steps.mean())), float(places[0])
                    if steps[0] < 0:
                        first = 0.0
                        warnings.warn(
                            f"{array.file.filename}: coordinates along {names[-1]!r} fall; only "
                            "the size of voxels is taken from them",
                            stacklevel=2,
                        )
        units.append(unit)
        sizes.append(float(f"{size:.9g}"))
        offset.append(first)
    found: dict[str, Any] = {"axis_names": names} if all(names) else {}
    if any(sizes) and any(units):
        found |= {"voxel_size": sizes, "offset": offset, "units": units}
    return found


def _text(attributes: Any, name: str) -> str:
    """Return a text, of which Imaris stores each character alone."""
    value = attributes.get(name)
    if isinstance(value, np.ndarray) and value.dtype.kind == "S":
        value = b"".join(value.ravel().tolist())
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)


# ------------------------------------------------------------ programs with a layout


def _imaris(array: h5py.Dataset, layout: Layout, path: Path) -> Layout:
    """Chunks are padded to their full size, so an array is larger than its image."""
    image = member_of(array.file, "DataSetInfo/Image")
    said = image.attrs if isinstance(image, (h5py.Group, h5py.Dataset)) else {}

    def number(attributes: Any, name: str) -> float:
        try:
            return float(_text(attributes, name))
        except ValueError:
            return math.nan

    shape = []
    for axis, stored in zip("ZYX", array.shape, strict=True):
        length = number(array.parent.attrs, f"ImageSize{axis}")
        if not math.isfinite(length) and "/ResolutionLevel 0/" in array.name:
            length = number(said, axis)
        length = int(length) if math.isfinite(length) else stored
        if not 1 <= length <= stored:
            raise InputError(
                f"an image of {length} voxels along {axis.lower()} cannot be in {stored}",
                path=path,
                hint="it is damaged; copy it again",
            )
        shape.append(length)
    ends = [(number(said, f"ExtMin{n}"), number(said, f"ExtMax{n}")) for n in (2, 1, 0)]
    sizes = {}
    if all(math.isfinite(b - a) and a != b for a, b in ends):
        sizes = {
            "voxel_size": [
                float(f"{abs(b - a) / length:.12g}")
                for (a, b), length in zip(ends, shape, strict=True)
            ],
            "offset": [min(a, b) for a, b in ends],
            "units": _text(said, "Unit") or "um",
        }
    else:
        warnings.warn(f"{path}: it does not say how large voxels are", stacklevel=2)
    return replace(layout, format="imaris", shape=tuple(shape), said=sizes)


def _bdv(array: h5py.Dataset, layout: Layout, names: re.Match[str], path: Path) -> Layout:
    setup, level = names[2], int(names[3])
    size, unit = _bdv_size(path, int(setup))
    factors = np.ones(3)
    table = member_of(array.file, f"s{setup}/resolutions")
    if isinstance(table, h5py.Dataset) and table.shape[1:] == (3,) and level < len(table) <= 64:
        said = np.asarray(table[level], float)[::-1]
        factors = said if (said > 0).all() and np.isfinite(said).all() else factors
    both = list(zip(size, factors.tolist(), strict=True))
    sizes = {
        "voxel_size": [float(f"{s * f:.12g}") for s, f in both],
        # a coarser voxel begins where the first of its fine ones does
        "offset": [s * (f - 1) / 2 for s, f in both],
        "units": unit,
    }
    # BigDataViewer has unsigned voxels only, and stores them as signed
    dtype = np.dtype(np.uint16) if array.dtype == np.int16 else array.dtype
    return replace(layout, format="bigdataviewer", dtype=dtype, said=sizes)


def _bdv_size(path: Path, setup: int) -> tuple[tuple[float, ...], str]:
    """Return size and unit of the finest voxels from the XML beside the file."""
    there = path.with_suffix(".xml")
    if not check_regular(there) or there.stat().st_size > MAX_DOCUMENT_BYTES:
        warnings.warn(
            f"{path}: it does not say how large voxels are; {there.name} is missing", stacklevel=2
        )
        return (1.0,) * len(SPATIAL), ""
    root = parse_xml(read_xml(there), there, _BDV_ELEMENTS)
    for found in root.iter("ViewSetup"):
        if found.findtext("id", "").strip() == str(setup):
            with contextlib.suppress(ValueError):
                size = [float(v) for v in found.findtext("voxelSize/size", "").split()]
                if len(size) == 3 and min(size) > 0 and np.isfinite(size).all():
                    return tuple(size[::-1]), found.findtext("voxelSize/unit", "")
    warnings.warn(f"{path}: {there.name} does not say how large voxels are", stacklevel=2)
    return (1.0,) * len(SPATIAL), ""
