"""What shall be done with a volume: one frozen value, checked before work begins."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import OptionError
from ..kernels.lattice import connectivity_rank
from ..read.open_volume import open_volume
from ..read.volume import Volume
from ..read.volume_view import VolumeView
from ..run.fingerprint import describe_function
from .evidence import Measures
from .evidence_file import StitchMode
from .functions import check_parameters, choose_channel, find_function, keywords_of
from .grid import Grid
from .object_table import columns_of
from .stitch import Stitching

__all__ = ["Stitching", "VolumeRecipe", "fitting_sizes", "side_folder"]


@dataclass(frozen=True, slots=True)
class VolumeRecipe:
    """All that decides on the labels of a volume; see `cytovox.segment_volume`."""

    input: str
    output: str
    function: Callable[..., Any] | None  # None where it is not needed any more
    named: str | None  # how it was named; None for one that was given as such
    block: tuple[int, ...]
    context: tuple[int, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    stitching: Stitching = field(default_factory=Stitching)
    connectivity: int | None = None  # of components, if the function returns a mask
    keeps: StitchMode = "owner"  # for which ways to stitch evidence is kept
    measures: Measures | None = field(default_factory=Measures)  # None: nothing is measured
    view: VolumeView = field(default_factory=VolumeView)
    fill_value: float | None = None
    format: str = "ome-zarr-0.5"
    gate: str | None = None
    table: str | None = None

    @classmethod
    def make(
        cls,
        input: str | os.PathLike[str],
        output: str | os.PathLike[str],
        function: Callable[..., Any] | str,
        *,
        block: Sequence[int] | int,
        context: Sequence[int] | int,
        stitching: Stitching | None = None,
        parameters: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> VolumeRecipe:
        """Return a recipe with sizes for each axis of the input; other fields by name.

        An OptionError says that a size does not fit the volume or a parameter the function.
        """
        found = find_function(function)
        how = stitching or Stitching()
        words, connectivity = _agreeing(found, dict(parameters or {}), how)
        check_parameters(found, words)
        if more.get("gate") is not None:
            columns_of(more["gate"])
        wanted: VolumeView = more.pop("view", VolumeView())
        everything = dataclasses.replace(wanted, channel=None)
        with open_volume(input, **everything.keywords()) as volume:
            view, measured = choose_channel(volume, found, everything, wanted.channel)
            shape = volume.spatial_shape
        ndim = len(shape)
        if measured is not None and more.get("measures") is not None:
            more["measures"] = dataclasses.replace(more["measures"], channel=measured)
        recipe = cls(
            input=_absolute(input),
            output=os.fspath(output),
            function=found,
            named=function if isinstance(function, str) else None,
            block=fitting_sizes("block", block, ndim),
            context=fitting_sizes("context", context, ndim),
            parameters=words,
            stitching=dataclasses.replace(how, connectivity=connectivity),
            connectivity=connectivity,
            keeps=how.keeps,
            view=view,
            **more,
        )
        recipe.check(recipe.grid_of(shape))
        return recipe

    def check(self, grid: Grid) -> None:
        """Refuse to compare labels where no two blocks look."""
        how = self.stitching
        if how.keeps == "owner" and len(grid) > 1 and not any(self.context):
            raise OptionError(
                f"with stitch='{how.mode}' neighbours compare what both have seen, which is "
                "nothing without context",
                hint="give a context, or stitch='touch'",
            )
        connectivity_rank(grid.ndim, how.connectivity)

    def open_input(self) -> Volume:
        """Open the input."""
        return open_volume(self.input, **self.view.keywords(), fill_value=self.fill_value or 0)

    def grid(self, volume: Volume) -> Grid:
        """Return the blocks of a volume of the shape of the input."""
        return self.grid_of(volume.spatial_shape)

    def grid_of(self, shape: tuple[int, ...]) -> Grid:
        """Return the blocks of a volume of this shape in space."""
        return Grid(shape, self.block, self.context, clipped=self.fill_value is None)

    def fingerprint(self, volume: Volume) -> dict[str, Any]:
        """Return what the labels of the blocks depend on."""
        assert self.function is not None
        return {
            "input": volume.fingerprint(),
            "function": describe_function(self.function),
            "parameters": dict(self.parameters),
            "geometry": {
                "block": list(self.block),
                "context": list(self.context),
                "fill_value": self.fill_value,
                "scale": self.view.scale,
            },
            "evidence": {
                "keeps": self.keeps,
                "connectivity": self.connectivity,
                "measures": None if self.measures is None else asdict(self.measures),
            },
        }

    def text(self) -> dict[str, Any]:
        """Return the recipe as plain values, for the records of the output."""
        return {
            "input": self.input,
            "output": self.output,
            "function": self.named
            or (None if self.function is None else describe_function(self.function)["name"]),
            "source": None if self.function is None else describe_function(self.function),
            "named": self.named is not None,
            "parameters": dict(self.parameters),
            "block": list(self.block),
            "context": list(self.context),
            "view": self.view.plain(),
            "fill_value": self.fill_value,
            "stitch": asdict(self.stitching),
            "connectivity": self.connectivity,
            "keeps": self.keeps,
            "measures": None if self.measures is None else asdict(self.measures),
            "format": self.format,
            "gate": self.gate,
            "table": self.table,
            "cytovox": __version__,
        }


def _agreeing(
    function: Callable[..., Any], parameters: dict[str, Any], how: Stitching
) -> tuple[dict[str, Any], int | None]:
    """Let the function and the stitching use the same connectivity."""
    if how.mode != "touch" or "connectivity" not in keywords_of(function):
        return parameters, how.connectivity
    if how.connectivity is None:
        return parameters, parameters.get("connectivity")
    if parameters.setdefault("connectivity", how.connectivity) != how.connectivity:
        raise OptionError(
            f"the function joins voxels of connectivity {parameters['connectivity']}, but blocks "
            f"shall be stitched by {how.connectivity}",
            hint="give it once",
        )
    return parameters, how.connectivity


def _absolute(address: str | os.PathLike[str]) -> str:
    """Return an address that means the same in another folder."""
    text = os.fspath(address)
    return text if "://" in text else os.path.abspath(text)


def side_folder(output: str | os.PathLike[str]) -> Path:
    """Return the folder beside an output that keeps journal and evidence.

    >>> side_folder("labels.zarr").name
    'labels.zarr.cytovox'
    """
    path = output_path(output)
    return path.with_name(path.name + ".cytovox")


def output_path(output: str | os.PathLike[str]) -> Path:
    """Return the path of an output; an OptionError if it is not on a disk of this machine."""
    text = os.fspath(output)
    if "://" in text and not text.startswith("file://"):
        raise OptionError(
            f"the journal of '{text}' would have no place",
            hint="write to a path of a disk that all workers see, then copy",
        )
    path = Path(text.removeprefix("file://")).absolute()
    if not path.name:
        raise OptionError("this is not the name of a volume", path=path, hint="name another")
    return path


def fitting_sizes(what: str, size: Sequence[int] | int | None, ndim: int) -> tuple[int, ...]:
    """Return a number for each axis, given those or one for all.

    Parameters
    ----------
    what
        Name of the option, for messages.
    size
        Voxels along each axis, or one number for all; the usual size of a block, 128
        in three dimensions and 1024 in two, if None.
    ndim
        Number of axes of space.

    Raises
    ------
    OptionError
        If there are more or less of them.

    Examples
    --------
    >>> fitting_sizes("block", 64, 3)
    (64, 64, 64)
    """
    if size is None:
        size = 128 if ndim == 3 else 1024
    sizes = (size,) * ndim if isinstance(size, int) else tuple(int(part) for part in size)
    sizes = sizes * ndim if len(sizes) == 1 else sizes
    if len(sizes) != ndim:
        raise OptionError(
            f"{what} {sizes} does not fit a volume with {ndim} axes of space",
            hint="give a number for each axis, or one for all",
        )
    return sizes
