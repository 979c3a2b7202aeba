"""Background images of a recording."""
