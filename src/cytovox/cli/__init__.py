"""The command line: one file per command, and the few things they share.

Each command imports the rooms it works with inside its function, so that
asking for help stays quick.
"""
