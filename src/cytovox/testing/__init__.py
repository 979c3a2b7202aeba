"""Simulators of data whose truth is known."""

from .recording import simulate_recording
from .truth import TRUTH_DTYPE, Truth

__all__ = ["TRUTH_DTYPE", "Truth", "simulate_recording"]
