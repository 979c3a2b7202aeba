"""Writing measured recordings, in order."""
