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


def test_planes_in_several_files_are_read_by_several_threads(tmp_path):
    """The files beside the first are opened for a moment, by one thread at a time."""
    rng = np.random.default_rng(0)
    stack = rng.integers(0, 255, (6, 64, 64), dtype=np.uint8)
    names = [f"z{n}.ome.tif" for n in range(6)]
    data = "".join(
        f'<TiffData FirstZ="{n}" IFD="0"><UUID FileName="{name}">urn:uuid:{n}</UUID></TiffData>'
        for n, name in enumerate(names)
    )
    text = (
        f'<OME><Image><Pixels DimensionOrder="XYZCT" SizeX="64" SizeY="64" SizeZ="6" '
        f'SizeC="1" SizeT="1">{data}</Pixels></Image></OME>'
    )
    for name, page in zip(names, stack, strict=True):
        tifffile.imwrite(
            tmp_path / name, page, description=text, metadata=None, compression="zlib"
        )
    order = [int(n) for n in rng.integers(0, 6, 600)]
    with open_volume(tmp_path / names[0]) as volume, ThreadPoolExecutor(8) as pool:
        for number, page in zip(order, pool.map(lambda n: volume[n], order), strict=True):
            np.testing.assert_array_equal(page, stack[number])
