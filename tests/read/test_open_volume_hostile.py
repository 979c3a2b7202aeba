"""Files that lie, promise the impossible, or lead elsewhere are refused at once."""

from __future__ import annotations

import contextlib
import json
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tensorstore as ts
import tifffile
import zarr

from cytovox.errors import CytovoxError, InputError, InputNotFoundError, UsageError
from cytovox.read.open_volume import open_volume
from cytovox.write.volume_creation import create_labels


def refused(path: Any, text: str, kind: type[CytovoxError] = InputError) -> CytovoxError:
    with pytest.raises(kind, match=text) as caught, open_volume(path) as volume:
        volume[:]
    # what, where, and mostly what to do
    assert str(path).split("://")[-1].split(":/")[0][-20:] in str(caught.value)
    return caught.value


def array_3(path: Path, **changes: Any) -> Path:
    zarr.create_array(path, shape=(8, 8, 8), dtype="u1", chunks=(4, 4, 4))[:] = 1
    document = json.loads((path / "zarr.json").read_text())
    (path / "zarr.json").write_text(json.dumps(document | changes))
    return path


def array_2(path: Path, **changes: Any) -> Path:
    zarr.create_array(path, shape=(8, 8, 8), dtype="u1", chunks=(4, 4, 4), zarr_format=2)[:] = 1
    document = json.loads((path / ".zarray").read_text())
    (path / ".zarray").write_text(json.dumps(document | changes))
    return path


def grid(*chunk: int) -> dict[str, Any]:
    return {"name": "regular", "configuration": {"chunk_shape": chunk}}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"shape": [2**60, 2**60, 2**60]}, "cannot be"),
        ({"shape": [8, 8, -1]}, "cannot be"),
        ({"shape": [8, 8, 0]}, "cannot be"),
        ({"shape": [8, 8, True]}, "cannot be"),
        ({"shape": "8"}, "cannot be"),
        ({"shape": [8] * 9}, "cannot be"),
        ({"shape": [2**20] * 3, "chunk_grid": grid(2**14, 2**14, 2**14)}, "GiB"),
        ({"chunk_grid": {"name": "rectilinear"}}, "unequal"),
        ({"data_type": "string"}, "type 'string'"),
        ({"data_type": {"name": "numpy.datetime64"}}, "not read"),
        ({"data_type": "complex128"}, "complex128"),
        ({"codecs": [{"name": "numcodecs.pickle"}]}, "numcodecs.pickle"),
        ({"codecs": "zip"}, "not a list"),
        ({"storage_transformers": [{"name": "x"}]}, "transformers"),
        ({"attributes": [1]}, "not an object"),
    ],
)
def test_zarr_3(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    refused(array_3(tmp_path / "a.zarr", **changes), text)


def test_zarr_3_shards_within_shards(tmp_path: Path) -> None:
    codecs: list[Any] = [{"name": "bytes", "configuration": {"endian": "little"}}]
    for _ in range(6):
        inner = {"chunk_shape": [4, 4, 4], "codecs": codecs}
        codecs = [{"name": "sharding_indexed", "configuration": inner}]
    refused(array_3(tmp_path / "a.zarr", codecs=codecs), "not a list of codecs")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"dtype": "|O", "filters": [{"id": "pickle"}]}, "run programs"),
        ({"filters": [{"id": "pickle"}]}, "run programs"),
        ({"dtype": [["a", "|u1"]]}, "several fields"),
        ({"dtype": [["a", "|O"]]}, "run programs"),
        ({"dtype": "|O"}, "not read"),
        ({"dtype": "<M8[ns]"}, "not read"),
        ({"filters": [{"id": "delta"}]}, "delta"),
        ({"chunks": [2**20, 2**20, 2**20]}, "GiB"),
        ({"chunks": [4, 4]}, "dimensions"),
        ({"compressor": {"id": "unheard-of"}}, "'unheard-of' is not read"),
    ],
)
def test_zarr_2(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    refused(array_2(tmp_path / "a.zarr", **changes), text)


def test_documents_that_are_none(tmp_path: Path) -> None:
    for number, text in enumerate(("{", "[" * 100_000, "3", '"' + "x" * (2**24 + 1) + '"')):
        folder = tmp_path / f"a{number}.zarr"
        folder.mkdir()
        (folder / "zarr.json").write_text(text)
        refused(folder, "JSON|bytes is not read")


def test_damaged_chunk(tmp_path: Path) -> None:
    path = array_3(tmp_path / "a.zarr")
    (path / "c" / "1" / "1" / "1").write_bytes(b"garbage")
    assert open_volume(path).read([(0, 4)] * 3).all()
    refused(path, "cannot be read")


def group(path: Path, **changes: Any) -> Path:
    made = zarr.create_group(path)
    made.create_array("0", shape=(4, 4), dtype="u1")
    scale = {"type": "scale", "scale": [1, 1]}
    image = {
        "axes": [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}],
        "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
    }
    made.attrs["ome"] = {"version": "0.5", "multiscales": []}
    document = json.loads((path / "zarr.json").read_text("utf-8"))
    document["attributes"]["ome"]["multiscales"] = [image | changes]
    (path / "zarr.json").write_text(json.dumps(document), "utf-8")  # zarr refuses some of it
    return path


