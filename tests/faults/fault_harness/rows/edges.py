"""Row 10: recordings at the edge of what is one. Each has a defined end."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cytovox.testing import simulate_recording

from ..helpers import in_helper, say
from ..matrix import Case, Fault

__all__ = ["EDGES", "FAULTS", "Edge"]

_SHAPE = (40, 80)


@dataclass(frozen=True)
class Edge:
    """A recording, and how measuring it ends.

    Parameters
    ----------
    name
        What is special.
    make
        Makes it in a folder; returns the words of the command besides ``run``.
    code
        Exit code.
    says
        Pattern in what is said.
    events
        Fewest events in the output; None if there must be no output, and one line
        that says why.
    """

    name: str
    make: Callable[[Path], list[str]]
    code: int = 0
    says: str = ""
    events: int | None = 1


def _simulated(folder: Path, frames: int = 20, name: str = "raw.rtdc", **more: Any) -> Path:
    path = folder / name
    options = {"shape": _SHAPE, "cells": 1.0, "empty": 0.0, "save_truth": False, **more}
    simulate_recording(path, frames=frames, seed=5, **options)
    return path


def _words(folder: Path, path: Path, *more: str, out: str = "out.rtdc") -> list[str]:
    return [str(path), "-o", str(folder / out), *more]


def _frames(count: int) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        if count:
            return _words(folder, _simulated(folder, count))
        path = _simulated(folder, 1)
        with h5py.File(path, "r+") as h5:
            for name, dataset in h5["events"].items():
                dataset.resize(0, axis=0) if dataset.maxshape[0] is None else _replace(
                    h5, name, dataset[:0]
                )
            h5.attrs["experiment:event count"] = 0
        return _words(folder, path)

    return make


def _replace(h5: h5py.File, name: str, values: Any) -> None:
    del h5["events"][name]
    h5["events"][name] = values


def _images(images: np.ndarray[Any, Any]) -> Callable[[Path], list[str]]:
    """Make a recording of certain images."""

    def make(folder: Path) -> list[str]:
        path = _simulated(folder, len(images))
        with h5py.File(path, "r+") as h5:
            _replace(h5, "image", images)
            if images.ndim > 2:
                h5.attrs["imaging:roi size y"] = images.shape[1]
                h5.attrs["imaging:roi size x"] = images.shape[2]
        return _words(folder, path)

    return make


def _edited(edit: Callable[[h5py.File], Any], *more: str) -> Callable[[Path], list[str]]:
    """Make a recording and change something in it."""

    def make(folder: Path) -> list[str]:
        path = _simulated(folder)
        with h5py.File(path, "r+") as h5:
            edit(h5)
        return _words(folder, path, *more)

    return make


def _attribute(name: str, value: Any) -> Callable[[Path], list[str]]:
    return _edited(lambda h5: h5.attrs.__setitem__(name, value))


def _without(name: str) -> Callable[[Path], list[str]]:
    return _edited(lambda h5: h5.attrs.__delitem__(name))


def _column(name: str, values: Any) -> Callable[[Path], list[str]]:
    return _edited(lambda h5: _replace(h5, name, np.asarray(values)))


def _named(name: str) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        path = folder / f"{name}.rtdc"
        path.parent.mkdir(parents=True, exist_ok=True)
        _simulated(folder).rename(path)
        return _words(path.parent, path, out=f"{Path(name).name}_out.rtdc")

    return make


def _content(change: Callable[[bytes], bytes]) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        path = _simulated(folder)
        path.write_bytes(change(path.read_bytes()))
        return _words(folder, path)

    return make


def _lost_basin(folder: Path) -> list[str]:
    """Let the images be in a file that is gone."""
    source = _simulated(folder, name="source.rtdc")
    tapped = folder / "tapped.rtdc"
    said = say("run", source, "-o", tapped, "--basins", "tap", "-q")
    assert said.code == 0, said.out
    source.unlink()
    return _words(folder, tapped, "-s", "segmenter.thresh=-9")


def _folder_in_place(folder: Path) -> list[str]:
    path = _simulated(folder)
    (folder / "out.rtdc").mkdir()
    return [*_words(folder, path), "--force"]


_FLAT = np.full((20, *_SHAPE), 150, np.uint8)
_NOISE = np.random.default_rng(1).integers(0, 255, (20, *_SHAPE)).astype(np.uint8)
_NUMBERS = np.arange(1, 21)

#: All edges.
EDGES = (
    Edge("no frames", _frames(0), 1, "the recording has no frames", None),
    Edge("one frame", _frames(1), 3, "", 0),
    Edge("two frames", _frames(2)),
    Edge("no events", _images(_FLAT), 3, "No events found", 0),
    Edge("images of one pixel", _images(_FLAT[:, :1, :1]), 3, "No events found", 0),
    Edge("images of one line", _images(_NOISE[:, :1]), 3, "No events found", 0),
    Edge("images of one column", _images(_NOISE[:, :, :1]), 3, "No events found", 0),
    Edge("no pixels at all", _images(_FLAT[:, :0]), 1, "'events/image' has no pixels", None),
    Edge("only noise", _images(_NOISE)),
    Edge(
        "everything dark in some frames",
        _images(np.where(np.arange(20)[:, None, None] % 7, _FLAT, 0).astype(np.uint8)),
        3,
        "No events found",
        0,
    ),
    Edge(
        "4000 x 4000 pixels",
        lambda folder: _words(
            folder, _simulated(folder, 2, shape=(4000, 4000), cells=2.0), "--workers", "2"
        ),
    ),
    Edge("images of 16 bits", _images(_FLAT.astype(np.uint16)), 3, "No events found", 0),
    Edge(
        "images with fractions", _images(_FLAT / 2), 1, "'image' does not hold grey images", None
    ),
    Edge(
        "images in colour",
        _images(np.stack([_FLAT] * 3, axis=-1)),
        1,
        "'image' does not hold grey images",
        None,
    ),
    Edge(
        "images that are numbers",
        _images(_FLAT[:, 0, 0]),
        1,
        "'image' does not hold grey images",
        None,
    ),
    Edge(
        "pixel size NaN",
        _attribute("imaging:pixel size", np.nan),
        1,
        "the pixel size is unknown",
        None,
    ),
    Edge(
        "pixel size 0", _attribute("imaging:pixel size", 0.0), 1, "the pixel size is unknown", None
    ),
    Edge(
        "pixel size is text",
        _attribute("imaging:pixel size", "big"),
        1,
        "the pixel size is big",
        None,
    ),
    Edge("no pixel size", _without("imaging:pixel size"), 1, "the pixel size is unknown", None),
    Edge(
        "frame rate NaN",
        _attribute("imaging:frame rate", np.nan),
        1,
        "the frame rate is 'nan'",
        None,
    ),
    Edge("no frame rate", _without("imaging:frame rate")),
    Edge(
        "event count NaN",
        _attribute("experiment:event count", np.nan),
        1,
        "the event count is nan",
        None,
    ),
    Edge("frame numbers repeated", _column("frame", np.repeat(_NUMBERS[:10], 2))),
    Edge("frame numbers with gaps", _column("frame", _NUMBERS**2)),
    Edge("frame numbers backwards", _column("frame", _NUMBERS[::-1])),
    Edge(
        "times that are NaN",
        _column("time", np.full(20, np.nan)),
        1,
        "the times of the frames are not all numbers",
        None,
    ),
    Edge("times too few", _column("time", np.arange(7.0)), 1, "'time' has 7 rows", None),
    Edge("no frame numbers", _edited(lambda h5: h5["events"].__delitem__("frame"))),
    Edge(
        "no images",
        _edited(lambda h5: h5["events"].__delitem__("image")),
        1,
        "there are no images",
        None,
    ),
    Edge(
        "no events group",
        _edited(lambda h5: h5.__delitem__("events")),
        1,
        "there are no events",
        None,
    ),
    Edge(
        "a background that is not there",
        _edited(lambda h5: None, "--background", "copy"),
        1,
        "has no background to copy",
        None,
    ),
    Edge("a basin that is gone", _lost_basin, 1, "is a file that cannot be found", None),
    Edge(
        "no HDF5",
        _content(lambda content: b"frame;deform\n1;0.1\n"),
        1,
        "this is not an HDF5 file",
        None,
    ),
    Edge("an empty file", _content(lambda content: b""), 1, "the file is empty", None),
    Edge(
        "half a file",
        _content(lambda content: content[: len(content) // 2]),
        1,
        "the file was cut short",
        None,
    ),
    Edge("a name in other letters", _named("Ψυτταρα 細胞 🧫")),
    Edge("a name with quotes and blanks", _named('it\'s "a" $(name); 100%  {x}')),
    Edge("a name with a line break", _named("two\nlines")),
    Edge("a long name", _named("n" * 240), 74, "File name too long.*choose a shorter name", None),
    Edge("a long path", _named("/".join(["d" * 200] * 12) + "/raw")),
    Edge("a folder in place of the output", _folder_in_place),
)


def _measure(case: Case) -> str:
    """Measure one of the recordings."""
    edge = EDGES[case.number % len(EDGES)]
    said = say("run", *edge.make(case.folder), "-q")
    names = re.compile(r"(.*out|raw_dcn)\.rtdc", re.DOTALL)
    outs = [p for p in case.folder.rglob("*.rtdc") if names.fullmatch(p.name) and p.is_file()]
    errors = [line for line in said.out.splitlines() if line.startswith("error: ")]
    what = f"{edge.name}: exit code {said.code}, {len(outs)} output: {said.out}"
    assert said.code == edge.code, what
    assert re.search(edge.says, said.out), what
    assert len(errors) == (edge.code not in (0, 3)), what
    assert bool(outs) == (edge.events is not None), what
    if edge.events is not None:
        with h5py.File(outs[0]) as h5:
            count = int(h5.attrs["experiment:event count"])
            lengths = {len(dataset) for dataset in h5["events"].values()}
        assert count >= edge.events, what
        assert lengths <= {count}, what
    known = ("_out_", "_output_", "_input_", "_journal_", ".lock")
    left = [p.name for p in case.folder.rglob("*") if any(word in p.name for word in known)]
    assert not left, f"{left} are left: {what}"
    return f"exit {edge.code}" + ("" if edge.events is not None else ", said why")


FAULTS = [
    Fault(
        row=10,
        name="Recordings at the edge of what is one",
        quick=len(EDGES),
        full=len(EDGES),
        bound="each ends as a table of the tests says",
        peer="missing basin, 0 frames, 1 frame: tracebacks; 4000 x 4000: not settled in 50 s",
        run=in_helper(_measure),
    )
]
