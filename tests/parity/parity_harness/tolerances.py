"""How far a feature may be from the peer's, as data.

Most floats can only be equal: they come from exact integer sums and a fixed
order of operations. The others differ by the order in which floats are summed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Largest allowed difference: ``max(absolute, relative * |value|)``.

    Parameters
    ----------
    text
        What a reader of the table sees.
    relative
        Part of the value's magnitude.
    absolute
        In the units of the feature.
    near_zero
        Absolute difference that is allowed where the value itself is as small.
    """

    text: str
    relative: float = 0.0
    absolute: float = 0.0
    near_zero: float = 0.0

    def allowed(self, reference: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return the largest allowed difference from each value of `reference`."""
        size = np.abs(reference.astype(np.float64))
        limit = np.maximum(self.absolute, self.relative * size)
        limit[size < self.near_zero] = np.maximum(limit[size < self.near_zero], self.near_zero)
        return limit


EXACT = Tolerance("equal")
ULP = Tolerance("1e-15 relative", relative=1e-15)
#: Terms of both signs: for specks far below 1 um^3 little is left of their sum.
LONG_SUM = Tolerance("4e-15 relative, 2e-15 um^3", relative=4e-15, absolute=2e-15)
TEXTURE = Tolerance("1e-9 of max(abs(value), 1)", relative=1e-9, absolute=1e-9)
INFORMATION = Tolerance(
    "1e-9 of max(abs(value), 1); 1e-7 near 0", relative=1e-9, absolute=1e-9, near_zero=1e-7
)
ECCENTRICITY = Tolerance("equal; 1e-6 near 0", near_zero=1e-6)

#: Features that may differ. What is not listed must be equal.
TOLERANCES: dict[str, Tolerance] = {
    "bright_sd": ULP,
    "bright_bc_sd": ULP,
    "tilt": ULP,
    "volume": LONG_SUM,
    "eccentr_prnc": ECCENTRICITY,
    **{
        f"tex_{name}_{kind}": INFORMATION if name == "f13" else TEXTURE
        for name in ("asm", "con", "cor", "var", "idm", "sva", "sen", "ent", "den", "f12", "f13")
        for kind in ("avg", "ptp")
    },
}


def tolerance_of(feature: str) -> Tolerance:
    """Return the tolerance of a feature.

    Examples
    --------
    >>> tolerance_of("deform").text
    'equal'
    """
    return TOLERANCES.get(feature, EXACT)
