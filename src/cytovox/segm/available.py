"""Which segmenters there are."""

from __future__ import annotations

from typing import Any

from ..recipe.registry import load_stage, stages
from .segmenter import Segmenter

__all__ = ["get_available_segmenters", "get_segmenter", "get_segmenters"]


def get_segmenter(code: str) -> Any:
    """Return the segmenter class of a code.

    Parameters
    ----------
    code
        Code of the segmenter.

    Raises
    ------
    UnknownCodeError
        If there is none.

    Examples
    --------
    >>> get_segmenter("thresh").__name__
    'SegmentThresh'
    """
    return load_stage("segmenter", code, Segmenter)


def get_segmenters() -> dict[str, Any]:
    """Return all segmenter classes by their code, installed or just defined."""
    return stages("segmenter", Segmenter)


def get_available_segmenters() -> dict[str, Any]:
    """Return those segmenter classes whose requirements are installed."""
    return {code: cls for code, cls in get_segmenters().items() if cls.is_available()}
