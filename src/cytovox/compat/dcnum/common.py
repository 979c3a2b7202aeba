"""Small things that dcnum offers and cytovox does not, or does in another way."""

from __future__ import annotations

import functools
import importlib
import logging
import threading
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Protocol

import h5py

# Importing it registers the compression filters.
import hdf5plugin  # noqa: F401

from ... import segm, write
from ...segm.segm_torch.torch_model import setup_torch
from .table import VERSION

__all__ = [
    "LazyLoader",
    "Worker",
    "copy_metadata",
    "get_available_segmenters",
    "get_segmenters",
    "h5py",
    "join_worker",
    "openvino",
    "start_workers_threaded",
    "torch",
]


#: What modules are asked for; all else of this kind is asked of any object.
_OF_MODULES = ("__file__", "__name__", "__path__", "__version__")


class Worker(Protocol):
    """A thread or a process."""

    def start(self) -> None:
        """Begin."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end."""

    def is_alive(self) -> bool:
        """Return whether it has begun and not ended."""


class LazyLoader:
    """Stands for a module that is imported when first used."""

    def __init__(
        self,
        modname: str,
        sibling: str | None = None,
        action_before_import: Callable[[], Any] | None = None,
        action_after_import: Callable[[ModuleType], Any] | None = None,
    ) -> None:
        self._name = modname
        self._package = sibling.rpartition(".")[0] if sibling else None
        self._before = action_before_import
        self._after = action_after_import
        self._module: ModuleType | None = None

    def __getattr__(self, attr: str) -> Any:
        """Return something of the module; import it if need be."""
        if attr.startswith("__") and attr not in _OF_MODULES:
            raise AttributeError(attr)
        return getattr(self._load(), attr)

    def _load(self) -> ModuleType:
        if self._module is None:
            if self._before is not None:
                self._before()
            relative = f".{self._name}" if self._package else self._name
            self._module = importlib.import_module(relative, self._package)
            if self._after is not None:
                self._after(self._module)
        return self._module

    def module_available(self) -> bool:
        """Return whether the module can be imported."""
        try:
            self._load()
        except ImportError:
            return False
        return True


#: As in `cytovox.segm`; programs call ``cache_clear`` after they have made a segmenter.
get_available_segmenters = functools.lru_cache(maxsize=0)(segm.get_available_segmenters)
get_segmenters = functools.lru_cache(maxsize=0)(segm.get_segmenters)


def copy_metadata(h5_src: h5py.File, h5_dst: h5py.File) -> None:
    """Copy attributes, tables and logs, which then name the version of dcnum that is played."""
    write.copy_metadata(h5_src, h5_dst, software=f"dcnum {VERSION}")


#: PyTorch, imported and set up when first used.
torch = LazyLoader("torch", action_after_import=setup_torch)
#: OpenVINO, imported when first used.
openvino = LazyLoader("openvino")


def join_worker(
    worker: Worker,
    timeout: float = 30,
    retries: int = 10,
    logger: logging.Logger | None = None,
    name: str | None = None,
) -> None:
    """Wait for the end of a thread or process, and log the attempts."""
    logger = logger or logging.getLogger("cytovox.compat")
    name = name or str(worker)
    for attempt in range(1, retries + 1):
        worker.join(timeout)
        if not worker.is_alive():
            return
        logger.info("Waiting for '%s' (%d of %d)", name, attempt, retries)
    raise ValueError(f"Worker '{name}' ({worker}) did not join within {timeout * retries:g}s")


def start_workers_threaded(
    worker_list: Iterable[Worker], logger: logging.Logger, name: str
) -> threading.Thread:
    """Start workers one after the other, in a thread."""

    def start() -> None:
        for worker in worker_list:
            worker.start()
        logger.info("All '%s' workers started", name)

    thread = threading.Thread(target=start, name=f"start-{name}", daemon=True)
    thread.start()
    return thread
