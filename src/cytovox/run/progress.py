"""What happens during a run, as small values that any listener may receive.

The terminal, the log, a report or a notebook are mere listeners: functions
that take one of the events below.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = [
    "Listener",
    "ProgressEvent",
    "RunFinished",
    "StageFinished",
    "StageProgress",
    "StageStarted",
    "Warned",
    "announce",
    "counting",
]


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """Base of everything that a run announces."""


@dataclass(frozen=True, slots=True)
class StageStarted(ProgressEvent):
    """A stage of the run begins."""

    stage: str
    """Name of the stage, e.g. ``"background"`` or ``"segmentation"``."""
    total: int
    """Number of units that the stage has to do."""
    unit: str = "frames"
    """What the units are."""


@dataclass(frozen=True, slots=True)
class StageProgress(ProgressEvent):
    """A stage has done some of its units; ``done`` never exceeds ``total``."""

    stage: str
    """Name of the stage."""
    done: int
    """Number of units that are done."""
    total: int
    """Number of units that the stage has to do."""


@dataclass(frozen=True, slots=True)
class StageFinished(ProgressEvent):
    """A stage has ended well."""

    stage: str
    """Name of the stage."""
    seconds: float
    """How long it took."""


@dataclass(frozen=True, slots=True)
class Warned(ProgressEvent):
    """Something that a person should know, though the run continues."""

    text: str
    """What it is."""


@dataclass(frozen=True, slots=True)
class RunFinished(ProgressEvent):
    """The output has its final name."""

    path: Path
    """The output."""
    frames: int
    """Number of frames of the input."""
    events: int
    """Number of events of the output."""
    masks_dropped: int
    """Number of masks without a valid contour, which are not events."""
    seconds: float
    """How long the run took."""
    stage_seconds: dict[str, float] = field(default_factory=dict)
    """How long each stage took."""
    objects: dict[str, Any] | None = None
    """How many objects were ``found``, ``kept``, and ``lost`` by cause; None if no
    object was looked for."""
    likely_reason: str | None = None
    """Why there are no or few events, in a sentence; None if there are enough, or if it
    is not known."""


#: Function that is called with each event.
Listener = Callable[[ProgressEvent], None]


def announce(listener: Listener | None, event: ProgressEvent, logger: logging.Logger) -> None:
    """Pass an event to a listener; its own mistakes are logged and never stop the run.

    Parameters
    ----------
    listener
        Function to call, or None.
    event
        What happened.
    logger
        Where a mistake of the listener is reported.
    """
    if listener is None:
        return
    try:
        listener(event)
    except Exception:
        logger.exception("a progress listener failed at %s", event)


def counting(on_progress: Callable[[int, int], None] | None, total: int) -> Callable[[int], None]:
    """Return a function that takes what is done more, and tells what is done of the total.

    Parameters
    ----------
    on_progress
        Called with what is done and the total; None for nobody.
    total
        What there is to do.

    Examples
    --------
    >>> count = counting(lambda done, total: print(done, "of", total), 5)
    >>> count(2), count(3)
    2 of 5
    5 of 5
    (None, None)
    """
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        if on_progress is not None:
            on_progress(done, total)

    return count
