"""``cytovox volume plan``, ``info`` and ``replay``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from . import volume_options as o
from .command_options import Said, Workers, option, options, parse_size

__all__ = ["info", "plan", "replay"]


@options
class _Trial:
    contexts: list[str] | None = option(
        None,
        "A context to compare; may be repeated. Half, once and twice the context if not given.",
        "--try",
        metavar="N[,N,N]",
    )
    stitch: Literal["touch", "overlap", "owner", "none"] = option(
        "overlap", "How labels will be stitched."
    )


def plan(
    ctx: typer.Context,
    input: o.Input,
    what: o.Segmenting,
    trial: _Trial,
    taken: o.View,
    on: Workers,
    said: Said,
) -> None:
    """Show what a run would take, after trying two blocks of it.

    Blocks, time, memory of a worker, disk, and how much the labels of a block
    depend on the context: choose one beyond which little changes.

    Example: cytovox volume plan stack.tif -f watershed --set threshold=100 --block 64
    """
    from ..blockwise.recipe import Stitching, VolumeRecipe, fitting_sizes
    from ..blockwise.trial import try_blocks
    from .console import print_json, print_text
    from .volume_results import showing

    view = _first_moment(input, taken.view(ctx.obj))
    recipe = VolumeRecipe.make(
        input,
        "plan",
        what.function,
        block=what.size(input, view),
        context=what.around(trial.stitch),
        stitching=Stitching(trial.stitch),
        parameters=o.parse_parameters(what.settings),
        view=view,
        fill_value=taken.fill_value,
    )
    contexts = [parse_size(text, "--try") for text in trial.contexts or ()]
    tried = [fitting_sizes("context", size, len(recipe.block)) for size in contexts]
    with showing("plan", quiet=said.as_json) as listen:
        found = try_blocks(recipe, workers=on.workers, contexts=tried or None, on_event=listen)
    if said.as_json:
        print_json({"exit_code": 0, **found.as_dict()})
    else:
        print_text(_plan_in_words(found))


def _first_moment(input: str, view: Any) -> Any:
    """Return a view of the first point in time, if there are several and none is chosen."""
    from dataclasses import replace

    from ..read.open_volume import open_volume

    with open_volume(input, **view.keywords()) as volume:
        return replace(view, time=0) if "t" in volume.axes else view


def info(
    ctx: typer.Context,
    paths: Annotated[
        list[str], typer.Argument(metavar="VOLUME...", help="Volumes, made here or elsewhere.")
    ],
    said: Said,
) -> None:
    """Show what a volume is, and how far the run that makes it is.

    Of labels that were made here: the recipe, blocks done and failed with
    their errors, objects, and the report about the seams.
    """
    from .console import describe_each
    from .description import describe_volume, volume_in_words

    code = describe_each(
        "volume", paths, lambda path: describe_volume(path, ctx.obj), volume_in_words, said
    )
    raise typer.Exit(code)


@options
class _Replay:
    pdb: bool = option(False, "Open a debugger where the function fails.")
    save: str | None = option(None, "Keep the labels of the block (.npy).", metavar="FILE")
    debug: bool = option(False, "Show tracebacks.")


def replay(
    ctx: typer.Context,
    output: o.Made,
    block: Annotated[
        int, typer.Argument(metavar="BLOCK", help="Number of the block, as errors name it.")
    ],
    how: _Replay,
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
        if how.pdb and cause is not None:
            import pdb

            say(f"error: {error}")
            pdb.post_mortem(cause.__traceback__)
        raise
    if how.save is not None:
        import numpy as np

        np.save(how.save, done.labels)
    write = " ".join(f"{a}:{b}" for a, b in done.block.write)
    print_text(f"block {block} ({write}): {done.count} labels in {done.seconds:.2f} s")


def _plan_in_words(trial: Any) -> str:
    from .console import by, in_rows

    worker = "unknown" if trial.worker_bytes is None else _bytes(trial.worker_bytes)
    blocks = f"{trial.blocks} of {by(trial.block)} voxels, {trial.read_factor:.2f} x read"
    time = f"{trial.seconds_per_block:.2f} s a block, {_duration(trial.seconds)}"
    rows = [
        ("volume", f"{by(trial.shape)} voxels"),
        ("blocks", blocks),
        ("labels", f"{trial.labels:.0f} in a block"),
        ("time", f"{time} with {trial.workers} workers"),
        ("memory", f"{worker} a worker, {_bytes(trial.parent_bytes)} to stitch"),
        ("disk", _bytes(trial.disk_bytes)),
    ]
    rows += [
        ("context", f"{size}: {100 * error:.1f} % of pairs of voxels differ from the largest")
        for size, error in trial.disagreement.items()
    ]
    return "\n".join(in_rows(rows, 8))


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