def level(path: str, **step: Any) -> list[Any]:
    return [{"path": path, "coordinateTransformations": [step] if step else []}]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"datasets": level("../secret")}, "not a place inside"),
        ({"datasets": level("/etc")}, "not a place inside"),
        ({"datasets": level("\ud800")}, "not a place inside"),
        ({"datasets": level("http://elsewhere/a")}, "not a place inside"),
        ({"datasets": level("1")}, "there is no array"),
        ({"datasets": []}, "no scales"),
        ({"datasets": level("0", type="scale", scale=[1])}, "not 2 numbers"),
        ({"datasets": level("0", type="scale", scale=[1, 0])}, "not 2 positive"),
        ({"datasets": level("0", type="scale", scale=[1, float("nan")])}, "not 2 numbers"),
        ({"datasets": level("0", type="scale", scale=[1e200, 1])}, None),
        ({"datasets": level("0", type="affine", affine=[])}, "affine"),
        ({"axes": [{"name": "x", "type": "space"}]}, "axes"),
        ({"axes": ["z", "y", "x"]}, "scale is|3 axes"),
        ({"axes": ["t", "c"]}, "0 axes are of space"),
        ({"axes": "yx"}, "axes"),
    ],
)
def test_ome(tmp_path: Path, changes: dict[str, Any], text: str | None) -> None:
    path = group(tmp_path / "a.zarr", **changes)
    if text is None:
        assert open_volume(path).shape == (4, 4)
    else:
        refused(path, text)


