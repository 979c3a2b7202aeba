"""Stands on the path where dcnum is looked for; cytovox takes its place.

A folder on ``PYTHONPATH`` is searched before those of installed packages, in
any process that inherits the environment. This file only says who comes
instead, and is replaced by it.
"""

import importlib
import sys

from cytovox.compat.dcnum import install_as_dcnum

del sys.modules[__name__]
install_as_dcnum()

# From here on it is found; the import system hands it to whoever asked.
importlib.import_module(__name__)
