"""``cytovox volume plan``, ``info`` and ``replay``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from . import volume_options as o

__all__ = ["info", "plan", "replay"]


def plan(
    ctx: typer.Context,
    input: o.Input,
    function: Annotated[
        str,
        typer.Option("--function", "-f", metavar="NAME", help="What segments a block."),
    ],
    settings: o.Set = None,
    block: o.Block = None,
    context: o.Context = None,
    contexts: Annotated[
        list[str] | None,
        typer.Option(
            "--try",
            metavar="N[,N,N]",
            help="A context to compare; may be repeated. Half, once and twice the context if "
            "not given.",
        ),
    ] = None,
    stitch: Annotated[
        o.Stitch, typer.Option("--stitch", help="How labels will be stitched.")
    ] = o.Stitch.overlap,
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
    workers: o.Workers = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Show what a run would take, after trying two blocks of it.

    Blocks, time, memory of a worker, disk, and how much the labels of a block
    depend on the context: choose one beyond which little changes.

    Example: cytovox volume plan stack.tif -f watershed --set threshold=100 --block 64
    """
    from ..blockwise.recipe import Stitching, VolumeRecipe
    from ..blockwise.trial import try_blocks
    from .console import print_json, print_text
    from .volume_results import showing

    usual = 16 if stitch in ("overlap", "owner") else 0
    view = o.view_of(scale, series, channel, time, axes, voxel_size, units, ctx.obj)
    view = o.first_moment(input, view)
    size, around = o.sizes_for(input, view, block, context, usual)
    recipe = VolumeRecipe.make(
        input,
        "plan",
        function,
        block=size,
        context=around,
        stitching=Stitching(stitch.value),
        parameters=o.parse_parameters(settings),
        view=view,
        fill_value=fill_value,
    )
    tried = [_context(text, recipe) for text in contexts] if contexts else None
    with showing("plan", quiet=as_json) as listen:
        trial = try_blocks(recipe, workers=workers, contexts=tried, on_event=listen)
    if as_json:
        print_json({"exit_code": 0, **trial.as_dict()})
    else:
        print_text(_plan_in_words(trial))


def info(
    ctx: typer.Context,
    paths: Annotated[
        list[str], typer.Argument(metavar="VOLUME...", help="Volumes, made here or elsewhere.")
    ],
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Show what a volume is, and how far the run that makes it is.

    Of labels that were made here: the recipe, blocks done and failed with
    their errors, objects, and the report about the seams.
    """
    from .console import SOME_FAILED, describe, print_json, print_text, report_error
    from .volume_description import describe_volume, volume_in_words

    results: list[dict[str, Any]] = []
    codes = []
    for path in paths:
        try:
            found = describe_volume(path, ctx.obj)
        except Exception as error:
            codes.append(report_error(error, debug=debug))
            results.append({"volume": path, "error": describe(error)})
        else:
            codes.append(0)
            results.append(found)
            if not as_json:
                print_text(volume_in_words(found))
    code = max(codes) if len(codes) == 1 or not any(codes) else SOME_FAILED
    if as_json:
        print_json({"exit_code": code, "volumes": results})
    raise typer.Exit(code)


def replay(
    ctx: typer.Context,
    output: o.Made,
    block: Annotated[
        int, typer.Argument(metavar="BLOCK", help="Number of the block, as errors name it.")
    ],
    pdb: Annotated[
        bool, typer.Option("--pdb", help="Open a debugger where the function fails.")
    ] = False,
    save: Annotated[
        str | None,
        typer.Option("--save", metavar="FILE", help="Keep the labels of the block (.npy)."),
    ] = None,
    debug: o.Debug = False,
) -> None:
    """Segment one block again, in this process; the output is not touched.

    Example: cytovox volume replay labels.zarr 7 --pdb
    """
    from ..blockwise.replay import replay_block
    from ..errors import StageError
    from .console import print_text, say

    try:
        done = replay_block(output, block, permissions=ctx.obj)
    except StageError as error:
        cause = error.__cause__
        if not pdb or cause is None:
            raise
        import pdb as debugger

        say(f"error: {error}")
        debugger.post_mortem(cause.__traceback__)
        raise
    if save is not None:
        import numpy as np

        np.save(save, done.labels)
    write = " ".join(f"{a}:{b}" for a, b in done.block.write)
    print_text(f"block {block} ({write}): {done.count} labels in {done.seconds:.2f} s")


def _context(text: str, recipe: Any) -> tuple[int, ...]:
    from ..blockwise.recipe import fitting_sizes

    size = o.parse_size(text, "--try")
    assert size is not None
    return fitting_sizes("context", size, len(recipe.block))


def _plan_in_words(trial: Any) -> str:
    blocks = f"{trial.blocks} of {_sizes(trial.block)} voxels, {trial.read_factor:.2f} x read"
    worker = "unknown" if trial.worker_bytes is None else _bytes(trial.worker_bytes)
    rows = [
        ("volume", f"{_sizes(trial.shape)} voxels"),
        ("blocks", blocks),
        ("labels", f"{trial.labels:.0f} in a block"),
        (
            "time",
            f"{trial.seconds_per_block:.2f} s a block, {_duration(trial.seconds)} with "
            f"{trial.workers} workers",
        ),
        ("memory", f"{worker} a worker, {_bytes(trial.parent_bytes)} to stitch"),
        ("disk", _bytes(trial.disk_bytes)),
    ]
    for context, error in trial.disagreement.items():
        rows.append(
            (
                "context",
                f"{context}: {100 * error:.1f} % of pairs of voxels differ from the largest",
            )
        )
    return "\n".join(f"{name:<8} {text}" for name, text in rows)


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _bytes(number: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1024
    return f"{number:.3g} TiB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
