"""Options that several volume commands share, and how their words are read."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Annotated, Any

import typer

from ..errors import OptionError

__all__ = [
    "Format",
    "Rule",
    "Stitch",
    "as_size",
    "look_for_room",
    "parse_parameters",
    "parse_size",
    "placement_of",
]


class Stitch(StrEnum):
    """How labels of neighbouring blocks become one."""

    touch = "touch"
    overlap = "overlap"
    owner = "owner"
    none = "none"


class Rule(StrEnum):
    """How labels agree."""

    iou = "iou"
    mutual = "mutual"


class Format(StrEnum):
    """Formats that are written."""

    ome_zarr_05 = "ome-zarr-0.5"
    ome_zarr_04 = "ome-zarr-0.4"
    zarr2 = "zarr2"
    precomputed = "precomputed"


Input = Annotated[
    str,
    typer.Argument(
        metavar="INPUT",
        help="Volume to read: zarr, OME-Zarr, N5, precomputed (also zipped), file.h5:/path, "
        "TIFF stack (file.tif:/1 for its second image) or folder of TIFF pages, .npy; also "
        "s3://, gs:// and https://.",
    ),
]
Output = Annotated[str, typer.Argument(metavar="OUTPUT", help="Volume to make, a path.")]
Made = Annotated[
    str, typer.Argument(metavar="OUTPUT", help="Labels that cytovox volume segment has made.")
]
Block = Annotated[
    str | None,
    typer.Option(
        "--block",
        metavar="N[,N,N]",
        help="Voxels that a block writes along each axis; 128 in three dimensions, 1024 in two, "
        "if not given.",
    ),
]
Context = Annotated[
    str | None,
    typer.Option("--context", metavar="N[,N,N]", help="Voxels that a block reads beyond."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        metavar="N",
        help="Number of worker processes; one a core if not given, 0 for none beside this one.",
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="WHERE",
        help="Where workers are, if not on this machine: dask:tcp://host:8786, or a command such "
        "as 'srun -n1 {command}'.",
    ),
]
Host = Annotated[
    str | None,
    typer.Option(
        "--host",
        metavar="ADDRESS",
        help="Address under which workers elsewhere reach this program; only this machine can "
        "if not given.",
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout", metavar="SECONDS", help="A block that takes longer is stopped and retried."
    ),
]
Retries = Annotated[
    int, typer.Option("--retries", min=0, metavar="N", help="Further attempts at a block.")
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory", metavar="SIZE", help="What a worker may hold, e.g. 4G; more fails its block."
    ),
]
NoResume = Annotated[
    bool,
    typer.Option("--no-resume", help="Do all again, and replace what was made here before."),
]
Verify = Annotated[
    bool,
    typer.Option(
        "--verify",
        help="Read a finished output in full before it is left as it is, not only a small one.",
    ),
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Make again what of a finished output was damaged since."),
]
NoPreflight = Annotated[
    bool,
    typer.Option(
        "--no-preflight", help="Do not look whether disk and memory suffice before work begins."
    ),
]
FormatOption = Annotated[Format, typer.Option("--format", help="Format of the output.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object in place of the text.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", metavar="KEY=VALUE", help="A parameter of the function. May be repeated."
    ),
]


Scale = Annotated[
    str | None, typer.Option("--scale", metavar="NAME", help="Scale of a pyramid to read.")
]
Series = Annotated[
    str | None,
    typer.Option(
        "--series", metavar="NAME", help="Which image of several in the file, by number or name."
    ),
]
Channel = Annotated[
    str | None,
    typer.Option(
        "--channel",
        metavar="NAME",
        help="Channel that is segmented and measured, by number or name; for mutex_watershed, "
        "which takes all, the one that is measured. The first one if not given.",
    ),
]
Time = Annotated[
    int | None,
    typer.Option(
        "--time", min=0, metavar="N", help="Only this point in time; all of them if not given."
    ),
]
Axes = Annotated[
    str | None,
    typer.Option(
        "--axes",
        metavar="LETTERS",
        help="Axes in the order of the file, such as tzyx, if the file does not say them right.",
    ),
]
VoxelSize = Annotated[
    str | None,
    typer.Option(
        "--voxel-size",
        metavar="N[,N,N]",
        help="Size of a voxel along (z,) y, x, in place of what the file says.",
    ),
]
Units = Annotated[
    str | None,
    typer.Option("--units", metavar="NAME", help="Unit of the voxel size, such as micrometer."),
]


def view_of(
    scale: str | None,
    series: str | None,
    channel: str | None,
    time: int | None,
    axes: str | None,
    voxel_size: str | None,
    units: str | None,
    permissions: Any,
) -> Any:
    """Return what is taken of a volume, what its file does not say, and what it may do."""
    from ..read.volume_view import VolumeView

    size = parse_lengths(voxel_size)
    return VolumeView(scale, series, channel, time, axes, size, units, permissions)


def first_moment(input: str, view: Any) -> Any:
    """Return a view of the first point in time, if there are several and none is chosen."""
    from dataclasses import replace

    from ..read.open_volume import open_volume

    with open_volume(input, **view.keywords()) as volume:
        return replace(view, time=0) if "t" in volume.axes else view


def parse_lengths(text: str | None) -> tuple[float, ...] | None:
    """Read the size of a voxel: one number, or one for each axis.

    Examples
    --------
    >>> parse_lengths("2,0.5,0.5"), parse_lengths(None)
    ((2.0, 0.5, 0.5), None)
    """
    if text is None:
        return None
    try:
        return tuple(float(part) for part in re.split(r"[\s,x]+", text.strip()))
    except ValueError:
        raise OptionError(
            f"--voxel-size '{text}' is not a size", hint="write --voxel-size 2,0.5,0.5"
        ) from None


def parse_size(text: str | None, option: str) -> int | tuple[int, ...] | None:
    """Read a size: one number for all axes, or one for each.

    Parameters
    ----------
    text
        What was given; None stays None.
    option
        Name of the option.

    Examples
    --------
    >>> parse_size("64", "--block"), parse_size("32,64,64", "--block")
    (64, (32, 64, 64))
    """
    if text is None:
        return None
    parts = re.split(r"[\s,x]+", text.strip())
    if not all(part.isdigit() for part in parts):
        raise OptionError(
            f"{option} '{text}' is not a size", hint=f"write {option} 64 or {option} 32,64,64"
        )
    sizes = tuple(int(part) for part in parts)
    return sizes[0] if len(sizes) == 1 else sizes


def as_size(text: str | None) -> int | None:
    """Read a number of bytes.

    Examples
    --------
    >>> as_size("4G"), as_size("512 MiB"), as_size(None)
    (4294967296, 536870912, None)
    """
    if text is None:
        return None
    match = re.fullmatch(r"\s*([\d.]+)\s*([kmgt]?)i?b?\s*", text, re.I)
    try:
        number = float(match[1]) if match else 0.0
    except ValueError:
        number = 0.0
    if not match or number <= 0:
        raise OptionError(f"--memory '{text}' is not a size", hint="write for example 4G")
    return int(number * 1024 ** " kmgt".index(match[2].lower() or " "))


def parse_parameters(words: list[str] | None) -> dict[str, Any]:
    """Read parameters of a function: numbers, truth values, lists, or text.

    Examples
    --------
    >>> parse_parameters(["sigma=2", "seeds=distance", "bright_inside=false", "offsets=[1,2]"])
    {'sigma': 2, 'seeds': 'distance', 'bright_inside': False, 'offsets': [1, 2]}
    """
    given: dict[str, Any] = {}
    for word in words or ():
        match = re.fullmatch(r"\s*([^\W\d]\w*)\s*=\s*(.*?)\s*", word, re.S)
        if match is None:
            raise OptionError(
                f"--set '{word}' is not of the form key=value",
                hint="write for example --set threshold=100",
            )
        if match[1] in given:
            raise OptionError(f"--set {match[1]} is given twice", hint="give it once")
        given[match[1]] = _value(match[2])
    return given


def _value(text: str) -> Any:
    known = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in known:
        return known[text.lower()]
    try:
        return json.loads(text)
    except ValueError:
        return text


def placement_of(
    workers: int | None,
    cluster: str | None = None,
    host: str | None = None,
    timeout: float | None = None,
    retries: int = 2,
    memory: str | None = None,
) -> Any:
    """Return where blocks are done."""
    from ..blockwise.volume_result import Placement

    return Placement(workers, cluster, host, timeout, retries, as_size(memory))


def sizes_for(
    input: str, view: Any, block: str | None, context: str | None, usual_context: int
) -> tuple[Any, Any]:
    """Return block and context, with what is usual where none was given."""
    size = parse_size(block, "--block")
    if size is None:
        from ..read.open_volume import open_volume

        with open_volume(input, **view.keywords()) as volume:
            size = 128 if len(volume.spatial_shape) == 3 else 1024
    around = parse_size(context, "--context")
    return size, usual_context if around is None else around


def look_for_room(
    input: str, view: Any, output: str, block: Any, context: Any, *, here: int | None
) -> None:
    """Raise an error if a run cannot fit on disk or in memory; warn if it may not.

    Parameters
    ----------
    input, view, output, block, context
        As the command has them.
    here
        Number of workers on this machine; None for one a core, 0 for none.
    """
    from dataclasses import replace
    from pathlib import Path

    from ..blockwise.block_preflight import volume_need
    from ..blockwise.recipe import fitting_sizes, side_folder
    from ..read.open_volume import open_volume
    from ..run.room import check_need
    from .console import say

    side = side_folder(output)
    with open_volume(input, **view.keywords()) as volume:
        ndim = len(volume.spatial_shape)
        sizes = fitting_sizes("block", block, ndim), fitting_sizes("context", context, ndim)
        need = volume_need(volume, *sizes, here)
    if here == 0:
        need = replace(need, memory_bytes=0)
    already = (path for path in Path(side).rglob("*") if path.is_file())
    if (warning := check_need(need, side.parent, already=already)) is not None:
        say(f"warning: {side.parent}: {warning}")
