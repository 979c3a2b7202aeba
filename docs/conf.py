"""How Sphinx builds these pages: ``make docs``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from cytovox import __version__

project = "cytovox"
author = copyright = "The cytovox developers"
version = release = __version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb", "rooms"]
root_doc = "index"
# The start page takes README.md in.
exclude_patterns = ["_build", "README.md"]
default_role = "py:obj"
myst_heading_anchors = 3

# Notebooks are stored without results; each build runs them.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300

html_theme = "furo"
html_title = f"cytovox {release}"
html_copy_source = False
html_show_sourcelink = False

napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 90
python_use_unqualified_type_names = True

# What is named with its full name has to be there; other names are links where they can be.
nitpicky = True
# A short name may be that of several things.
suppress_warnings = ["ref.python"]
nitpick_ignore_regex = [
    ("py:.*", r"(?!cytovox\.).*"),
    # Hints may name what is not public.
    ("py:class", r"cytovox\..*"),
]
