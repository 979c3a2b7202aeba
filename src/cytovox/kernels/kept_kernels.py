"""Compiling kernels once, and again whenever what they are made of changes.

numba keeps compiled functions by the file that defines them. A kernel that
calls one of another file would stay as it was when only that file changes,
for example with the next version. So each kernel is kept in a folder named
by a digest of its own file and of all kernel files that it imports.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import re
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core.caching import CompileResultCacheImpl, IndexDataCacheFile
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher
from numba.core.runtime.nrt import rtsys
from numba.core.sigutils import normalize_signature

__all__ = ["cache_folder", "compiled"]

logger = logging.getLogger(__name__)

_IMPORT = re.compile(rb"^from (?:\.|\.\.kernels\.)(\w+) import", re.MULTILINE)
_HERE = Path(__file__).parent
#: Versions of numba with which kept kernels were tried without its compiler.
_LOADS_ALONE = ("0.68.",)


def compiled(function: Any, division: str) -> Any:
    """Return a function as numba's dispatcher, or in Python where numba compiles nothing."""
    config: Any = numba.config
    if config.DISABLE_JIT:
        return _interpreted(function)
    options = {"nopython": True, "nogil": True, "boundscheck": None, "error_model": division}
    return _KeptKernel(function, targetoptions=options)


def _interpreted(function: Any) -> Any:
    """Return a kernel in Python, with numbers that overflow silently, as compiled ones do."""

    @functools.wraps(function)
    def interpreted(*arguments: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*arguments)

    return interpreted


class _KeptKernel(CPUDispatcher):
    """A compiled function that is kept in our folder.

    numba's own way to keep functions fails a run where the disk is full, and
    imports sixty modules of its compiler, a tenth of a second, before it looks
    whether there is anything to compile. Machine code that was kept needs no
    more than the functions of numba's run-time system.
    """

    targetctx: Any

    def __init__(self, py_func: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(py_func, *args, **kwargs)
        code = py_func.__code__
        source, cached = Path(code.co_filename), cache_folder()
        self._kept = None
        if cached is not None and source.is_file():  # else there is nothing to keep it by
            digest = _digest(source)
            name = re.sub(r"\W", "", py_func.__qualname__)
            name = f"{name}-{code.co_firstlineno}.{sys.implementation.cache_tag}"
            self._folder = cached / digest
            self._kept = IndexDataCacheFile(str(self._folder), name, digest)

    def compile(self, sig: Any) -> Any:
        """Return the machine code for arguments of such types."""
        with global_compiler_lock:
            types = tuple(normalize_signature(sig)[0])
            if types not in self.overloads and not self._load(types):
                super().compile(sig)
                self._keep(types)
            result: Any = self.overloads[types]
            return result.entry_point

    def _load(self, types: Any) -> bool:
        """Load what was kept; return whether there was anything."""
        if self._kept is None:
            return False
        try:
            found = self._kept.load(self._key(types))
            if found is None:
                return False
            if numba.__version__.startswith(_LOADS_ALONE):
                rtsys.initialize(self.targetctx)
            else:
                self.targetctx.refresh()
            result = _PACKING.rebuild(self.targetctx, found)
        except Exception as err:
            logger.debug("a kept kernel cannot be loaded: %s", err)
            with contextlib.suppress(OSError):
                self._kept.flush()
            return False
        self.targetctx.insert_user_function(result.entry_point, result.fndesc, [result.library])
        self.add_overload(result)
        return True

    def _keep(self, types: Any) -> None:
        """Keep what was compiled, if that is possible."""
        result: Any = self.overloads[types]
        if self._kept is None or result.library.has_dynamic_globals:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._kept.save(self._key(types), _PACKING.reduce(result))
        except OSError as err:  # a full disk, a folder of another user
            logger.debug("a compiled kernel cannot be kept: %s", err)

    def _key(self, types: Any) -> Any:
        return types, self.targetctx.codegen().magic_tuple()


class _Packing(CompileResultCacheImpl):
    """How numba packs a compiled function; not where it would keep it."""

    def __init__(self) -> None:
        pass


_PACKING: Any = _Packing()


@functools.cache
def cache_folder() -> Path | None:
    """Return the folder of compiled kernels, which is ours alone.

    It is ``$CYTOVOX_CACHE_DIR``, or else in the place for caches of the user;
    None if there is no such place. Where it cannot be written, each process
    compiles kernels for itself: a folder that others may write must not hold
    code that we run.
    """
    if chosen := os.environ.get("CYTOVOX_CACHE_DIR"):
        return Path(chosen)
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "win32":
        user = Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
    elif sys.platform == "darwin":
        user = home / "Library" / "Caches"
    else:
        user = Path(os.environ.get("XDG_CACHE_HOME", home / ".cache"))
    return user / "cytovox" / "kernels"


@functools.cache
def _digest(source: Path) -> str:
    """Return a digest of a file and of the kernel files that it imports."""
    seen: dict[Path, bytes] = {}
    waiting = [source]
    while waiting:
        path = waiting.pop()
        if path in seen or not path.is_file():
            continue
        seen[path] = path.read_bytes()
        waiting += [_HERE / f"{name.decode()}.py" for name in _IMPORT.findall(seen[path])]
    digest = hashlib.sha256()
    for path in sorted(seen):
        digest.update(path.name.encode() + b"\0" + seen[path] + b"\0")
    return digest.hexdigest()[:16]
