"""Packages that not every installation has: what they are for, and how to get them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import UsageError

__all__ = ["EXTRAS", "hint_for", "is_installed", "loaded_later", "require"]

#: The extras that pyproject.toml declares: names of their packages, and what each is for.
EXTRAS = {
    "app": {
        "jinja2": "the page in the browser",
        "starlette": "the page in the browser",
        "uvicorn": "the page in the browser",
    },
    "volumes": {
        "daisy": "blocks of volumes",
        "funlib.geometry": "blocks of volumes",
        "imagecodecs": "compressed TIFF, recordings compressed by lzf or szip",
        "pyarrow": "tables of objects",
        "scikit-image": "segmenting volumes",
        "scipy": "segmenting volumes",
        "tensorstore": "volumes in chunks",
        "tifffile": "TIFF stacks",
        "zarr": "OME-Zarr",
    },
    "dask": {
        "distributed": "work on other machines",
        "cryptography": "encrypted lines to other machines",
    },
    "live": {"watchfiles": "being told when a recording changes, in place of looking"},
    "pandas": {"pandas": "tables in notebooks"},
    "mutex": {"mwatershed": "mutex watershed of affinities"},
    "report": {"jinja2": "pages about results", "markupsafe": "pages about results"},
    "torch": {"torch": "neural networks as segmenters"},
}
#: Packages that are imported under another name.
_MODULES = {"scikit-image": "skimage"}


def hint_for(extra: str) -> str:
    """Return what to do to get the packages of an extra."""
    if getattr(sys, "frozen", False):
        return f"this program was built without it; install Python and cytovox[{extra}]"
    return f'pip install "cytovox[{extra}]", or ".[{extra}]" in the folder of its source'


def is_installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it."""
    try:
        return importlib.util.find_spec(_MODULES.get(package, package)) is not None
    except ImportError:  # of the package in which it would be
        return False


def require(extra: str, what: str, *packages: str, path: str | None = None) -> None:
    """Make sure that packages of an extra, all if none are named, are there for `what`."""
    missing = [one for one in packages or EXTRAS[extra] if not is_installed(one)]
    if missing:
        absent = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed"
        text = f"{absent}, but needed for {what}"
        raise UsageError(text, path=path, hint=hint_for(extra))


def loaded_later(
    package: str, homes: Mapping[str, str], extra: str | None = None
) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package that loads names from their modules when asked for."""

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if extra is not None:
            require(extra, extra)
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return load
