"""Hostile recordings: storage elsewhere, links, lies about sizes, bombs, wrong types."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import zstandard

from .bombs import deflate_bomb, zstd_bomb
from .hostile import HostileCase

__all__ = ["FRAMES", "RECORDING_CASES", "SHAPE", "plain_recording"]

#: Frames of an ordinary recording.
FRAMES = 20
#: Rows and columns of its images.
SHAPE = (16, 24)

_IMAGES = (FRAMES, *SHAPE)
_BYTES = FRAMES * SHAPE[0] * SHAPE[1]
_GIB = 1 << 30

Change = Callable[[h5py.File, Path], None]


def plain_recording(path: Path, *, value: int = 60, identifier: str = "a measurement") -> Path:
    """Write a small recording that is as it should be."""
    with h5py.File(path, "w", libver="latest") as h5:
        h5.attrs["experiment:event count"] = FRAMES
        h5.attrs["experiment:run identifier"] = identifier
        h5.attrs["imaging:pixel size"] = 0.34
        image = np.full(_IMAGES, value, np.uint8)
        h5.create_dataset(
            "events/image", data=image, chunks=(5, *SHAPE), fletcher32=True, **hdf5plugin.Zstd(5)
        )
        h5["events/deform"] = np.full(FRAMES, value, float)
        h5["logs/a"] = np.array([bytes([value]) * 20] * 3, dtype="S20")
    return path


def _case(
    name: str, says: str = "", *, allow: str = "", quick: bool = False
) -> Callable[[Change], HostileCase]:
    """Make a case of a function that changes an ordinary recording."""

    def made(change: Change) -> HostileCase:
        def build(folder: Path) -> Path:
            path = plain_recording(folder / "input.rtdc")
            with h5py.File(path, "a", libver="latest") as h5:
                change(h5, folder.parent / "private")
            return path

        return HostileCase(name, "recording", build, says, allow, quick)

    return made


def _of_file(name: str, says: str, *, quick: bool = False) -> Callable[[Any], HostileCase]:
    """Make a case of a function that is given the path of an ordinary recording."""

    def made(change: Callable[[Path], Path | None]) -> HostileCase:
        def build(folder: Path) -> Path:
            path = plain_recording(folder / "input.rtdc")
            return change(path) or path

        return HostileCase(name, "recording", build, says, "", quick)

    return made


def _replace(h5: h5py.File, name: str, *args: Any, **kwargs: Any) -> h5py.Dataset:
    if name in h5:
        del h5[name]
    return h5.create_dataset(name, *args, **kwargs)


def _external(name: str, shape: tuple[int, ...], dtype: Any) -> Change:
    def change(h5: h5py.File, private: Path) -> None:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        outside = [(str(private / "secret.raw"), 0, size)]
        _replace(h5, name, shape=shape, dtype=dtype, external=outside)

    return change


def _virtual(name: str, source: str, inner: str, shape: tuple[int, ...], dtype: Any) -> Change:
    def change(h5: h5py.File, private: Path) -> None:
        layout = h5py.VirtualLayout(shape, dtype)
        layout[:] = h5py.VirtualSource(source.format(private), inner, shape)
        if name in h5:
            del h5[name]
        h5.create_virtual_dataset(name, layout)

    return change


def _virtual_pattern(h5: h5py.File, private: Path) -> None:
    """Show as many files as there are: 0.rtdc, 1.rtdc and so on."""
    (private / "0.rtdc").write_bytes((private / "secret.rtdc").read_bytes())
    unlimited = h5py.h5s.UNLIMITED
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    view = h5py.h5s.create_simple(_IMAGES, (unlimited, *SHAPE))
    view.select_hyperslab((0, 0, 0), (unlimited, 1, 1), (FRAMES, 1, 1), (FRAMES, *SHAPE))
    source = h5py.h5s.create_simple(_IMAGES)
    plist.set_virtual(view, str(private / "%b.rtdc").encode(), b"events/image", source)
    del h5["events/image"]
    space = h5py.h5s.create_simple(_IMAGES, (unlimited, *SHAPE))
    h5py.h5d.create(h5["events"].id, b"image", h5py.h5t.STD_U8LE, space, dcpl=plist)


def _link(**links: str) -> Change:
    """Replace by links; ``>file`` leads to another file, the rest within this one."""

    def change(h5: h5py.File, private: Path) -> None:
        for name, target in links.items():
            if name in h5:
                del h5[name]
            file, _, inner = target.partition(":")
            external = h5py.ExternalLink(str(private / file), inner) if file else None
            h5[name] = external or h5py.SoftLink(inner)

    return change


def _links(links: dict[str, str]) -> Change:
    return _link(**links)


def _attribute(name: str, value: Any) -> Change:
    def change(h5: h5py.File, private: Path) -> None:  # noqa: ARG001
        h5.attrs[name] = value

    return change


def _dataset(name: str, *args: Any, **kwargs: Any) -> Change:
    def change(h5: h5py.File, private: Path) -> None:  # noqa: ARG001
        _replace(h5, name, *args, **kwargs)

    return change


def _claim(frames: int, shape: tuple[int, ...] = (80, 400), **kwargs: Any) -> Change:
    def change(h5: h5py.File, private: Path) -> None:  # noqa: ARG001
        del h5["events/deform"]
        h5.attrs["experiment:event count"] = frames
        _replace(h5, "events/image", shape=(frames, *shape), dtype="u1", **kwargs)

    return change


def _bomb(name: str, packed: bytes, rows: int = 5, **filters: Any) -> Change:
    """Store bytes as the first chunk of a dataset, as they are."""

    def change(h5: h5py.File, private: Path) -> None:  # noqa: ARG001
        shape = _IMAGES if name.endswith("image") else (FRAMES,)
        dtype: Any = "S20" if name.startswith("logs") else "u1" if len(shape) == 3 else "f8"
        made = _replace(h5, name, shape=shape, dtype=dtype, chunks=(rows, *shape[1:]), **filters)
        made.id.write_direct_chunk((0,) * len(shape), packed)

    return change


def _gzip_bomb(h5: h5py.File, private: Path) -> None:  # noqa: ARG001
    """Chunks of 4 MiB, in which 0.5 MB of stored bytes unpack to 512 MiB."""
    h5.attrs["experiment:event count"] = 4
    del h5["events/deform"]
    made = _replace(
        h5, "events/image", shape=(4, 2048, 2048), dtype="u1", chunks=(1, 2048, 2048),
        compression="gzip",
    )  # fmt: skip
    packed = deflate_bomb(512 << 20)
    for frame in range(4):
        made.id.write_direct_chunk((frame, 0, 0), packed)


def _twice_packed(h5: h5py.File, private: Path) -> None:  # noqa: ARG001
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((5, *SHAPE))
    for _ in range(2):
        plist.set_deflate(9)
    del h5["events/image"]
    space = h5py.h5s.create_simple(_IMAGES)
    h5py.h5d.create(h5["events"].id, b"image", h5py.h5t.STD_U8LE, space, dcpl=plist)
    h5["events/image"][:] = 7


def _unknown_filter(h5: h5py.File, private: Path) -> None:  # noqa: ARG001
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((5, *SHAPE))
    plist.set_filter(31999, h5py.h5z.FLAG_OPTIONAL, ())
    del h5["events/image"]
    space = h5py.h5s.create_simple(_IMAGES)
    made = h5py.h5d.create(h5["events"].id, b"image", h5py.h5t.STD_U8LE, space, dcpl=plist)
    made.write_direct_chunk((0, 0, 0), bytes(5 * SHAPE[0] * SHAPE[1]))


def _soft_chain(h5: h5py.File, private: Path) -> None:  # noqa: ARG001
    h5["z"] = h5["events/image"]
    del h5["events/image"]
    for number in range(100):
        h5[f"s{number}"] = h5py.SoftLink(f"/s{number + 1}" if number < 99 else "/z")
    h5["events/image"] = h5py.SoftLink("/s0")


def _group_cycle(h5: h5py.File, private: Path) -> None:  # noqa: ARG001
    h5["events/again"] = h5["events"]
    h5["events/all"] = h5["/"]
    h5["again"] = h5["/"]


def _deep_groups(h5: h5py.File, private: Path) -> None:  # noqa: ARG001
    group = h5.id
    for _ in range(3000):
        group = h5py.h5g.create(group, b"g")


def _many_attributes(h5: h5py.File, private: Path) -> None:  # noqa: ARG001
    for number in range(5000):
        h5.attrs.create(f"user:{number}", 1, dtype="u1")


def _shared_log(h5: h5py.File, private: Path) -> None:  # noqa: ARG001
    """All lines are the same 4 MiB in the file: 20 000 lines are 80 GB."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((20_000,))
    kind = h5py.h5t.py_create(h5py.string_dtype(), logical=True)
    space = h5py.h5s.create_simple((20_000,))
    made = h5py.h5d.create(h5["logs"].id, b"b", kind, space, dcpl=plist)
    line = h5py.Dataset(made)
    line[0] = "x" * (4 << 20)
    h5.flush()
    info = made.get_chunk_info_by_coord((0,))
    with Path(h5.filename).open("rb") as raw:
        raw.seek(info.byte_offset)
        first = raw.read(16)
    made.write_direct_chunk((0,), first * 20_000)


