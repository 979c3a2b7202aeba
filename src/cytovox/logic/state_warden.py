"""Reserving frames of a slot, and moving the slot on when they are done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .chunk_slot_data import ChunkSlotData

if TYPE_CHECKING:
    from .chunk_slot import ChunkSlot

__all__ = ["StateWarden"]


class StateWarden:
    """Context manager for changing the state of a `ChunkSlot`.

    Frames are reserved when the warden is made. Inside the context they are
    worked on. When it ends well they are done, and with the last frames of
    the slot its state changes; when it ends with an exception, they are free
    again.

    Parameters
    ----------
    chunk_slot
        The slot.
    current_state
        State in which the slot must be.
    next_state
        State of the slot when all its frames are done.
    batch_size
        Largest number of frames to reserve; all if None.

    Attributes
    ----------
    batch_range : tuple of int
        Start and stop of the reserved frames; ``(0, 0)`` if there are none.
    batch_size : int
        Number of reserved frames.
    """

    def __init__(
        self,
        chunk_slot: ChunkSlot | ChunkSlotData,
        current_state: str,
        next_state: str,
        batch_size: int | None = None,
    ) -> None:
        self.chunk_slot = chunk_slot
        self.current_state = current_state
        self.next_state = next_state
        self.batch_range = chunk_slot.acquire_task_lock(current_state, batch_size)
        self.batch_size = self.batch_range[1] - self.batch_range[0]

    def __enter__(self) -> tuple[Any, tuple[int, int]]:
        if self.chunk_slot.state != self.current_state:
            self.chunk_slot.release_task_lock(*self.batch_range, task_done=False)
            raise ValueError(
                f"state '{self.chunk_slot.state}' of {self.chunk_slot!r} does not match "
                f"'{self.current_state}'"
            )
        return self.chunk_slot, self.batch_range

    def __exit__(self, exc_type: object, exc_val: object, exc_tb: object) -> None:
        slot = self.chunk_slot
        with slot.monitor:
            slot.release_task_lock(*self.batch_range, task_done=exc_type is None)
            if exc_type is None and self.batch_size and slot.get_progress() == 1:
                slot.state = self.next_state

    def __repr__(self) -> str:
        start, stop = self.batch_range
        return (
            f"<{type(self).__name__} {self.current_state}->{self.next_state}, "
            f"frames {start}:{stop} of {self.chunk_slot!r}>"
        )
