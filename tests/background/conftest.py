"""Recordings for background tests, the same on every machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest


def hashed(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Noise by whole-number arithmetic, so that stored results stay valid."""
    x = np.arange(int(np.prod(shape)), dtype=np.uint64) + np.uint64(seed * 1000003 + 1)
    for shift in (33, 29, 32):
        x ^= x >> np.uint64(shift)
        x *= np.uint64(0xFF51AFD7ED558CCD)
    return (x >> np.uint64(40)).astype(np.int64).reshape(shape)


def make_images(number: int, shape: tuple[int, int], seed: int) -> np.ndarray:
    height, width = shape
    base = 120 + hashed(shape, seed) % 40
    drift = (np.arange(number) * 7 // max(1, number)) + hashed((number,), seed + 1) % 3
    noise = hashed((number, height, width), seed + 2) % 9
    images = base + drift[:, np.newaxis, np.newaxis] + noise
    for start in range(60, number - 30, 140):  # something dark that stands still for a while
        y, x = (hashed((2,), seed + start) % (height // 2, width // 2)).tolist()
        images[start : start + 30, y : y + height // 2, x : x + width // 3] -= 60
    return np.clip(images, 0, 255).astype(np.uint8)


@dataclass
class FakeRecording:
    """The least that a background method needs."""

    image: Any
    features: dict[str, np.ndarray] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    length: int | None = None

    def __len__(self) -> int:
        return len(self.image) if self.length is None else self.length

    def __contains__(self, feature: str) -> bool:
        return feature in self.features or feature == "image"

    def __getitem__(self, feature: str) -> np.ndarray:
        return self.features[feature]

    def write(self, path: Path) -> None:
        with h5py.File(path, "w") as h5:
            h5.attrs["experiment:event count"] = len(self)
            h5.attrs["imaging:pixel size"] = 0.25
            h5.attrs.update(self.meta)
            h5["events/image"] = self.image
            for name, values in self.features.items():
                h5[f"events/{name}"] = values


def recording(name: str) -> FakeRecording:
    """Make a recording by name."""
    number, shape, axis = {
        "timed": (900, (48, 32), "time"),
        "low": (500, (30, 24), "time"),
        "tiny": (300, (10, 16), "frame"),
        "odd": (401, (45, 33), "rate"),
        "bare": (350, (44, 20), "none"),
        "gap": (600, (48, 16), "gap"),
        "few": (25, (48, 16), "time"),
    }[name]
    made = FakeRecording(make_images(number, shape, len(name) + number))
    index = np.arange(number)
    if axis == "time":
        made.features["time"] = 3.25 + (index + hashed((number,), 5) % 100 / 300) / 300
    elif axis == "gap":
        made.features["time"] = index / 300 + (index > 250) * 0.7
    elif axis == "frame":
        made.features["frame"] = (index * 3 + 17).astype(np.uint64)
    if axis in ("frame", "rate"):
        made.meta["imaging:frame rate"] = 700.0
    return made


@pytest.fixture(scope="session")
def make_recording() -> Callable[[str], FakeRecording]:
    return recording


@pytest.fixture
def fake() -> type[FakeRecording]:
    return FakeRecording


#: (recording, code, options); run by the peer once and stored as golden.json
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("timed", "sparsemed", {"kernel_size": 20, "split_time": 0.1}),
    ("timed", "sparsemed", {"kernel_size": 21, "split_time": 0.07, "frac_cleansing": 1}),
    (
        "timed",
        "sparsemed",
        {"kernel_size": 10, "split_time": 0.1, "thresh_cleansing": 2e3, "frac_cleansing": 0.5},
    ),
    (
        "timed",
        "sparsemed",
        {"kernel_size": 10, "split_time": 0.1, "thresh_cleansing": 1e5, "frac_cleansing": 0.5},
    ),
    ("timed", "sparsemed", {"kernel_size": 12, "split_time": 0.1, "offset_correction": False}),
    ("timed", "sparsemed", {}),
    ("low", "sparsemed", {"kernel_size": 16, "split_time": 0.05, "frac_cleansing": 0.6}),
    ("tiny", "sparsemed", {"kernel_size": 16, "split_time": 0.09}),
    ("odd", "sparsemed", {"kernel_size": 17, "split_time": 0.03}),
    ("bare", "sparsemed", {"kernel_size": 8, "split_time": 0.01}),
    ("gap", "sparsemed", {"kernel_size": 30, "split_time": 0.1, "frac_cleansing": 0.5}),
    ("few", "sparsemed", {"split_time": 0.01}),
    ("timed", "rollmed", {"kernel_size": 100, "batch_size": 300}),
    ("low", "rollmed", {"kernel_size": 6}),
    ("few", "rollmed", {"kernel_size": 24}),
]


@pytest.fixture(scope="session")
def cases() -> list[tuple[str, str, dict[str, Any]]]:
    return CASES
