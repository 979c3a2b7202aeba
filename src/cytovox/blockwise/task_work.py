"""What is done with a block of a task, in whatever process."""

from __future__ import annotations

import inspect
import logging
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import daisy

from ..errors import StageError
from ..run.unit_worker import worker_name
from .daisy_client import BlockLoop, refuse_marked, use_own_client
from .pickling import pickled

__all__ = ["AloneLoop", "TaskBlock", "TaskWork", "takes_block"]

logger = logging.getLogger(__name__)

Check = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class TaskBlock:
    """A block of daisy, and what tells it from the others of its task."""

    index: tuple[int, ...]  # where it writes
    block: Any

    @classmethod
    def of(cls, block: Any) -> TaskBlock:
        """Return a block of daisy with its index."""
        return cls(tuple(int(v) for v in block.write_roi.begin), block)


def takes_block(function: Callable[..., Any]) -> bool:
    """Return whether a function is called with a block; it has a loop over blocks if not."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # compiled
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(parameter.kind in kinds for parameter in parameters)


class TaskWork:
    """Does a block of a task, and asks the task whether it is done.

    The work is a function of a block, or a loop over blocks; `sent` is what other
    processes unpickle in its place. Programs that it starts get blocks if it `serves`,
    and end if one takes longer than `seconds`.
    """

    def __init__(
        self,
        work: Callable[..., Any],
        check: Check | None = None,
        sent: Any = None,
        task_id: str = "",
        seconds: float | None = None,
        *,
        serves: bool = False,
    ) -> None:
        self._parts = sent or work, check
        self._task = task_id, seconds
        self._check = check
        self._loop = None
        if not takes_block(work):
            self._loop = BlockLoop(work, task_id, serves=serves, seconds=seconds)
        self._function = self._loop or work

    def __call__(self, unit: TaskBlock) -> Mapping[str, Any] | None:
        """Do a block."""
        block = unit.block
        result = self._function(block)
        refuse_marked(block)
        if self._check is not None and not self._check(block):
            raise StageError("worker", "check_function says that it is not done")
        return result if isinstance(result, Mapping) else None

    def close(self, *, wait: bool = True) -> None:
        """Let a loop end, since there are no more blocks."""
        if self._loop is not None:
            self._loop.close(wait=wait)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Return how another process makes it."""
        return _loaded, (pickled(self._parts), self._task, worker_name())


def _loaded(parts: bytes, task: tuple[str, float | None], sender: str) -> TaskWork:
    is_worker = worker_name() != sender
    if is_worker:
        use_own_client()  # before the worker file imports daisy
    work, check = pickle.loads(parts)
    return TaskWork(work, check, None, *task, serves=is_worker)


class AloneLoop:
    """What a worker does if daisy itself runs the task, without this package's runner."""

    def __init__(self, work: TaskWork) -> None:
        self.work = work

    def __call__(self) -> None:
        """Do the blocks that daisy's server gives."""
        client: Any = daisy.Client()
        while True:
            with client.acquire_block() as block:
                if block is None:
                    break
                unit = TaskBlock.of(block)
                try:
                    self.work(unit)
                except Exception:
                    logger.exception("block %s failed", unit.index)
                    block.status = daisy.BlockStatus.FAILED
        self.work.close()