def test_groups_without_image(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "a.zarr")
    refused(tmp_path / "a.zarr", "zarr group.*none is found in it")
    (tmp_path / "b.n5").mkdir()
    (tmp_path / "b.n5" / "attributes.json").write_text("{}")
    refused(tmp_path / "b.n5", "N5 group")
    (tmp_path / "c").mkdir()
    refused(tmp_path / "c", "not a volume")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"dimensions": [2**62, 8, 8]}, "cannot be"),
        ({"blockSize": [2**20, 2**20, 2**20]}, "GiB"),
        ({"dataType": "object"}, "object"),
        ({"resolution": [1, 2]}, "not 3 positive"),
        ({"compression": {"type": "x"}}, "compression 'x' is not read"),
    ],
)
def test_n5(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    folder = tmp_path / "a.n5"
    folder.mkdir()
    document: dict[str, Any] = {
        "dimensions": [8, 8, 8],
        "blockSize": [4, 4, 4],
        "dataType": "uint8",
        "compression": {"type": "raw"},
    }
    (folder / "attributes.json").write_text(json.dumps(document))
    assert open_volume(folder).shape == (8, 8, 8)
    (folder / "attributes.json").write_text(json.dumps(document | changes))
    refused(folder, text)


@pytest.mark.parametrize(
    ("top", "scale", "text"),
    [
        ({"scales": []}, {}, "no scales"),
        ({}, {"key": "../../etc"}, "not a place inside"),
        ({}, {"size": [8, 8, 2**62]}, "cannot be"),
        ({}, {"chunk_sizes": [[2**14, 2**14, 2**14]], "size": [2**20] * 3}, "GiB"),
        ({}, {"chunk_sizes": []}, "no sizes"),
        ({}, {"resolution": [1, 1, -1]}, "positive"),
        ({"data_type": "object"}, {}, "object"),
        ({"num_channels": 0}, {}, "cannot be"),
    ],
)
def test_precomputed(
    tmp_path: Path, top: dict[str, Any], scale: dict[str, Any], text: str
) -> None:
    described = {
        "key": "1_1_1",
        "size": [8, 8, 8],
        "resolution": [1, 1, 1],
        "chunk_sizes": [[8, 8, 8]],
        "encoding": "raw",
    }
    info = {
        "data_type": "uint8",
        "num_channels": 1,
        "type": "image",
        "scales": [described | scale],
    }
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "info").write_text(json.dumps(info | top))
    refused(tmp_path / "a", text)


# ---------------------------------------------------------------------------- HDF5


def test_hdf5_leads_nowhere_else(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["raw"] = np.ones((4, 4), np.uint8)
    (tmp_path / "secret.raw").write_bytes(b"x" * 64)
    path = tmp_path / "day" / "a.h5"
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        file["real"] = np.ones((4, 4), np.uint8)
        file["outside"] = h5py.ExternalLink("../secret.h5", "/raw")
        file["soft"] = h5py.SoftLink("/outside")
        outside = [(str(tmp_path / "secret.raw"), 0, 64)]
        file.create_dataset("kept", shape=(8, 8), dtype="u1", external=outside)
        layout = h5py.VirtualLayout((4, 4), "u1")
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "raw", (4, 4))
        file.create_virtual_dataset("virtual", layout)
    for name, text in {
        "outside": "is a link to /raw in the file .*secret.h5",
        "soft": "is a link",
        "outside/raw": "is a link",
        "kept": "is kept in the file .*secret.raw",
        "virtual": "is a view of the file .*secret.h5",
        "nothing": "no /nothing",
    }.items():
        refused(f"{path}:/{name}", text)
    with open_volume(f"{path}:/real") as volume:
        assert volume.shape == (4, 4)


