"""Worker files and segment-function files: those of a user, and those that ship."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from ..recipe.python_file import load_python_file

__all__ = ["load_file"]

_HERE = Path(__file__).resolve().parent


def load_file(path: str | os.PathLike[str]) -> Any:
    """Return a Python file as a module."""
    file = Path(path).expanduser().resolve()
    if file.parent == _HERE and file.is_file():
        return importlib.import_module(f"{__package__}.{file.stem}")
    return load_python_file(file)
