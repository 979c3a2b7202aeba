"""Folders of chunks as other programs write them."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import socket
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numcodecs
import numpy as np
import pytest
import tensorstore as ts
import zarr
import zstandard

from cytovox.errors import InputError, InputNotFoundError, UsageError
from cytovox.read.open_volume import open_volume

SHAPE = (9, 20, 31)
VOXELS = np.random.default_rng(8).integers(1, 60000, SHAPE, dtype=np.uint16)


def check(url: Any, wanted: np.ndarray = VOXELS) -> None:
    """Check all voxels, and a box that cuts chunks."""
    with open_volume(url) as volume:
        np.testing.assert_array_equal(volume[...], wanted)
        box = tuple((n // 3, n - n // 4) for n in wanted.shape)
        np.testing.assert_array_equal(volume.read(box), wanted[tuple(slice(a, b) for a, b in box)])


def array(path: Path, version: int = 3, **options: Any) -> Path:
    options = {"chunks": (4, 8, 8), "dtype": "u2"} | options
    zarr.create_array(path, shape=SHAPE, zarr_format=version, **options)[:] = VOXELS
    return path


def edit(path: Path, **changes: Any) -> Path:
    """Change members of the description of an array; None removes one."""
    name = path / ("zarr.json" if (path / "zarr.json").exists() else ".zarray")
    document = json.loads(name.read_text()) | changes
    name.write_text(json.dumps({k: v for k, v in document.items() if v != "removed"}))
    return path


def refused(url: Any, text: str) -> None:
    with pytest.raises(InputError, match=text) as caught, open_volume(url) as volume:
        volume[...]
    assert "damaged" not in str(caught.value)


# ------------------------------------------------ members that say nothing of voxels


@pytest.mark.parametrize(
    "changes",
    [
        {"compressor": {"id": "zstd", "level": 6, "checksum": False}},
        {"compressor": {"id": "zstd", "level": 99}},
        {"compressor": {"id": "zstd"}},
        {"filters": []},
        {"filters": "removed"},
        {"order": "removed", "dimension_separator": None, "fill_value": "removed"},
        {"_nczarr_array": {"dimrefs": ["/z"]}, "extra": 1},
        {"dtype": "uint16"},
        {"fill_value": None},
        {"fill_value": 0.0},
        {"fill_value": False},
        {"fill_value": "0"},
    ],
)
def test_zarr_2_with_members_of_its_writer(tmp_path: Path, changes: dict[str, Any]) -> None:
    check(edit(array(tmp_path / "a", 2, compressors=numcodecs.Zstd(3)), **changes))


def codecs(name: str, **configuration: Any) -> dict[str, Any]:
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    return {"codecs": [little, {"name": name, "configuration": configuration}]}


@pytest.mark.parametrize(
    "changes",
    [
        codecs("zstd", level=3, checksum=False, nthreads=4),
        codecs("zstd"),
        codecs("numcodecs.zstd", level=3),
        {"codecs": ["bytes", "zstd"]},
        {"codecs": [{"name": "endian", "configuration": {"endian": "little"}}, "zstd"]},
        {"storage_transformers": []},
        {"consolidated_metadata": None},
        {"extensions": []},
        {"of_a_writer": {"must_understand": False, "a": 1}},
        {"dimension_names": ["y", "y", "x"]},
        {"chunk_key_encoding": "default"},
        {"data_type": {"name": "uint16"}},
        {"fill_value": None},
        {"fill_value": 0.0},
    ],
)
def test_zarr_3_with_members_of_its_writer(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = edit(array(tmp_path / "a", compressors=zarr.codecs.ZstdCodec()), **changes)
    if "dimension_names" in changes:
        refused(path, "two axes have the same name")
    else:
        check(path)


@pytest.mark.parametrize("name", ["blosc", "numcodecs.blosc"])
def test_zarr_3_blosc_of_other_writers(tmp_path: Path, name: str) -> None:
    path = array(tmp_path / "a", compressors=zarr.codecs.BloscCodec(cname="lz4"))
    check(edit(path, **codecs(name, cname="lz4", clevel=5, shuffle=1, nthreads=1)))


def test_zarr_3_shards_of_other_writers(tmp_path: Path) -> None:
    path = array(tmp_path / "a", chunks=(2, 4, 8), shards=(4, 8, 16))
    made = json.loads((path / "zarr.json").read_text())["codecs"]
    made[0]["configuration"]["codecs"][-1]["configuration"]["nthreads"] = 2
    made[0]["configuration"]["index_codecs"] = ["bytes", "crc32c"]
    del made[0]["configuration"]["index_location"]
    check(edit(path, codecs=made))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"must_know": {"a": 1}}, "'must_know', which is not understood"),
        (codecs("numcodecs.delta", dtype="u2"), "codec 'numcodecs.delta' is not read"),
        (codecs("crc32c", location="start"), "codec 'crc32c' has the member 'location'"),
        ({"chunk_key_encoding": {"name": "fanout"}}, "'fanout'.* are not read"),
        ({"fill_value": "NaN"}, "'fill_value' is 'NaN', which voxels of uint16 cannot be"),
        ({"fill_value": -1}, "'fill_value' is '-1'"),
    ],
)
def test_zarr_3_members_that_matter_are_named(
    tmp_path: Path, changes: dict[str, Any], text: str
) -> None:
    refused(edit(array(tmp_path / "a"), **changes), text)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"compressor": {"id": "lz4", "acceleration": 1}}, "compressor 'lz4' is not read"),
        ({"order": "A"}, "order 'A'"),
        ({"dimension_separator": ":"}, "separator ':'"),
        ({"fill_value": 70000}, "'fill_value' is '70000'"),
        ({"dtype": [["a", "<u2"], ["b", "<f4"]]}, "several fields"),
    ],
)
def test_zarr_2_members_that_matter_are_named(
    tmp_path: Path, changes: dict[str, Any], text: str
) -> None:
    refused(edit(array(tmp_path / "a", 2), **changes), text)


@pytest.mark.parametrize(
    ("dtype", "fill", "wanted"),
    [
        ("<f4", "NaN", np.nan),
        ("<f4", float("nan"), np.nan),  # as a bare NaN, which is not JSON
        ("<f8", "-Infinity", -np.inf),
        ("<f8", "1.5", 1.5),
        ("<i2", -3.0, -3),
        ("<u8", 2**64 - 1, 2**64 - 1),
        ("|b1", 1, True),
        (">u2", 7, 7),
        ("<u2", None, 0),
    ],
)
def test_fill_values_in_many_spellings(tmp_path: Path, dtype: str, fill: Any, wanted: Any) -> None:
    made = np.ones(SHAPE, dtype)
    spelled = {2: {"dtype": dtype}, 3: {"data_type": np.dtype(dtype).name}}
    for version, kind in spelled.items():
        path = tmp_path / f"{version}"
        zarr.create_array(
            path, shape=SHAPE, chunks=(4, 8, 8), dtype=np.dtype(dtype), zarr_format=version
        )[:4, :8, :8] = 1
        edit(path, fill_value=fill, **kind)
        expected = np.full(SHAPE, wanted, made.dtype)
        expected[:4, :8, :8] = 1
        check(path, expected)


def test_zarr_3_float_fill_in_bits(tmp_path: Path) -> None:
    path = tmp_path / "a"
    zarr.create_array(path, shape=SHAPE, chunks=(4, 8, 8), dtype="f4")
    check(edit(path, fill_value="0x3fc00000"), np.full(SHAPE, 1.5, np.float32))


@pytest.mark.parametrize("dtype", ["u1", ">u2", "<i4", ">f4", "<f2", "f8", "bool", "i8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_zarr_2_types_and_orders(tmp_path: Path, dtype: str, order: Any) -> None:
    made = VOXELS.astype(dtype)
    zarr.create_array(
        tmp_path / "a", shape=SHAPE, chunks=(4, 8, 8), dtype=made.dtype, zarr_format=2, order=order
    )[:] = made
    check(tmp_path / "a", made)


# ------------------------------------------------------- chunks under other names


def rename(path: Path, change: Callable[[str], str]) -> None:
    """Call all chunks otherwise."""
    files = [f for f in path.rglob("*") if f.is_file() and f.name not in ("zarr.json", ".zarray")]
    for file in files:
        new = path / change(file.relative_to(path).as_posix())
        new.parent.mkdir(parents=True, exist_ok=True)
        file.rename(new)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("separator", [".", "/"])
@pytest.mark.parametrize("start", ["", "c"])
def test_zarr_with_another_separator(
    tmp_path: Path, version: int, separator: str, start: str
) -> None:
    path = array(
        tmp_path / "a",
        version,
        compressors=zarr.codecs.GzipCodec() if version == 3 else numcodecs.GZip(),
    )
    begin = f"{start}{separator}" if start else ""

    def change(name: str) -> str:
        return begin + separator.join(name.removeprefix("c/").replace(".", "/").split("/"))

    rename(path, change)
    if version == 2 and start:
        refused(path, "not one chunk")
        return
    if version == 2:
        edit(path, dimension_separator="removed")
    check(path)
    # one chunk of another time, under the name of the metadata
    given = (
        "0/0/1" if version == 2 and separator == "." else "c/0/0/1" if version == 3 else "0.0.1"
    )
    rename(path, lambda name: given if name == change("0/0/1") else name)
    check(path)


def test_written_with_another_separator(tmp_path: Path) -> None:
    """Both names of a chunk are never written."""
    path = array(tmp_path / "a", 2)
    rename(path, lambda name: name.replace(".", "/"))
    with open_volume(edit(path, dimension_separator="removed"), writable=True) as volume:
        volume.write([(0, 4), (0, 8), (0, 8)], np.full((4, 8, 8), 3, np.uint16))
        assert not list(path.glob("0.*"))
        assert (volume.read([(0, 4), (0, 8), (0, 8)]) == 3).all()
    expected = VOXELS.copy()
    expected[:4, :8, :8] = 3
    check(path, expected)


def test_parts_that_are_not_stored_are_the_fill_value(tmp_path: Path) -> None:
    for version in (2, 3):
        path = tmp_path / f"{version}"
        made = zarr.create_array(
            path, shape=SHAPE, chunks=(4, 8, 8), dtype="u2", zarr_format=version, fill_value=9
        )
        check(path, np.full(SHAPE, 9, np.uint16))
        # what systems and people put into folders
        for name in (".DS_Store", "._0.0.0", "Thumbs.db", "README.md", "0.0.0.__lock"):
            (path / name).write_bytes(b"x")
        check(path, np.full(SHAPE, 9, np.uint16))
        made[4:, 8:16] = 2
        expected = np.full(SHAPE, 9, np.uint16)
        expected[4:, 8:16] = 2
        check(path, expected)


@pytest.mark.parametrize(
    "change",
    [
        lambda name: f"{name}.gz",
        lambda name: f"9{name}",
        lambda name: name.replace("c/", "C/").replace(".", "-"),
        lambda name: f"chunks/{name}",
    ],
)
def test_files_that_are_not_chunks_are_an_error(
    tmp_path: Path, change: Callable[[str], str]
) -> None:
    for version in (2, 3):
        path = array(tmp_path / f"{version}", version)
        rename(path, change)
        refused(path, "and not one chunk")


def test_millions_of_other_files_are_not_all_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = array(tmp_path / "a", 2)
    rename(path, lambda name: f"other/{name}")
    monkeypatch.setattr("cytovox.read.volume_chunk_files._LOOKED_AT", 3)
    refused(path, "not one chunk")


def n5(path: Path, **compression: Any) -> Path:
    spec = {
        "driver": "n5",
        "kvstore": {"driver": "file", "path": f"{path}/"},
        "metadata": {
            "dimensions": list(SHAPE[::-1]),
            "blockSize": [8, 7, 6],
            "dataType": "uint16",
            "compression": compression or {"type": "gzip"},
        },
    }
    ts.open(spec, create=True).result().write(VOXELS.transpose()).result()
    return path


def edit_n5(path: Path, **changes: Any) -> Path:
    document = json.loads((path / "attributes.json").read_text()) | changes
    (path / "attributes.json").write_text(json.dumps(document))
    return path


def test_n5_of_other_writers(tmp_path: Path) -> None:
    blosc = {"type": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}
    path = n5(tmp_path / "blosc", **blosc)
    check(edit_n5(path, compression=blosc | {"nthreads": 1, "blocksize": 0}))
    path = n5(tmp_path / "gzip")
    said = {"type": "gzip", "useZlib": False, "level": -1}
    check(edit_n5(path, compression=said, axes=["x", "y", "z"], units=3, n5="4.0.0"))
    check(edit_n5(path, compression=None, compressionType="gzip"))
    refused(edit_n5(path, compression={"type": "lz4"}), "compression 'lz4' is not read")
    path = n5(tmp_path / "zlib", type="gzip", useZlib=True)
    check(path)
    for file in [f for f in path.rglob("*") if f.is_file() and f.name != "attributes.json"]:
        file.rename(path / ".".join(file.relative_to(path).parts))
    for folder in "012":
        for inner in (path / folder).iterdir() if (path / folder).is_dir() else ():
            inner.rmdir()
    refused(path, "and not one chunk")


XYZ = {"unit": "um", "dimensions": [4, 5, 40]}
COSEM = {"axes": ["z", "y", "x"], "scale": [40, 5, 4], "translate": [1, 2, 3], "units": ["nm"] * 3}


@pytest.mark.parametrize(
    ("group", "own", "size", "offset", "unit"),
    [
        ({"pixelResolution": XYZ}, {}, (1, 1, 1), (0, 0, 0), ""),  # of s0, and not of s1
        ({"pixelResolution": XYZ, "scales": [[1, 1, 1], [2, 2, 1]]}, {}, (40, 10, 8), None, "um"),
        ({"pixelResolution": XYZ}, {"downsamplingFactors": [2, 2, 1]}, (40, 10, 8), None, "um"),
        (
            {"downsamplingFactors": [[1] * 3, [2, 1, 1]], "resolution": [4, 5, 6]},
            {},
            (6, 5, 8),
            None,
            "",
        ),
        (
            {"resolution": [4, 5, 6], "offset": [3, 2, 1]},
            {"downsamplingFactors": [1, 1, 1]},
            (6, 5, 4),
            (1, 2, 3),
            "",
        ),
        ({}, {"transform": COSEM}, (40, 5, 4), (1, 2, 3), "nm"),
        (
            {"multiscales": [{"datasets": [{"path": "s1", "transform": COSEM}]}]},
            {},
            (40, 5, 4),
            (1, 2, 3),
            "nm",
        ),
        ({}, {"resolution": [4, 5, 40], "units": ["nm"] * 3}, (40, 5, 4), None, "nm"),
        ({}, {"pixelResolution": XYZ}, (40, 5, 4), None, "um"),
    ],
)
@pytest.mark.parametrize("depth", [1, 2])
def test_voxels_of_n5_pyramids(
    tmp_path: Path, group: Any, own: Any, size: Any, offset: Any, unit: str, depth: int
) -> None:
    place = tmp_path / "a.n5" / "c0"
    edit_n5(n5(place / "s1"), **own)
    n5(place / "s0")
    if depth == 2 and "multiscales" not in group:  # groups inherit from those above
        (tmp_path / "a.n5" / "attributes.json").write_text(json.dumps(group))
    else:
        (place / "attributes.json").write_text(json.dumps(group))
    for url, scale in ((place, 1), (place, "s1"), (place / "s1", None)):
        with open_volume(url, scale=scale) as volume:
            assert volume.voxel_size == size
            assert volume.offset == (offset or (0, 0, 0))
            assert volume.units == {"um": "micrometer", "nm": "nanometer", "": ""}[unit]
            np.testing.assert_array_equal(volume[...], VOXELS)


def test_what_is_above_a_container_is_not_asked(tmp_path: Path) -> None:
    (tmp_path / "attributes.json").write_text(json.dumps({"pixelResolution": XYZ}))
    n5(tmp_path / "a.n5" / "raw")
    (tmp_path / "a.n5" / "attributes.json").write_text('{"n5": "4.0.0"}')
    with open_volume(tmp_path / "a.n5" / "raw") as volume:
        assert (volume.voxel_size, volume.units) == ((1, 1, 1), "")


def test_n5_of_imagej(tmp_path: Path) -> None:
    said = {"pixelWidth": 0.5, "pixelHeight": 0.25, "pixelDepth": 2.0, "pixelUnit": "micron"}
    counts = {"numChannels": SHAPE[0], "numSlices": 1, "numFrames": 1}
    with open_volume(edit_n5(n5(tmp_path / "a"), **said, **counts)) as volume:
        assert volume.axes == ("c", "y", "x")
        assert volume.voxel_size == (0.25, 0.5)
        assert volume.units == "micrometer"


def test_zarr_with_a_transform_of_named_axes(tmp_path: Path) -> None:
    path = array(tmp_path / "a", 2)
    (path / ".zattrs").write_text(json.dumps({"transform": COSEM}))
    with open_volume(path) as volume:
        assert (volume.voxel_size, volume.offset) == ((40, 5, 4), (1, 2, 3))
        assert volume.units == "nanometer"


def precomputed(path: Path, **scale: Any) -> Path:
    described = {
        "key": "1_1_1",
        "size": list(SHAPE[::-1]),
        "resolution": [4, 4, 40],
        "encoding": "raw",
        "chunk_size": [8, 8, 8],
        "voxel_offset": [-5, 6, 7],
    }
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{path}/"},
        "multiscale_metadata": {"data_type": "uint16", "num_channels": 1, "type": "image"},
        "scale_metadata": described | scale,
    }
    store = ts.open(spec, create=True).result()
    store.write(VOXELS.transpose()[..., np.newaxis]).result()
    return path


PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".br": lambda data: bytes(imagecodecs.brotli_encode(data)),
    ".zstd": zstandard.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}


@pytest.mark.parametrize("ending", list(PACK))
def test_precomputed_files_that_are_packed(tmp_path: Path, ending: str) -> None:
    path = precomputed(tmp_path / "a")
    files = sorted((path / "1_1_1").iterdir())
    for file in files[1:]:  # the first one stays as it is
        file.with_name(file.name + ending).write_bytes(PACK[ending](file.read_bytes()))
        file.unlink()
    check(path)
    damaged = files[-1].with_name(files[-1].name + ending)
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be unpacked") as caught:
        check(path)
    assert damaged.name in str(caught.value)
    damaged.write_bytes(PACK[ending](bytes(10_000_000)))
    with pytest.raises(InputError, match="cannot be unpacked|more than"):
        check(path)
    damaged.write_bytes(whole)
    files[-1].write_bytes(b"x" * 1024)
    refused(path, "hold the same chunk")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"voxel_offset": [0, 0, 0]}, "not one chunk"),
        ({"chunk_sizes": [[7, 7, 7]]}, "not one chunk"),
        ({"encoding": "crackle"}, "encoding 'crackle' is not read"),
    ],
)
def test_precomputed_whose_info_is_of_other_files(
    tmp_path: Path, changes: dict[str, Any], text: str
) -> None:
    path = precomputed(tmp_path / "a")
    info = json.loads((path / "info").read_text())
    info["mesh"] = "mesh"
    (path / "info").write_text(json.dumps(info))
    check(path)
    info["scales"][0] |= changes
    (path / "info").write_text(json.dumps(info))
    refused(path, text)


SHARDING = {
    "@type": "neuroglancer_uint64_sharded_v1",
    "preshift_bits": 1,
    "hash": "identity",
    "minishard_bits": 1,
    "shard_bits": 2,
    "minishard_index_encoding": "gzip",
    "data_encoding": "gzip",
}


def test_sharded_precomputed(tmp_path: Path) -> None:
    path = precomputed(tmp_path / "a", sharding=SHARDING)
    check(path)
    shards = sorted((path / "1_1_1").glob("*.shard"))
    outside = tmp_path / "outside"
    shards[0].rename(outside)
    os.symlink(outside, shards[0])
    refused(path, "link to .*outside")
    shards[0].unlink()
    for shard in shards[1:]:
        shard.rename(shard.with_suffix(".data"))
    refused(path, "not one shard")


# ------------------------------------------------------------ nothing is waited for


def test_pipes_and_sockets_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "pipe, socket or device")
    cases = {
        "zarr.json": lambda p: array(p, 3),
        ".zarray": lambda p: array(p, 2),
        "c/0/0/1": lambda p: array(p, 3),
        "0.0.1": lambda p: array(p, 2),
        "attributes.json": n5,
        "0/0/1": n5,
        "info": precomputed,
        "1_1_1/-5-3_6-14_7-15": precomputed,
        "1_1_1/0.shard": lambda p: precomputed(p, sharding=SHARDING),
    }
    for number, (name, make) in enumerate(cases.items()):
        path = make(tmp_path / f"{number}")
        (path / name).unlink()
        os.mkfifo(path / name)
        refused(path, "pipe, socket or device")
    path = array(tmp_path / "s", 2)
    (path / "0.0.0").unlink()
    with socket.socket(socket.AF_UNIX) as made:
        here = os.getcwd()
        os.chdir(path)
        try:
            made.bind("0.0.0")
        finally:
            os.chdir(here)
        refused(path, "pipe, socket or device")
    # metadata above an array that need not be read
    inside = array(tmp_path / "group" / "a")
    os.mkfifo(tmp_path / "group" / ".zattrs")
    with pytest.warns(UserWarning, match="read without the size of its voxels"):
        check(inside)


# --------------------------------------------------------------------- zip files


def zipped(folder: Path, path: Path, above: str = "", method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(f for f in folder.rglob("*") if f.is_file()):
            archive.write(file, above + file.relative_to(folder).as_posix())
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
@pytest.mark.parametrize(
    "make",
    [
        lambda p: array(p, 2),
        array,
        lambda p: array(p, chunks=(2, 4, 8), shards=(4, 8, 16)),
        lambda p: array(p, compressors=zarr.codecs.BloscCodec()),
        n5,
        precomputed,
    ],
)
def test_zipped(tmp_path: Path, make: Callable[[Path], Path], method: int) -> None:
    folder = make(tmp_path / "a")
    check(zipped(folder, tmp_path / "a.zip", method=method))
    check(zipped(folder, tmp_path / "a.zarr.zip", "a.zarr/", method))
    # whatever the file is called
    check(zipped(folder, tmp_path / "a.data", "deep/a.zarr/").as_posix() + ":/deep/a.zarr")
    with zipfile.ZipFile(tmp_path / "a.zarr.zip", "a") as archive:
        archive.writestr("__MACOSX/._a.zarr", b"\0")
    check(tmp_path / "a.zarr.zip")
    with open_volume(tmp_path / "a.zip") as volume:
        before = volume.fingerprint()
    os.utime(tmp_path / "a.zip", ns=(1, 1))
    with open_volume(tmp_path / "a.zip") as volume:
        assert volume.fingerprint() != before


def test_zip_files_as_zarr_writes_them(tmp_path: Path) -> None:
    """Files that were written again are in it twice, and the last one counts."""
    store = zarr.storage.ZipStore(tmp_path / "a.ozx", mode="w")
    group = zarr.create_group(store)
    made = group.create_array("0", shape=SHAPE, chunks=(4, 8, 8), dtype="u2")
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
    scale = [{"type": "scale", "scale": [2, 0.5, 0.5]}]
    image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    made[:] = 1
    with pytest.warns(UserWarning, match="Duplicate name"):
        made[:] = VOXELS
    with pytest.warns(UserWarning, match="Duplicate name"):
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    store.close()
    check(tmp_path / "a.ozx")
    with open_volume(f"{tmp_path}/a.ozx:/0") as volume:
        assert volume.voxel_size == (2, 0.5, 0.5)
        assert volume.units == "micrometer"
    with pytest.raises(UsageError, match="only read"):
        open_volume(tmp_path / "a.ozx", writable=True)
    refused(f"{tmp_path}/a.ozx:/1", "there is no zarr")


def test_zip_files_that_are_not_read(tmp_path: Path) -> None:
    folder = array(tmp_path / "a", 2)
    path = zipped(folder, tmp_path / "a.zip", method=zipfile.ZIP_DEFLATED)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(InputError, match="zip file cannot be read"):
        open_volume(path)
    # a list of files that would fill the memory
    end = whole.rfind(b"PK\5\6")
    path.write_bytes(whole[: end + 12] + struct.pack("<I", 2**30) + whole[end + 16 :])
    with pytest.raises(InputError, match="list of its files takes 1,073,741,824 bytes"):
        open_volume(path)
    # a chunk of zeros without end, with the size that it has
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / ".zarray", ".zarray")
        archive.writestr("0.0.0", bytes(10_000_000))
    with pytest.raises(InputError, match="this chunk has 10,000,000 bytes"):
        check(path)
    # and with another size
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\1\2")
    data[at + 24 : at + 28] = struct.pack("<I", 512)
    path.write_bytes(data)
    with pytest.raises(InputError, match="cannot be unpacked"):
        check(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "text")
    refused(path, "no zarr, N5 or precomputed volume in this zip file")
    with pytest.raises(InputError, match="shards in a zip file are not read"):
        open_volume(zipped(precomputed(tmp_path / "s", sharding=SHARDING), path))


def test_damaged_shards_of_blosc_are_named(tmp_path: Path) -> None:
    """Their chunks are looked at where they are, before the shard is unpacked."""
    blosc = zarr.codecs.BloscCodec()
    path = array(tmp_path / "a", chunks=(2, 4, 8), shards=(4, 8, 16), compressors=blosc)
    archive = zipped(path, tmp_path / "a.zip", method=zipfile.ZIP_DEFLATED)
    data = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as opened:
        start = opened.getinfo("c/0/0/0").header_offset
    for at in range(start + 100, start + 600, 50):
        data[at] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(InputError, match=r"c/0/0/0: it cannot be unpacked"):
        check(archive)
    shard = path / "c" / "0" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:13])
    with pytest.raises(InputError, match=r"c/0/0/0: it cannot be unpacked"):
        check(path)


# -------------------------------------------------------------- groups and OME-Zarr


def image(path: Path, attributes: dict[str, Any], version: int = 3, **levels: str) -> Path:
    group = zarr.create_group(path, zarr_format=version)  # type: ignore[arg-type]
    for number, level in enumerate(levels.values() or ("0",)):
        made = group.create_array(level, shape=SHAPE, chunks=(4, 8, 8), dtype="u2")
        made[:] = VOXELS + number
    group.attrs.update(attributes)
    return path


def described(*axes: Any, path: str = "0", scale: Any = (2, 0.5, 0.25)) -> dict[str, Any]:
    step = {"type": "scale", "scale": list(scale)}
    return {
        "axes": list(axes),
        "datasets": [{"path": path, "coordinateTransformations": [step]}],
    }


SPACE = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]


@pytest.mark.parametrize("version", ["0.1", "0.2"])
def test_ome_zarr_without_axes(tmp_path: Path, version: str) -> None:
    said = {"multiscales": [{"version": version, "datasets": [{"path": "0"}, {"path": "1"}]}]}
    path = image(tmp_path / "a", said, 2, first="0", second="1")
    for place in (path, path / "0"):
        check(place)
        with open_volume(place) as volume:
            assert volume.axes == ("z", "y", "x")
            assert volume.format == f"ome-zarr-{version}"
    with open_volume(path, scale=1) as volume:
        np.testing.assert_array_equal(volume[...], VOXELS + 1)


@pytest.mark.parametrize("output", ["own", {"name": "own"}])
def test_ome_zarr_with_coordinate_systems(tmp_path: Path, output: Any) -> None:
    steps = [
        {"type": "scale", "scale": [2, 0.5, 0.25]},
        {"type": "translation", "translation": [10, 20, 30]},
    ]
    sequence = {"type": "sequence", "output": output, "transformations": steps}
    others = [{"type": "scale", "scale": [100, 100, 100], "input": "own", "output": "world"}]
    said = {
        "coordinateSystems": [
            {"name": "world", "axes": [{"name": n, "type": "space"} for n in "xyz"]},
            {"name": "own", "axes": SPACE},
        ],
        "datasets": [{"path": "0", "coordinateTransformations": [sequence]}],
        "coordinateTransformations": others,
    }
    path = image(tmp_path / "a", {"ome": {"version": "0.6", "multiscales": [said]}})
    for place in (path, path / "0"):
        with open_volume(place) as volume:
            assert volume.axes == ("z", "y", "x")
            assert volume.voxel_size == (2, 0.5, 0.25)
            assert volume.offset == (10, 20, 30)
            assert volume.units == "micrometer"


@pytest.mark.parametrize(
    "attributes",
    [
        {"ome": {"version": "9", "multiscales": [{"axes": 3, "datasets": [{"path": "0"}]}]}},
        {"ome": {"version": "0.5", "multiscales": "none"}},
        {"multiscales": [described(*SPACE, scale=[1, 2])]},
    ],
)
def test_an_array_is_read_whatever_is_above_it(tmp_path: Path, attributes: dict[str, Any]) -> None:
    path = image(tmp_path / "a", attributes)
    for text in ((path / "zarr.json").read_text(), "{"):
        (path / "zarr.json").write_text(text)
        with pytest.warns(UserWarning, match="read without the size of its voxels"):
            check(path / "0")
        with (
            pytest.warns(UserWarning, match="read without the size"),
            open_volume(path / "0") as volume,
        ):
            assert (volume.voxel_size, volume.units) == ((1, 1, 1), "")


def test_an_axis_without_a_unit(tmp_path: Path) -> None:
    """As bioformats2raw writes planes whose distance is not known."""
    said = described({"name": "z", "type": "space"}, *SPACE[1:], scale=[1, 0.5, 0.25])
    path = image(tmp_path / "a", {"ome": {"version": "0.5", "multiscales": [said]}})
    with pytest.warns(UserWarning, match="one axis has no unit"), open_volume(path) as volume:
        assert (volume.voxel_size, volume.units) == ((1, 0.5, 0.25), "")


def test_time_without_a_length(tmp_path: Path) -> None:
    said = described({"name": "t", "type": "time"}, *SPACE[1:], scale=[0, 0.5, 0.25])
    path = image(tmp_path / "a", {"ome": {"version": "0.5", "multiscales": [said]}})
    with open_volume(path) as volume:
        assert (volume.axes, volume.voxel_size) == (("t", "y", "x"), (0.5, 0.25))


def test_several_images_in_one_group(tmp_path: Path) -> None:
    two = [described(*SPACE), described(*SPACE, path="other", scale=[4, 1, 1])]
    attributes = {"ome": {"version": "0.5", "multiscales": two}}
    path = image(tmp_path / "a", attributes, first="0", second="other")
    check(path)
    for place, scale in ((path / "other", None), (path, "other")):
        with open_volume(place, scale=scale) as volume:
            assert volume.voxel_size == (4, 1, 1)
            np.testing.assert_array_equal(volume[...], VOXELS + 1)


@pytest.mark.parametrize(
    ("first", "letter"),
    [
        ({"name": "time", "type": "time"}, "t"),
        ({"name": "T"}, "t"),
        ({"name": "channel", "type": "channel"}, "c"),
        ({"name": "stain", "type": "channel"}, "c"),
        ({"name": "angle", "type": "other"}, "a"),
    ],
)
def test_names_of_axes(tmp_path: Path, first: dict[str, str], letter: str) -> None:
    said = described(first, *SPACE[1:])
    path = image(tmp_path / "a", {"ome": {"version": "0.5", "multiscales": [said]}})
    with open_volume(path) as volume:
        assert volume.axes == (letter, "y", "x")


@pytest.mark.parametrize(
    ("names", "axes"),
    [
        ([None, "y", "x"], "zyx"),
        ([None, None, "x"], "zyx"),
        ([None, None, None], "zyx"),
        (["channel", None, None], "cyx"),
        (["time", "y", "x"], "tyx"),
        (["x", "y", None], "xya"),
    ],
)
def test_dimensions_without_names(tmp_path: Path, names: Any, axes: str) -> None:
    path = edit(array(tmp_path / "a"), dimension_names=names)
    with open_volume(path) as volume:
        assert sorted(volume.axes) == sorted(axes)


def test_groups_name_what_there_is(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "a")
    refused(tmp_path / "a", "none is found in it")
    inner = group.create_group("day/sample/measured")
    inner.create_array("raw", shape=SHAPE, chunks=(4, 8, 8), dtype="u2")[:] = VOXELS
    check(tmp_path / "a")  # there is no other
    group.create_array("more", shape=SHAPE, chunks=(4, 8, 8), dtype="u2")
    with pytest.raises(InputError, match="name an array or image inside") as caught:
        open_volume(tmp_path / "a")
    for name in ("a/more", "a/day/sample/measured/raw"):
        assert str(tmp_path / name) in str(caught.value)
    with open_volume(tmp_path / "a", series="day/sample/measured/raw") as volume:
        np.testing.assert_array_equal(volume[...], VOXELS)
    archive = zipped(tmp_path / "a", tmp_path / "a.zip")
    with open_volume(archive, series="day/sample/measured/raw") as volume:
        np.testing.assert_array_equal(volume[...], VOXELS)
    with pytest.raises(InputError, match="not a place inside"):
        open_volume(tmp_path / "a", series="../a")
    (tmp_path / "n5").mkdir()
    (tmp_path / "n5" / "attributes.json").write_text('{"n5": "4.0.0"}')
    n5(tmp_path / "n5" / "volumes")
    check(tmp_path / "n5")
    with pytest.raises(InputNotFoundError):
        open_volume(tmp_path / "b")
    (tmp_path / "a" / "zarr.json").unlink()
    refused(
        tmp_path / "a",
        "not a volume.*name one of those in it: .*a/more, .*a/day/sample/measured/raw",
    )
    refused(tmp_path / "a" / "more" / "zarr.json", "open the folder that it describes: .*a/more")
