"""Workers that do whatever the conveyor has to do next."""

from __future__ import annotations

import logging
import logging.handlers
import threading
from collections.abc import Callable
from typing import Any

from ..errors import OptionError
from ..run.children import mp_spawn, settle_child, start_child
from ..segm import UNISegmenter
from .job import DCNumPipelineJob

__all__ = ["DEDICATIONS", "UniversalWorker", "UniversalWorkerProcess", "UniversalWorkerThread"]

#: What a worker can do, by name; downstream first, so that slots get free.
DEDICATIONS = {
    "extract_features": "task_extract_features",
    "process_labels": "task_process_labels",
    "label_masks": "task_label_masks",
    "segment_images": "task_segment_images",
    "segment_images_full_chunk": "task_segment_images_full_chunk",
    "load_all": "task_load_all",
}


class UniversalWorker:
    """Does tasks of a register, those that its dedications name, until the register says quit.

    A process puts its log records into `log_queue`; a thread has a `logger`. `on_error`
    is called with the exception that ended this worker.
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
        self._started_flag = mp_spawn.RawValue("B", 0)
        self._completed_flag = mp_spawn.RawValue("B", 0)

    @staticmethod
    def get_worker_dedications(job: DCNumPipelineJob, num_universal: int) -> list[list[str]]:
        """Return what each of some workers should do for a job; the first one loads."""
        names = [name for name in DEDICATIONS if name != "segment_images_full_chunk"]
        if not issubclass(job.get_segmenter_class(), UNISegmenter):
            names.remove("segment_images")  # other segmenters have workers of their own
        others = [name for name in names if name != "load_all"]
        device = job["segmenter_kwargs"].get("device") or "cpu"
        if "segment_images" in names and device != "cpu" and num_universal > 1:
            # the first one is kept busy by the accelerator
            others.remove("segment_images")
            idle = [list(others) for _ in range(num_universal - 2)]
            return [["segment_images_full_chunk"], ["load_all", *others], *idle]
        return [names, *(list(others) for _ in range(num_universal - 1))]

    @property
    def started(self) -> bool:
        """Whether the worker has begun to work."""
        return bool(self._started_flag.value)

    @property
    def completed(self) -> bool:
        """Whether the worker has ended because its register asked it to."""
        return bool(self._completed_flag.value)

    def run(self) -> None:
        """Work until the register says quit or a task fails."""
        self._started_flag.value = 1
        try:
            self._work()
        except Exception as err:
            if self.on_error is None:
                self.logger.exception("a task has failed")
                self.slot_register.close()
            else:
                self.on_error(err)
        else:
            self._completed_flag.value = 1

    def _work(self) -> None:
        tasks = [getattr(self.slot_register, DEDICATIONS[name]) for name in self.dedications]
        self.slot_register.serve(lambda: any(task(logger=self.logger) for task in tasks))


class UniversalWorkerThread(UniversalWorker, threading.Thread):
    """A worker in a thread of this process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, name=kwargs.pop("name", "cytovox-worker"), daemon=True, **kwargs)


class UniversalWorkerProcess(UniversalWorker, mp_spawn.Process):  # type: ignore[name-defined,misc]
    """A worker in a process of its own, for a register that processes share.

    No run needs it: what has to be in processes is the segmenter, which has a
    team of its own. Unlike that, a register does not outlast the death of a
    process that uses it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, name=kwargs.pop("name", "cytovox-worker"), daemon=True, **kwargs)

    def start(self) -> None:
        """Start child process."""
        start_child(super().start)

    def run(self) -> None:
        """Work in the child process."""
        settle_child()
        if self.log_queue is not None:
            handler = logging.handlers.QueueHandler(self.log_queue)
            logging.getLogger("cytovox").addHandler(handler)
            logging.getLogger("cytovox").setLevel(self.log_level)
        super().run()
