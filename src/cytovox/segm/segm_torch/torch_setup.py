"""Torch, imported when first needed and set up to give the same numbers twice."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import threading
import warnings
from collections.abc import Iterator
from typing import Any

from ...errors import OptionError, UsageError

__all__ = ["get_torch", "is_torch_installed", "one_thread", "pick_device", "quiet", "setup_torch"]

_lock = threading.Lock()
# Torch has one number of threads for the whole process, so its users are counted here.
_users = 0
_threads_before = 1


def is_torch_installed() -> bool:
    """Return whether torch can be imported, without importing it."""
    return importlib.util.find_spec("torch") is not None


def get_torch() -> Any:
    """Return the module `torch`, set up by `setup_torch`."""
    if not is_torch_installed():
        raise UsageError("torch is not installed", hint="pip install cytovox[torch]")
    # Read when CUDA's linear algebra is first used, so it must come before.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    setup_torch(torch)
    return torch


@functools.cache
def setup_torch(torch: Any) -> None:
    """Make torch deterministic, for the whole process; does so once.

    Nondeterministic algorithms raise in place of giving other numbers each
    time, cuDNN neither measures which algorithm is fastest nor rounds to
    TF32, and TorchScript does not rewrite a model after its first calls.
    """
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    with quiet():
        torch.jit.set_fusion_strategy([("STATIC", 0), ("DYNAMIC", 0)])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep torch from warning that a kind of model is getting old.

    The kind is fixed by the model file, so the user can do nothing about it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", UserWarning)
        yield


def pick_device(torch: Any, device: str | None = None) -> str:
    """Return the device on which to run: as asked for, else CUDA where there is one."""
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind = str(device).split(":")[0]
    if kind == "cpu" or (kind == "cuda" and torch.cuda.is_available()):
        return str(device)
    raise OptionError(f"there is no device '{device}' here", hint="leave it out, or give cpu")


@contextlib.contextmanager
def one_thread(torch: Any) -> Iterator[None]:
    """Let torch compute with one thread on the CPU while the block runs.

    The workers share the cores among them; more threads of torch only slow
    them down. The setting is put back when the last of several
    blocks that run at the same time ends.
    """
    global _users, _threads_before
    with _lock:
        if _users == 0:
            _threads_before = torch.get_num_threads()
        _users += 1
        # Outside of the first block it still matters for the thread itself.
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                torch.set_num_threads(_threads_before)
