"""Recordings on which both programs run, made when first asked for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt

#: Frames of a grown recording, of a short one, and of one with several chunks.
LONG, SHORT, MANY = 600, 60, 2300
#: Frames per second of grown recordings; 600 frames last ten seconds.
RATE = 60.0
#: Features that an instrument stores; the rest was measured later.
RAW = ("image", "frame", "time", "temp", "pressure", "flow_rate")
#: Real recordings that hold images, by their short name.
RECORDINGS = {
    "cs23": "cytoshot_2023.rtdc",
    "cs24": "cytoshot_2024.rtdc",
    "legacy": "cytoshot_2023_legacy_allev.rtdc",
    "shapein": "shapein_variable_length_logs.rtdc",
}
_GATES = {
    "online_filter:area_um min": 40.0,
    "online_filter:area_um max": 100.0,
    "online_filter:area_um soft limit": False,
    "online_filter:deform max": 0.02,
    "online_filter:deform soft limit": True,
    "online_filter:size_x min": 1.0,
    "online_filter:size_x max": 9.0,
    "online_filter:size_x soft limit": False,
    "online_filter:target event count": 10,
}


class Inputs:
    """Recordings by name, kept in a folder.

    Parameters
    ----------
    folder
        Where they are made.
    shared
        Folder that holds ``data/recordings`` and ``tools/make_recording.py``.
    make_with_peer
        Runs the peer on a recording of this folder and returns its output, for
        inputs that were measured before.
    """

    def __init__(
        self,
        folder: Path,
        shared: Path,
        make_with_peer: Callable[[Path, Mapping[str, Any]], Path],
    ) -> None:
        self.folder = folder
        self.shared = shared
        self.make_with_peer = make_with_peer
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str) -> Path:
        """Return the path of a recording, after making it if need be."""
        path = self.folder / f"{name}.rtdc"
        if not path.exists():
            temporary = path.with_suffix(".part")
            temporary.unlink(missing_ok=True)
            self._make(name, temporary)
            temporary.replace(path)
        return path

    def _make(self, name: str, out: Path) -> None:
        base, _, kind = name.partition("_")
        if name in RECORDINGS:
            out.write_bytes(self._recording(name).read_bytes())
        elif kind in ("long", "short", "many"):
            self._grow(base, out, {"long": LONG, "short": SHORT, "many": MANY}[kind])
        elif kind in ("long_bg", "short_bg"):
            out.write_bytes(self.get(name.removesuffix("_bg")).read_bytes())
            add_background(out)
        elif kind == "raw":
            pick(self.get(base), out, keep=RAW)
        else:
            _SPECIAL[name](self, out)

    def _recording(self, name: str) -> Path:
        return self.shared / "data" / "recordings" / RECORDINGS[name]

    def _grow(self, base: str, out: Path, frames: int) -> None:
        source = self._recording(base)
        if base == "shapein":
            grow_without_mask(source, out, frames)
            return
        tool = self.shared / "tools" / "make_recording.py"
        call = [sys.executable, str(tool), str(source), str(out), "--frames", str(frames)]
        call += ["--rate", str(RATE), "--seed", "1", "--cells", "1.2"]
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL, timeout=120)


def pick(
    source: Path,
    out: Path,
    *,
    frames: Iterable[int] | None = None,
    keep: Iterable[str] | None = None,
    drop: Iterable[str] = (),
    attrs: Mapping[str, Any] | None = None,
    rows: slice = slice(None),
    layout: Mapping[str, Any] | None = None,
) -> None:
    """Copy a recording, with other frames, features, rows, attributes or layout."""
    with h5py.File(source) as a, h5py.File(out, "w") as b:
        index = np.arange(a.attrs["experiment:event count"])
        index = index if frames is None else index[list(frames)]
        names = [n for n in a["events"] if isinstance(a["events"][n], h5py.Dataset)]
        for key, value in a.attrs.items():
            b.attrs[key] = value
        for group in a:
            if group != "events":
                a.copy(group, b)
        for name in names:
            if name in drop or (keep is not None and name not in keep):
                continue
            data = a["events"][name][:][index]
            if data.ndim == 3:
                data = data[:, rows]
            how = dict(chunks=True, fletcher32=True, **hdf5plugin.Zstd(clevel=5))
            made = b.create_dataset(
                f"events/{name}", data=data, **(how if layout is None else layout)
            )
            for key, value in a["events"][name].attrs.items():
                made.attrs[key] = value
        b.attrs["experiment:event count"] = len(index)
        b.attrs["imaging:roi size y"] = b["events/image"].shape[1]
        for key, value in (attrs or {}).items():
            if value is None:
                b.attrs.pop(key, None)
            else:
                b.attrs[key] = value


def add_background(path: Path, block: int = 100) -> None:
    """Add ``image_bg``: the median image of the frames around, block by block."""
    with h5py.File(path, "a") as h5:
        image = h5["events/image"]
        background = h5.create_dataset(
            "events/image_bg", image.shape, "u1", chunks=image.chunks, **hdf5plugin.Zstd(clevel=5)
        )
        for start in range(0, len(image), block):
            frames = image[start : start + block]
            background[start : start + block] = np.sort(frames, axis=0)[len(frames) // 2]


def grow_without_mask(source: Path, out: Path, frames: int, seed: int = 2) -> None:
    """Grow a recording that has neither background nor mask.

    The median over all source frames is the background. What a source frame
    adds to it, noise and cell alike, is shifted along the channel, mirrored at
    random and added again, up to three of them a frame, over a background of
    slowly changing brightness. Every eleventh frame is empty but for noise, and
    every seventeenth repeats its predecessor.
    """
    rng = np.random.default_rng(seed)
    with h5py.File(source) as a, h5py.File(out, "w") as b:
        image = a["events/image"][:].astype(np.int16)
        for key, value in a.attrs.items():
            b.attrs[key] = value
        for name in a:
            if name != "events":
                a.copy(name, b)
        stack = np.empty((frames, *image.shape[1:]), dtype=np.uint8)
        base = np.sort(image, axis=0)[len(image) // 2]
        extra = image - base
        for i in range(frames):
            if i % 17 == 16:
                stack[i] = stack[i - 1]
                continue
            frame = base + int(np.rint(3 * np.sin(i / 70))) + rng.integers(-1, 2, base.shape)
            for _ in range(0 if i % 11 == 10 else rng.integers(1, 4)):
                one = extra[rng.integers(len(extra))]
                one = np.roll(one, int(rng.integers(base.shape[1])), axis=1)
                frame = frame + (one[::-1] if rng.random() < 0.5 else one)
            stack[i] = np.clip(frame, 0, 255)
        how = dict(hdf5plugin.Zstd(clevel=5))
        made = b.create_dataset("events/image", data=stack, chunks=(50, *base.shape), **how)
        for key, value in a["events/image"].attrs.items():
            made.attrs[key] = value
        step = b.attrs["imaging:frame rate"] / RATE
        b["events/frame"] = (1 + step * np.arange(frames)).astype(np.float32)
        b.attrs["experiment:event count"] = frames


def _gates(extra: Mapping[str, Any]) -> Callable[[Inputs, Path], None]:
    return lambda inputs, out: pick(inputs.get("cs23"), out, attrs=extra)


def _duplicates(inputs: Inputs, out: Path) -> None:
    frames: npt.NDArray[np.int64] = np.sort(np.r_[np.arange(SHORT), np.arange(5, SHORT, 3), 7, 7])
    pick(inputs.get("cs24_short"), out, frames=frames.tolist())
    with h5py.File(out, "a") as h5:
        h5["events/time"][:] = np.arange(len(frames)) / RATE


def _chunks(inputs: Inputs, out: Path) -> None:
    """Make a narrow recording of several chunks, with frames that repeat where one ends."""
    frames = np.arange(MANY)
    for end in (500, 1000, 2000):
        frames[end - 1 : end + 1] = end - 1
    pick(inputs.get("cs24_many"), out, keep=("image",), frames=frames, rows=slice(14, 66))
    with h5py.File(out, "a") as h5:
        h5["events/time"] = np.arange(MANY) / RATE


def _contrast(inputs: Inputs, out: Path) -> None:
    """Make differences from the background five times as large, up to the end of the scale."""
    pick(inputs.get("cs24_short_bg"), out)
    with h5py.File(out, "a") as h5:
        background = h5["events/image_bg"][:].astype(np.int16)
        difference = h5["events/image"][:] - background
        h5["events/image_bg"][:] = background // 2 + 64
        h5["events/image"][:] = np.clip(background // 2 + 64 + 5 * difference, 0, 255)


def _extras(inputs: Inputs, out: Path) -> None:
    pick(inputs.get("cs23"), out, frames=range(12), attrs={"experiment:run identifier": ""})
    with h5py.File(out, "a") as h5:
        events = h5["events"]
        for name, kind in {
            "userdef0": "i2",
            "userdef7": "f8",
            "pressure": "f4",
            "temp_amb": "f4",
            "flow_rate": "f8",
            "g_force": "f8",
            "ml_score_abc": "f8",
        }.items():
            events[name] = np.arange(12, dtype=kind)
        h5.create_dataset("logs/empty", shape=(0,), dtype="S10")
        h5["logs/text"] = np.array(["one", "zwei \u00b5m " * 20], dtype=object)
        h5["tables/numbers"] = np.arange(5.0)
        h5["tables/numbers"].attrs["COLOR"] = 3
        h5.attrs["user:array"] = np.arange(3)
        h5.attrs["user:empty"] = ""
        h5.attrs["user:bytes"] = np.bytes_(b"abc")


def _measured(base: str, **settings: Any) -> Callable[[Inputs, Path], None]:
    def make(inputs: Inputs, out: Path) -> None:
        out.write_bytes(inputs.make_with_peer(inputs.get(base), settings).read_bytes())

    return make


_SPECIAL: dict[str, Callable[[Inputs, Path], None]] = {
    "gates_hard": _gates(_GATES),
    "gates_soft": _gates({**_GATES, "online_filter:area_um soft limit": True}),
    "gates_area": _gates({"online_contour:bin area min": 300}),
    "gates_all": _gates({**_GATES, "online_contour:bin area min": 300}),
    "gates_none_left": _gates({**_GATES, "online_filter:area_um min": 99.0}),
    "duplicates": _duplicates,
    "chunks": _chunks,
    "contrast": _contrast,
    "extras": _extras,
    "no_identifier": lambda inputs, out: pick(
        inputs.get("cs24"),
        out,
        attrs={"experiment:run identifier": None, "setup:identifier": None},
    ),
    "low": lambda inputs, out: pick(inputs.get("cs23_long"), out, rows=slice(25, 55)),
    "flat": lambda inputs, out: pick(inputs.get("legacy_long"), out, rows=slice(34, 47)),
    "plain": lambda inputs, out: pick(inputs.get("cs24_short"), out, drop=("time",), layout={}),
    "no_rate": lambda inputs, out: pick(
        inputs.get("cs24_short"), out, keep=("image",), attrs={"imaging:frame rate": None}
    ),
    "one_each": lambda inputs, out: pick(
        inputs.get("cs24"), out, frames=(2, 4, 7, 8, 9, 10, 11, 12)
    ),
    "measured_copy": _measured("cs24", background_code="copy"),
    "measured_sparse": _measured("cs23"),
    "measured_rollmed": _measured(
        "cs24_short", background_code="rollmed", background_kwargs={"kernel_size": 10}
    ),
    "measured_tap": _measured("cs24", background_code="copy", basin_strategy="tap"),
}