def _committed_type(h5: h5py.File, private: Path) -> None:  # noqa: ARG001
    del h5["events/image"]
    h5["events/image"] = np.dtype("u1")


def _bad_checksum(path: Path) -> None:
    with h5py.File(path) as h5:
        info = h5["events/image"].id.get_chunk_info_by_coord((5, 0, 0))
    with path.open("r+b") as raw:
        raw.seek(info.byte_offset + info.size - 1)
        last = raw.read(1)[0]
        raw.seek(info.byte_offset + info.size - 1)
        raw.write(bytes([last ^ 0xFF]))


def _user_block(path: Path) -> None:
    path.write_bytes(b"#!/bin/sh\n".ljust(512, b"\0") + path.read_bytes())


def _folder(path: Path) -> Path:
    target = path.with_name("folder.rtdc")
    target.mkdir()
    return target


def _pipe(path: Path) -> Path:
    target = path.with_name("pipe.rtdc")
    if hasattr(os, "mkfifo"):
        os.mkfifo(target)
    else:
        target.mkdir()
    return target


def _device(path: Path) -> Path:
    target = path.with_name("device.rtdc")
    zero = Path("/dev/zero")
    if zero.exists():
        target.symlink_to(zero)
    else:
        target.mkdir()
    return target


_BLOSC_BOMB = struct.pack("<BBBBIII", 2, 1, 0, 1, _GIB, _GIB, 64) + bytes(48)
_TABLE = np.dtype([("a", "u1"), ("b", "u1")])
_ZEROS = np.zeros(FRAMES + 2)
_NUMBERS = h5py.vlen_dtype(np.uint8)

