"""``cytovox demo``: the whole way, from a simulated recording or volume to a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from .command_options import SaidOfWork, option, options

__all__ = ["demo"]

#: What distinguishes a simulated file, and its result, from any other.
_MARK = ("setup:module composition", "simulator")
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
_ELSEWHERE = "name another folder with --out"


@options
class _Options:
    out: Path = option(Path("demo"), "Folder for what is made.", "--out", "-o", metavar="DIR")
    frames: int = option(1000, "Number of frames.", min=1, metavar="N")
    seed: int = option(1, "The same seed gives the same recording.", min=0, metavar="S")
    volume: bool = option(False, "Use a volume in place of a recording.")
    debug: bool = option(False, "Show tracebacks.")


def demo(how: _Options) -> None:
    """Simulate a recording, measure it, compare with the truth, and draw a picture.

    Needs no data, and shows in a minute what the program does. An earlier
    demo in the same folder is replaced.
    """
    if how.volume:
        raise typer.Exit(_demo_volume(how.out, seed=how.seed))
    raise typer.Exit(_demo_recording(how.out, frames=how.frames, seed=how.seed))


def _demo_recording(out: Path, *, frames: int, seed: int) -> int:
    """Show the way with a recording; return the exit code."""
    from ..report import draw_measurement
    from ..testing import simulate_recording
    from .comparison import compare_with_truth
    from .console import FINDINGS, print_text

    raw, result, picture = out / "demo.rtdc", out / "demo_dcn.rtdc", out / "demo.png"
    _refuse_foreign([raw, result], picture)
    out.mkdir(parents=True, exist_ok=True)
    truth = simulate_recording(raw, frames=frames, seed=seed)
    print_text(f"simulated {frames} frames with {len(truth.whole)} whole cells: {raw}")
    _measure(raw, result)
    print_text(f"measured: {result}")
    compared = compare_with_truth(result, truth)
    print_text(str(compared))
    draw_measurement(result, picture, truth=truth.whole)
    print_text(f"picture: {picture}")
    return 0 if compared.agrees else FINDINGS


def _refuse_foreign(files: list[Path], picture: Path) -> None:
    """Make sure that nothing is replaced but what an earlier demo has made."""
    import h5py

    from ..errors import OutputExistsError

    key, value = _MARK
    for path in files:
        if not path.exists():
            continue
        try:
            with h5py.File(path, "r") as h5:
                found = h5.attrs.get(key)
        except OSError:
            found = None
        if found not in (value, value.encode()):
            raise OutputExistsError("the file is not from a demo", path=path, hint=_ELSEWHERE)
    if picture.exists() and not any(path.exists() for path in files):
        raise OutputExistsError("the file is not from a demo", path=picture, hint=_ELSEWHERE)


def _measure(raw: Path, result: Path) -> None:
    from ..logic import DCNumJobRunner, DCNumPipelineJob
    from .progress_display import choose_display, reporting_compilation
    from .signals import stop_gently

    display = choose_display(quiet=False)
    with display, reporting_compilation(display.compiling):
        display.begin(raw.name)
        job = DCNumPipelineJob(raw, result)
        runner = DCNumJobRunner(job, force=True, on_event=display.show)
        with runner, stop_gently(runner.request_stop):
            runner.run()


def _demo_volume(out: Path, *, seed: int) -> int:
    """Show the way with a volume; return the exit code, 3 if something differs."""
    from ..blockwise.volumes import segment_volume
    from ..report.seams import seams_in_words
    from ..report.volume_picture import draw_volume
    from ..testing.volume_simulator import BLOB_THRESHOLD, simulate_volume
    from .console import FINDINGS, by, print_text
    from .volume_results import show_volume, showing

    raw, _, _, labels, _, table, picture = (out / name for name in _NAMES)
    _make_room(out)
    truth = simulate_volume(
        raw, shape=_SHAPE, seed=seed, voxel_size=(2.0, 1.0, 1.0), units="micrometer", diameter=24
    )
    size = by(_SHAPE)
    print_text(f"simulated {size} voxels with {len(truth)} objects: {raw}")
    with showing(raw.name, quiet=False) as listen:
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
        return show_volume(result, SaidOfWork(), output=str(labels))
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

    from ..errors import OutputExistsError

    there = [out / name for name in _NAMES if (out / name).exists()]
    mark = out / "volume.truth.csv"
    if there and not (mark.is_file() and mark.read_bytes().startswith(b"# image=volume.tif")):
        raise OutputExistsError("it is not from a demo", path=there[0], hint=_ELSEWHERE)
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
    corner = ("z_min", "y_min", "x_min", "voxels")
    true = np.stack([truth[c] for c in ("z_start", "y_start", "x_start", "voxels")], axis=1)
    seen = np.stack([np.asarray(found[c], np.int64) for c in corner], axis=1)
    same = {tuple(row) for row in true.tolist()} & {tuple(row) for row in seen.tolist()}
    median = float(np.median(found["volume"])) if len(found) else float("nan")
    text = (
        f"objects true {len(true)}, found {len(seen)}, with exactly the true voxels {len(same)}; "
        f"median volume {median:.0f} {found.units['volume'].replace('micrometer', 'um')}"
    )
    return len(same) == len(true) == len(seen), text
