"""``cytovox volume plan``, ``info`` and ``replay``: looking at volumes, making none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import click

from ..errors import InputNotFoundError, StageError
from . import volume_options as o
from .command_options import Said, Workers, argument, option, options, parse_size
from .console import by, describe_each, described, in_columns, print_text, say, show
from .volume_results import showing

if TYPE_CHECKING:
    from ..read import Permissions

__all__ = ["describe_volume", "info", "plan", "replay", "volume_in_words"]

#: So many errors of blocks are listed.
_LISTED = 20


@options
class _Trial:
    contexts: tuple[str, ...] = option(
        (),
        "A context to compare; may be repeated. Half, once and twice the context if not given.",
        "--try",
        metavar="N[,N,N]",
    )
    stitch: Literal["touch", "overlap", "owner", "none"] = option(
        "overlap", "How labels will be stitched."
    )


def plan(
    ctx: click.Context,
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
    from ..blockwise.block_preflight import try_blocks
    from ..blockwise.recipe import Stitching, VolumeRecipe, fitting_sizes
    from ..read.open_volume import open_volume

    view = taken.view(ctx.obj)
    with open_volume(input, **view.keywords()) as volume:
        block = fitting_sizes("block", what.block, len(volume.spatial_shape))
        if "t" in volume.axes:  # there are several points in time, and none is chosen
            view = replace(view, time=0)
    recipe = VolumeRecipe.make(
        input,
        "plan",
        what.function,
        block=block,
        context=what.around(trial.stitch),
        stitching=Stitching(trial.stitch),
        parameters=o.parse_parameters(what.settings),
        view=view,
        fill_value=taken.fill_value,
    )
    contexts = [parse_size(text, "--try") for text in trial.contexts]
    tried = [fitting_sizes("context", size, len(recipe.block)) for size in contexts]
    with showing("plan", said) as listen:
        found = try_blocks(recipe, workers=on.workers, contexts=tried or None, on_event=listen)
    show({"exit_code": 0, **found.as_dict()}, _plan_in_words(found), as_json=said.as_json)


def _plan_in_words(trial: Any) -> str:
    from ..run.folder_room import in_words

    worker = "unknown" if trial.worker_bytes is None else in_words(trial.worker_bytes)
    time = f"{trial.seconds_per_block:.2f} s a block, {_duration(trial.seconds)}"
    rows = [
        ("volume", f"{by(trial.shape)} voxels"),
        ("blocks", f"{trial.blocks} of {by(trial.block)} voxels, {trial.read_factor:.2f} x read"),
        ("labels", f"{trial.labels:.0f} in a block"),
        ("time", f"{time} with {trial.workers} workers"),
        ("memory", f"{worker} a worker, {in_words(trial.parent_bytes)} to stitch"),
        ("disk", in_words(trial.disk_bytes)),
    ]
    rows += [
        ("context", f"{size}: {100 * error:.1f} % of pairs of voxels differ from the largest")
        for size, error in trial.disagreement.items()
    ]
    return "\n".join(in_columns(rows, once=True))


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def info(
    ctx: click.Context,
    paths: Annotated[tuple[str, ...], argument("VOLUME...", "Volumes, made here or elsewhere.")],
    said: Said,
) -> int:
    """Show what a volume is, and how far the run that makes it is.

    Of labels that were made here: the recipe, blocks done and failed with
    their errors, objects, and the report about the seams.

    Example: cytovox volume info labels.zarr
    """
    return describe_each(
        "volume", paths, lambda path: describe_volume(path, ctx.obj), volume_in_words, said
    )


def describe_volume(path: str, permissions: Permissions | None = None) -> dict[str, Any]:
    """Return what is known of a volume."""
    from ..blockwise.run_state import describe_run, journal_of
    from ..read.open_volume import open_volume

    run = None if "://" in path else describe_run(path, journal_of(path))
    found: dict[str, Any] = {"volume": path, "made": False}
    try:
        with open_volume(path, permissions=permissions) as volume:
            found |= {
                "made": True,
                "format": volume.format,
                "series": volume.series,
                "shape": list(volume.shape),
                "axes": "".join(volume.axes),
                "dtype": str(volume.dtype),
                "voxel_size": list(volume.voxel_size),
                "offset": list(volume.offset),
                "units": volume.units,
                "chunk": list(volume.chunk),
                "write_unit": list(volume.write_unit),
            }
    except InputNotFoundError:
        if run is None:
            raise
    return found | {"run": run}


def volume_in_words(found: Mapping[str, Any]) -> str:
    """Return a description as text for people."""
    rows = [("state", "not finished")]
    if found["made"]:
        size, units = by(f"{n:g}" for n in found["voxel_size"]), found["units"] or "voxel"
        rows = [
            ("format", found["format"]),
            ("series", found["series"]),
            ("voxels", f"{by(found['shape'])} ({found['axes']}), {found['dtype']}"),
            ("voxel", f"{size} {units}"),
            ("chunk", by(found["chunk"])),
        ]
    if run := found["run"]:
        rows += _run_in_words(run)
    rows = [(name, text) for name, text in rows if text]
    return described(found["volume"], rows)


def _run_in_words(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return rows, the text of which is empty if there is nothing to say."""
    from ..blockwise.run_state import recipe_in_words, seam_lines
    from ..run.folder_room import in_words

    rows = []
    if recipe := run["recipe"]:
        rows = recipe_in_words(recipe)
    rows.append(("objects", "" if run["objects"] is None else str(run["objects"])))
    for name, stage in run["stages"].items():
        counted = [f"{stage[s]} {s}" for s in ("done", "failed") if stage[s]]
        if stage["started"]:
            counted.append(f"{stage['started']} begun and not ended")
        if not counted:
            continue
        peak = f", {in_words(stage['peak_bytes'])} at most" if stage["peak_bytes"] else ""
        lines = [f"{', '.join(counted)}; {stage['seconds']:.1f} s of work{peak}"]
        errors = list(stage["errors"].items())
        lines += [f"block {block}: {error}" for block, error in errors[:_LISTED]]
        if len(errors) > _LISTED:
            lines.append(f"and {len(errors) - _LISTED} more, see --json")
        rows += [(name, line) for line in lines]
    if run["seams"]:
        try:
            lines = seam_lines(run["seams"])
        except (ValueError, LookupError, TypeError):
            lines = ["their errors cannot be read"]
        rows += [("seams", line) for line in lines]
    return rows


@options
class _Replay:
    pdb: bool = option(False, "Open a debugger where the function fails.")
    save: str | None = option(None, "Keep the labels of the block (.npy).", metavar="FILE")
    debug: bool = option(False, "Show tracebacks.")


def replay(
    ctx: click.Context,
    output: o.Made,
    block: Annotated[int, argument("BLOCK", "Number of the block, as errors name it.")],
    how: _Replay,
) -> None:
    """Segment one block again, in this process; the output is not touched.

    Example: cytovox volume replay labels.zarr 7 --pdb
    """
    from ..blockwise.replay import replay_block

    try:
        done = replay_block(output, block, permissions=ctx.obj)
    except StageError as error:
        if how.pdb and error.__cause__ is not None:
            import pdb

            say(f"error: {error}")
            pdb.post_mortem(error.__cause__.__traceback__)
        raise
    if how.save is not None:
        import numpy as np

        np.save(how.save, done.labels)
    write = " ".join(f"{a}:{b}" for a, b in done.block.write)
    print_text(f"block {block} ({write}): {done.count} labels in {done.seconds:.2f} s")
