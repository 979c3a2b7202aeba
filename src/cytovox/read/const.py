"""Names of features that belong to a frame, and the HDF5 versions that are written."""

from __future__ import annotations

__all__ = ["HDF5_VERSIONS", "PROTECTED_FEATURES"]

#: Oldest and newest format that is written; HDF5 1.10 and all later ones read it.
HDF5_VERSIONS = ("v110", "v110")

#: Scalar features that describe a frame; they travel from input to output.
PROTECTED_FEATURES = [
    "bg_off",
    "flow_rate",
    "frame",
    "g_force",
    "pressure",
    "temp",
    "temp_amb",
    "time",
    *(f"userdef{number}" for number in range(10)),
]
