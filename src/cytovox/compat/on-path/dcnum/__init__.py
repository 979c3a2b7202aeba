"""Stands on the path where dcnum is looked for; cytovox takes its place.

A folder on ``PYTHONPATH`` is searched before those of installed packages, in
any process that inherits the environment. This file only says what comes
instead, and is replaced by it.
"""

import importlib
import sys

from cytovox.compat.dcnum import install_as_dcnum

del sys.modules[__name__]
install_as_dcnum()

# From here on it is found; the import system passes it to the importer.
importlib.import_module(__name__)
