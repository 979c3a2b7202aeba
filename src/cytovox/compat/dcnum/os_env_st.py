"""What `dcnum.os_env_st` offers: making numerical libraries use one thread."""

from __future__ import annotations

import contextlib
import logging
import os

from ...run.children import SINGLE_THREAD_VARIABLES, single_threaded_start

__all__ = [
    "RequestSingleThreaded",
    "confirm_single_threaded",
    "os_env_threading",
    "request_single_threaded",
]

#: Variables that the libraries read when they are loaded.
os_env_threading = list(SINGLE_THREAD_VARIABLES)


class RequestSingleThreaded:
    """Let processes that are started meanwhile use one thread each."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> RequestSingleThreaded:
        self._stack.enter_context(single_threaded_start())
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()


def request_single_threaded() -> None:
    """Let libraries that are loaded from now on use one thread."""
    os.environ.update(dict.fromkeys(os_env_threading, "1"))


def confirm_single_threaded() -> None:
    """Warn in the log of each variable that is not set to one thread."""
    logger = logging.getLogger("cytovox.compat")
    for name in os_env_threading:
        value = os.environ.get(name)
        if value != "1":
            logger.warning("the variable '%s' is %s, not '1'", name, value)
