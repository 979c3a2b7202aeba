"""Measurements against the peers, in the same run; see README.md beside this."""
