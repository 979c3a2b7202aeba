"""Background: what a frame would look like without cells."""

from __future__ import annotations

from typing import Any

from ..recipe.registry import stages
from .base import Background, BackgroundKind, BackgroundResult
from .copy import BackgroundCopy
from .rolling_median import BackgroundRollMed
from .sparse_median import BackgroundSparseMed

__all__ = [
    "Background",
    "BackgroundCopy",
    "BackgroundKind",
    "BackgroundResult",
    "BackgroundRollMed",
    "BackgroundSparseMed",
    "get_available_background_methods",
]


def get_available_background_methods() -> dict[str, Any]:
    """Return all background classes by their code, installed or just defined.

    Examples
    --------
    >>> sorted(get_available_background_methods())[:3]
    ['copy', 'rollmed', 'sparsemed']
    """
    return stages("background", Background)
