"""Names of features that belong to a frame, not to an event."""

from __future__ import annotations

__all__ = ["PROTECTED_FEATURES"]

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
