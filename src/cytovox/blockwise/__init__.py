"""Volumes that do not fit in memory: the map over blocks, and how they become one again."""
