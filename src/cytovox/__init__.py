"""Segment and measure every object in scientific images, in order, losing nothing."""

__version__ = "0.1.0"

__all__ = ["__version__"]
