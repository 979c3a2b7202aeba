"""Bursts that a caller keeps are not computed again, and change nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from cytovox.background import BackgroundSparseMed


class Recording:
    """Frames of which some have a cell that stands still."""

    def __init__(self, number: int) -> None:
        images = np.random.default_rng(1).integers(90, 110, (600, 30, 40), np.uint8)
        images[200:300, 10:20, 10:20] = 30
        self.image, self.number, self.read = images[:number], number, 0
        self.meta: dict[str, Any] = {"imaging:frame rate": 100.0}

    def __len__(self) -> int:
        return self.number

    def __contains__(self, feature: object) -> bool:
        return feature == "time"

    def __getitem__(self, feature: str) -> Any:
        return np.arange(self.number) / 100


def compute(number: int, known: dict[int, Any] | None) -> tuple[Any, BackgroundSparseMed, list]:
    recording, read = Recording(number), []
    images = recording.image
    part = type("Images", (), {"__getitem__": lambda _, key: read.append(key) or images[key]})()
    recording.image = part  # type: ignore[assignment]
    method = BackgroundSparseMed(recording, num_workers=1, kernel_size=50)
    method.known = known
    return method.compute(), method, read


def test_kept_bursts_are_not_computed_again_and_change_nothing() -> None:
    known: dict[int, Any] = {}
    for number in (250, 420, 600):
        found, method, read = compute(number, known)
        plain, _, all_read = compute(number, None)
        assert (found.images == plain.images).all()
        assert (found.mapping == plain.mapping).all()
        assert len(read) < len(all_read) or number == 250
        assert method.known is not None
        known = method.known
    assert sorted(known) == [0, 100, 200, 300, 400, 500]
