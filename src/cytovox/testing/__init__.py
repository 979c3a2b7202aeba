"""Simulators of data whose truth is known."""

from .camera import play_recording
from .recording import simulate_recording
from .truth import TRUTH_DTYPE, Truth
from .volume_simulator import simulate_volume
from .volume_truth import VOLUME_TRUTH_DTYPE, VolumeTruth

__all__ = [
    "TRUTH_DTYPE",
    "VOLUME_TRUTH_DTYPE",
    "Truth",
    "VolumeTruth",
    "play_recording",
    "simulate_recording",
    "simulate_volume",
]
