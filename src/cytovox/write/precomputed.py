"""Neuroglancer's precomputed format: volumes, scales, properties of segments."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError, OptionError, UsageError
from ..read.volume_address import parse_address, safe_join
from ..read.volume_axes import metres
from ..read.volume_store import read_json, remove_tree
from .volume_metadata import VolumePlan, write_documents

__all__ = ["add_scale", "info_documents", "write_segment_properties"]

_TYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "float32")
#: What a number of a segment may be; others become float32.
_PROPERTY_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32")
_PROPERTIES = "segment_properties"


def info_documents(plan: VolumePlan) -> dict[str, bytes]:
    """Return the ``info`` of a volume that was planned, by its name."""
    where = str(plan.address)
    if len(plan.shape) != len(plan.voxel_size) + (plan.axes[0] == "c") or "t" in plan.axes:
        raise OptionError("precomputed has no time", path=where, hint="write OME-Zarr")
    if len(plan.voxel_size) != 3:
        raise OptionError(
            "precomputed has three axes of space",
            path=where,
            hint=f"take shape {(*plan.shape[:-2], 1, *plan.shape[-2:])}",
        )
    if str(plan.dtype) not in _TYPES:
        raise OptionError(
            f"precomputed has no {plan.dtype}", path=where, hint=f"take one of {', '.join(_TYPES)}"
        )
    channels = plan.shape[0] if plan.axes[0] == "c" else 1
    info = {
        "@type": "neuroglancer_multiscale_volume",
        "type": "segmentation" if plan.labels else "image",
        "data_type": str(plan.dtype),
        "num_channels": channels,
        "scales": [_scale(plan)],
    }
    return {"info": _json(info)}


def _scale(plan: VolumePlan) -> dict[str, Any]:
    where = str(plan.address)
    layout = plan.layout(shards=False)
    to_nm = float(f"{(metres(plan.units) or 1e-9) / 1e-9:.12g}")
    if plan.units and metres(plan.units) is None:
        raise OptionError(f"'{plan.units}' is not a length", path=where, hint="say micrometer")
    if not plan.units and set(plan.voxel_size) != {1.0}:
        warnings.warn(
            f"{where}: voxels of {plan.voxel_size} have no unit; precomputed volumes are in "
            "nanometers, which are taken",
            stacklevel=2,
        )
    origin = [o / v for o, v in zip(plan.offset, plan.voxel_size, strict=True)]
    whole = [round(o) for o in origin]
    if any(abs(o - w) > 1e-4 for o, w in zip(origin, whole, strict=True)):
        raise OptionError(
            f"offset {plan.offset} is not a whole number of voxels of {plan.voxel_size}",
            path=where,
            hint="precomputed volumes begin at a voxel; write OME-Zarr",
        )
    resolution = [float(f"{v * to_nm:.12g}") for v in plan.voxel_size]
    # x first
    scale = {
        "key": _key(resolution[::-1]),
        "size": list(plan.shape[-3:][::-1]),
        "resolution": resolution[::-1],
        "voxel_offset": whole[::-1],
        "chunk_sizes": [list(layout.chunk[-3:][::-1])],
        "encoding": "raw",
    }
    if plan.labels and str(plan.dtype) in ("uint32", "uint64"):
        scale["encoding"] = "compressed_segmentation"
        scale["compressed_segmentation_block_size"] = [8, 8, 8]
    return scale


def add_scale(number: int, finest: VolumePlan, scale: VolumePlan) -> None:
    """Add a coarser scale to the ``info``."""
    address = finest.address
    info = read_json(address, "info")
    if info is None:
        raise InputError("there is no info", path=str(address))
    old = [s for s in info["scales"] if isinstance(s, dict)]
    first = old[0]
    factors = [round(v / f) for v, f in zip(scale.voxel_size, finest.voxel_size, strict=True)]
    factors = factors[::-1]
    begins = first.get("voxel_offset", [0, 0, 0])
    if any(o % f for o, f in zip(begins, factors, strict=True)):
        raise UsageError(
            f"a volume that begins at voxel {begins} (x, y, z) cannot be made {factors} times "
            "coarser",
            path=str(address),
            hint=f"say levels={number}, or write OME-Zarr",
        )
    made = {
        **first,
        "size": list(scale.spatial_shape[::-1]),
        "resolution": [v * f for v, f in zip(first["resolution"], factors, strict=True)],
        "voxel_offset": [o // f for o, f in zip(begins, factors, strict=True)],
    }
    made["key"] = _key(made["resolution"])
    remove_tree(safe_join(address, made["key"]))
    info["scales"] = [*old[:number], made]
    write_documents(address, {"info": _json(info)})


def write_segment_properties(
    url: str | os.PathLike[str], table: Mapping[str, npt.ArrayLike]
) -> list[str]:
    """Let neuroglancer show, sort and filter segments by the columns of a table.

    Parameters
    ----------
    url
        A precomputed volume of labels.
    table
        Equally long columns by name; ``label`` says which segment a row is of.
        A column ``name`` is shown beside the label.

    Returns
    -------
    list
        Columns that were left out, since some of their values are not finite
        numbers, which the format cannot hold.

    Raises
    ------
    UsageError
        If there is no column ``label``, or if columns are not equally long.
    InputError
        If the volume is not of this format.

    Examples
    --------
    >>> from cytovox.write import create_labels
    >>> url = getfixture("tmp_path") / "a"
    >>> create_labels(url, shape=(8, 8, 8), format="precomputed").close()
    >>> write_segment_properties(url, {"label": [1, 2], "volume": [2.5, float("nan")]})
    ['volume']
    """
    address = parse_address(url)
    info = read_json(address, "info")
    if info is None or info.get("type") != "segmentation":
        raise InputError("this is not a precomputed volume of labels", path=str(address))
    columns = {str(name): np.asarray(values) for name, values in table.items()}
    if "label" not in columns or columns["label"].dtype.kind not in "iu":
        raise UsageError("there is no column 'label' of integers", path=str(address))
    if len({column.shape for column in columns.values()}) != 1:
        raise UsageError("the columns are not equally long", path=str(address))
    ids = columns.pop("label")
    properties, left_out = [], []
    for name, values in columns.items():
        entry = _property(name, values)
        if entry is None:
            left_out.append(name)
        else:
            properties.append(entry)
    document = {
        "@type": "neuroglancer_segment_properties",
        "inline": {"ids": [str(v) for v in ids.tolist()], "properties": properties},
    }
    write_documents(safe_join(address, _PROPERTIES), {"info": _json(document)})
    write_documents(address, {"info": _json({**info, _PROPERTIES: _PROPERTIES})})
    return left_out


def _property(name: str, values: npt.NDArray[Any]) -> dict[str, Any] | None:
    if values.dtype.kind in "US" or values.dtype.kind == "O":
        kind = "label" if name == "name" else "string"
        return {"id": name, "type": kind, "values": [str(v) for v in values.tolist()]}
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    if str(values.dtype) not in _PROPERTY_TYPES:
        finite = values[np.isfinite(values)]
        low, high = (finite.min(), finite.max()) if finite.size else (0, 0)
        small = values.dtype.kind in "iu" and low >= -(2**31) and high < 2**31
        values = values.astype(np.int32 if small else np.float32)
    listed = values.tolist()
    if not all(math.isfinite(v) for v in listed):
        return None
    return {"id": name, "type": "number", "data_type": str(values.dtype), "values": listed}


def _key(resolution: list[float]) -> str:
    """Return the name of the folder of a scale."""
    return "_".join(f"{v:.10g}" for v in resolution)


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
