"""``cytovox simulate``: make data whose truth is known."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["simulate", "simulate_recording_command", "simulate_volume_command"]

simulate = typer.Typer(
    help="Make data whose truth is known, to try things out.", no_args_is_help=True
)


@simulate.command("recording", no_args_is_help=True)
def simulate_recording_command(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Recording to write (.rtdc).")],
    frames: Annotated[int, typer.Option(min=1, metavar="N", help="Number of frames.")] = 600,
    seed: Annotated[
        int, typer.Option(min=0, metavar="S", help="The same seed gives the same recording.")
    ] = 0,
    cells: Annotated[
        float, typer.Option(min=0.0, metavar="MEAN", help="Mean number of cells in a frame.")
    ] = 1.0,
    border: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, metavar="SHARE", help="Share of cells cut by the border."),
    ] = 0.05,
    flicker: Annotated[
        float, typer.Option(min=0.0, metavar="SD", help="Flicker of the light, relative.")
    ] = 0.0,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
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
        if path.exists() and not force:
            raise OutputExistsError("the file exists", path=path, hint="give --force to replace")
    out.parent.mkdir(parents=True, exist_ok=True)
    truth = simulate_recording(
        out, frames=frames, seed=seed, cells=cells, border=border, flicker=flicker
    )
    say(f"{out}: {frames} frames; {table}: {len(truth)} cells, {len(truth.whole)} of them whole")


class Kind(StrEnum):
    """What a simulated volume holds."""

    blobs = "blobs"
    cells = "cells"


@simulate.command("volume", no_args_is_help=True)
def simulate_volume_command(
    out: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="Volume to write: a folder .zarr, or a stack .tif."),
    ],
    shape: Annotated[
        str, typer.Option(metavar="Z,Y,X", help="Voxels along each axis; Y,X for an image.")
    ] = "128,128,128",
    seed: Annotated[
        int, typer.Option(min=0, metavar="S", help="The same seed gives the same volume.")
    ] = 0,
    kind: Annotated[
        Kind,
        typer.Option(help="blobs that do not touch, or cells that fill the volume."),
    ] = Kind.blobs,
    diameter: Annotated[
        float, typer.Option(metavar="D", help="Typical diameter of an object in voxels.")
    ] = 20.0,
    noise: Annotated[
        float, typer.Option(metavar="N", help="Most that noise changes a voxel, grey levels.")
    ] = 20.0,
    voxel_size: Annotated[
        str | None,
        typer.Option("--voxel-size", metavar="Z,Y,X", help="Size of a voxel along each axis."),
    ] = None,
    units: Annotated[str, typer.Option(metavar="UNIT", help="Unit of it.")] = "nanometer",
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Simulate a volume of any size, with the truth beside it.

    The true labels go to NAME.truth.zarr, and a table of them to
    NAME.truth.csv. Of blobs, all voxels above 100 are objects.

    Example: cytovox simulate volume stack.tif --shape 128,256,256 --seed 1
    """
    from ..errors import OptionError
    from ..testing.volume_simulator import simulate_volume
    from .console import say
    from .volume_options import parse_size

    sizes = parse_size(shape, "--shape")
    assert sizes is not None
    try:
        size = None if voxel_size is None else [float(n) for n in voxel_size.split(",")]
    except ValueError as err:
        raise OptionError(
            f"--voxel-size '{voxel_size}' is not a size", hint="write for example 2,0.5,0.5"
        ) from err
    truth = simulate_volume(
        out,
        shape=(sizes,) * 3 if isinstance(sizes, int) else sizes,
        seed=seed,
        kind=kind.value,
        diameter=diameter,
        noise=noise,
        voxel_size=size,
        units=units,
        overwrite=force,
    )
    voxels = " x ".join(map(str, truth.shape))
    labels = out.with_name(Path(truth.labels_path).name)
    say(f"{out}: {voxels} voxels with {len(truth)} {kind.value}; {labels}: true labels")
