"""Hostile recordings whose basins lead elsewhere, nowhere, or round and round."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .hostile import HostileCase
from .hostile_recordings import FRAMES, plain_recording

__all__ = ["BASIN_CASES", "store_definition"]

_SECRET = "secret measurement"


def store_definition(path: Path, text: str | dict[str, Any], key: str = "b") -> None:
    """Write the definition of a basin into a file, whatever it says."""
    if isinstance(text, dict):
        text = json.dumps({"name": key, "description": None, "format": "hdf5", **text})
    with h5py.File(path, "a", libver="latest") as h5:
        lines = np.array([line.encode() for line in text.split("\n")])
        h5.require_group("basins").create_dataset(key, data=lines)


def _referring(path: Path, definition: str | dict[str, Any]) -> Path:
    """Write a recording that takes its images from a basin."""
    plain_recording(path)
    with h5py.File(path, "a", libver="latest") as h5:
        del h5["events/image"]
    store_definition(path, definition)
    return path


def _file(path: Path | str, **more: Any) -> dict[str, Any]:
    return {"type": "file", "paths": [os.fspath(path)], "features": ["image"], **more}


def _case(
    name: str, says: str = "", *, allow: str = "", quick: bool = False
) -> Callable[[Callable[[Path], str | dict[str, Any]]], HostileCase]:
    """Make a case of a function that returns the definition for a folder."""

    def made(define: Callable[[Path], str | dict[str, Any]]) -> HostileCase:
        def build(folder: Path) -> Path:
            return _referring(folder / "input.rtdc", define(folder))

        return HostileCase(name, "recording", build, says, allow, quick)

    return made


def _mapped(name: str, says: str, rows: Any, *, quick: bool = False) -> HostileCase:
    def build(folder: Path) -> Path:
        plain_recording(folder / "source.rtdc")
        definition = _file("source.rtdc", identifier="a measurement", mapping="basinmap0")
        path = _referring(folder / "input.rtdc", definition)
        with h5py.File(path, "a", libver="latest") as h5:
            h5["events/basinmap0"] = rows
        return path

    return HostileCase(name, "recording", build, says, "", quick)


def _symlink(folder: Path) -> dict[str, Any]:
    (folder / "near.rtdc").symlink_to(folder.parent / "private" / "secret.rtdc")
    return _file("near.rtdc", identifier=_SECRET)


def _linked_folder(folder: Path) -> dict[str, Any]:
    (folder / "sub").symlink_to(folder.parent / "private", target_is_directory=True)
    return _file("sub/secret.rtdc", identifier=_SECRET)


def _unidentified(folder: Path) -> dict[str, Any]:
    with h5py.File(plain_recording(folder / "other.rtdc"), "a", libver="latest") as h5:
        h5.attrs["experiment:run identifier"] = "another measurement"
    return _file("other.rtdc")


def _mistaken(folder: Path) -> dict[str, Any]:
    plain_recording(folder / "other.rtdc")
    return _file("other.rtdc", identifier="another measurement")


def _pipe(folder: Path) -> dict[str, Any]:
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.rtdc")
    return _file("pipe.rtdc", identifier="x")


def _circle(folder: Path) -> dict[str, Any]:
    _referring(folder / "b.rtdc", _file("input.rtdc", identifier="a measurement"))
    return _file("b.rtdc", identifier="a measurement")


def _chain(folder: Path) -> dict[str, Any]:
    plain_recording(folder / "99.rtdc")
    for number in range(99):
        definition = _file(f"{number + 1}.rtdc", identifier="a measurement")
        _referring(folder / f"{number}.rtdc", definition)
    return _file("0.rtdc", identifier="a measurement")


def _second_leads_out(folder: Path) -> dict[str, Any]:
    private = folder.parent / "private" / "secret.rtdc"
    _referring(folder / "b.rtdc", _file(private, identifier=_SECRET))
    return _file("b.rtdc", identifier="a measurement")


def _stored_elsewhere(folder: Path) -> dict[str, Any]:
    other = plain_recording(folder / "other.rtdc")
    with h5py.File(other, "a", libver="latest") as h5:
        shape = h5["events/image"].shape
        del h5["events/image"]
        outside = [(str(folder.parent / "private" / "secret.raw"), 0, int(np.prod(shape)))]
        h5.create_dataset("events/image", shape=shape, dtype="u1", external=outside)
    return _file("other.rtdc", identifier="a measurement")


def _many(folder: Path) -> Path:
    path = _referring(folder / "input.rtdc", _file("nowhere.rtdc"))
    text = np.array([json.dumps(_file("nowhere.rtdc")).encode()])
    with h5py.File(path, "a", libver="latest") as h5:
        for number in range(5000):
            h5["basins"].create_dataset(f"x{number}", data=text)
    return path


def _remote(kind: str, place: str) -> Callable[[Path], dict[str, Any]]:
    definition = {"type": "remote", "format": kind, "paths": [place], "features": ["image"]}
    return lambda _folder: definition


#: All cases of recordings with basins.
BASIN_CASES: tuple[HostileCase, ...] = (
    _case("basin in the folder beside", "secret.rtdc.*basin-root", allow="basin_root", quick=True)(
        lambda folder: _file("../private/secret.rtdc", identifier=_SECRET)
    ),
    _case("basin by absolute path", "secret.rtdc.*basin-root", allow="basin_root", quick=True)(
        lambda folder: _file(folder.parent / "private" / "secret.rtdc", identifier=_SECRET)
    ),
    _case("basin by symbolic link", "near.rtdc", allow="basin_root", quick=True)(_symlink),
    _case("basin in a linked folder", "sub/secret.rtdc", allow="basin_root")(_linked_folder),
    _case("basin without identifier", "other.rtdc.*identifier", allow="unidentified", quick=True)(
        _unidentified
    ),
    _case("basin with a wrong identifier", "another measurement")(_mistaken),
    _case("basin of a basin leads out", "secret.rtdc", allow="basin_root")(_second_leads_out),
    _case("basin stored elsewhere", "secret.raw", allow="external")(_stored_elsewhere),
    _case("basin is the file itself", "image")(
        lambda folder: _file("input.rtdc", identifier="a measurement")
    ),
    _case("basins in a circle", "image", quick=True)(_circle),
    _case("100 basins in a row", "image")(_chain),
    HostileCase("5000 basins", "recording", _many, "basins", "oversized"),
    _case("basin on the web", "http://127", quick=True)(_remote("http", "http://127.0.0.1:9/a")),
    _case("basin in S3", "s3://")(_remote("s3", "s3://bucket/a.rtdc")),
    _case("basin in DCOR", "dcor")(_remote("dcor", "https://dcor.example/api/3/x")),
    _case("basin that says it is a file on the web", "image")(
        lambda folder: _file("http://127.0.0.1:9/a.rtdc", identifier="x")
    ),
    _case("basin of an unknown type", "image")(lambda folder: {"type": "telepathy", "paths": []}),
    _case("basin of a type that is a list", "basin 'b'")(
        lambda folder: {"type": ["file"], "paths": ["a.rtdc"]}
    ),
    _case("basin that is no JSON", "basin 'b'")(lambda folder: "{oops"),
    _case("basin that is a list", "basin 'b'")(lambda folder: "[1, 2]"),
    _case("basin nested 100 000 deep", "basin 'b'", quick=True)(lambda folder: "[" * 100_000),
    _case("basin of 64 MB of text", "basins/b", allow="oversized")(
        lambda folder: '{"a": "' + "x" * (64 << 20) + '"}'
    ),
    _case("basin with a huge number", "basin 'b'")(
        lambda folder: '{"type": "file", "paths": ' + "9" * 100_000 + "}"
    ),
    _case("basin whose paths are text", "basin 'b'")(lambda f: {"type": "file", "paths": "/etc"}),
    _case("basin whose features are numbers", "basin 'b'")(
        lambda folder: {"type": "file", "paths": ["a.rtdc"], "features": [1, None]}
    ),
    _case("basin with a path of 0", "image")(lambda folder: _file("a\0b.rtdc", identifier="x")),
    _case("basin on another computer", "server", quick=True)(
        lambda folder: _file("\\\\server\\share\\a.rtdc", identifier="x")
    ),
    _case("basin on another computer, with slashes", "server")(
        lambda folder: _file("//server/share/a.rtdc", identifier="x")
    ),
    _case("basin is a device", "image")(lambda folder: _file("/dev/zero", identifier="x")),
    _case("basin is a pipe", "image")(_pipe),
    _case("basin is a folder", "image")(lambda folder: _file(folder, identifier="x")),
    _case("internal basin of the whole file", "basin 'b'")(
        lambda folder: {"type": "internal", "paths": ["/"], "features": ["image"]}
    ),
    _case("internal basin with a way out", "basin 'b'")(
        lambda folder: {"type": "internal", "paths": ["logs"], "features": ["../events/deform"]}
    ),
    _case("internal basin of logs", "image")(
        lambda folder: {"type": "internal", "paths": ["logs"], "features": ["a"]}
    ),
    _case("map by a path", "basin 'b'")(
        lambda folder: _file("a.rtdc", identifier="x", mapping="../logs/a")
    ),
    _case("map that is a number", "basin 'b'")(
        lambda folder: _file("a.rtdc", identifier="x", mapping=7)
    ),
    _mapped("map beyond the basin", f"row {FRAMES}", np.arange(FRAMES) + 1, quick=True),
    _mapped("map of negative rows", "row -1", np.arange(FRAMES) - 1),
    _mapped("map of no numbers", "basinmap0", np.full(FRAMES, np.nan)),
    _mapped("map of huge rows", "row", np.full(FRAMES, 2**63, np.uint64)),
    _mapped("map that is too short", "map|row|shape", np.arange(FRAMES - 1)),
)
