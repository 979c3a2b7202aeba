"""``cytovox demo`` and ``simulate``: data whose truth is known, and the whole way to a picture."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ..errors import OutputExistsError, UsageError
from .command_options import SaidOfWork, argument, option, options, parse_lengths, parse_size
from .console import FINDINGS, by, print_text, say

if TYPE_CHECKING:
    from ..testing import Truth

__all__ = [
    "Comparison",
    "compare_with_truth",
    "demo",
    "match_cells",
    "recording",
    "volume",
]

#: What distinguishes a simulated file, and its result, from any other.
_MARK = ("setup:module composition", "simulator")
#: Most frames in a stored chunk of what a camera writes.
_CHUNK_FRAMES = 32
#: Voxels of the volume, and what is made of it.
_SHAPE = (96, 192, 192)
_NAMES = (
    "volume.tif",
    "volume.truth.zarr",
    "volume.truth.csv",
    "volume.labels.zarr",
    "volume.labels.zarr.cytovox",
    "volume.objects.parquet",
    "volume.png",
)
#: Features that are compared: name, unit, digits shown.
_FEATURES = (("area_um", "um2", 2), ("deform", "", 4), ("volume", "um3", 1))
#: A found cell lies within this distance (um) of the true one.
_NEAR = 2.0
#: The median area agrees if it is off by less than this share.
_AREA_WITHIN = 0.03


@options
class _Last:
    force: bool = option(False, "Replace existing files.")
    debug: bool = option(False, "Show tracebacks.")


@options
class _Recording:
    frames: int = option(600, "Number of frames.", min=1, metavar="N")
    seed: int = option(0, "The same seed gives the same recording.", min=0, metavar="S")
    cells: float = option(1.0, "Mean number of cells in a frame.", min=0.0, metavar="MEAN")
    border: float = option(
        0.05, "Share of cells cut by the border.", min=0.0, max=1.0, metavar="SHARE"
    )
    flicker: float = option(0.0, "Flicker of the light, relative.", min=0.0, metavar="SD")


@options
class _Camera:
    live: float | None = option(
        None,
        "Write the recording as a camera does that takes so many frames a second.",
        min=0.1,
        metavar="RATE",
    )
    locked: bool = option(
        False,
        "With --live: keep the file locked and write what was taken now and then, in place of "
        "letting others read it meanwhile (SWMR).",
    )


def recording(
    out: Annotated[Path, argument("OUT", "Recording to write (.rtdc).")],
    how: _Recording,
    camera: _Camera,
    last: _Last,
) -> None:
    """Simulate a recording, with the truth beside it.

    The recording has an uneven, drifting background, camera noise, cells of
    known size, shape, place and texture, cells at the border, frames stored
    twice and empty frames. What is true of each cell goes to a table beside
    it, with .truth.csv in place of .rtdc.

    With --live it is drawn first, and then written at the pace of a camera, so that cytovox
    live can be tried without an instrument.

    Example: cytovox simulate recording raw.rtdc --frames 1000 --seed 1
    """
    from ..testing import simulate_recording

    if out.suffix.lower() != ".rtdc":
        raise UsageError("a recording is named .rtdc", path=out, hint=f"say {out.stem}.rtdc")
    table = out.with_suffix(".truth.csv")
    for path in (out, table):
        if path.exists() and not last.force:
            raise OutputExistsError("the file exists", path=path, hint="give --force to replace")
    out.parent.mkdir(parents=True, exist_ok=True)
    if camera.live is None:
        truth, frames = simulate_recording(out, **vars(how)), how.frames
    else:
        truth, frames = _record(out, how, camera.live, locked=camera.locked)
    whole = f"{len(truth)} cells, {len(truth.whole)} of them whole"
    say(f"{out}: {frames} frames; {table}: {whole}")


def _record(out: Path, how: _Recording, rate: float, *, locked: bool) -> tuple[Truth, int]:
    """Draw a recording, then write it as a camera does; return how many frames there are."""
    from ..testing import play_recording, simulate_recording

    with tempfile.TemporaryDirectory(prefix=f".{out.stem}-", dir=out.parent) as folder:
        drawn = Path(folder) / "drawn.rtdc"
        # frames get into the file in whole chunks, at least twice a second
        chunk = max(1, min(_CHUNK_FRAMES, int(rate / 2)))
        truth = simulate_recording(
            drawn, frame_rate=rate, chunk_frames=chunk, save_truth=False, **vars(how)
        )
        truth.save(out.with_suffix(".truth.csv"))
        say(f"{out}: recording {how.frames} frames, {rate:g} a second")
        return truth, play_recording(drawn, out, rate=rate, locked=locked)


@options
class _Volume:
    shape: Any = option(
        "128,128,128",
        "Voxels along each axis; Y,X for an image.",
        metavar="Z,Y,X",
        read=parse_size,
    )
    seed: int = option(0, "The same seed gives the same volume.", min=0, metavar="S")
    kind: Literal["blobs", "cells"] = option(
        "blobs", "blobs that do not touch, or cells that fill the volume."
    )
    diameter: float = option(20.0, "Typical diameter of an object in voxels.", metavar="D")
    noise: float = option(20.0, "Largest change of a voxel by noise, in grey levels.", metavar="N")
    voxel_size: Any = option(
        None, "Size of a voxel along each axis.", metavar="Z,Y,X", read=parse_lengths
    )
    units: str = option("nanometer", "Unit of the voxel size.", metavar="UNIT")


def volume(
    out: Annotated[
        Path,
        argument("OUT", "Volume to write: a folder .zarr, or a stack .tif."),
    ],
    how: _Volume,
    last: _Last,
) -> None:
    """Simulate a volume of any size, with the truth beside it.

    The true labels go to NAME.truth.zarr, and a table of them to
    NAME.truth.csv. Of blobs, all voxels above 100 are objects.

    Example: cytovox simulate volume stack.tif --shape 128,256,256 --seed 1
    """
    from ..testing.volume_simulator import simulate_volume

    if isinstance(how.shape, int):
        how.shape = (how.shape,) * 3
    truth = simulate_volume(out, overwrite=last.force, **vars(how))
    labels = out.with_name(Path(truth.labels_path).name)
    voxels = f"{by(truth.shape)} voxels with {len(truth)} {how.kind}"
    say(f"{out}: {voxels}; {labels}: true labels")


@options
class _Demo:
    out: Path = option(Path("demo"), "Folder for what is made.", "--out", "-o", metavar="DIR")
    frames: int = option(1000, "Number of frames.", min=1, metavar="N")
    seed: int = option(1, "The same seed gives the same recording.", min=0, metavar="S")
    volume: bool = option(False, "Use a volume in place of a recording.")
    debug: bool = option(False, "Show tracebacks.")


def demo(how: _Demo) -> int:
    """Simulate a recording, measure it, compare with the truth, and draw a picture.

    Needs no data, and shows in a minute what the program does. An earlier
    demo in the same folder is replaced.

    Example: cytovox demo --volume
    """
    show = _show_volume if how.volume else _show_recording
    return show(how)


def _show_recording(how: _Demo) -> int:
    """Show the way with a recording; return the exit code."""
    from ..logic import DCNumJobRunner, DCNumPipelineJob
    from ..report import draw_measurement
    from ..testing import simulate_recording
    from .progress_display import showing_progress
    from .signals import stop_gently

    raw, result, picture = (how.out / name for name in ("demo.rtdc", "demo_dcn.rtdc", "demo.png"))
    _refuse_foreign([raw, result], picture)
    how.out.mkdir(parents=True, exist_ok=True)
    truth = simulate_recording(raw, frames=how.frames, seed=how.seed)
    print_text(f"simulated {how.frames} frames with {len(truth.whole)} whole cells: {raw}")
    with showing_progress(quiet=False) as display:
        display.begin(raw.name)
        job = DCNumPipelineJob(raw, result)
        runner = DCNumJobRunner(job, force=True, on_event=display.show)
        with runner, stop_gently(runner.request_stop):
            runner.run()
    print_text(f"measured: {result}")
    compared = compare_with_truth(result, truth)
    print_text(str(compared))
    draw_measurement(result, picture, truth=truth.whole)
    print_text(f"picture: {picture}")
    return 0 if compared.agrees else FINDINGS


def _refuse_foreign(files: list[Path], picture: Path) -> None:
    """Make sure that nothing is replaced but what an earlier demo has made."""
    import h5py

    key, value = _MARK
    there = [path for path in files if path.exists()]
    for path in there:
        try:
            with h5py.File(path, "r") as h5:
                found = h5.attrs.get(key)
        except OSError:
            found = None
        if found not in (value, value.encode()):
            raise _foreign(path)
    if picture.exists() and not there:
        raise _foreign(picture)


def _foreign(path: Path) -> OutputExistsError:
    hint = "name another folder with --out"
    return OutputExistsError("this is not from a demo", path=path, hint=hint)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How found events and true cells correspond."""

    #: Number of whole cells, of events, of cells without event, of events without whole cell.
    true: int
    found: int
    missed: int
    extra: int
    #: Of each compared feature the median of true and of found values, over matched pairs.
    medians: dict[str, tuple[float, float]]
    #: The deformation that is expected of outlines through pixels, the median.
    deform_on_pixels: float = 0.0

    @property
    def agrees(self) -> bool:
        """Whether every cell was found once, and the sizes are right within 3 %."""
        true, found = self.medians.get("area_um", (1.0, 1.0))
        return not (self.missed or self.extra) and abs(found / true - 1) < _AREA_WITHIN

    def __str__(self) -> str:
        lines = [
            f"cells   true {self.true}, found {self.found}, missed {self.missed}, "
            f"extra {self.extra}"
        ]
        for name, unit, digits in _FEATURES:
            if name not in self.medians:
                continue
            true, found = self.medians[name]
            off = f"{100 * (found / true - 1):+.2f} %" if unit else f"{found - true:+.4f}"
            values = f"true {true:.{digits}f}, found {found:.{digits}f} {unit}".rstrip()
            lines.append(f"{name:<7} {values} ({off} at the median)")
            if name == "deform":
                lines.append(
                    "        outlines follow pixels, which makes cells look more deformed: "
                    f"{self.deform_on_pixels:.4f} is expected"
                )
        return "\n".join(lines)


