"""Commands that make volumes: labels and their objects, masks, predictions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ..errors import escaped
from . import volume_options as o
from .command_options import Said, SaidOfWork, Where, option, options, parse_size
from .console import say, show
from .volume_results import near, show_volume, showing

if TYPE_CHECKING:
    from ..read.volume import Volume

__all__ = ["argmax", "objects", "predict", "relabel", "restitch", "segment", "threshold"]

_STITCH = "How labels of neighbouring blocks become one."
Stitch = Literal["touch", "overlap", "owner", "none"]
Rule = Literal["iou", "mutual"]


@options
class _Restitching:
    """How labels become one, and what is made of the objects; None for what stays as it was."""

    stitch: Stitch | None = option(None, _STITCH)
    connectivity: int | None = option(
        None,
        "Neighbours of a voxel for touch: 6, 18 or 26; in two dimensions 4 or 8.",
        metavar="N",
    )
    rule: Rule | None = option(None, "How labels agree: iou or mutual.")
    threshold: float | None = option(None, "Labels must agree by more than this.", metavar="T")
    min_voxels: int | None = option(
        None, "Labels must agree in at least so many voxels.", min=1, metavar="N"
    )
    reach: int | None = option(
        None,
        "How far from a seam labels are compared, in voxels; an eighth of the context if "
        "not given.",
        min=1,
        max=1_000_000,
        metavar="N",
    )
    objects: Path | None = option(
        None,
        "File for the table of objects, .parquet or .csv; beside the output if not given.",
        metavar="FILE",
    )
    no_objects: bool = option(False, "Write no table of objects.")
    gate: str | None = option(None, "Which objects to keep; '' for all.", metavar="EXPR")
    picture: Path | None = option(
        None, "Draw middle slices with outlines, and the seams (.png).", metavar="FILE"
    )

    def stitching(self) -> dict[str, Any]:
        """Return this as `segment_volume` and `restitch_volume` take it."""
        told = dict(vars(self))
        del told["picture"]
        return told | ({"objects": False} if told.pop("no_objects") else {})

    def draw(self, result: Any, input: str, view: Any) -> str | None:
        """Draw the picture if one is wanted; return its path."""
        if self.picture is None or not result:
            return None
        from ..report.volume_picture import draw_volume

        return str(draw_volume(input, result.output, self.picture, view=view))


@options
class _Stitching(_Restitching):
    """The same, with what is usual."""

    stitch: Stitch = option(
        "overlap",
        f"{_STITCH} touch: what touches (exact for connected components). overlap: what "
        "agrees in the shared context. owner: compact objects, kept by the block of their "
        "centre. none: not at all.",
    )
    rule: Rule = option("iou", "How labels agree: by intersection over union, or mutually.")
    threshold: float = option(0.5, "Labels must agree by more than this.", metavar="T")
    min_voxels: int = option(
        1, "Labels must agree in at least so many voxels.", min=1, metavar="N"
    )
    gate: str | None = option(
        None,
        "Which objects to keep, e.g. 'voxels > 100'. See: cytovox volume objects",
        metavar="EXPR",
    )


@options
class _Preflight:
    no_preflight: bool = option(
        False, "Do not check before work begins whether disk and memory suffice."
    )


@options
class _Making(SaidOfWork, _Preflight, o.Redo, o.Placing, o.OutputFormat):
    """What is said of the work from the format on."""

    def making(self) -> dict[str, Any]:
        """Return this as `segment_volume` takes it."""
        return {"format": self.format, **self.placing(), **self.redo()}


def segment(
    ctx: click.Context,
    input: o.Input,
    output: o.Output,
    what: o.Segmenting,
    how: _Stitching,
    taken: o.View,
    making: _Making,
) -> int:
    """Segment a volume block by block, and measure its objects.

    The same labels come out whatever the number of workers. A run that was
    stopped is resumed by the same command; blocks that failed are listed, the
    exit code is 4, and the same command does only those again.

    Example: cytovox volume segment stack.tif labels.zarr -f watershed --set threshold=100
    """
    from ..blockwise.evidence import Measures
    from ..blockwise.recipe import fitting_sizes
    from ..blockwise.volumes import segment_volume
    from ..read.open_volume import open_volume

    view, around = taken.view(ctx.obj), what.around(how.stitch)
    with open_volume(input, **view.keywords()) as volume:
        size = fitting_sizes("block", what.block, len(volume.spatial_shape))
        if not making.no_preflight:
            _look_for_room(volume, output, size, around, making)
    with showing(Path(output).name, making) as listen:
        result = segment_volume(
            input,
            output,
            what.function,
            block=size,
            context=around,
            parameters=o.parse_parameters(what.settings),
            measures=Measures(),  # so that a table can be written later
            fill_value=taken.fill_value,
            on_event=listen,
            **view.keywords(),
            **how.stitching(),
            **making.making(),
        )
    picture = how.draw(result, input, view)
    return show_volume(result, making, output=output, picture=picture)


def restitch(
    ctx: click.Context, output: o.Made, how: _Restitching, where: Where, said: SaidOfWork
) -> int:
    """Stitch the blocks in another way, without segmenting again.

    What is not given stays as it was. The labels are replaced when all is done.

    Example: cytovox volume restitch labels.zarr --threshold 0.7
    """
    from ..blockwise.recipe_file import load_recipe
    from ..blockwise.volumes import restitch_volume

    with showing(Path(output).name, said) as listen:
        result = restitch_volume(
            output, on_event=listen, permissions=ctx.obj, **how.stitching(), **vars(where)
        )
    recipe = load_recipe(output, permissions=ctx.obj)
    picture = how.draw(result, recipe.input, recipe.view)
    return show_volume(result, said, output=output, picture=picture)


@options
class _Table:
    table: Path | None = option(
        None,
        "File to write, .parquet or .csv; where it was if not given.",
        "--objects",
        "-o",
        metavar="FILE",
    )
    gate: str | None = option(
        None,
        "Which objects are in the table, e.g. 'voxels > 100 and not touches_border'.",
        metavar="EXPR",
    )


def objects(ctx: click.Context, output: o.Made, which: _Table, said: Said) -> None:
    """Write the table of objects again, from what the blocks have measured.

    The labels stay as they are; cytovox volume restitch --gate changes them, too.

    Example: cytovox volume objects labels.zarr --gate 'volume > 5' -o large.csv
    """
    from ..blockwise.volumes import measure_volume

    path, count = measure_volume(output, objects=which.table, gate=which.gate, permissions=ctx.obj)
    plain = {"exit_code": 0, "table": path, "objects": count}
    show(plain, escaped(f"{near(path)}: {count} objects"), as_json=said.as_json)


def _look_for_room(
    volume: Volume, output: str, block: tuple[int, ...], context: Any, making: _Making
) -> None:
    """Raise an error if a run cannot fit on disk or in memory; warn if it may not."""
    from ..blockwise.block_preflight import volume_need
    from ..blockwise.recipe import fitting_sizes, side_folder
    from ..run.folder_room import check_need

    around = fitting_sizes("context", context, len(volume.spatial_shape))
    need = volume_need(volume, block, around, making.workers)
    if making.cluster:
        need = replace(need, memory_bytes=0)  # of other machines
    side = side_folder(output)
    already = (path for path in side.rglob("*") if path.is_file())
    if (warning := check_need(need, side.parent, already=already)) is not None:
        say(f"warning: {side.parent}: {warning}")


@options
class _MakingArray(SaidOfWork, o.Redo, o.Placing, o.OutputFormat):
    """What the commands have in common, from the format on."""


@options
class _Threshold:
    threshold: float = option(
        ..., "Voxels above it, not at it, become 1.", "--threshold", "-t", metavar="T"
    )
    below: bool = option(False, "Voxels below it become 1.")


def threshold(
    ctx: click.Context,
    input: o.Input,
    output: o.Output,
    how: _Threshold,
    blocks: o.Blocks,
    making: _MakingArray,
) -> int:
    """Make a mask: 1 where a volume is above a threshold, 0 elsewhere.

    Example: cytovox volume threshold stack.tif mask.zarr -t 100
    """
    from ..blockwise.threshold_worker import ThresholdWork

    return _run(ctx.obj, ThresholdWork, input, output, blocks, making, **vars(how))


def argmax(
    ctx: click.Context, input: o.Input, output: o.Output, blocks: o.Blocks, making: _MakingArray
) -> int:
    """Find the channel that is largest, at each voxel.

    Example: cytovox volume argmax probabilities.zarr classes.zarr
    """
    from ..blockwise.argmax_worker import ArgmaxWork

    return _run(ctx.obj, ArgmaxWork, input, output, blocks, making)


@options
class _Model:
    model: Path = option(..., "TorchScript or ExportedProgram.", "--model", "-m", metavar="FILE")
    trust_model: bool = option(
        False, "Run the model. A model is a program: only say so if you trust where it comes from."
    )
    sha256: str | None = option(None, "Trust the model of this SHA-256 only.", metavar="HEX")
    channels: int = option(
        0, "Channels of the result; 0 for one value a voxel, without channels.", min=0, metavar="N"
    )


@options
class _Prediction:
    tile: Any = option(
        None, "Voxels that the model sees at once.", metavar="N[,N,N]", read=parse_size
    )
    overlap: Any = option(
        "0", "Voxels at each end of a tile that are not used.", metavar="N[,N,N]", read=parse_size
    )
    factor: float = option(1.0, "Voxels are multiplied by this for the model.", metavar="F")
    shift: float = option(0.0, "This is added to them after that.", metavar="S")
    dtype: str = option("float32", "Type of the result: float32, uint8.", metavar="TYPE")
    device: str | None = option(None, "cpu or cuda; cuda if there is one.", metavar="NAME")


def predict(
    ctx: click.Context,
    input: o.Input,
    output: o.Output,
    model: _Model,
    blocks: o.BlocksAround,
    how: _Prediction,
    making: _MakingArray,
) -> int:
    """Run a trained model on a volume (needs the extra torch).

    The model is loaded once per worker.

    Example: cytovox volume predict raw.zarr membranes.zarr -m net.pt --trust-model --context 16
    """
    from ..blockwise.predict_worker import PredictWork

    told = {
        **vars(how),
        "model": str(model.model.absolute()),
        "model_sha256": _trusted(model),
        "channels": model.channels,
        "context": blocks.context or 0,
    }
    return _run(ctx.obj, PredictWork, input, output, blocks, making, **told)


@options
class _Relabel:
    table: Path | None = option(
        None,
        "Two columns, old and new label (.csv or .npy). Labels are numbered 1 to N in "
        "rising order if not given.",
        "--table",
        "-t",
        metavar="FILE",
    )
    others: Literal["drop", "keep"] = option(
        "drop", "What becomes of labels that are not in the table."
    )


def relabel(
    ctx: click.Context,
    input: o.Input,
    output: o.Output,
    how: _Relabel,
    blocks: o.Blocks,
    making: _MakingArray,
) -> int:
    """Give the labels of a volume other numbers.

    Merge or remove objects by a table, or close the gaps between numbers.

    Example: cytovox volume relabel labels.zarr merged.zarr --table merges.csv
    """
    from ..blockwise.renumber import MappedLabels, keep_label_map

    where = {"block": blocks.block, "placement": making.placement(), "permissions": ctx.obj}
    kept = keep_label_map(input, output, how.table, **where)
    told = {"table": str(kept), "others": how.others}
    return _run(ctx.obj, MappedLabels, input, output, blocks, making, **told)


def _run(
    permissions: Any,
    make: Any,
    input: str,
    output: str,
    blocks: o.Blocks,
    making: _MakingArray,
    **told: Any,
) -> int:
    from ..blockwise.array_run import run_array_work

    with showing(Path(output).name, making) as listen:
        result = run_array_work(
            make,
            input,
            output,
            block=blocks.block,
            format=making.format,
            placement=making.placement(),
            on_event=listen,
            permissions=permissions,
            **making.redo(),
            **told,
        )
    return show_volume(result, making, output=output, replays=False)


def _trusted(given: _Model) -> str | None:
    """Return the digest by which workers trust the model; they do not ask."""
    import hashlib

    from ..errors import InputNotFoundError

    if not given.model.is_file():
        raise InputNotFoundError("there is no such model file", path=given.model)
    if not given.trust_model:
        return given.sha256
    return hashlib.sha256(given.model.read_bytes()).hexdigest()
