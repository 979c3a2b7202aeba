"""``cytovox volume threshold``, ``argmax``, ``predict`` and ``relabel``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import typer

from . import volume_options as o
from .command_options import SaidOfWork, option, options, parse_size
from .volume_results import show_volume, showing

__all__ = ["argmax", "predict", "relabel", "threshold"]


@options
class _Making(SaidOfWork, o.Redo, o.Placing, o.OutputFormat):
    """What the commands have in common, from the format on."""


@options
class _Threshold:
    threshold: float = option(
        ..., "Voxels above it, not at it, become 1.", "--threshold", "-t", metavar="T"
    )
    below: bool = option(False, "Voxels below it become 1.")


def threshold(
    ctx: typer.Context,
    input: o.Input,
    output: o.Output,
    how: _Threshold,
    blocks: o.Blocks,
    making: _Making,
) -> None:
    """Make a mask: 1 where a volume is above a threshold, 0 elsewhere.

    Example: cytovox volume threshold stack.tif mask.zarr -t 100
    """
    from ..blockwise.threshold_worker import ThresholdWork

    _run(ctx.obj, ThresholdWork, input, output, blocks, making, **vars(how))


def argmax(
    ctx: typer.Context, input: o.Input, output: o.Output, blocks: o.Blocks, making: _Making
) -> None:
    """Find the channel that is largest, at each voxel.

    Example: cytovox volume argmax probabilities.zarr classes.zarr
    """
    from ..blockwise.argmax_worker import ArgmaxWork

    _run(ctx.obj, ArgmaxWork, input, output, blocks, making)


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
    ctx: typer.Context,
    input: o.Input,
    output: o.Output,
    model: _Model,
    blocks: o.BlocksAround,
    how: _Prediction,
    making: _Making,
) -> None:
    """Run a trained model on a volume (needs the extra torch).

    The model is loaded once per worker.

    Example: cytovox volume predict raw.zarr membranes.zarr -m net.pt --trust-model --context 16
    """
    from ..blockwise.predict_worker import PredictWork

    if not isinstance(how.tile, int):
        tile = how.tile
    else:
        tile = (how.tile,) * _axes_of_space(input, ctx.obj)
    told = {
        **vars(how),
        "tile": tile,
        "model": str(model.model.absolute()),
        "model_sha256": _trusted(model),
        "channels": model.channels,
    }
    context = blocks.context or 0
    _run(ctx.obj, PredictWork, input, output, blocks, making, context=context, **told)


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
    ctx: typer.Context,
    input: o.Input,
    output: o.Output,
    how: _Relabel,
    blocks: o.Blocks,
    making: _Making,
) -> None:
    """Give the labels of a volume other numbers.

    Merge or remove objects by a table, or close the gaps between numbers.

    Example: cytovox volume relabel labels.zarr merged.zarr --table merges.csv
    """
    from ..blockwise.renumber import MappedLabels, keep_label_map

    kept = keep_label_map(
        input,
        output,
        how.table,
        block=blocks.size(_axes_of_space(input, ctx.obj)),
        placement=making.placement(),
        permissions=ctx.obj,
    )
    told = {"table": str(kept), "others": how.others}
    _run(ctx.obj, MappedLabels, input, output, blocks, making, **told)


def _run(
    permissions: Any,
    make: Any,
    input: str,
    output: str,
    blocks: o.Blocks,
    making: _Making,
    **told: Any,
) -> None:
    from ..blockwise.array_run import run_array_work

    with showing(Path(output).name, making) as listen:
        result = run_array_work(
            make,
            input,
            output,
            block=blocks.size(_axes_of_space(input, permissions)),
            format=making.format,
            placement=making.placement(),
            on_event=listen,
            permissions=permissions,
            **making.redo(),
            **told,
        )
    raise typer.Exit(show_volume(result, making, output=output, replays=False))


def _axes_of_space(input: str, permissions: Any) -> int:
    from ..read.open_volume import open_volume

    with open_volume(input, permissions=permissions) as volume:
        return len(volume.spatial_shape)


def _trusted(given: _Model) -> str | None:
    """Return the digest by which workers trust the model; they do not ask."""
    import hashlib

    from ..errors import InputNotFoundError

    if not given.model.is_file():
        raise InputNotFoundError("there is no such model file", path=given.model)
    content = given.model.read_bytes()
    return hashlib.sha256(content).hexdigest() if given.trust_model else given.sha256