def compare_with_truth(result: Path, truth: Truth) -> Comparison:
    """Match the events of a result with the whole cells of the truth."""
    import numpy as np

    from ..read import HDF5Data

    whole = truth.whole
    with HDF5Data(result) as data:
        number = len(data)
        compared = [name for name, _, _ in _FEATURES if name in data]
        names = ("frame", "pos_x", "pos_y", *compared) if number else ()
        found = {name: np.asarray(data[name][:], dtype=float) for name in names}
    if not number:
        return Comparison(len(whole), 0, len(whole), 0, {})
    # Instruments count frames from one, the table counts from zero.
    cells, events = match_cells(whole, {**found, "frame": found["frame"] - 1})
    medians, expected = {}, 0.0
    if len(cells):
        medians = {
            name: (float(np.median(whole[name][cells])), float(np.median(found[name][events])))
            for name in compared
        }
        expected = float(np.median(whole.deform_on_pixels[cells]))
    missed, extra = len(whole) - len(cells), number - len(cells)
    return Comparison(len(whole), number, missed, extra, medians, expected)


def match_cells(true: Any, found: dict[str, Any]) -> Any:
    """Return indices of pairs, int64 of shape (2, n): each cell with its nearest event."""
    import numpy as np

    pairs = []
    free = np.ones(len(found["frame"]), np.bool_)
    for cell, frame in enumerate(true["frame"]):
        (events,) = np.nonzero(free & (found["frame"] == frame))
        away = np.hypot(
            found["pos_x"][events] - true["pos_x"][cell],
            found["pos_y"][events] - true["pos_y"][cell],
        )
        if len(events) and away.min() < _NEAR:
            event = int(events[away.argmin()])
            free[event] = False
            pairs.append((cell, event))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2).T


