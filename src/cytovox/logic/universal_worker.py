"""Workers that do whatever the conveyor has to do next."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from ..errors import OptionError
from .states import RegisterState

__all__ = ["DEDICATIONS", "UniversalWorker", "UniversalWorkerThread"]

#: What a worker can do, by name; downstream first, so that slots get free.
DEDICATIONS = {
    "extract_features": "task_extract_features",
    "process_labels": "task_process_labels",
    "label_masks": "task_label_masks",
    "segment_images": "task_segment_images",
    "segment_images_full_chunk": "task_segment_images_full_chunk",
    "load_all": "task_load_all",
}
#: Seconds after which an idle worker looks again, should a wake-up be missed.
_LOOK_AGAIN = 1.0


class UniversalWorker:
    """Does the tasks of a register until that says quit.

    Parameters
    ----------
    slot_register
        The register.
    log_queue
        Queue for log records of worker processes.
    dedications
        Which tasks to do, names of `DEDICATIONS`; all but
        ``segment_images_full_chunk`` if None.
    log_level
        Lowest level to log.
    on_error
        Called with the exception that ended this worker.

    Raises
    ------
    OptionError
        If a dedication is unknown.

    Attributes
    ----------
    started, completed : bool
        Whether the worker has begun, and has ended without an error.
    error : BaseException or None
        What ended it.
    """

    def __init__(
        self,
        slot_register: Any,
        log_queue: Any = None,
        dedications: list[str] | None = None,
        log_level: int = logging.INFO,
        *args: Any,
        on_error: Callable[[BaseException], None] | None = None,
        logger: logging.Logger | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if dedications is None:
            dedications = [name for name in DEDICATIONS if name != "segment_images_full_chunk"]
        unknown = sorted(set(dedications) - set(DEDICATIONS))
        if unknown:
            raise OptionError(
                f"a worker cannot be dedicated to {', '.join(unknown)}",
                hint=f"choose of {', '.join(DEDICATIONS)}",
            )
        self.slot_register = slot_register
        self.log_queue = log_queue
        self.log_level = log_level
        self.dedications = [name for name in DEDICATIONS if name in dedications]
        self.on_error = on_error
        self.logger = logger or logging.getLogger("cytovox.worker")
        self.started = False
        self.completed = False
        self.error: BaseException | None = None

    def run(self) -> None:
        """Work until the register says quit or a task fails."""
        self.started = True
        try:
            self._work()
        except Exception as err:  # noqa: BLE001 - it reaches the one who started us
            self.error = err
            if self.on_error is None:
                self.logger.exception("a task has failed")
                self.slot_register.close()
            else:
                self.on_error(err)
        else:
            self.completed = True

    def _work(self) -> None:
        register = self.slot_register
        tasks = [getattr(register, DEDICATIONS[name]) for name in self.dedications]
        while register.state != RegisterState.QUIT:
            seen = register.changes
            working = register.state == RegisterState.WORK
            if not (working and any(task(logger=self.logger) for task in tasks)):
                register.wait_for_change(seen, _LOOK_AGAIN)


class UniversalWorkerThread(UniversalWorker, threading.Thread):
    """A worker in a thread of this process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, name=kwargs.pop("name", "cytovox-worker"), daemon=True, **kwargs)
