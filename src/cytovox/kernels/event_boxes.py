"""Where the events of a batch of frames are, and what their masks look like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .arrays import Grey, Integer, Ints, Labels, plain
from .jit import kernel

__all__ = ["Events", "find_events", "mask_images"]


@dataclass(frozen=True, slots=True)
class Events:
    """Where the events of a batch of frames are.

    Parameters
    ----------
    table
        int32 of shape (n_events, 8); the columns are: frame of the labels,
        frame of the images, label, number of pixels, and first and past-last
        row and column of the bounding box.
    """

    table: Ints

    def __len__(self) -> int:
        return int(self.table.shape[0])

    @property
    def frame(self) -> Ints:
        """Frame of the images of each event, int32 of shape (n_events,)."""
        return self.table[:, 1]

    def at_frame(self, frame: int) -> Events:
        """Return the same events, but to be measured on one frame of the images.

        Parameters
        ----------
        frame
            Index of the frame (0-based) in the images to come.
        """
        table = self.table.copy()
        table[:, 1] = frame
        return Events(table)

    def select(self, keep: npt.NDArray[np.bool_]) -> Events:
        """Return only some of the events.

        Parameters
        ----------
        keep
            Which events stay, bool of shape (n_events,).
        """
        return Events(self.table[keep])


def find_events(
    labels: Labels,
    size_thresh: float,
    skip: npt.NDArray[np.bool_] | None = None,
    small: npt.NDArray[np.int64] | None = None,
) -> Events:
    """Find the labels that have more than `size_thresh` pixels.

    Parameters
    ----------
    labels
        Labels, uint16 of shape (n, H, W).
    size_thresh
        Size that is just too small, pixels.
    skip
        Frames that yield no events, bool of shape (n,).
    small
        Number of labels of each frame that have pixels, but not enough, to be
        written, int64 of shape (n,).

    Returns
    -------
    Events
        In order of frame, then label.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.zeros((1, 5, 5), np.uint16)
    >>> labels[0, 1:4, 2:4] = 3
    >>> find_events(labels, 5).table.tolist()
    [[0, 0, 3, 6, 1, 4, 2, 4]]
    >>> len(find_events(labels, 6))
    0
    """
    if skip is None:
        skip = np.zeros(labels.shape[0], bool)
    if small is None:
        small = np.empty(labels.shape[0], np.int64)
    return Events(
        _find(
            plain(labels, np.uint16),
            float(size_thresh),
            plain(skip, bool).view(np.uint8),
            small,
        )
    )


def mask_images(events: Events, labels: Labels) -> Grey:
    """Return one image per event, 255 on the event and 0 elsewhere.

    Parameters
    ----------
    events
        Events, of which ``frame`` in the labels and label are used.
    labels
        Labels, uint16 of shape (n, H, W).

    Returns
    -------
    numpy.ndarray
        uint8 of shape (n_events, H, W)
    """
    out = np.zeros((len(events), *labels.shape[1:]), np.uint8)
    _expand(plain(events.table, np.int32), plain(labels, np.uint16), out)
    return out


@kernel()
def _sizes(frame: Labels, boxes: Ints) -> int:
    """Count the pixels of each label and find its bounding box; return the highest label."""
    highest = 0
    for y in range(frame.shape[0]):
        row = frame[y]
        some = np.uint16(0)
        for x in range(row.size):
            some |= row[x]
        if some == 0:
            continue
        for left in range(0, row.size, 64):
            block = row[left : left + 64]
            some = np.uint16(0)
            for x in range(block.size):
                some |= block[x]
            if some == 0:
                continue
            for k in range(block.size):
                value = np.int64(block[k])
                if value == 0:
                    continue
                x = left + k
                box = boxes[value]
                if box[0] == 0:
                    box[1] = y
                    box[3] = x
                    box[4] = x
                    highest = max(highest, int(value))
                box[0] += 1
                box[2] = y + 1
                box[3] = min(box[3], x)
                box[4] = max(box[4], x + 1)
    return highest


@kernel()
def _copied(table: Ints, n: Integer, size: Integer) -> Ints:
    """Copy the first n rows; this compiles much faster than assigning slices."""
    out = np.empty((size, table.shape[1]), np.int32)
    for i in range(n):
        for k in range(table.shape[1]):
            out[i, k] = table[i, k]
    return out


@kernel()
def _find(labels: Labels, size_thresh: float, skip: Grey, small: npt.NDArray[np.int64]) -> Ints:
    boxes = np.zeros((65536, 5), np.int32)
    found = np.empty((2 * labels.shape[0] + 16, 8), np.int32)
    n = np.int64(0)
    for i in range(labels.shape[0]):
        small[i] = 0
        if skip[i]:
            continue
        for value in range(1, _sizes(labels[i], boxes) + 1):
            if boxes[value, 0] > max(size_thresh, 0.0):
                if n == found.shape[0]:
                    found = _copied(found, n, 2 * n)
                found[n, 0] = i
                found[n, 1] = i
                found[n, 2] = value
                for k in range(5):
                    found[n, 3 + k] = boxes[value, k]
                n += 1
            elif boxes[value, 0] > 0:
                small[i] += 1
            boxes[value, 0] = 0
    return _copied(found, n, n)


@kernel()
def _expand(events: Ints, labels: Labels, out: Grey) -> None:
    for e in range(events.shape[0]):
        frame = labels[events[e, 0]]
        for y in range(events[e, 4], events[e, 5]):
            for x in range(events[e, 6], events[e, 7]):
                if frame[y, x] == events[e, 2]:
                    out[e, y, x] = 255
