"""Faults that are injected, and what became of the work."""
