"""``cytovox volume threshold``, ``argmax``, ``predict`` and ``relabel``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from . import volume_options as o

__all__ = ["argmax", "predict", "relabel", "threshold"]


class _Others(StrEnum):
    drop = "drop"
    keep = "keep"


def threshold(
    ctx: typer.Context,
    input: o.Input,
    output: o.Output,
    value: Annotated[
        float,
        typer.Option(
            "--threshold", "-t", metavar="T", help="Voxels above it, not at it, become 1."
        ),
    ],
    below: Annotated[bool, typer.Option("--below", help="Voxels below it become 1.")] = False,
    block: o.Block = None,
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
    as_json: o.AsJson = False,
    quiet: o.QuietOption = False,
    debug: o.Debug = False,
) -> None:
    """Make a mask: 1 where a volume is above a threshold, 0 elsewhere.

    Example: cytovox volume threshold stack.tif mask.zarr -t 100
    """
    from ..blockwise.threshold_worker import ThresholdWork

    _run(
        ctx.obj,
        ThresholdWork,
        input,
        output,
        block,
        0,
        format,
        o.placement_of(workers, cluster, host, timeout, retries, memory),
        no_resume,
        verify,
        force,
        as_json,
        quiet,
        threshold=value,
        below=below,
    )


def argmax(
    ctx: typer.Context,
    input: o.Input,
    output: o.Output,
    block: o.Block = None,
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
    as_json: o.AsJson = False,
    quiet: o.QuietOption = False,
    debug: o.Debug = False,
) -> None:
    """Find the channel that is largest, at each voxel.

    Example: cytovox volume argmax probabilities.zarr classes.zarr
    """
    from ..blockwise.argmax_worker import ArgmaxWork

    _run(
        ctx.obj,
        ArgmaxWork,
        input,
        output,
        block,
        0,
        format,
        o.placement_of(workers, cluster, host, timeout, retries, memory),
        no_resume,
        verify,
        force,
        as_json,
        quiet,
    )


def predict(
    ctx: typer.Context,
    input: o.Input,
    output: o.Output,
    model: Annotated[
        Path,
        typer.Option("--model", "-m", metavar="FILE", help="TorchScript or ExportedProgram."),
    ],
    trust_model: Annotated[
        bool,
        typer.Option(
            "--trust-model",
            help="Run the model. A model is a program: only say so if you trust where it comes "
            "from.",
        ),
    ] = False,
    sha256: Annotated[
        str | None,
        typer.Option("--sha256", metavar="HEX", help="Trust the model of this SHA-256 only."),
    ] = None,
    channels: Annotated[
        int, typer.Option("--channels", min=0, metavar="N", help="Channels of the result; 0: one.")
    ] = 0,
    block: o.Block = None,
    context: o.Context = None,
    tile: Annotated[
        str | None,
        typer.Option("--tile", metavar="N[,N,N]", help="Voxels that the model sees at once."),
    ] = None,
    overlap: Annotated[
        str,
        typer.Option("--overlap", metavar="N[,N,N]", help="Voxels of a tile's ends not used."),
    ] = "0",
    factor: Annotated[
        float, typer.Option("--factor", metavar="F", help="Voxels are multiplied by it,")
    ] = 1.0,
    shift: Annotated[
        float, typer.Option("--shift", metavar="S", help="and this is added, for the model.")
    ] = 0.0,
    dtype: Annotated[
        str, typer.Option("--dtype", metavar="TYPE", help="Type of the result: float32, uint8.")
    ] = "float32",
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="NAME", help="cpu or cuda; cuda if there is one."),
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
    as_json: o.AsJson = False,
    quiet: o.QuietOption = False,
    debug: o.Debug = False,
) -> None:
    """Run a trained model on a volume (needs the extra torch).

    The model is loaded once per worker.

    Example: cytovox volume predict raw.zarr membranes.zarr -m net.pt --trust-model --context 16
    """
    from ..blockwise.predict_worker import PredictWork

    _run(
        ctx.obj,
        PredictWork,
        input,
        output,
        block,
        o.parse_size(context, "--context") or 0,
        format,
        o.placement_of(workers, cluster, host, timeout, retries, memory),
        no_resume,
        verify,
        force,
        as_json,
        quiet,
        model=str(model.absolute()),
        model_sha256=_trusted(model, sha256, trust_model=trust_model),
        channels=channels,
        tile=_for_each(tile, input, "--tile", ctx.obj),
        overlap=o.parse_size(overlap, "--overlap"),
        factor=factor,
        shift=shift,
        dtype=dtype,
        device=device,
    )


def relabel(
    ctx: typer.Context,
    input: o.Input,
    output: o.Output,
    table: Annotated[
        Path | None,
        typer.Option(
            "--table",
            "-t",
            metavar="FILE",
            help="Two columns, old and new label (.csv or .npy). Labels are numbered 1 to N in "
            "rising order if not given.",
        ),
    ] = None,
    others: Annotated[
        _Others,
        typer.Option("--others", help="What becomes of labels that are not in the table."),
    ] = _Others.drop,
    block: o.Block = None,
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
    as_json: o.AsJson = False,
    quiet: o.QuietOption = False,
    debug: o.Debug = False,
) -> None:
    """Give the labels of a volume other numbers.

    Merge or remove objects by a table, or close the gaps between numbers.

    Example: cytovox volume relabel labels.zarr merged.zarr --table merges.csv
    """
    from ..blockwise.renumber import MappedLabels, keep_label_map
    from ..read.volume_view import VolumeView

    place = o.placement_of(workers, cluster, host, timeout, retries, memory)
    size, _ = o.sizes_for(input, VolumeView(permissions=ctx.obj), block, None, 0)
    kept = keep_label_map(
        input,
        output,
        table,
        block=size,
        placement=place,
        permissions=ctx.obj,
    )
    _run(
        ctx.obj,
        MappedLabels,
        input,
        output,
        block,
        0,
        format,
        place,
        no_resume,
        verify,
        force,
        as_json,
        quiet,
        table=str(kept),
        others=others.value,
    )


def _run(
    permissions: Any,
    make: Any,
    input: str,
    output: str,
    block: str | None,
    context: Any,
    format: o.Format,
    placement: Any,
    no_resume: bool,
    verify: bool,
    force: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    from ..blockwise.array_run import run_array_work
    from ..read.volume_view import VolumeView
    from .volume_results import show_volume, showing

    size, _ = o.sizes_for(input, VolumeView(permissions=permissions), block, None, 0)
    with showing(Path(output).name, quiet=quiet or as_json) as listen:
        result = run_array_work(
            make,
            input,
            output,
            block=size,
            context=context,
            format=format.value,
            resume=not no_resume,
            verify=verify,
            force=force,
            placement=placement,
            on_event=listen,
            permissions=permissions,
            **options,
        )
    code = show_volume(result, output=output, as_json=as_json, quiet=quiet, replays=False)
    raise typer.Exit(code)


def _trusted(model: Path, sha256: str | None, *, trust_model: bool) -> str | None:
    """Return the digest by which workers trust the model; they do not ask."""
    import hashlib

    from ..errors import InputNotFoundError

    if not model.is_file():
        raise InputNotFoundError("there is no such model file", path=model)
    return hashlib.sha256(model.read_bytes()).hexdigest() if trust_model else sha256


def _for_each(
    text: str | None, input: str, option: str, permissions: Any
) -> tuple[int, ...] | None:
    size = o.parse_size(text, option)
    if not isinstance(size, int):
        return size
    from ..read.open_volume import open_volume

    with open_volume(input, permissions=permissions) as volume:
        return (size,) * len(volume.spatial_shape)
