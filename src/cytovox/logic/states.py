"""Names for the states of slots, registers, runs and their files.

The values are the documented letters and words.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["PROGRESS_WEIGHTS", "FolderState", "RegisterState", "RunState", "SlotState"]


class SlotState(StrEnum):
    """What a chunk slot waits for."""

    LOAD = "i"
    """Wants the images of a chunk, also when nothing has happened yet."""
    SEGMENT = "s"
    """Wants masks."""
    LABEL = "m"
    """Has masks, wants labels."""
    CLEAN = "l"
    """Has labels, wants them cleaned."""
    MEASURE = "e"
    """Has clean labels, wants features."""


class RegisterState(StrEnum):
    """What the workers of a register shall do."""

    WORK = "w"
    PAUSE = "p"
    QUIT = "q"


class RunState(StrEnum):
    """Where a run is, in order; ``error`` ends a run at any point."""

    CREATED = "created"
    INIT = "init"
    SETUP = "setup"
    BACKGROUND = "background"
    SEGMENTATION = "segmentation"
    PLUMBING = "plumbing"
    CLEANUP = "cleanup"
    DONE = "done"
    ERROR = "error"


class FolderState(StrEnum):
    """How far a run is with the temporary files beside its output."""

    FREE = "free"
    """The output is not locked, and nothing waits to be resumed."""
    LOCKED = "locked"
    """No other run may make the output; what a dead run has left is as it was."""
    BEGUN = "begun"
    """The journal describes this run."""
    TIDY = "tidy"
    """The output has its name; it stays locked until the log is removed."""
    KEPT = "kept"
    """The output is not locked; another run can resume what is left."""


#: Share of each part of a run in its progress, by basin strategy.
PROGRESS_WEIGHTS = {
    "drain": {
        RunState.BACKGROUND: 4,
        RunState.SEGMENTATION: 27,
        RunState.PLUMBING: 15,
        RunState.CLEANUP: 1,
    },
    "tap": {
        RunState.BACKGROUND: 4,
        RunState.SEGMENTATION: 27,
        RunState.PLUMBING: 1,
        RunState.CLEANUP: 1,
    },
}