def test_hdf5_says_what_there_is(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["a/raw"] = np.ones((4, 4), np.uint8)
        file["b"] = np.ones((4, 4), np.uint8)
        file["text"] = ["a", "b"]
        file["huge"] = np.ones(3)
        file.create_dataset("sparse", shape=(2**20,) * 3, chunks=(64, 64, 64), dtype="u1")
        file.create_dataset("chunky", shape=(2**12,) * 3, chunks=(2**10, 2**10, 2**11), dtype="u1")
        file["empty"] = h5py.Empty("f4")
        file.create_dataset("objects", shape=(2, 2), dtype=h5py.string_dtype())
    assert "/a/raw" in str(refused(path, "arrays of two dimensions"))
    refused(f"{path}:/a", "is a group")
    refused(f"{path}:/chunky", "GiB")
    refused(f"{path}:/empty", "empty")
    refused(f"{path}:/objects", "object")
    refused(f"{path}:/huge", "not a volume")
    with open_volume(f"{path}:/sparse") as volume:
        # such arrays are fine as long as not all is wanted
        assert volume.read([(0, 2)] * 3).sum() == 0
        with pytest.raises(UsageError, match="GiB"):
            volume[:]
    damaged = path.read_bytes()[:-200]
    path.write_bytes(damaged)
    refused(path, "cut short|cannot be opened")


def test_hdf5_damaged_chunk(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        made = file.create_dataset("raw", data=np.ones((8, 64)), chunks=(8, 64), compression=4)
        chunk = made.id.get_chunk_info(0)
    with path.open("r+b") as raw:
        raw.seek(chunk.byte_offset)
        raw.write(b"\xff" * chunk.size)
    refused(path, "damaged|cannot be read")


# ------------------------------------------------------------------ single files


def test_npy(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([[{}, 1]], dtype=object), allow_pickle=True)
    refused(path, "not read")
    np.save(path, np.ones((4, 4, 4)))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    refused(path, "bytes, and")
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999, 9999999)}"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    refused(path, "bytes, and")
    for header in (b"{", b"[" * 5000, b"__import__('os').system('true')"):
        path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
        refused(path, "not a NumPy file")
    path.write_bytes(pickle.dumps([1]))
    refused(path, "not a volume")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"compression": "zlib", "metadata": None},
        {"imagej": True},
        {"bigtiff": True, "byteorder": ">"},
        {"ome": True, "compression": "zlib"},
    ],
)
def test_tiff_cut_short(tmp_path: Path, options: dict[str, Any]) -> None:
    """A part of a file is refused, unless all voxels are in it."""
    path = tmp_path / ("a.ome.tif" if "ome" in options else "a.tif")
    voxels = np.random.default_rng(0).integers(0, 255, (5, 8, 9), dtype=np.uint8)
    tifffile.imwrite(path, voxels, **options)
    whole = path.read_bytes()
    for length in range(0, len(whole), 13):
        path.write_bytes(whole[:length])
        try:
            with open_volume(path) as volume:
                read = volume[:]
        except InputError:
            continue
        np.testing.assert_array_equal(read, voxels)


def test_tiff_whose_pages_run_in_a_circle(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((8, 8), np.uint8))
    data = bytearray(path.read_bytes())
    first = struct.unpack("<I", data[4:8])[0]
    end = first + 2 + 12 * struct.unpack("<H", data[first : first + 2])[0]
    data[end : end + 4] = struct.pack("<I", first)
    path.write_bytes(data)
    refused(path, "list of pages")


def test_tiff_damaged_page(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((5, 8, 8), np.uint8), compression="zlib")
    with tifffile.TiffFile(path) as file:
        start, count = file.pages[2].dataoffsets[0], file.pages[2].databytecounts[0]
    data = bytearray(path.read_bytes())
    data[start : start + count] = b"\xff" * count
    path.write_bytes(data)
    with open_volume(path) as volume:
        assert volume.read([(0, 2), (0, 8), (0, 8)]).all()
    refused(path, "cannot be decoded")


