"""``cytovox volume segment``, ``restitch`` and ``objects``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import volume_options as o

__all__ = ["objects", "restitch", "segment"]

_Stitch = Annotated[
    o.Stitch,
    typer.Option(
        "--stitch",
        help="How labels of neighbouring blocks become one. touch: what touches (exact for "
        "connected components). overlap: what agrees in the shared context. owner: compact "
        "objects, kept by the block of their centre. none: not at all.",
    ),
]
_Connectivity = Annotated[
    int | None,
    typer.Option(
        "--connectivity", metavar="N", help="Neighbours of a voxel for touch: 6, 18, 26; 4, 8."
    ),
]
_Reach = Annotated[
    int | None,
    typer.Option(
        "--reach",
        min=1,
        metavar="N",
        help="How far from a seam labels are compared, in voxels; an eighth of the context if "
        "not given.",
    ),
]
_Gate = Annotated[
    str | None,
    typer.Option(
        "--gate", metavar="EXPR", help="Which objects to keep, e.g. 'voxels > 100'; see objects."
    ),
]
_Objects = Annotated[
    Path | None,
    typer.Option(
        "--objects",
        metavar="FILE",
        help="File for the table of objects, .parquet or .csv; beside the output if not given.",
    ),
]
_NoObjects = Annotated[bool, typer.Option("--no-objects", help="Write no table of objects.")]
_Picture = Annotated[
    Path | None,
    typer.Option(
        "--picture", metavar="FILE", help="Draw middle slices with outlines, and the seams (.png)."
    ),
]


def segment(
    ctx: typer.Context,
    input: o.Input,
    output: o.Output,
    function: Annotated[
        str,
        typer.Option(
            "--function",
            "-f",
            metavar="NAME",
            help="What segments a block: label, watershed, blobs, mutex_watershed, or "
            "FILE.py:NAME, a function of yours f(array, **parameters) -> labels.",
        ),
    ],
    settings: o.Set = None,
    block: o.Block = None,
    context: Annotated[
        str | None,
        typer.Option(
            "--context",
            metavar="N[,N,N]",
            help="Voxels that a block reads beyond; 16 if not given, 0 for touch and none. "
            "See: cytovox volume plan",
        ),
    ] = None,
    stitch: _Stitch = o.Stitch.overlap,
    connectivity: _Connectivity = None,
    rule: Annotated[
        o.Rule,
        typer.Option("--rule", help="How labels agree: by intersection over union, or mutually."),
    ] = o.Rule.iou,
    threshold: Annotated[
        float,
        typer.Option("--threshold", metavar="T", help="Labels must agree by more than this."),
    ] = 0.5,
    min_voxels: Annotated[
        int, typer.Option("--min-voxels", min=1, metavar="N", help="And in so many voxels.")
    ] = 1,
    reach: _Reach = None,
    objects: _Objects = None,
    no_objects: _NoObjects = False,
    gate: _Gate = None,
    picture: _Picture = None,
    scale: o.Scale = None,
    series: o.Series = None,
    channel: o.Channel = None,
    time: o.Time = None,
    axes: o.Axes = None,
    voxel_size: o.VoxelSize = None,
    units: o.Units = None,
    fill_value: Annotated[
        float | None,
        typer.Option(
            "--fill-value",
            metavar="V",
            help="Value of voxels outside of the volume; nothing is read there if not given.",
        ),
    ] = None,
    format: o.FormatOption = o.Format.ome_zarr_05,
    workers: o.Workers = None,
    cluster: o.Cluster = None,
    host: o.Host = None,
    timeout: o.Timeout = None,
    retries: o.Retries = 2,
    memory: o.Memory = None,
    no_resume: o.NoResume = False,
    verify: o.Verify = False,
    force: o.Force = False,
    no_preflight: o.NoPreflight = False,
    as_json: o.AsJson = False,
    quiet: o.QuietOption = False,
    debug: o.Debug = False,
) -> None:
    """Segment a volume block by block, and measure its objects.

    The same labels come out whatever the number of workers. A run that was
    stopped is resumed by the same command; blocks that failed are listed, the
    exit code is 4, and the same command does only those again.

    Example: cytovox volume segment stack.tif labels.zarr -f watershed --set threshold=100
    """
    from ..blockwise.evidence import Measures
    from ..blockwise.volumes import segment_volume
    from .volume_results import show_volume, showing

    usual = 16 if stitch in ("overlap", "owner") else 0
    view = o.view_of(scale, series, channel, time, axes, voxel_size, units, ctx.obj)
    size, around = o.sizes_for(input, view, block, context, usual)
    if not no_preflight:
        here = 0 if cluster else 1 if workers == 0 else workers
        o.look_for_room(input, view, output, size, around, here=here)
    with showing(Path(output).name, quiet=quiet or as_json) as listen:
        result = segment_volume(
            input,
            output,
            function,
            block=size,
            context=around,
            stitch=stitch.value,
            parameters=o.parse_parameters(settings),
            objects=False if no_objects else objects,
            connectivity=connectivity,
            rule=rule.value,
            threshold=threshold,
            min_voxels=min_voxels,
            reach=reach,
            gate=gate,
            measures=Measures(),  # so that a table can be written later
            **view.keywords(),
            fill_value=fill_value,
            format=format.value,
            workers=workers,
            cluster=cluster,
            host=host,
            timeout=timeout,
            retries=retries,
            memory=o.as_size(memory),
            resume=not no_resume,
            verify=verify,
            force=force,
            on_event=listen,
        )
    drawn = _draw(result, input, view, picture)
    raise typer.Exit(
        show_volume(result, output=output, as_json=as_json, quiet=quiet, picture=drawn)
    )


def restitch(
    ctx: typer.Context,
    output: o.Made,
    stitch: Annotated[
        o.Stitch | None,
        typer.Option("--stitch", help="How labels of neighbouring blocks become one."),
    ] = None,
    connectivity: _Connectivity = None,
    rule: Annotated[
        o.Rule | None, typer.Option("--rule", help="How labels agree: iou or mutual.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", metavar="T", help="Labels must agree by more than this."),
    ] = None,
    min_voxels: Annotated[
        int | None,
        typer.Option("--min-voxels", min=1, metavar="N", help="And in so many voxels."),
    ] = None,
    reach: _Reach = None,
    objects: _Objects = None,
    no_objects: _NoObjects = False,
    gate: Annotated[
        str | None,
        typer.Option("--gate", metavar="EXPR", help="Which objects to keep; '' for all."),
    ] = None,
    picture: _Picture = None,
    workers: o.Workers = None,
    cluster: o.Cluster = None,
    host: o.Host = None,
    as_json: o.AsJson = False,
    quiet: o.QuietOption = False,
    debug: o.Debug = False,
) -> None:
    """Stitch the blocks in another way, without segmenting again.

    What is not given stays as it was. The labels are replaced when all is done.

    Example: cytovox volume restitch labels.zarr --threshold 0.7
    """
    from ..blockwise.recipe_file import load_recipe
    from ..blockwise.volumes import restitch_volume
    from .volume_results import show_volume, showing

    with showing(Path(output).name, quiet=quiet or as_json) as listen:
        result = restitch_volume(
            output,
            stitch=None if stitch is None else stitch.value,
            connectivity=connectivity,
            rule=None if rule is None else rule.value,
            threshold=threshold,
            min_voxels=min_voxels,
            reach=reach,
            gate=gate,
            objects=False if no_objects else objects,
            workers=workers,
            cluster=cluster,
            host=host,
            on_event=listen,
            permissions=ctx.obj,
        )
    recipe = load_recipe(output, permissions=ctx.obj)
    drawn = _draw(result, recipe.input, recipe.view, picture)
    raise typer.Exit(
        show_volume(result, output=output, as_json=as_json, quiet=quiet, picture=drawn)
    )


def objects(
    ctx: typer.Context,
    output: o.Made,
    table: Annotated[
        Path | None,
        typer.Option(
            "--objects",
            "-o",
            metavar="FILE",
            help="File to write, .parquet or .csv; where it was if not given.",
        ),
    ] = None,
    gate: Annotated[
        str | None,
        typer.Option(
            "--gate",
            metavar="EXPR",
            help="Which objects are in the table, e.g. 'voxels > 100 and not touches_border'.",
        ),
    ] = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Write the table of objects again, from what the blocks have measured.

    The labels stay as they are; cytovox volume restitch --gate changes them, too.

    Example: cytovox volume objects labels.zarr --gate 'volume > 5' -o large.csv
    """
    from ..blockwise.volumes import measure_volume
    from .console import print_json, print_text
    from .volume_results import near

    path, count = measure_volume(output, objects=table, gate=gate, permissions=ctx.obj)
    if as_json:
        print_json({"exit_code": 0, "table": path, "objects": count})
    else:
        print_text(f"{near(path)}: {count} objects")


def _draw(result: Any, input: str, view: Any, picture: Path | None) -> str | None:
    if picture is None or not result:
        return None
    from ..report.volume_picture import draw_volume

    return str(draw_volume(input, result.output, picture, view=view))
