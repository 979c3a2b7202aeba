"""The recipe beside an output, from which labels are stitched again or replayed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InputNotFoundError, StorageError, UsageError
from .evidence import Measures
from .functions import find_function
from .recipe import Stitching, VolumeRecipe, side_folder

__all__ = ["find_run", "load_recipe", "save_recipe"]

_NAME = "recipe.json"


def save_recipe(folder: str | os.PathLike[str], recipe: VolumeRecipe) -> None:
    """Write the recipe into the folder beside an output.

    Parameters
    ----------
    folder
        From `cytovox.blockwise.recipe.side_folder`.
    recipe
        The recipe.

    Raises
    ------
    StorageError
        If the storage refuses.
    """
    path = Path(folder) / _NAME
    temporary = path.with_suffix(".tmp")
    try:
        text = json.dumps(recipe.text(), indent=1, default=str)
        temporary.write_text(text + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as err:
        raise StorageError(f"the recipe cannot be kept: {err}", path=path) from err


def find_run(output: str | os.PathLike[str]) -> Path:
    """Return the folder beside an output that was made by blocks.

    Raises
    ------
    InputNotFoundError
        If there is none.
    """
    folder = side_folder(output)
    if not (folder / _NAME).is_file():
        raise InputNotFoundError(
            "there are no blocks of these labels",
            path=folder,
            hint="name the output of: cytovox volume segment",
        )
    return folder


def load_recipe(
    output: str | os.PathLike[str], function: Callable[..., Any] | None = None
) -> VolumeRecipe:
    """Read the recipe of an output.

    Parameters
    ----------
    output
        The labels, as they were named when they were made, or from elsewhere.
    function
        The function, if it shall be called and had no name.

    Returns
    -------
    VolumeRecipe
        With `function` being None unless it was given here; see
        `VolumeRecipe.named`.

    Raises
    ------
    InputNotFoundError
        If there is none.
    StorageError
        If it cannot be read.
    """
    path = find_run(output) / _NAME
    try:
        told = json.loads(path.read_bytes())
        measures = told["measures"]
        return VolumeRecipe(
            input=told["input"],
            output=os.fspath(output),
            function=function,
            named=told["function"] if told["named"] else None,
            block=tuple(told["block"]),
            context=tuple(told["context"]),
            parameters=told["parameters"],
            stitching=Stitching(**told["stitch"]),
            connectivity=told["connectivity"],
            keeps=told["keeps"],
            measures=None
            if measures is None
            else Measures(**{**measures, "percentiles": tuple(measures["percentiles"])}),
            scale=told["scale"],
            fill_value=told["fill_value"],
            format=told["format"],
            gate=told["gate"],
            table=told["table"],
        )
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise StorageError(
            f"the recipe cannot be read: {err}", path=path, hint="segment again"
        ) from err


def function_of(recipe: VolumeRecipe) -> Callable[..., Any]:
    """Return the function of a recipe that was read.

    Raises
    ------
    UsageError
        If it had no name.
    """
    if recipe.function is not None:
        return recipe.function
    if recipe.named is None:
        raise UsageError(
            "the function was given in Python and has no name to find it by",
            hint="from Python: cytovox.blockwise.replay.replay_block(output, block, function=...)"
            "; or segment with a function that is named as FILE.py:NAME",
        )
    return find_function(recipe.named)
