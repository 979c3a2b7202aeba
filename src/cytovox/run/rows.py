"""Rows: what some frames yielded, one equally long array per feature."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["FrameRows"]


@dataclass(frozen=True, slots=True, eq=False)
class FrameRows:
    """The events of consecutive frames, in order of frame, then label.

    Rows arrive in any order and leave in the order of their frames.

    Parameters
    ----------
    start
        Index of the first frame in the recording.
    counts
        Number of events of each frame, int64 of shape (n_frames,).
    rows
        Columns by name of the feature, each as long as the sum of `counts`:
        scalar features as float64 of shape (n_events,), ``nevents`` as int64
        of shape (n_events,), ``mask`` as uint8 0/255 of shape (n_events, H, W).
    dropped
        How many objects had to be dropped because they have no area.

    Examples
    --------
    >>> import numpy as np
    >>> rows = FrameRows(10, np.array([0, 2, 1]), {"deform": np.array([0.1, 0.2, 0.3])})
    >>> rows.stop, rows.n_events, rows.frames.tolist()
    (13, 3, [11, 11, 12])
    """

    start: int
    counts: npt.NDArray[np.int64]
    rows: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    dropped: int = 0

    @property
    def stop(self) -> int:
        """Index after the last frame."""
        return self.start + len(self.counts)

    @property
    def n_events(self) -> int:
        """Number of events of all frames."""
        return int(self.counts.sum())

    @property
    def frames(self) -> npt.NDArray[np.int64]:
        """Index of the frame of each event, int64 of shape (n_events,)."""
        return np.repeat(np.arange(self.start, self.stop, dtype=np.int64), self.counts)
