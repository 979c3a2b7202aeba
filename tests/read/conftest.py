"""Small recordings for the tests of reading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest


@pytest.fixture
def make_recording(tmp_path: Path) -> Callable[..., Path]:
    """Write a recording with random images; keywords become event datasets or attributes."""

    def make(
        name: str = "recording.rtdc",
        frames: int = 23,
        shape: tuple[int, int] = (8, 12),
        chunks: int | None = 5,
        attrs: dict[str, Any] | None = None,
        **features: Any,
    ) -> Path:
        rng = np.random.default_rng(frames)
        path = tmp_path / name
        with h5py.File(path, "w") as h5:
            h5.attrs["experiment:event count"] = frames
            h5.attrs["experiment:run identifier"] = f"run of {name}"
            h5.attrs["imaging:pixel size"] = 0.34
            h5.attrs.update(attrs or {})
            layout = {} if chunks is None else {"chunks": (min(chunks, frames), *shape)}
            for feat in ("image", "image_bg"):
                data = rng.integers(0, 256, (frames, *shape), dtype=np.uint8)
                h5.create_dataset(f"events/{feat}", data=data, **layout)
            h5["events/mask"] = np.where(data > 128, 255, 0).astype(np.uint8)
            h5["events/time"] = np.arange(frames) / 3.0
            for feat, data in features.items():
                if f"events/{feat}" in h5:
                    del h5[f"events/{feat}"]
                if data is not None:
                    h5[f"events/{feat}"] = data
        return path

    return make
