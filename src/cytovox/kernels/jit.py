"""Compiling kernels once, and again whenever what they are made of changes.

numba keeps compiled functions by the file that defines them. A kernel that
calls one of another file would stay as it was when only that file changes,
for example with the next version. So each kernel is kept below a folder named
by a digest of its own file and of all kernel files that it imports.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import numba

__all__ = ["cache_folder", "kernel"]

Function = TypeVar("Function", bound=Callable[..., object])

_IMPORT = re.compile(rb"^from (?:\.|\.\.kernels\.)(\w+) import", re.MULTILINE)
_HERE = Path(__file__).parent
#: Versions of numba of which it was tried that kept kernels load by themselves.
_LOADS_ALONE = ("0.68.",)


@contextlib.contextmanager
def _without_linear_algebra() -> Iterator[None]:
    """Keep numba from loading SciPy's linear algebra.

    numba would load that, 140 modules in a sixth of a second, only to know
    whether it is there. No kernel uses it; whoever does finds it all the same.
    """
    name, asks = "scipy.linalg.cython_blas", "numba.np.arraymath"
    if name in sys.modules or asks in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # "there is no such module"
    try:
        yield
    finally:
        sys.modules.pop(name, None)
        arraymath: Any = sys.modules.get(asks)
        if hasattr(arraymath, "_HAVE_BLAS"):
            arraymath._HAVE_BLAS = importlib.util.find_spec("scipy") is not None  # noqa: SLF001


def _wake_compiler() -> None:
    with _without_linear_algebra():
        importlib.import_module("numba.np.arraymath")


def kernel(*, division: Literal["python", "numpy"] = "python") -> Callable[[Function], Function]:
    """Return the decorator that compiles a function of arrays.

    It releases the GIL, does not reorder or fuse floating-point operations,
    and is compiled once per computer.

    Parameters
    ----------
    division
        What becomes of a division by zero: ``"python"``, an error, or
        ``"numpy"``, an infinity or NaN.

    Examples
    --------
    >>> @kernel()
    ... def double(x):
    ...     return 2 * x
    >>> double(3)
    6
    """

    def decorate(function: Any) -> Any:
        source = Path(function.__code__.co_filename)
        if not source.is_file():  # typed in; there is nothing to keep it by
            return _compile(function, False, division)
        config: Any = numba.config
        before = config.CACHE_DIR
        config.CACHE_DIR = str(cache_folder() / _digest(source))
        try:
            return _compile(function, True, division)
        finally:
            config.CACHE_DIR = before

    return decorate


def _compile(function: Any, keep: bool, division: Any) -> Any:
    compiled = numba.njit(nogil=True, cache=keep, error_model=division)(function)
    if keep and numba.__version__.startswith(_LOADS_ALONE):
        _load_without_compiler(compiled)
    else:
        _wake_compiler()
    return compiled


def _load_without_compiler(dispatcher: Any) -> None:
    """Let a kernel that is kept be loaded without what only compiling needs.

    numba imports all that its compiler knows, sixty modules in a tenth of a
    second, before it looks whether there is anything to compile. Machine code
    that was kept needs no more than the functions of numba's run-time system.
    """
    from numba.core.runtime.nrt import rtsys

    kept = dispatcher._cache  # noqa: SLF001  # numba has no public way to it

    def load_overload(signature: Any, context: Any) -> Any:
        rtsys.initialize(context)
        with _without_linear_algebra(), kept._guard_against_spurious_io_errors():  # noqa: SLF001
            found = kept._load_overload(signature, context)  # noqa: SLF001
        if found is None:
            _wake_compiler()
        return found

    kept.load_overload = load_overload


@cache
def cache_folder() -> Path:
    """Return the folder of compiled kernels, which is ours alone.

    It is ``$CYTOVOX_CACHE_DIR``, or else in the place for caches of the user.
    If that cannot be written, kernels are compiled anew by each process.
    """
    chosen = os.environ.get("CYTOVOX_CACHE_DIR")
    folder = Path(chosen) if chosen else _user_cache() / "cytovox" / "kernels"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        # A folder that others may write must not hold code that we run.
        return _fleeting_folder()


def _fleeting_folder() -> Path:
    """Return a folder that is removed when this process ends."""
    from multiprocessing import util  # which knows the ends of its processes, too

    folder = tempfile.mkdtemp(prefix="cytovox-kernels-")
    util.Finalize(None, shutil.rmtree, (folder, True), exitpriority=0)
    return Path(folder)


def _user_cache() -> Path:
    try:
        home = Path.home()
    except RuntimeError:
        return _fleeting_folder()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
    if sys.platform == "darwin":
        return home / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME", home / ".cache"))


@cache
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
