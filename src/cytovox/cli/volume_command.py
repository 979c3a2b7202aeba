"""``cytovox volume``: segment and measure what does not fit in memory."""

from __future__ import annotations

import typer

from . import permission_options as o
from .volume_arrays import argmax, predict, relabel, threshold
from .volume_look import info, plan, replay
from .volume_segment import objects, restitch, segment

__all__ = ["volume"]

volume = typer.Typer(
    help="Segment and measure volumes block by block, whatever their size.\n\n"
    "Start with:  cytovox volume segment stack.tif labels.zarr --function label "
    "--set threshold=100 --stitch touch",
    no_args_is_help=True,
)


@volume.callback()
def _allow(
    context: typer.Context,
    basin_roots: o.BasinRoots = None,
    allow_external: o.AllowExternal = False,
    allow_oversized: o.AllowOversized = False,
) -> None:
    """Segment and measure volumes block by block, whatever their size.

    Start with:  cytovox volume segment stack.tif labels.zarr --function label
    --set threshold=100 --stitch touch
    """
    context.obj = o.permissions_of(basin_roots, external=allow_external, oversized=allow_oversized)


for _command in (
    segment,
    restitch,
    objects,
    threshold,
    argmax,
    predict,
    relabel,
    plan,
    info,
    replay,
):
    volume.command(no_args_is_help=True)(_command)
