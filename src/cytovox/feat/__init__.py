"""From labels to measured and gated events."""

from .event_extractor import QueueEventExtractor
from .gate import Gate

__all__ = ["Gate", "QueueEventExtractor"]
