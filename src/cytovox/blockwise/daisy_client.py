"""What worker files use as ``daisy.Client``: it gets blocks from this run, not from a server.

A worker file has a loop that asks a client for blocks. `BlockLoop` runs such a
loop in a thread and gives it one block at a time, so that it is called with a
block like any function. A loop may also start a program that has the client; it
gets the blocks of its worker, see `program_blocks`.
Daisy itself is left as it is: worker files and programs import modules like
those of daisy, but with this client.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import logging
import os
import queue
import sys
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

from ..errors import StageError
from ..run.executor import WorkerError
from .program_blocks import ON_PATH, Ended, Feed, Given, ProgramServer, Result, blocks_here

__all__ = [
    "BlockLoop",
    "Client",
    "lend_client",
    "loop_over_blocks",
    "refuse_marked",
    "use_own_client",
]

logger = logging.getLogger(__name__)

#: Modules of daisy that have a client.
_WITH_CLIENT = ("daisy", "daisy.v1_compat", "daisy.v2")
#: What to do about programs where nobody gives them blocks.
PROGRAMS = "a worker that starts a program needs num_workers=1 at least"


class Client:
    """A client like `daisy.Client`; what a block raises fails the block and nothing else.

    Where no run gives blocks, but a server of daisy is there, it is daisy's own.
    """

    #: What the function returned for the block that is worked on.
    result: Result = None

    def __new__(cls, context: Any = None) -> Any:
        """Make a client."""
        daisy = _daisy()["daisy"]
        is_served = context is not None or daisy.Context.ENV_VARIABLE in os.environ
        if is_served and blocks_here() is None:
            return daisy.Client(context)
        return super().__new__(cls)

    def __init__(self, context: Any = None) -> None:
        self.blocks = blocks_here()
        self.context = context
        self.worker_id = os.getpid()
        self.task_id = "" if self.blocks is None else self.blocks.task_id

    @contextlib.contextmanager
    def acquire_block(self) -> Iterator[Any]:
        """Yield a block to work on, or None if there are no more."""
        if self.blocks is None:
            raise StageError("daisy", "nobody gives blocks to this process", hint=PROGRAMS)
        block = self.blocks.take()
        if block is None:
            yield None
            return
        self.result = None
        error: BaseException | None = None
        try:
            yield block
            refuse_marked(block)
        except (Exception, SystemExit) as err:
            error = err
        self.blocks.give_back(error, self.result)


def refuse_marked(block: Any) -> None:
    """Raise an error if a block was marked as failed by who has worked on it."""
    if block.status == _daisy()["daisy"].BlockStatus.FAILED:
        raise StageError("worker", "the block was marked as failed")


def loop_over_blocks(function: Callable[[Any], Any]) -> None:
    """Call a function for each block that there is for this worker."""
    client = Client()
    while True:
        with client.acquire_block() as block:
            if block is None:
                return
            result = function(block)
            if isinstance(result, Mapping):
                client.result = result


class BlockLoop:
    """Gives blocks to a loop, one at a time, so that it is called with a block.

    The loop asks a `Client` for blocks until there are no more. Programs that it
    starts get blocks as well if it `serves`; they find the worker by the environment
    of this process, which must be a worker's. A program ends if a block takes longer
    than `seconds`.
    """

    def __init__(
        self,
        loop: Callable[[], Any],
        task_id: str,
        *,
        serves: bool,
        seconds: float | None = None,
    ) -> None:
        self.task_id = task_id
        self._seconds = seconds
        self._loop = loop
        self._serves = serves
        self._feed: Feed | None = None
        self._server: ProgramServer | None = None

    def __call__(self, block: Any) -> Result:
        """Do a block; what the loop raises over it is raised here."""
        is_new = self._feed is None or self._feed.has_ended
        feed = self._begin()
        feed.offered.put(block)
        while isinstance(told := feed.told.get(), Ended):
            feed.has_ended = True
            try:
                feed.offered.get_nowait()
            except queue.Empty:
                continue  # the program that has the block gives it back
            if is_new:
                raise self._not_asked(told.error)
            self._warn(told)
            is_new = True  # it may end after any number of blocks
            feed = self._begin()
            feed.offered.put(block)
        if told.error is not None:
            raise told.error
        return told.result

    def close(self, *, wait: bool = True) -> None:
        """Let the loop end, since there are no more blocks; wait for it."""
        atexit.unregister(self.close)
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.offered.put(None)
            if wait and not feed.has_ended:
                feed.thread.join()
                self._warn(feed.told.get())
        if self._server is not None:
            self._server.close()

    def _begin(self) -> Feed:
        """Return where blocks go, and begin the loop if it does not run."""
        if self._feed is not None and not self._feed.has_ended:
            return self._feed
        self._feed = Feed(self._loop, self.task_id)
        if self._server is not None:
            self._server.close()
        if self._serves:
            self._server = ProgramServer(self._feed, self._seconds)
        self._feed.thread.start()
        atexit.register(self.close)  # a worker ends without being asked to
        return self._feed

    def _not_asked(self, error: BaseException | None) -> BaseException:
        """Return what is wrong with a loop that has ended without asking for a block."""
        what = f"the worker of {self.task_id} has ended without asking for a block"
        if self._serves:
            return error or StageError("worker", what)
        if error is not None:
            what = f"{what}: {type(error).__name__}: {error}"
        failure = WorkerError(what, hint=PROGRAMS)  # it would end so for each block
        failure.__cause__ = error
        return failure

    def _warn(self, told: Given | Ended) -> None:
        if told.error is not None:
            logger.warning("a worker of %s failed:", self.task_id, exc_info=told.error)


@functools.cache
def _daisy() -> dict[str, Any]:
    """Return the modules of daisy itself that have a client, in a program as well."""
    sys.path[:] = [folder for folder in sys.path if folder != str(ON_PATH)]
    return {name: importlib.import_module(name) for name in _WITH_CLIENT}


@functools.cache
def _modules_with_client() -> dict[str, ModuleType]:
    """Return modules like those of daisy, but with the client that is here."""
    made = {}
    for name, module in _daisy().items():
        made[name] = ModuleType(name, module.__doc__)
        vars(made[name]).update(vars(module), Client=Client)
    vars(made["daisy"]).update({n.partition(".")[2]: made[n] for n in _WITH_CLIENT[1:]})
    return made


def use_own_client() -> None:
    """Let whatever is imported from now on get this client; for processes that are workers."""
    sys.modules.update(_modules_with_client())


def lend_client(module: ModuleType) -> None:
    """Let the names of a worker file for daisy, or its client, stand for what is here."""
    for name, value in list(vars(module).items()):
        if isinstance(value, ModuleType) and value.__name__ in _WITH_CLIENT:
            setattr(module, name, _modules_with_client()[value.__name__])
        elif value is _daisy()["daisy"].Client:
            setattr(module, name, Client)
