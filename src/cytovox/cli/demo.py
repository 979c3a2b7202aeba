"""``cytovox demo``: the whole way, from a simulated recording to a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo"]


def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for what is made.")
    ] = Path("demo"),
    frames: Annotated[int, typer.Option(min=1, metavar="N", help="Number of frames.")] = 600,
    seed: Annotated[
        int, typer.Option(min=0, metavar="S", help="The same seed gives the same recording.")
    ] = 1,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Simulate a recording, measure it, compare with the truth, and draw a picture.

    Needs no data, and shows in a minute what the program does.
    """
