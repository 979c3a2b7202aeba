"""From labels to measured and gated events."""
