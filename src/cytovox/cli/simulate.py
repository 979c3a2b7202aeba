"""``cytovox simulate``: make data whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["simulate", "simulate_recording_command"]

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

    if out.suffix != ".rtdc":
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
