"""Small things that dcnum offers and cytovox does not, or does in another way."""

from __future__ import annotations

import builtins
import functools
import importlib
import inspect
import logging
import threading
import types
import typing
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar, Protocol

import h5py
import hdf5plugin  # noqa: F401 - registers the compression filters

from ... import logic, segm, write
from ...recipe import identity
from ...recipe.options import options_of
from ...segm.segm_torch.torch_model import setup_torch
from .table import VERSION

__all__ = [
    "DCNumJobRunner",
    "LazyLoader",
    "Worker",
    "convert_to_dtype",
    "copy_metadata",
    "get_available_segmenters",
    "get_class_method_info",
    "get_segmenters",
    "h5py",
    "join_worker",
    "kwargs_to_ppid",
    "openvino",
    "simple_type_eval",
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


def simple_type_eval(type_string: Any) -> Any:
    """Return the type that a text names."""
    if not isinstance(type_string, str):
        return type_string
    parts = [part.strip() for part in type_string.split("|")]
    if len(parts) > 1:
        return [simple_type_eval(part) for part in parts]
    if parts[0] == "None":
        return types.NoneType
    found = getattr(builtins, parts[0], None)
    return found if isinstance(found, type) else type_string


def convert_to_dtype(value: Any, dtype: Any) -> Any:
    """Convert a value to a type, or to the first of several that is not None."""
    if isinstance(dtype, str):
        dtype = simple_type_eval(dtype)
    wanted = next(one for one in _members(dtype) if one not in (None, types.NoneType))
    return identity.convert_to_dtype(value, wanted)


def kwargs_to_ppid(
    cls: Any, method: str, kwargs: Mapping[str, Any] | None, allow_invalid_keys: bool = True
) -> str:
    """Write the options of a method as part of an identifier.

    Options of the constructor are not options of the method, but may be given.
    See `cytovox.recipe.identity.kwargs_to_ppid`.
    """
    own = {option.name for option in options_of(getattr(cls, method))}
    others = set(inspect.signature(cls.__init__).parameters) - own
    given = {name: value for name, value in (kwargs or {}).items() if name not in others}
    return identity.kwargs_to_ppid(cls, method, given, allow_invalid_keys)


def get_class_method_info(
    class_obj: Any,
    static_kw_methods: Sequence[str] | None = None,
    static_kw_defaults: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return what is known of a stage class; unions are lists of types.

    See `cytovox.recipe.identity.get_class_method_info`.
    """
    info = identity.get_class_method_info(class_obj, static_kw_methods, static_kw_defaults)
    for method, hints in info.get("annotations", {}).items():
        info["annotations"][method] = {name: _as_list(hint) for name, hint in hints.items()}
    return info


def _members(dtype: Any) -> list[Any]:
    if isinstance(dtype, list):
        return dtype
    if typing.get_origin(dtype) in (typing.Union, types.UnionType):
        return list(typing.get_args(dtype))
    return [dtype]


def _as_list(hint: Any) -> Any:
    found = _members(hint)
    return found if len(found) > 1 else found[0]


class DCNumJobRunner(logic.DCNumJobRunner):
    """Run a job, and keep the temporary input, which `dtin` reads, until it is closed.

    If an error leaves the context of the runner, the log of the run stays as well.
    See `cytovox.logic.DCNumJobRunner`.
    """

    _until_close: ClassVar[tuple[str, ...]] = ("input",)
    _keeps_log: ClassVar[bool] = True

    def run_pipeline(self) -> None:
        """Execute the pipeline job."""
        super().run_pipeline()
        # of those who never close it
        weakref.finalize(self, self._folder.discard, "input")
