"""Segmenters: from image to mask."""
