"""Options that several commands for volumes share."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ..errors import OptionError
from .command_options import (
    Where,
    argument,
    option,
    options,
    parse_assignments,
    parse_lengths,
    parse_size,
)

if TYPE_CHECKING:
    from ..read import Permissions

__all__ = [
    "Blocks",
    "BlocksAround",
    "Input",
    "Made",
    "Output",
    "OutputFormat",
    "Placing",
    "Redo",
    "Segmenting",
    "View",
    "as_size",
    "parse_parameters",
]


def as_size(text: str, name: str = "--memory") -> int:
    """Read a number of bytes."""
    match = re.fullmatch(r"\s*(\d{1,18}\.?\d{0,18}|\.\d{1,18})\s*([kmgt]?)i?b?\s*", text, re.I)
    if not match or float(match[1]) <= 0:
        raise OptionError(f"{name} '{text}' is not a size", hint="write for example 4G")
    return int(float(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " "))


def parse_parameters(words: Iterable[str]) -> dict[str, Any]:
    """Read parameters of a function: numbers, truth values, lists, or text."""
    given = parse_assignments(words, r"[^\W\d]\w*", "key=value", "threshold=100")
    return {name: _value(text) for name, text in given.items()}


def _value(text: str) -> Any:
    known = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in known:
        return known[text.lower()]
    try:
        return json.loads(text)
    except ValueError:
        return text


Input = Annotated[
    str,
    argument(
        "INPUT",
        "Volume to read: zarr, OME-Zarr, N5, precomputed (also zipped), file.h5:/path, "
        "TIFF stack (file.tif:/1 for its second image) or folder of TIFF pages, .npy; also "
        "s3://, gs:// and https://.",
    ),
]
Output = Annotated[str, argument("OUTPUT", "Volume to make, a path.")]
Made = Annotated[str, argument("OUTPUT", "Labels that cytovox volume segment has made.")]


@options
class Placing(Where):
    """Where blocks are done, and how patiently."""

    timeout: float | None = option(
        None, "A block that takes longer is stopped and retried.", metavar="SECONDS"
    )
    retries: int = option(2, "Further attempts at a block.", min=0, metavar="N")
    memory: int | None = option(
        None,
        "What a worker may hold, e.g. 4G; more fails its block.",
        metavar="SIZE",
        read=as_size,
    )

    def placing(self) -> dict[str, Any]:
        """Return this as functions take it."""
        return {one.name: getattr(self, one.name) for one in fields(Placing)}

    def placement(self) -> Any:
        """Return this as one object."""
        from ..blockwise.placement import Placement

        return Placement(**self.placing())


@options
class Redo:
    """What is done again of what is there."""

    no_resume: bool = option(False, "Do all again, and replace what was made here before.")
    verify: bool = option(
        False, "Read a finished output in full before it is left as it is, not only a small one."
    )
    force: bool = option(
        False, "Make again those parts of a finished output that were damaged since."
    )

    def redo(self) -> dict[str, bool]:
        """Return this as functions take it."""
        return {"resume": not self.no_resume, "verify": self.verify, "force": self.force}


@options
class OutputFormat:
    """How an output is stored."""

    format: Literal["ome-zarr-0.5", "ome-zarr-0.4", "zarr2", "precomputed"] = option(
        "ome-zarr-0.5", "Format of the output."
    )


@options
class Blocks:
    """What a block is."""

    block: Any = option(
        None,
        "Voxels that a block writes along each axis; 128 in three dimensions, 1024 in two, "
        "if not given.",
        metavar="N[,N,N]",
        read=parse_size,
    )


@options
class BlocksAround(Blocks):
    """What a block is, and what it reads beyond."""

    context: Any = option(
        None,
        "Voxels that a block reads beyond those that it writes.",
        metavar="N[,N,N]",
        read=parse_size,
    )


@options
class _Function:
    function: str = option(
        ...,
        "What segments a block: label, watershed, blobs, mutex_watershed, or "
        "FILE.py:NAME, a function of yours f(array, **parameters) -> labels.",
        "--function",
        "-f",
        metavar="NAME",
    )
    settings: tuple[str, ...] = option(
        (), "A parameter of the function. May be repeated.", "--set", "-s", metavar="KEY=VALUE"
    )


@options
class Segmenting(BlocksAround, _Function):  # options stand in the order of the last base first
    """What segments a block, and what the block is."""

    context: Any = option(
        None,
        "Voxels that a block reads beyond those that it writes; 16 if not given, 0 for touch and "
        "none. "
        "See: cytovox volume plan",
        metavar="N[,N,N]",
        read=parse_size,
    )

    def around(self, stitch: str) -> Any:
        """Return the voxels that a block reads beyond, the usual ones if none were given."""
        usual = 16 if stitch in ("overlap", "owner") else 0
        return usual if self.context is None else self.context


@options
class View:
    """What is taken of a volume, and what its file does not say."""

    scale: str | None = option(None, "Scale of a pyramid to read.", metavar="NAME")
    series: str | None = option(
        None, "Which image of several in the file, by number or name.", metavar="NAME"
    )
    channel: str | None = option(
        None,
        "Channel that is segmented and measured, by number or name; for mutex_watershed, "
        "which takes all, the one that is measured. The first one if not given.",
        metavar="NAME",
    )
    time: int | None = option(
        None, "Only this point in time; all of them if not given.", min=0, metavar="N"
    )
    axes: str | None = option(
        None,
        "Axes in the order of the file, such as tzyx, if the file names none or wrong ones.",
        metavar="LETTERS",
    )
    voxel_size: Any = option(
        None,
        "Size of a voxel along (z,) y, x, in place of what the file says; its offset does not "
        "count then either.",
        metavar="N[,N,N]",
        read=parse_lengths,
    )
    units: str | None = option(None, "Unit of the voxel size, such as micrometer.", metavar="NAME")
    fill_value: float | None = option(
        None,
        "Value of voxels outside of the volume; nothing is read there if not given.",
        metavar="V",
    )

    def view(self, permissions: Permissions | None) -> Any:
        """Return what is taken of a volume that may do so much."""
        from ..read.volume_view import VolumeView

        taken = {name: value for name, value in vars(self).items() if name != "fill_value"}
        return VolumeView(**taken, permissions=permissions)
