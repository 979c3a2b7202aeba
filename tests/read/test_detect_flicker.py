from __future__ import annotations

import numpy as np
import pytest

from cytovox.read import HDF5Data, detect_flickering


def flickering(frames: int, jumps: int, height: int = 3) -> np.ndarray:
    images = np.full((frames, 30, 20), 100, np.uint8)
    images[:jumps] += np.uint8(height)
    return images


@pytest.mark.parametrize(
    ("images", "kwargs", "expected"),
    [
        (flickering(150, 5), {}, True),
        (flickering(150, 4), {}, False),
        (flickering(150, 4), {"count_threshold": 4}, True),
        (flickering(150, 5, 2), {}, False),
        (flickering(150, 5, 2), {"brightness_threshold": -2}, True),
        (flickering(150, 5)[::-1], {"max_frames": 140}, False),
        (np.zeros((0, 30, 20), np.uint8), {}, False),
    ],
)
def test_jumps_are_counted(images, kwargs, expected):
    assert detect_flickering(images, **kwargs) is expected


def test_the_reader_itself_can_be_given(make_recording):
    path = make_recording(image=flickering(23, 6), image_bg=None)
    with HDF5Data(path) as data:
        assert detect_flickering(data)
        assert detect_flickering(data.image)
        assert not detect_flickering(data, count_threshold=7)


@pytest.mark.peer
def test_the_peer_agrees(shared_data):
    peer = pytest.importorskip("dcnum.read")
    with HDF5Data(shared_data / "recordings" / "cytoshot_2023.rtdc") as data:
        for threshold in (0.5, 1.0, 2.5):
            for count in (1, 5, 20):
                args = (10, threshold, count)
                assert detect_flickering(data, *args) == peer.detect_flickering(
                    data.image[:], *args
                )
