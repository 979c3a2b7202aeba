"""What of an input that was measured before can be used again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..read import HDF5Data
from ..recipe.identity import compute_pipeline_hash

__all__ = ["ID_ATTRIBUTES", "Tasks", "hash_of_stated", "tasks_for"]

#: Attribute below ``pipeline:dcnum`` for each part of the identifier.
ID_ATTRIBUTES = {
    "generation": "gen_id",
    "data": "dat_id",
    "background": "bg_id",
    "segmenter": "seg_id",
    "feature": "feat_id",
    "gate": "gate_id",
}


@dataclass(frozen=True, slots=True)
class Tasks:
    """Which parts of the pipeline have to run, since the input does not hold their result."""

    background: bool
    segmentation: bool


def hash_of_stated(stated: Mapping[str, Any]) -> str | None:
    """Return the hash of the identifier that attributes state; None if a part is missing."""
    parts = {
        key: str(stated.get(f"pipeline:dcnum {name}", "")) for name, key in ID_ATTRIBUTES.items()
    }
    return compute_pipeline_hash(**parts) if all(parts.values()) else None


def tasks_for(data: HDF5Data, wanted: Mapping[str, str]) -> Tasks:
    """Compare what a file says of its making with what is wanted."""
    stored = {
        key: str(data.meta.get(f"pipeline:dcnum {name}", "0"))
        for name, key in ID_ATTRIBUTES.items()
    }
    differs = {key for key, text in stored.items() if text != wanted[key]}
    background = "image_bg" not in data or bool(differs & {"gen_id", "dat_id", "bg_id"})
    segmentation = (
        background
        or bool(differs)
        or str(data.meta.get("pipeline:dcnum hash")) != hash_of_stated(data.meta)
        or not _is_number(data.meta.get("pipeline:dcnum yield"), len(data))
        or data.index_mapping is not None
    )
    return Tasks(background, segmentation)


def _is_number(stored: Any, number: int) -> bool:
    """Return whether an attribute, which can be anything, is a number."""
    return isinstance(stored, (int, float, np.integer, np.floating)) and bool(stored == number)
