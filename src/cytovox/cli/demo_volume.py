"""``cytovox demo --volume``: from a simulated TIFF stack to labels, a table and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["demo_volume"]

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


def demo_volume(out: Path, *, seed: int) -> int:
    """Simulate a stack, segment it by blocks, compare with the truth, draw a picture.

    Parameters
    ----------
    out
        Folder for what is made; an earlier demo there is replaced.
    seed
        Of the simulation.

    Returns
    -------
    int
        Exit code: 0, or 3 if something differs from the truth.
    """
    from ..blockwise.volumes import segment_volume
    from ..report.seams import seams_in_words
    from ..report.volume_picture import draw_volume
    from ..testing.volume_simulator import BLOB_THRESHOLD, simulate_volume
    from .console import FINDINGS, print_text
    from .volume_results import show_volume, showing

    raw, _, _, labels, _, table, picture = (out / name for name in _NAMES)
    _make_room(out)
    truth = simulate_volume(
        raw,
        shape=_SHAPE,
        seed=seed,
        voxel_size=(2.0, 1.0, 1.0),
        units="micrometer",
        diameter=24,
    )
    size = " x ".join(map(str, _SHAPE))
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
        return show_volume(result, output=str(labels), as_json=False, quiet=False)
    print_text(f"segmented in {result.blocks} blocks: {labels}")
    if result.report is not None:
        print_text(seams_in_words(result.report))
    agrees, compared = _compare(truth, table)
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
        raise OutputExistsError(
            "it is not from a demo", path=there[0], hint="name another folder with --out"
        )
    out.mkdir(parents=True, exist_ok=True)
    for path in there:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _compare(truth: Any, table: Path) -> tuple[bool, str]:
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