#: All cases of recordings without basins.
RECORDING_CASES: tuple[HostileCase, ...] = (
    _case("external image", "image.*secret.raw", allow="external", quick=True)(
        _external("events/image", _IMAGES, "u1")
    ),
    _case("external feature", "deform.*secret.raw", allow="external")(
        _external("events/deform", (FRAMES,), "u1")
    ),
    _case("external log", "logs/a.*secret.raw", allow="external", quick=True)(
        _external("logs/a", (30,), "S20")
    ),
    _case("external table", "tables/t.*secret.raw", allow="external")(
        _external("tables/t", (30,), _TABLE)
    ),
    _case("external basin events", "basin_events/image_bg.*secret", allow="external")(
        _external("basin_events/image_bg", _IMAGES, "u1")
    ),
    _case("external basin definition", "basins/b.*secret.raw")(
        _external("basins/b", (10,), "S20")
    ),
    _case("external map of a basin", "basinmap0.*secret", allow="external")(
        _external("events/basinmap0", (FRAMES,), "u1")
    ),
    _case("virtual image", "image.*secret.rtdc", allow="external", quick=True)(
        _virtual("events/image", "{}/secret.rtdc", "events/image", _IMAGES, "u1")
    ),
    _case("virtual feature", "deform.*secret.rtdc", allow="external")(
        _virtual("events/deform", "{}/secret.rtdc", "events/deform", (FRAMES,), "f8")
    ),
    _case("virtual log", "logs/a.*secret.rtdc", allow="external")(
        _virtual("logs/a", "{}/secret.rtdc", "logs/a", (3,), "S20")
    ),
    _case("virtual pattern", "image.*%b", allow="external")(_virtual_pattern),
    _case("virtual within the file")(
        _virtual("events/bright_avg", ".", "events/deform", (FRAMES,), "f8")
    ),
    _case("link for events", "events.*secret.rtdc", allow="external", quick=True)(
        _link(events="secret.rtdc:/events")
    ),
    _case("link for images", "events/image.*secret", allow="external", quick=True)(
        _links({"events/image": "secret.rtdc:/events/image"})
    ),
    _case("link for a log", "logs/a.*secret.rtdc", allow="external")(
        _links({"logs/a": "secret.rtdc:/logs/a"})
    ),
    _case("link for logs", "logs.*secret.rtdc", allow="external")(_link(logs="secret.rtdc:/logs")),
    _case("link for tables", "tables.*secret", allow="external")(
        _link(tables="secret.rtdc:/logs")
    ),
    _case("link for basins", "basins.*secret.rtdc")(_link(basins="secret.rtdc:/logs")),
    _case("link for basin events", "basin_events.*secret", allow="external")(
        _link(basin_events="secret.rtdc:/events")
    ),
    _case("link on the way", "events.*secret.rtdc", allow="external", quick=True)(
        _link(a="secret.rtdc:/", events=":/a/events")
    ),
    _case("link behind a soft link", "image.*secret.rtdc", allow="external")(
        _links({"a": "secret.rtdc:/events", "events/image": ":/a/image"})
    ),
    _case("soft link within the file")(_links({"events/bright_avg": ":/events/deform"})),
    _case("soft links in a chain", "events/image", quick=True)(_soft_chain),
    _case("soft links in a loop", "events/image")(
        _links({"a": ":/b", "b": ":/a", "events/image": ":/a"})
    ),
    _case("soft link to nothing", "events/deform")(_links({"events/deform": ":/nothing"})),
    _case("groups in a circle", quick=True)(_group_cycle),
    _case("3000 groups deep", quick=True)(_deep_groups),
    _case("320 GB and nothing stored", "image.*GB", allow="oversized", quick=True)(
        _claim(10_000_000, chunks=(32, 80, 400), compression="gzip")
    ),
    _case("320 GB in one piece", "image.*GB", allow="oversized")(_claim(10_000_000)),
    _case("2^40 frames", "image", allow="oversized")(
        _claim(2**40, (4, 4), chunks=(1000, 4, 4))
    ),
    _case("frames of 1 TB", "image.*GB", allow="oversized")(
        _claim(FRAMES, (2**20, 2**20), chunks=(1, 256, 256))
    ),
    _case("chunks of 2 GB", "image.*chunk", allow="oversized", quick=True)(
        _claim(FRAMES * 5, (2**13, 2**12), chunks=(64, 2**13, 2**12))
    ),
    _case("chunks of one pixel", "image.*chunk", allow="oversized")(
        _claim(FRAMES, (512, 512), chunks=(1, 1, 1))
    ),
    _case("frames without pixels", "image")(_claim(FRAMES, (0, 0))),
    _case("a scalar of 2^40 rows", "time", allow="oversized")(
        _dataset("events/time", shape=(2**40,), dtype="f8", chunks=(1000,))
    ),
    _case("a feature that is too long", "time")(_dataset("events/time", data=_ZEROS[:-1])),
    _case("a feature that is too short", "time")(_dataset("events/time", data=_ZEROS[3:])),
    _case("a feature without rows", "time")(_dataset("events/time", data=1.0)),
    _case("zstd bomb of images", "image.*unpack", allow="", quick=True)(
        _bomb("events/image", zstd_bomb(400 << 20), **hdf5plugin.Zstd(5))
    ),
    _case("zstd bomb of a scalar", "deform.*unpack", quick=True)(
        _bomb("events/deform", zstd_bomb(400 << 20), **hdf5plugin.Zstd(5))
    ),
    _case("zstd bomb of a log", "logs/a.*unpack", quick=True)(
        _bomb("logs/a", zstd_bomb(400 << 20), **hdf5plugin.Zstd(5))
    ),
    _case("zstd that hides its size", "image.*unpack")(
        _bomb(
            "events/image",
            zstandard.ZstdCompressor(write_content_size=False).compress(bytes(64 << 20)),
            **hdf5plugin.Zstd(5),
        )
    ),
    _case("zstd of a smaller size", "image.*unpack")(
        _bomb("events/image", zstd_bomb(0), **hdf5plugin.Zstd(5))
    ),
    _case("gzip bomb", "image.*unpack", quick=True)(_gzip_bomb),
    _case("gzip bomb in a small chunk", "deform.*unpack")(
        _bomb("events/deform", deflate_bomb(512 << 20), compression="gzip")
    ),
    _case("blosc bomb", "image.*unpack")(
        _bomb("events/image", _BLOSC_BOMB, **hdf5plugin.Blosc(cname="lz4"))
    ),
    _case("lz4 bomb", "image.*unpack")(
        _bomb("events/image", struct.pack(">QI", 4 * _GIB, _GIB) + bytes(48), **hdf5plugin.LZ4())
    ),
    _case("bitshuffle bomb", "image.*unpack")(
        _bomb(
            "events/image",
            struct.pack(">QI", 4 * _GIB, 8192) + bytes(48),
            **hdf5plugin.Bitshuffle(cname="lz4"),
        )
    ),
    _case("packed twice", "image.*packed", allow="oversized")(_twice_packed),
    _case("unknown filter", "image.*31999", allow="oversized", quick=True)(_unknown_filter),
    _case("text for images", "image")(
        _dataset("events/image", shape=_IMAGES, dtype=h5py.string_dtype())
    ),
    _case("lists for images", "image")(_dataset("events/image", shape=_IMAGES, dtype=_NUMBERS)),
    _case("references for images", "image", quick=True)(
        _dataset("events/image", shape=_IMAGES, dtype=h5py.ref_dtype)
    ),
    _case("records for a feature")(
        _dataset("events/deform", data=np.zeros(FRAMES, _TABLE))
    ),
    _case("complex images", "image")(_dataset("events/image", data=np.zeros(_IMAGES, complex))),
    _case("colour images", "image")(_dataset("events/image", data=np.zeros((*_IMAGES, 3), "u1"))),
    _case("a type for images", "image")(_committed_type),
    _case("lists for a log")(_dataset("logs/b", shape=(3,), dtype=_NUMBERS)),
    _case("a log of 4 GB", "logs/b", allow="oversized")(
        _dataset("logs/b", shape=(4 << 20,), dtype="S1000", chunks=(1000,), compression="gzip")
    ),
    _case("a log whose lines are one", "logs/b", allow="oversized", quick=True)(_shared_log),
    _case("a log that is not text")(_dataset("logs/b", data=np.array([b"\xff\xfe\x80", b"a"]))),
    _case("a table of 4 GB", "tables/t", allow="oversized")(
        _dataset("tables/t", shape=(2 << 30,), dtype=_TABLE, chunks=(1000,), compression="gzip")
    ),
    _case("objects in a table")(
        _dataset("tables/t", shape=(4,), dtype=[("a", h5py.ref_dtype), ("b", "u1")])
    ),
    _case("logs that are an array", "logs")(
        lambda h5, _: (h5.__delitem__("logs"), h5.create_dataset("logs", data=[1]))[0]
    ),
    _case("an attribute of 100 MB", "user:x", allow="oversized")(
        _attribute("user:x", np.zeros(100 << 20, "u1"))
    ),
    _case("5000 attributes", "attributes", allow="oversized")(_many_attributes),
    _case("pixel size is not a number", "pixel size", quick=True)(
        _attribute("imaging:pixel size", float("nan"))
    ),
    _case("pixel size is infinite", "pixel size")(
        _attribute("imaging:pixel size", float("inf"))
    ),
    _case("pixel size is a list", "pixel size")(_attribute("imaging:pixel size", [0.3, 0.4])),
    _case("pixel size is text", "pixel size")(_attribute("imaging:pixel size", "wide")),
    _case("event count is text", "event count")(_attribute("experiment:event count", "many")),
    _case("event count is a list", "event count")(_attribute("experiment:event count", [1, 2])),
    _case("event count is infinite", "event count")(
        _attribute("experiment:event count", float("inf"))
    ),
    _case("event count is 2^62", "event count")(_attribute("experiment:event count", 2**62)),
    _case("identifier is a list")(_attribute("experiment:run identifier", ["a", "b"])),
    _of_file("bad checksum", "image", quick=True)(_bad_checksum),
    _of_file("cut short", "cut short|cannot be")(
        lambda path: os.truncate(path, path.stat().st_size // 2)
    ),
    _of_file("no byte", "empty")(lambda path: os.truncate(path, 0)),
    _of_file("a folder", "not a file")(_folder),
    _of_file("a pipe", "not a file", quick=True)(_pipe),
    _of_file("a device", "not a file")(_device),
    _of_file("a program in front", "")(_user_block),
)  # fmt: skip
