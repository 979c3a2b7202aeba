"""Several threads read one open volume."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tifffile

from cytovox.read.open_volume import open_volume


def test_pages_of_a_stack_do_not_mix(tmp_path):
    path = tmp_path / "stack.tif"
    rng = np.random.default_rng(0)
    stack = rng.integers(0, 255, (200, 64, 64), dtype=np.uint8)
    tifffile.imwrite(path, stack, compression="zlib")
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):  # pages are looked up on first use
            with open_volume(path) as volume:
                pages = pool.map(
                    lambda z, v=volume: v.read(((z, z + 1), (0, 64), (0, 64))), range(200)
                )
                assert np.array_equal(np.concatenate(list(pages)), stack)
