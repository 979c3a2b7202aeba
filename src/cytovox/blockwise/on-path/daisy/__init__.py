"""Stands on the path where programs of workers look for daisy.

It is replaced by daisy itself with the client that gets blocks from the worker.
"""

import sys

from cytovox.blockwise.daisy_client import use_own_client

del sys.modules[__name__]
use_own_client()
