"""The queue writer as a thread."""

from __future__ import annotations

import threading
from typing import Any

from .queue_writer_base import QueueWriterBase

__all__ = ["QueueWriterThread"]


class QueueWriterThread(QueueWriterBase, threading.Thread):
    """Writes events from a queue in order of their frames, in a thread.

    Takes the parameters of `QueueWriterBase`.

    Examples
    --------
    >>> import queue, tempfile
    >>> from pathlib import Path
    >>> import h5py
    >>> import numpy as np
    >>> events = queue.Queue()
    >>> events.put((1, {"deform": np.array([0.2, 0.3])}))
    >>> events.put((0, {"deform": np.array([0.1])}))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "out.rtdc"
    ...     writer = QueueWriterThread(events, None, [1, 2], path)
    ...     writer.start()
    ...     writer.join(10)
    ...     with h5py.File(path) as h5:
    ...         h5["events/deform"][:], h5["events/nevents"][:]
    (array([0.1, 0.2, 0.3]), array([1, 2, 2]))
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        threading.Thread.__init__(self, name="QueueWriter", daemon=True)
        QueueWriterBase.__init__(self, *args, **kwargs)