def test_tiff_with_too_few_strips(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((8, 8), np.uint8), compression="zlib", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["RowsPerStrip"].overwrite(2)
    refused(path, "4 strips or tiles, and has the places of 1 ")
    words = [sys.executable, "-m", "cytovox", "volume", "info", str(path)]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert ran.returncode == 1
    assert len(ran.stderr.splitlines()) == 1, "one line says it all"


def test_tiff_that_promises_too_much(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((8, 8), np.uint8), compression="zlib", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            file.pages[0].tags[name].overwrite(2**20 - 1)
    refused(path, "GiB")


def test_tiff_with_pages_elsewhere(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", np.ones((2, 8, 8), np.uint8), ome=True)
    text = tifffile.tiffcomment(tmp_path / "a.ome.tif")
    said = text.replace('SizeZ="2"', 'SizeZ="3"').replace('SizeT="2"', 'SizeT="3"')
    elsewhere = said.replace(
        "</Pixels>",
        '<TiffData IFD="0" FirstZ="2" FirstT="2" PlaneCount="1">'
        '<UUID FileName="../../secret.tif">urn:uuid:0</UUID></TiffData></Pixels>',
    )
    tifffile.tiffcomment(tmp_path / "a.ome.tif", elsewhere.encode())
    try:
        with open_volume(tmp_path / "a.ome.tif") as volume:
            assert volume.shape[0] == 2
    except InputError:
        pass


def test_folder_of_unequal_pages(tmp_path: Path) -> None:
    for number, width in enumerate((8, 8, 9)):
        tifffile.imwrite(tmp_path / f"p{number}.tif", np.ones((8, width), np.uint8))
    error = None
    with open_volume(tmp_path) as volume:
        assert volume.read([(0, 2), (0, 8), (0, 8)]).all()
        with pytest.raises(InputError, match="not one of") as error:
            volume[:]
    assert "p2.tif" in str(error.value)


# ------------------------------------------------------------------------ addresses


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("ftp://host/a", "'ftp://' is not read"),
        ("zip://host/a", "is not read"),
        ("memory://a", "is not read"),
        ("precomputed://http://host/a", "is not read"),
        ("http://host/a?key=1", "nothing else"),
        ("http://host/a#b", "nothing else"),
        ("s3:///a", "nothing else"),
        ("s3://UPPER_case!/a", "not a URL"),
        ("", "not a path"),
        ("a\0b", "not a path"),
    ],
)
def test_addresses(url: str, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        open_volume(url)


def test_passwords_are_not_repeated() -> None:
    with pytest.raises(UsageError, match="password") as caught:
        open_volume("https://me:secret-word@host/a.zarr")
    assert "secret-word" not in str(caught.value)
    with pytest.raises(InputNotFoundError):
        open_volume("file:///nowhere/a.zarr")


def n5_group(path: Path) -> Path:
    space = {"axes": ["z", "y", "x"], "scale": [3, 2, 1], "translate": [0, 0, 0]}
    spec = {
        "driver": "n5",
        "kvstore": {"driver": "file", "path": f"{path}/s0/"},
        "metadata": {
            "dimensions": [6, 5, 4],
            "blockSize": [6, 5, 4],
            "dataType": "uint16",
            "compression": {"type": "gzip"},
            "axes": ["x", "y", "z"],
            "transform": space | {"units": ["nm"] * 3},
            "pixelResolution": {"unit": "um", "dimensions": [1, 2, 3]},
            "downsamplingFactors": [1, 1, 1],
        },
    }
    ts.open(spec, create=True).result()
    above = {
        "scales": [[1, 1, 1]],
        "multiscales": [{"datasets": [{"path": "s0", "transform": space}]}],
        "pixelResolution": {"dimensions": [1, 2, 3]},
    }
    (path / "attributes.json").write_text(json.dumps(above))
    return path / "s0"


def made(form: str) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        sizes: Any = {"shape": (8, 16, 16), "block": (8, 16, 16), "chunk": (4, 8, 8)}
        create_labels(path, format=form, **sizes).close()
        return path

    return make


def members(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the places of all that a JSON document holds."""
    listed = range(len(value)) if isinstance(value, list) else value
    for key in listed if isinstance(value, (dict, list)) else ():
        yield (*place, key)
        yield from members(value[key], (*place, key))


@pytest.mark.parametrize(
    ("make", "document"),
    [
        (made("ome-zarr-0.5"), "zarr.json"),
        (made("ome-zarr-0.5"), "0/zarr.json"),
        (made("ome-zarr-0.4"), ".zattrs"),
        (made("ome-zarr-0.4"), "0/.zarray"),
        (made("zarr2"), ".zattrs"),
        (made("precomputed"), "info"),
        (n5_group, "attributes.json"),
        (n5_group, "../attributes.json"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*")
def test_no_value_of_a_member_is_an_error_of_another_kind(
    tmp_path: Path, make: Callable[[Path], Path], document: str
) -> None:
    path = make(tmp_path / "a")
    whole = (path / document).read_text()
    for place in members(json.loads(whole)):
        for value in (3, 2**70, "x", [None], {}):
            changed = json.loads(whole)
            inner = changed
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = value
            (path / document).write_text(json.dumps(changed))
            with contextlib.suppress(CytovoxError), open_volume(path) as volume:
                volume.read([(0, 1)] * volume.ndim)
