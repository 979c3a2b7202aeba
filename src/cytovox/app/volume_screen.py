"""The screen Tune for volumes: a function and its options, tried on two blocks."""

from __future__ import annotations

import base64
import inspect
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..recipe.described_stages import help_of
from ..recipe.options import check_options, options_of
from ..run.extras import EXTRAS, is_installed
from .body import Body
from .command_words import in_words
from .folder import Folder
from .pictures import png

__all__ = ["Volumes", "functions"]

#: What is taken for a volume: folders and files.
_ENDINGS = (".zarr", ".n5", ".tif", ".tiff", ".npy")
#: Largest edge of a block that is tried [voxels]: more takes too long to wait for.
_MOST = 256


@dataclass(frozen=True, slots=True, eq=False)
class _Tried:
    """A block, and what a function made of it."""

    place: list[tuple[int, int]]
    image: npt.NDArray[Any]
    labels: npt.NDArray[np.uint32]
    seconds: float


class Volumes:
    """Answers what the screen asks."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._key: Any = None
        self._tried: list[_Tried] = []

    def begin(self, body: Body) -> dict[str, Any]:
        """Return the volumes of the folder, and the functions that segment them."""
        if not all(map(is_installed, EXTRAS["volumes"])):
            return {"volumes": [], "functions": []}
        return {"volumes": self._volumes(), "functions": functions()}

    def blocks(self, body: Body) -> dict[str, Any]:
        """Return a slice of each of two blocks with the outlines of what a function finds."""
        path = self._folder.place(body.text("file"))
        name = body.text("function")
        block = body.number("block", 8, _MOST, 64)
        context = body.number("context", 0, _MOST // 2, 8)
        given = {key: body.text(key) for key in body.values if key.startswith("set.")}
        options = {key.removeprefix("set."): value for key, value in given.items()}
        with self._lock:
            key = (path, name, block, context, tuple(sorted(options.items())))
            if key != self._key:
                self._key, self._tried = None, _try(path, name, options, block, context)
                self._key = key
            tried = self._tried
        fraction = body.number("slice", 0, 1000, 500) / 1000
        words = ["volume", "segment", str(path), str(path.with_name(f"{path.stem}-labels.zarr"))]
        words += ["--function", name, "--block", str(block), "--context", str(context)]
        words += [] if context else ["--stitch", "touch"]
        for option, value in options.items():
            words += ["--set", f"{option}={value}"]
        return {"blocks": [_drawn(one, fraction) for one in tried], "command": in_words(words)}

    def _volumes(self) -> list[str]:
        found = []
        for name in self._folder.folders():
            place = self._folder.place(name)
            try:
                inside = sorted(place.iterdir())
            except OSError:
                continue
            found += [self._folder.name(one) for one in inside if one.name.endswith(_ENDINGS)]
        return found


def functions() -> list[dict[str, Any]]:
    """Return name, title and options of each function that is installed."""
    from ..blockwise.functions import find_function, function_names

    return [_described(name, find_function(name)) for name in function_names()]


def _described(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    helps = help_of(function)
    return {
        "name": name,
        "title": (inspect.getdoc(function) or name).splitlines()[0].rstrip("."),
        "options": [
            {
                "set": option.name,
                "type": option.type.__name__,
                "default": None if option.required else option.default,
                "help": helps.get(option.name, ""),
            }
            for option in options_of(function)
            if option.type in (bool, int, float, str)
        ],
    }


def _try(path: Path, name: str, options: dict[str, str], block: int, context: int) -> list[_Tried]:
    """Segment the block in the middle of a volume, and another one if there is."""
    from ..blockwise.evidence import segment_block
    from ..blockwise.functions import find_function, function_names
    from ..blockwise.recipe import Stitching, VolumeRecipe
    from ..read.volume_limits import slices

    if name not in function_names():  # a function in a file needs the command line
        raise UsageError(f"there is no function '{name}'", hint="reload the page")
    parameters = check_options(name, options_of(find_function(name)), options)
    recipe = VolumeRecipe.make(
        path,
        "tried",
        name,
        block=block,
        context=context,
        stitching=Stitching("overlap" if context else "touch"),
        parameters=parameters,
        measures=None,
    )
    tried = []
    with recipe.open_input() as volume:
        grid = recipe.grid(volume)
        middle = grid.at(tuple(n // 2 for n in grid.counts))
        chosen = {one.index: one for one in (middle, grid[len(grid) // 3])}
        for one in chosen.values():
            array = volume.read(one.read)
            # A function may change what it is given.
            image = array.reshape(-1, *array.shape[array.ndim - grid.ndim :])[0].copy()
            begin = time.perf_counter()
            assert recipe.function is not None
            done = segment_block(
                array,
                one,
                recipe.function,
                recipe.parameters,
                grid,
                stitch=recipe.keeps,
                connectivity=recipe.connectivity,
            )
            seconds = time.perf_counter() - begin
            inner = image[slices(one.write, one.read)]
            tried.append(_Tried(list(one.write), inner, done.labels, seconds))
    return tried


def _drawn(tried: _Tried, fraction: float) -> dict[str, Any]:
    from ..report.volume_picture import slice_picture

    image, labels = tried.image, tried.labels
    number = 0
    if image.ndim == 3:
        number = round(fraction * (len(image) - 1))
        image, labels = image[number], labels[number]
    return {
        "place": tried.place,
        "slice": number,
        "shape": image.shape,
        "picture": base64.b64encode(png(slice_picture(image, labels))).decode(),
        "here": len(np.unique(labels[labels > 0])),
        "labels": int(tried.labels.max(initial=0)),
        "sizes": _sizes(tried.labels),
        "seconds": round(tried.seconds, 3),
    }


def _sizes(labels: npt.NDArray[np.uint32]) -> dict[str, Any]:
    """Return a histogram of the sizes of objects."""
    sizes = np.bincount(labels.reshape(-1))[1:]
    sizes = sizes[sizes > 0]
    edges = np.linspace(0, max(sizes.max(initial=1), 1), 25)
    return {"edges": edges.tolist(), "kept": np.histogram(sizes, edges)[0].tolist()}
