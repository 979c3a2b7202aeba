"""Every format gives the same voxels, whatever box is asked for."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tensorstore as ts
import tifffile
import zarr
from funlib.geometry import Coordinate, Roi
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cytovox.errors import InputError, InputNotFoundError, OptionError, UsageError
from cytovox.read.open_volume import open_volume
from cytovox.write.volume_creation import create_labels

SHAPE = (9, 20, 31)
VOXELS = np.random.default_rng(5).integers(0, 60000, SHAPE, dtype=np.uint16)


def zarr_python(path: Path, **kwargs: object) -> str:
    array = zarr.create_array(path, shape=SHAPE, dtype="u2", **kwargs)
    array[:] = VOXELS
    return str(path)


def n5(path: Path) -> str:
    spec = {
        "driver": "n5",
        "kvstore": {"driver": "file", "path": f"{path}/"},
        "metadata": {
            "dimensions": list(SHAPE[::-1]),
            "blockSize": [8, 7, 6],
            "dataType": "uint16",
            "compression": {"type": "gzip"},
        },
    }
    ts.open(spec, create=True).result().write(VOXELS.transpose()).result()
    return str(path)


def precomputed(path: Path) -> str:
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{path}/"},
        "multiscale_metadata": {"data_type": "uint16", "num_channels": 1, "type": "image"},
        "scale_metadata": {
            "size": list(SHAPE[::-1]),
            "resolution": [4, 4, 40],
            "encoding": "raw",
            "chunk_size": [8, 8, 8],
            "voxel_offset": [5, 6, 7],
        },
    }
    store = ts.open(spec, create=True).result()
    store.write(VOXELS.transpose()[..., np.newaxis]).result()
    return str(path)


def hdf5(path: Path, **kwargs: object) -> str:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file.create_dataset("a/raw", data=VOXELS, **kwargs)
    return f"{path.with_suffix('.h5')}:/a/raw"


def tiff(path: Path, **kwargs: object) -> str:
    tifffile.imwrite(path.with_suffix(".tif"), VOXELS, **kwargs)
    return str(path.with_suffix(".tif"))


def tiff_folder(path: Path) -> str:
    path.mkdir()
    for number, page in enumerate(VOXELS):
        # page 10 comes after page 9
        tifffile.imwrite(path / f"page{number + 5}.tif", page, compression="zlib")
    return str(path)


def npy(path: Path, order: str = "C") -> str:
    np.save(path.with_suffix(".npy"), np.asarray(VOXELS, order=order))
    return str(path.with_suffix(".npy"))


MAKERS: dict[str, Callable[[Path], str]] = {
    "zarr2": lambda p: zarr_python(p, zarr_format=2, chunks=(4, 8, 8)),
    "zarr2-dots": lambda p: zarr_python(
        p, zarr_format=2, chunks=(4, 8, 8), chunk_key_encoding={"name": "v2", "separator": "."}
    ),
    "zarr3": lambda p: zarr_python(p, chunks=(4, 8, 8)),
    "zarr3-sharded": lambda p: zarr_python(p, chunks=(2, 4, 8), shards=(4, 8, 16)),
    "n5": n5,
    "precomputed": precomputed,
    "hdf5": hdf5,
    "hdf5-gzip": lambda p: hdf5(p, chunks=(4, 8, 8), compression="gzip"),
    "tiff": tiff,
    "tiff-zlib": lambda p: tiff(p, compression="zlib", rowsperstrip=7),
    "tiff-tiles": lambda p: tiff(p, tile=(16, 16), compression="zlib", photometric="minisblack"),
    "tiff-imagej": lambda p: tiff(p, imagej=True, metadata={"axes": "ZYX"}),
    "tiff-big-endian": lambda p: tiff(p, byteorder=">"),
    "tiff-ome": lambda p: tiff(p.with_suffix(".ome"), ome=True, metadata={"axes": "ZYX"}),
    "tiff-folder": tiff_folder,
    "npy": npy,
    "npy-fortran": lambda p: npy(p, "F"),
}


@pytest.fixture(scope="module", params=list(MAKERS))
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return MAKERS[request.param](tmp_path_factory.mktemp("made") / "volume")


def expected(box: tuple[tuple[int, int], ...], fill: int) -> np.ndarray:
    pad = 40
    around = np.pad(VOXELS, pad, constant_values=fill)
    return around[tuple(slice(a + pad, b + pad) for a, b in box)]


def test_whole_and_description(url: str) -> None:
    with open_volume(url) as volume:
        assert volume.shape == volume.spatial_shape == SHAPE
        assert volume.dtype == np.uint16
        assert volume.axes == ("z", "y", "x")
        whole = volume[:]
        assert whole.flags.c_contiguous
        np.testing.assert_array_equal(whole, VOXELS)
        np.testing.assert_array_equal(volume[2:4, ..., -1], VOXELS[2:4, ..., -1])
        np.testing.assert_array_equal(volume[3], VOXELS[3])


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_box_also_outside(url: str, data: st.DataObject) -> None:
    box = []
    for length in SHAPE:
        start = data.draw(st.integers(-12, length + 5))
        box.append((start, start + data.draw(st.integers(0, 25))))
    fill = data.draw(st.sampled_from([0, 7]))
    with open_volume(url, fill_value=fill) as volume:
        read = volume.read(box)
    np.testing.assert_array_equal(read, expected(tuple(box), fill))


def test_travels_to_other_processes(url: str) -> None:
    with open_volume(url, fill_value=3) as volume:
        data = pickle.dumps(volume)
        before = volume.fingerprint()
    code = (
        "import pickle, sys; v = pickle.loads(sys.stdin.buffer.read());"
        "sys.stdout.write(f'{int(v[:].sum(dtype=int))} {v.fill_value}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=data, capture_output=True, timeout=600, check=True
    )
    assert done.stdout.decode() == f"{VOXELS.sum(dtype=int)} 3"
    with pickle.loads(data) as again:
        assert again.fingerprint() == before
    json.dumps(before)


def test_closed_and_missing(tmp_path: Path) -> None:
    volume = open_volume(npy(tmp_path / "a"))
    volume.close()
    volume.close()
    with pytest.raises(UsageError, match="closed"):
        volume.read([(0, 1)] * 3)
    with pytest.raises(InputNotFoundError, match="no such file"):
        open_volume(tmp_path / "b.zarr")


@pytest.mark.parametrize(
    ("box", "text"),
    [
        ([(0, 1)], "axes"),
        ([(2, 1), (0, 1), (0, 1)], "stops before"),
        (3, "not a box"),
        ([(0, 10**6)] * 3, "GiB"),
        (Roi((0, 0), (5, 5)), "region"),
    ],
)
def test_bad_boxes(tmp_path: Path, box: object, text: str) -> None:
    with open_volume(npy(tmp_path / "a")) as volume, pytest.raises(UsageError, match=text):
        volume.read(box)  # type: ignore[arg-type]


def test_bad_indices(tmp_path: Path) -> None:
    with open_volume(npy(tmp_path / "a")) as volume:
        for key in (slice(None, None, 2), 99, "a", (0, 0, 0, 0)):
            with pytest.raises(UsageError):
                volume[key]


def test_fill_value_must_fit(tmp_path: Path) -> None:
    path = npy(tmp_path / "a")
    with pytest.raises(UsageError, match="cannot be -1"):
        open_volume(path, fill_value=-1)
    np.save(tmp_path / "f.npy", np.zeros((3, 3), np.float32))
    with open_volume(tmp_path / "f.npy", fill_value=np.nan) as volume:
        assert np.isnan(volume.read([(-1, 0), (0, 1)])).all()


def test_never_more_than_was_allowed(tmp_path: Path) -> None:
    with open_volume(npy(tmp_path / "a"), max_bytes=1000) as volume:
        assert volume.read([(0, 5), (0, 10), (0, 10)]).nbytes == 1000
        with pytest.raises(UsageError, match="max_bytes"):
            volume.read([(0, 6), (0, 10), (0, 10)])


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, cytovox.read, cytovox.read.open_volume;"
        "late = {'tensorstore', 'zarr', 'tifffile', 'funlib.geometry'} & set(sys.modules);"
        "sys.exit(f'loaded {late}' if late else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600, capture_output=True)


# ------------------------------------------------------------- places in the world


def ome(
    path: Path,
    *,
    version: str = "0.5",
    axes: str = "zyx",
    scale: object = (40, 4, 4),
    **more: object,
) -> Path:
    """Write an image with zarr-python and metadata by hand."""
    form = 3 if version == "0.5" else 2
    shape = tuple(2 if a == "c" else 1 if a == "t" else 8 for a in axes)
    group = zarr.create_group(path, zarr_format=form)  # type: ignore[arg-type]
    for level in range(2):
        made = group.create_array(
            f"s{level}", shape=tuple(max(n >> level, 1) for n in shape), dtype="u1"
        )
        made[:] = level + 1
    described = [
        {"name": a, "type": "space", "unit": "nanometer"}
        if a in "zyx"
        else {"name": a, "type": {"c": "channel", "t": "time"}[a]}
        for a in axes
    ]
    lead = [1] * (len(axes) - len(scale))  # type: ignore[arg-type]
    image = {
        "version": version,
        "axes": described,
        "datasets": [
            {
                "path": f"s{level}",
                "coordinateTransformations": [
                    {"type": "scale", "scale": [*lead, *(v * 2**level for v in scale)]},  # type: ignore[attr-defined]
                    {"type": "translation", "translation": [0] * len(lead) + [80, 0, -8]},
                ],
            }
            for level in range(2)
        ],
        **more,
    }
    if version == "0.5":
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    else:
        group.attrs["multiscales"] = [image]
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_scales(tmp_path: Path, version: str) -> None:
    path = ome(tmp_path / "a.zarr", version=version)
    with open_volume(path) as volume:
        assert volume.format == f"ome-zarr-{version}"
        assert volume.voxel_size == (40, 4, 4)
        assert volume.offset == (80, 0, -8)
        assert volume.units == "nanometer"
        assert volume.roi == Roi((80, 0, -8), (320, 32, 32))
        assert volume.roi_voxel_size == Coordinate(40, 4, 4)
        read = volume[Roi((40, 0, -8), (80, 8, 16))]
        assert read.shape == (2, 2, 4)
        np.testing.assert_array_equal(read[:, 0, 0], [0, 1])
        with pytest.raises(UsageError, match=r"\(80, 0, -8\) \(40, 4, 4\)|take \[80:120"):
            volume[Roi((80, 1, -8), (40, 3, 4))]
    for scale in (1, "s1"):
        with open_volume(path, scale=scale) as volume:
            assert volume.shape == (4, 4, 4)
            assert volume.voxel_size == (80, 8, 8)
            assert int(volume[0, 0, 0]) == 2
    for alone in ("s1", "s1/"):
        with open_volume(f"{path}/{alone}") as volume:
            assert volume.voxel_size == (80, 8, 8)
    with pytest.raises(OptionError, match="s0, s1"):
        open_volume(path, scale=2)


def test_channels_first_and_single_ones_left_out(tmp_path: Path) -> None:
    with open_volume(ome(tmp_path / "a.zarr", axes="tczyx")) as volume:
        assert volume.axes == ("c", "z", "y", "x")
        assert volume.shape == (2, 8, 8, 8)
        assert volume.spatial_shape == (8, 8, 8)
        assert volume.voxel_size == (40, 4, 4)
        # a box of space reads all channels
        assert volume.read([(-1, 3)] * 3).shape == (2, 4, 4, 4)
        assert volume[volume.roi].shape == volume.shape
    rgb = np.random.default_rng(0).integers(0, 255, (6, 7, 8, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "rgb.tif", rgb, photometric="rgb", compression="zlib")
    with open_volume(tmp_path / "rgb.tif") as volume:
        assert volume.axes == ("c", "z", "y", "x")
        np.testing.assert_array_equal(volume[:], rgb.transpose(3, 0, 1, 2))
        np.testing.assert_array_equal(
            volume.read([(1, 2), (2, 4), (1, 5), (3, 8)]),
            rgb.transpose(3, 0, 1, 2)[1:2, 2:4, 1:5, 3:8],
        )


def test_transformation_of_the_whole_image(tmp_path: Path) -> None:
    more = {"coordinateTransformations": [{"type": "scale", "scale": [1, 0.5, 0.5]}]}
    with open_volume(ome(tmp_path / "a.zarr", **more)) as volume:
        assert volume.voxel_size == (40, 2, 2)
        assert volume.offset == (80, 0, -4)


@pytest.mark.parametrize(
    ("size", "units", "grid", "step"),
    [
        ((0.25, 0.1, 0.1), "micrometer", "nanometer", (250, 100, 100)),
        ((4, 4, 4), "", "", (4, 4, 4)),
        ((0.28371837, 0.12678642, 0.12678642), "", "voxel", (1, 1, 1)),
    ],
)
def test_regions_are_whole(
    tmp_path: Path, size: tuple[float, ...], units: str, grid: str, step: tuple[int, ...]
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["raw"] = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
        file["raw"].attrs["voxel_size"] = size
        file["raw"].attrs["units"] = units
    with open_volume(path) as volume:
        assert volume.voxel_size == pytest.approx(size)
        assert volume.roi_units == grid
        assert volume.roi_voxel_size == Coordinate(step)
        assert volume.roi.shape == Coordinate(3, 4, 5) * Coordinate(step)
        np.testing.assert_array_equal(volume[volume.roi], volume[:])
        part = Roi(Coordinate(step), Coordinate(step) * 2)
        np.testing.assert_array_equal(volume[part], volume[1:3, 1:3, 1:3])


def test_placed_by_plain_attributes(tmp_path: Path) -> None:
    zarr.create_array(
        tmp_path / "a.zarr",
        shape=(2, 4, 5, 6),
        dtype="f4",
        attributes={
            "voxel_size": [40, 4, 4],
            "offset": [400, 40, 4],
            "units": ["nm", "nm", "nm"],
            "axis_names": ["c^", "z", "y", "x"],
        },
    )
    with open_volume(tmp_path / "a.zarr") as volume:
        assert volume.axes == ("c", "z", "y", "x")
        assert volume.units == "nanometer"
        assert volume.roi == Roi((400, 40, 4), (160, 20, 24))


def test_n5_scales_and_units(tmp_path: Path) -> None:
    n5(tmp_path / "a.n5" / "s0")
    (tmp_path / "a.n5" / "attributes.json").write_text(
        json.dumps({"pixelResolution": {"unit": "nm", "dimensions": [4, 5, 40]}})
    )
    with open_volume(tmp_path / "a.n5") as volume:
        assert volume.voxel_size == (40, 5, 4)
        assert volume.units == "nanometer"
        np.testing.assert_array_equal(volume[:], VOXELS)
    with pytest.raises(OptionError, match="s1"):
        open_volume(tmp_path / "a.n5", scale=1)


def test_precomputed_begins_where_it_says(tmp_path: Path) -> None:
    with open_volume(precomputed(tmp_path / "a")) as volume:
        assert volume.voxel_size == (40, 4, 4)
        assert volume.offset == (280, 24, 20)
        np.testing.assert_array_equal(volume[Roi((280, 24, 20), (40, 8, 4))], VOXELS[:1, :2, :1])


def test_two_axes(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VOXELS[0])
    tifffile.imwrite(tmp_path / "a.tif", VOXELS[0], compression="zlib")
    zarr_path = tmp_path / "a.zarr"
    zarr.create_array(zarr_path, shape=SHAPE[1:], dtype="u2", chunks=(8, 8))[:] = VOXELS[0]
    for path in (tmp_path / "a.npy", tmp_path / "a.tif", zarr_path):
        with open_volume(path) as volume:
            assert volume.axes == ("y", "x")
            np.testing.assert_array_equal(volume.read([(-1, 4), (2, 5)])[1:], VOXELS[0, :4, 2:5])


def test_sizes_in_tiff(tmp_path: Path) -> None:
    kwargs = {
        "resolution": (1 / 0.2, 1 / 0.1),
        "metadata": {"spacing": 0.5, "unit": "um", "axes": "ZYX"},
    }
    tifffile.imwrite(tmp_path / "a.tif", VOXELS, imagej=True, **kwargs)
    with open_volume(tmp_path / "a.tif") as volume:
        assert volume.voxel_size == pytest.approx((0.5, 0.1, 0.2))
        assert volume.units == "micrometer"
    sizes = {"PhysicalSizeX": 4.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 4.0}
    meta = {
        "axes": "ZYX",
        "PhysicalSizeYUnit": "nm",
        "PhysicalSizeZ": 40.0,
        "PhysicalSizeZUnit": "nm",
    }
    tifffile.imwrite(tmp_path / "b.ome.tif", VOXELS, ome=True, metadata={**sizes, **meta})
    with open_volume(tmp_path / "b.ome.tif") as volume:
        assert volume.voxel_size == (40, 4, 4)
        assert volume.units == "nanometer"


def test_scales_in_tiff(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        options = {"photometric": "minisblack", "tile": (16, 16)}
        file.write(VOXELS, subifds=1, **options)
        file.write(VOXELS[:, ::2, ::2], subfiletype=1, **options)
    with open_volume(tmp_path / "a.tif", scale=1) as volume:
        np.testing.assert_array_equal(volume[:], VOXELS[:, ::2, ::2])
        assert volume.voxel_size[1:] == pytest.approx((2, 31 / 16))
    with pytest.raises(OptionError, match="no scale"):
        open_volume(tmp_path / "a.tif", scale=2)


def test_fingerprint_changes_with_the_voxels(tmp_path: Path) -> None:
    path = MAKERS["zarr3-sharded"](tmp_path / "a")
    with open_volume(path) as volume:
        before = volume.fingerprint()
        assert volume.fingerprint() == before
    array = zarr.open_array(path)
    array[0, 0, 0] = 1
    with open_volume(path) as volume:
        assert volume.fingerprint() != before


def test_a_url_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(UsageError, match="not a URL"):
        open_volume("http://[::1")


@pytest.mark.parametrize("name", ["a.npy", "a.h5:/raw", "a.zarr"])
def test_a_folder_without_rights_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    real = os.stat

    def stat(path: Any, **options: Any) -> os.stat_result:
        if "closed" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **options)

    monkeypatch.setattr(os, "stat", stat)
    with pytest.raises(InputError, match="closed.*cannot be read: Permission denied"):
        open_volume(tmp_path / "closed" / name)
    with pytest.raises(InputError, match="closed.*cannot be read: Permission denied"):
        create_labels(tmp_path / "closed" / "labels.zarr", shape=(8, 8, 8))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("of", ["scale", "array", "both"])
def test_the_place_of_scales_as_openorganelle_writes_it(
    tmp_path: Path, of: str, version: Any
) -> None:
    place = {"axes": ["z", "y", "x"], "scale": [5.24, 4, 4], "translate": [100, 20, 30]}
    place["units"] = ["nm"] * 3
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=version)
    scale = {"path": "s0"} | ({} if of == "array" else {"transform": place})
    group.attrs["multiscales"] = [{"name": "em", "datasets": [scale]}]
    array = group.create_array("s0", shape=(4, 5, 6), dtype="u1", chunks=(4, 5, 6))
    if of != "scale":
        array.attrs["transform"] = place
    for path in (tmp_path / "a.zarr", tmp_path / "a.zarr" / "s0"):
        with open_volume(path) as volume:
            assert volume.voxel_size == (5.24, 4, 4)
            assert (volume.offset, volume.units) == ((100, 20, 30), "nanometer")


@pytest.mark.parametrize("path", ["0", "0/", "./0"])
def test_a_scale_is_named_in_any_way(tmp_path: Path, path: str) -> None:
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    scale = {"path": path, "coordinateTransformations": [{"type": "scale", "scale": [3, 2, 1]}]}
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [scale]}]
    group.create_array("0", shape=(4, 5, 6), dtype="u1", chunks=(4, 5, 6))
    for place in (tmp_path / "a.zarr", tmp_path / "a.zarr" / "0"):
        with open_volume(place) as volume:
            assert (volume.voxel_size, volume.units) == ((3, 2, 1), "micrometer")
