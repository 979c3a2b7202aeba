"""The peer's results on simulated recordings, as numbers.

They tell whether this program still agrees with its peer where neither the peer
nor real recordings are at hand. Whole columns are kept as checksums, and of each
feature some values and the sum, so that a difference can be looked at.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 (registers the filters)
import numpy as np
import numpy.typing as npt

from .program import encode
from .tolerances import EXACT, Tolerance, tolerance_of

FOLDER = Path(__file__).resolve().parents[1] / "golden"
#: Values that are kept of each feature.
KEPT = 6
#: Attributes that the run sets.
ATTRS = ("experiment:event count", "experiment:run identifier", "imaging:pixel size")
#: These involve the power function and the arc tangent of the C library, which
#: round differently on other systems; the live comparison has no such trouble.
PORTABLE = {
    name: Tolerance("1e-11 relative", relative=1e-11, absolute=1e-12)
    for name in ("inert_ratio_prnc", "eccentr_prnc", "tilt")
}
LOOSE = {"clear_border": False, "fill_holes": False, "closing_disk": 0}

#: Simulated recordings by name, each with the settings that are run on it.
RECORDINGS: dict[str, dict[str, Any]] = {
    "separated": {
        "simulation": {"frames": 60, "seed": 11, "shape": [64, 200], "frame_rate": 30.0},
        "runs": {
            "defaults": {},
            "thresh -3, all frames but the first": {
                "segmenter_kwargs": {"thresh": -3},
                "data_kwargs": {"index_mapping": slice(1, 60, 1)},
            },
            "no event": {"segmenter_kwargs": {"thresh": -250}},
        },
    },
    "crowded": {
        "simulation": {
            "frames": 50,
            "seed": 12,
            "shape": [80, 160],
            "frame_rate": 10.0,
            "cells": 3.0,
            "separated": False,
            "border": 0.3,
            "duplicates": 0.1,
        },
        "runs": {
            "many background images": {
                "background_kwargs": {"kernel_size": 12, "split_time": 0.5}
            },
            "cleansing by spread": {
                "background_kwargs": {
                    "kernel_size": 10,
                    "split_time": 0.25,
                    "thresh_cleansing": 2,
                    "offset_correction": False,
                }
            },
            "no clean-up": {
                "segmenter_kwargs": {"thresh": -12, "kwargs_mask": LOOSE},
                "gate_kwargs": {"size_thresh_mask": 4},
            },
        },
    },
    "noisy": {
        "simulation": {
            "frames": 40,
            "seed": 13,
            "shape": [32, 120],
            "frame_rate": 5.0,
            "noise": 5.0,
            "flicker": 0.02,
        },
        "attrs": {
            "online_filter:area_um min": 8.0,
            "online_filter:area_um max": 11.9,
            "online_filter:area_um soft limit": False,
            "online_contour:bin area min": 60,
        },
        "runs": {
            "rolling median": {
                "background_code": "rollmed",
                "background_kwargs": {"kernel_size": 10},
            },
            "online gates, small disk": {
                "gate_kwargs": {"online_gates": True},
                "segmenter_kwargs": {"kwargs_mask": {"closing_disk": 1}},
            },
            "pixel size, few features": {
                "data_kwargs": {"pixel_size": 0.34},
                "feature_kwargs": {"haralick": False, "brightness": False},
            },
        },
    },
}


def simulate(name: str, folder: Path) -> Path:
    """Write a simulated recording and return its path."""
    from cytovox.testing import simulate_recording

    chosen = RECORDINGS[name]
    path = folder / f"{name}.rtdc"
    simulation = dict(chosen["simulation"])
    simulation["shape"] = tuple(simulation["shape"])
    simulate_recording(path, save_truth=False, **simulation)
    with h5py.File(path, "a") as h5:
        h5.attrs.update(chosen.get("attrs", {}))
    return path


def images_digest(path: Path) -> str:
    """Return a checksum of the images of a recording."""
    with h5py.File(path) as h5:
        return _digest(h5["events/image"][:])


def definition(name: str) -> Any:
    """Return what was simulated and run, as it looks in a file."""
    return json.loads(json.dumps(encode(RECORDINGS[name]), sort_keys=True))


def describe(path: Path) -> dict[str, Any]:
    """Return a measured file as numbers.

    Returns
    -------
    dict
        ``attrs``, ``arrays`` (integer datasets as checksum with type and
        shape) and ``features`` (float columns).
    """
    arrays: dict[str, Any] = {}
    features: dict[str, Any] = {}
    with h5py.File(path) as h5:
        names = [f"events/{n}" for n in h5["events"]]
        names += [f"basin_events/{n}" for n in h5.get("basin_events", ())]
        for name in sorted(names):
            values = h5[name][:]
            if values.dtype.kind == "f":
                features[name.partition("/")[2]] = _column(name, values)
            else:
                arrays[name] = [values.dtype.str, list(values.shape), _digest(values)]
        attrs = {
            name: h5.attrs[name].item() if hasattr(h5.attrs[name], "item") else h5.attrs[name]
            for name in sorted(h5.attrs)
            if name in ATTRS or name.startswith("pipeline:")
        }
    return {"attrs": attrs, "arrays": arrays, "features": features}


def differences(found: Mapping[str, Any], golden: Mapping[str, Any]) -> list[str]:
    """Return how a description differs from the one that is kept."""
    lines = []
    for kind in ("attrs", "arrays", "features"):
        a, b = found[kind], golden[kind]
        lines += [f"{kind} {name}: only one has it" for name in sorted(set(a) ^ set(b))]
        for name in sorted(set(a) & set(b)):
            same = (
                _same_column(name, a[name], b[name]) if kind == "features" else a[name] == b[name]
            )
            if not same:
                lines.append(f"{kind} {name}: {a[name]} instead of {b[name]}")
    return lines


def _tolerance(feature: str) -> Tolerance:
    return PORTABLE.get(feature) or tolerance_of(feature)


def _column(name: str, values: npt.NDArray[Any]) -> dict[str, Any]:
    values = values.astype(np.float64)
    kept = values[:: max(1, len(values) // KEPT)][:KEPT]
    column = {
        "length": len(values),
        "nan": int(np.isnan(values).sum()),
        "sum": math.fsum(values[~np.isnan(values)]).hex(),
        "kept": [float(v).hex() for v in kept],
    }
    if _tolerance(name.partition("/")[2]) is EXACT:
        column["sha256"] = _digest(values)
    return column


def _same_column(name: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    if any(a[key] != b[key] for key in ("length", "nan")) or a.get("sha256") != b.get("sha256"):
        return False
    tolerance = _tolerance(name)
    x, y = (np.array([float.fromhex(v) for v in one["kept"]]) for one in (a, b))
    near = np.abs(x - y) <= tolerance.allowed(y)
    if not np.all(near | (np.isnan(x) & np.isnan(y))):
        return False
    total, expected = (np.array([float.fromhex(one["sum"])]) for one in (a, b))
    slack = tolerance.allowed(expected) + a["length"] * tolerance.allowed(np.zeros(1))
    return bool(np.abs(total - expected)[0] <= slack[0])


def _digest(values: npt.NDArray[Any]) -> str:
    little = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False))
    return hashlib.sha256(little.tobytes()).hexdigest()[:32]
