"""``cytovox simulate``: make data whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .command_options import option, options, parse_lengths, parse_size

__all__ = ["recording", "volume"]


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


def recording(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Recording to write (.rtdc).")],
    how: _Recording,
    last: _Last,
) -> None:
    """Simulate a recording, with the truth beside it.

    The recording has an uneven, drifting background, camera noise, cells of
    known size, shape, place and texture, cells at the border, frames stored
    twice and empty frames. What is true of each cell goes to a table beside
    it, with .truth.csv in place of .rtdc.

    Example: cytovox simulate recording raw.rtdc --frames 1000 --seed 1
    """
    from ..errors import OutputExistsError, UsageError
    from ..testing import simulate_recording
    from .console import say

    if out.suffix.lower() != ".rtdc":
        raise UsageError("a recording is named .rtdc", path=out, hint=f"say {out.stem}.rtdc")
    table = out.with_suffix(".truth.csv")
    for path in (out, table):
        if path.exists() and not last.force:
            raise OutputExistsError("the file exists", path=path, hint="give --force to replace")
    out.parent.mkdir(parents=True, exist_ok=True)
    truth = simulate_recording(out, **vars(how))
    whole = f"{len(truth)} cells, {len(truth.whole)} of them whole"
    say(f"{out}: {how.frames} frames; {table}: {whole}")


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
        typer.Argument(metavar="OUT", help="Volume to write: a folder .zarr, or a stack .tif."),
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
    from .console import by, say

    told = dict(vars(how))
    if isinstance(how.shape, int):
        told["shape"] = (how.shape,) * 3
    truth = simulate_volume(out, overwrite=last.force, **told)
    voxels = by(truth.shape)
    labels = out.with_name(Path(truth.labels_path).name)
    say(f"{out}: {voxels} voxels with {len(truth)} {how.kind}; {labels}: true labels")
