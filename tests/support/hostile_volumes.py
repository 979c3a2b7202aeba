"""Hostile volumes: objects, bombs, lies about sizes, ways out."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from .bombs import deflate_bomb, zstd_bomb
from .hostile import SECRET, HostileCase

__all__ = ["VOLUME_CASES"]

_GIB = 1 << 30
_BOMB = 1 << 30


def _case(
    name: str, says: str = "", *, allow: str = "", quick: bool = False
) -> Callable[[Callable[[Path], Path | str]], HostileCase]:
    return lambda build: HostileCase(name, "volume", build, says, allow, quick)


def _write(path: Path, chunk: bytes | int) -> None:
    """Write a chunk; a number is that of its zeros, which take no room."""
    with path.open("wb") as file:
        file.truncate(chunk) if isinstance(chunk, int) else file.write(chunk)


def _zarr3(folder: Path, chunk: bytes | int | None = None, **changes: Any) -> Path:
    path = folder / "a.zarr"
    path.mkdir()
    document: dict[str, Any] = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [64, 64, 64],
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [64, 64, 64]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes"}],
        "attributes": {},
    }
    (path / "zarr.json").write_text(json.dumps(document | changes))
    if chunk is not None:
        inner = path / "c" / "0" / "0" / "0"
        inner.parent.mkdir(parents=True)
        _write(inner, chunk)
    return path


def _zarr2(folder: Path, chunk: bytes | None = None, **changes: Any) -> Path:
    path = folder / "a.zarr"
    path.mkdir()
    document: dict[str, Any] = {
        "zarr_format": 2,
        "shape": [64, 64, 64],
        "chunks": [64, 64, 64],
        "dtype": "|u1",
        "compressor": None,
        "fill_value": 0,
        "order": "C",
        "filters": None,
    }
    (path / ".zarray").write_text(json.dumps(document | changes))
    if chunk is not None:
        (path / "0.0.0").write_bytes(chunk)
    return path


def _codec(name: str, **configuration: Any) -> list[dict[str, Any]]:
    return [{"name": "bytes"}, {"name": name, "configuration": configuration}]


def _blosc() -> bytes:
    return struct.pack("<BBBBIII", 2, 1, 0x21, 1, _GIB, _GIB, 64) + bytes(48)


def _sharded(folder: Path) -> Path:
    inner = {"chunk_shape": [64, 64, 64], "codecs": _codec("zstd", level=1, checksum=False)}
    inner["index_codecs"] = [{"name": "bytes", "configuration": {"endian": "little"}}]
    bomb = zstd_bomb(_BOMB)
    shard = bomb + struct.pack("<QQ", 0, len(bomb))
    codecs = [{"name": "sharding_indexed", "configuration": inner}]
    return _zarr3(folder, shard, codecs=codecs)


def _linked_chunk(folder: Path) -> Path:
    path = _zarr3(folder)
    (path / "c" / "0" / "0").mkdir(parents=True)
    secret = folder.parent / "private" / "big.raw"
    secret.write_bytes(bytes([SECRET]) * 64**3)
    (path / "c" / "0" / "0" / "0").symlink_to(secret)
    return path


def _linked_folder(folder: Path) -> Path:
    path = _zarr3(folder)
    hidden = folder.parent / "private" / "c"
    (hidden / "0" / "0").mkdir(parents=True)
    (hidden / "0" / "0" / "0").write_bytes(bytes([SECRET]) * 64**3)
    (path / "c").symlink_to(hidden, target_is_directory=True)
    return path


def _group(folder: Path, **changes: Any) -> Path:
    path = folder / "g.zarr"
    path.mkdir()
    axes = [{"name": n, "type": "space"} for n in "zyx"]
    step = {"type": "scale", "scale": [1, 1, 1]}
    image: dict[str, Any] = {
        "axes": axes,
        "datasets": [{"path": "0", "coordinateTransformations": [step]}],
    }
    attributes = {"ome": {"version": "0.5", "multiscales": [image | changes]}}
    document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    (path / "zarr.json").write_text(json.dumps(document))
    return path


def _n5(folder: Path, chunk: bytes | None = None, **changes: Any) -> Path:
    path = folder / "a.n5"
    path.mkdir()
    document: dict[str, Any] = {
        "dimensions": [64, 64, 64],
        "blockSize": [64, 64, 64],
        "dataType": "uint8",
        "compression": {"type": "raw"},
    }
    (path / "attributes.json").write_text(json.dumps(document | changes))
    if chunk is not None:
        (path / "0" / "0").mkdir(parents=True)
        (path / "0" / "0" / "0").write_bytes(chunk)
    return path


def _n5_header(*size: int) -> bytes:
    return struct.pack(f">HH{len(size)}I", 0, len(size), *size)


def _precomputed(folder: Path, chunk: int | None = None, **changes: Any) -> Path:
    path = folder / "p"
    path.mkdir()
    scale: dict[str, Any] = {
        "key": "s0",
        "size": [64, 64, 64],
        "resolution": [1, 1, 1],
        "chunk_sizes": [[64, 64, 64]],
        "encoding": "raw",
    }
    info = {"data_type": "uint8", "num_channels": 1, "type": "image", "scales": [scale | changes]}
    (path / "info").write_text(json.dumps(info))
    if chunk is not None:
        (path / "s0").mkdir()
        _write(path / "s0" / "0-64_0-64_0-64", chunk)
    return path


def _npy(folder: Path, header: bytes, body: bytes = b"") -> Path:
    path = folder / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body)
    return path


def _described(descr: str, shape: str) -> bytes:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()


def _npz(folder: Path) -> Path:
    path = folder / "a.npz"
    stream = io.BytesIO()
    np.save(stream, np.array([{}], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", stream.getvalue())
    return path


def _zip(folder: Path) -> Path:
    path = folder / "a.zarr.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zarr.json", bytes(1 << 26))
        archive.writestr("../../victim", b"x")
    return path


def _tiff(folder: Path, width: int, height: int, strip: bytes, compression: int) -> Path:
    """Write one page that is one strip, whatever its size is said to be."""
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8),
        (259, 3, compression),
        (262, 3, 1),
        (273, 4, 8 + 2 + 12 * 10 + 4),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, len(strip)),
        (339, 3, 1),
    ]
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    path = folder / "a.tif"
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    path.write_bytes(head + body + struct.pack("<I", 0) + strip)
    return path


def _hdf5(folder: Path, kind: str) -> str:
    path = folder / "a.h5"
    private = folder.parent / "private"
    with h5py.File(path, "w", libver="latest") as h5:
        if kind == "external":
            outside = [(str(private / "secret.raw"), 0, 4096)]
            h5.create_dataset("raw", shape=(16, 16, 16), dtype="u1", external=outside)
        elif kind == "virtual":
            layout = h5py.VirtualLayout((20, 16, 24), "u1")
            source = str(private / "secret.rtdc")
            layout[:] = h5py.VirtualSource(source, "events/image", (20, 16, 24))
            h5.create_virtual_dataset("raw", layout)
        elif kind == "link":
            h5["a"] = h5py.ExternalLink(str(private / "secret.rtdc"), "/events")
            return f"{path}:/a/image"
        elif kind == "objects":
            h5.create_dataset("raw", shape=(4, 4, 4), dtype=h5py.ref_dtype)
        else:
            made = h5.create_dataset(
                "raw", shape=(64, 64, 64), dtype="u1", chunks=(64, 64, 64), **hdf5plugin.Zstd(5)
            )
            made.id.write_direct_chunk((0, 0, 0), zstd_bomb(_BOMB))
    return f"{path}:/raw"


_PICKLE = {"filters": [{"id": "pickle", "protocol": 5}], "dtype": "|O"}
_HUGE = {"name": "regular", "configuration": {"chunk_shape": [2**14, 2**14, 2**14]}}
_BLOSC3 = {"cname": "lz4", "clevel": 5, "shuffle": "noshuffle", "typesize": 1, "blocksize": 0}
_BLOSC2 = {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 0, "blocksize": 0}

#: All cases of volumes.
VOLUME_CASES: tuple[HostileCase, ...] = (
    _case("zarr 2 of pickles", "run programs", quick=True)(lambda f: _zarr2(f, b"", **_PICKLE)),
    _case("zarr 2 of pickled numbers", "run programs")(
        lambda f: _zarr2(f, filters=[{"id": "pickle"}])
    ),
    _case("zarr 2 of msgpack", "run programs")(lambda f: _zarr2(f, filters=[{"id": "msgpack2"}])),
    _case("zarr 2 of JSON objects", "run programs")(
        lambda f: _zarr2(f, filters=[{"id": "json2"}])
    ),
    _case("zarr 3 of pickles", "pickle")(
        lambda f: _zarr3(f, codecs=[{"name": "numcodecs.pickle"}])
    ),
    _case("zarr 3 of 2^120 voxels", "cannot be")(lambda f: _zarr3(f, shape=[2**40] * 3)),
    _case("zarr 3 in chunks of 4 TB", "GiB", quick=True)(
        lambda f: _zarr3(f, shape=[2**20] * 3, chunk_grid=_HUGE)
    ),
    _case("zarr 2 in chunks of 4 TB", "GiB")(
        lambda f: _zarr2(f, shape=[2**20] * 3, chunks=[2**14] * 3)
    ),
    _case("zarr 3, zstd bomb", "a.zarr", quick=True)(
        lambda f: _zarr3(f, zstd_bomb(_BOMB), codecs=_codec("zstd", level=1, checksum=False))
    ),
    _case("zarr 3, gzip bomb", "a.zarr")(
        lambda f: _zarr3(f, deflate_bomb(_BOMB, gzip=True), codecs=_codec("gzip", level=5))
    ),
    _case("zarr 3, blosc bomb", "a.zarr")(
        lambda f: _zarr3(f, _blosc(), codecs=_codec("blosc", **_BLOSC3))
    ),
    _case("zarr 3, bomb in a shard", "a.zarr")(_sharded),
    _case("zarr 3, chunk of 1 GB of bytes", "a.zarr")(lambda f: _zarr3(f, _BOMB)),
    _case("zarr 2, zstd bomb", "a.zarr")(
        lambda f: _zarr2(f, zstd_bomb(_BOMB), compressor={"id": "zstd", "level": 1})
    ),
    _case("zarr 2, gzip bomb", "a.zarr")(
        lambda f: _zarr2(f, deflate_bomb(_BOMB, gzip=True), compressor={"id": "gzip", "level": 1})
    ),
    _case("zarr 2, zlib bomb", "a.zarr")(
        lambda f: _zarr2(f, deflate_bomb(_BOMB), compressor={"id": "zlib", "level": 1})
    ),
    _case("zarr 2, blosc bomb", "a.zarr")(lambda f: _zarr2(f, _blosc(), compressor=_BLOSC2)),
    _case("zarr with a linked chunk", "link", allow="external", quick=True)(_linked_chunk),
    _case("zarr with a linked folder", "link", allow="external")(_linked_folder),
    _case("zarr image elsewhere", "not a place inside")(
        lambda f: _group(f, datasets=[{"path": "../../private"}])
    ),
    _case("zarr image on the web", "not a place inside")(
        lambda f: _group(f, datasets=[{"path": "http://127.0.0.1:9/a"}])
    ),
    _case("N5 of 2^186 voxels", "cannot be")(lambda f: _n5(f, dimensions=[2**62] * 3)),
    _case("N5, gzip bomb", "a.n5")(
        lambda f: _n5(
            f,
            _n5_header(64, 64, 64) + deflate_bomb(_BOMB, gzip=True),
            compression={"type": "gzip"},
        )
    ),
    _case("N5, block that says 4 GB", "a.n5")(
        lambda f: _n5(f, _n5_header(2048, 2048, 1024) + bytes(100))
    ),
    _case("precomputed with a way out", "not a place inside")(
        lambda f: _precomputed(f, key="../../private")
    ),
    _case("precomputed of 2^62 planes", "cannot be")(
        lambda f: _precomputed(f, size=[8, 8, 2**62])
    ),
    _case("precomputed, chunk of 1 GB", "p")(lambda f: _precomputed(f, _BOMB)),
    _case("NumPy objects", "not read", quick=True)(
        lambda f: _npy(f, _described("'|O'", "(4, 4)"), b"cos\nsystem\n(S'true'\ntR.")
    ),
    _case("NumPy file that promises", "bytes, and")(
        lambda f: _npy(f, _described("'|u1'", "(99999999999, 99999)"))
    ),
    _case("NumPy header that is a program", "not a NumPy file")(
        lambda f: _npy(f, b"__import__('os').abort()\n")
    ),
    _case("NumPy archive of objects", "volume in this zip file")(_npz),
    _case("zip bomb for a store", "more than 16,777,216 bytes", quick=True)(_zip),
    _case("TIFF of 2^40 pixels", "GiB|cannot|short")(
        lambda f: _tiff(f, 2**20, 2**20, bytes(100), 8)
    ),
    _case("TIFF, deflate bomb", "a.tif")(lambda f: _tiff(f, 64, 64, deflate_bomb(_BOMB), 8)),
    _case("TIFF, zstd bomb", "a.tif")(lambda f: _tiff(f, 64, 64, zstd_bomb(_BOMB), 50000)),
    _case("HDF5 with external voxels", "kept in the file", allow="external", quick=True)(
        lambda f: _hdf5(f, "external")
    ),
    _case("HDF5 with virtual voxels", "view of the file", allow="external")(
        lambda f: _hdf5(f, "virtual")
    ),
    _case("HDF5 with a link on the way", "link", allow="external")(lambda f: _hdf5(f, "link")),
    _case("HDF5 of references", "not read")(lambda f: _hdf5(f, "objects")),
    _case("HDF5, zstd bomb", "unpack")(lambda f: _hdf5(f, "bomb")),
)
