"""Loading compiled kernels beside other work, before the first frames need them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..kernels.event_boxes import find_events, mask_images
from ..kernels.labels import label_frames, process_frames
from ..kernels.measure import measure_events
from ..kernels.threshold import below, equal_to_previous, subtract
from ..run.rows import no_objects

__all__ = ["loading_kernels"]

#: Seconds that a kernel gets, which takes longer only if it is compiled.
_PATIENCE = 0.5


@contextlib.contextmanager
def loading_kernels() -> Iterator[None]:
    """Load the kernels of all stages in a thread; after the block none is begun."""
    ended = threading.Event()

    def load() -> None:
        for call in _calls():
            if ended.is_set():
                return
            call()

    thread = threading.Thread(target=load, name="cytovox-kernels", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_PATIENCE)


def _calls() -> Iterator[Callable[[], Any]]:
    """Yield calls of kernels with arrays of the types that slots have, the slowest first."""
    shape = (1, 9, 9)
    image, corr = np.zeros(shape, np.uint8), np.zeros(shape, np.int16)
    mask, labels = np.zeros(shape, bool), np.zeros(shape, np.uint16)
    labels[0, 2:7, 2:7] = mask[0, 2:7, 2:7] = 1
    events = find_events(labels, 0)
    yield lambda: measure_events(events, labels, image, image, corr, np.zeros(1), pixel_size=1.0)
    yield lambda: process_frames(labels, True, True, 2, no_objects(1))
    yield lambda: label_frames(mask, labels)
    yield lambda: mask_images(events, labels)
    yield lambda: below(corr, -6, None, mask)
    yield lambda: subtract(image, image, corr)
    yield lambda: equal_to_previous(image)