def _show_volume(how: _Demo) -> int:
    """Show the way with a volume; return the exit code, 3 if something differs."""
    from ..run.extras import require

    require("volumes", "volumes")
    from ..blockwise.volumes import segment_volume
    from ..report.volume_picture import draw_volume
    from ..testing.volume_simulator import BLOB_THRESHOLD, simulate_volume
    from .volume_results import seams_in_words, show_volume, showing

    raw, _, _, labels, _, table, picture = (how.out / name for name in _NAMES)
    _make_room(how.out)
    voxel: dict[str, Any] = {"voxel_size": (2.0, 1.0, 1.0), "units": "micrometer"}
    truth = simulate_volume(raw, shape=_SHAPE, seed=how.seed, diameter=24, **voxel)
    print_text(f"simulated {by(_SHAPE)} voxels with {len(truth)} objects: {raw}")
    said = SaidOfWork()
    with showing(raw.name, said) as listen:
        result = segment_volume(
            raw,
            labels,
            "label",
            block=64,
            context=0,
            stitch="touch",
            parameters={"threshold": BLOB_THRESHOLD},
            objects=table,
            on_event=listen,
        )
    if not result:
        return show_volume(result, said, output=str(labels))
    print_text(f"segmented in {result.blocks} blocks: {labels}")
    if result.report is not None:
        print_text(seams_in_words(result.report))
    agrees, compared = _compare_volume(truth, table)
    print_text(compared)
    print_text(f"table: {table}")
    draw_volume(raw, labels, picture)
    print_text(f"picture: {picture}")
    return 0 if agrees else FINDINGS


def _make_room(out: Path) -> None:
    """Remove an earlier demo, and nothing else."""
    import shutil

    there = [out / name for name in _NAMES if (out / name).exists()]
    mark = out / "volume.truth.csv"
    if there and not (mark.is_file() and mark.read_bytes().startswith(b"# image=volume.tif")):
        raise _foreign(there[0])
    out.mkdir(parents=True, exist_ok=True)
    for path in there:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _compare_volume(truth: Any, table: Path) -> tuple[bool, str]:
    """Compare sizes and places of all objects with the truth."""
    import numpy as np

    from ..blockwise.object_table import read_objects

    found, _ = read_objects(table)
    places = (("z_start", "y_start", "x_start"), ("z_min", "y_min", "x_min"))
    true, seen = (
        np.stack([np.asarray(one[name], np.int64) for name in (*names, "voxels")], axis=1).tolist()
        for one, names in zip((truth, found), places, strict=True)
    )
    same = len(set(map(tuple, true)) & set(map(tuple, seen)))
    median = float(np.median(found["volume"])) if len(found) else float("nan")
    text = (
        f"objects true {len(true)}, found {len(seen)}, with exactly the true voxels {same}; "
        f"median volume {median:.0f} {found.units['volume'].replace('micrometer', 'um')}"
    )
    return same == len(true) == len(seen), text
