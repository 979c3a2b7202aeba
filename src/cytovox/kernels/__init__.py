"""Pure functions on arrays: the science, compiled, without I/O or state."""
