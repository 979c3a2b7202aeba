"""The recipe beside an output, from which labels are stitched again or replayed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputNotFoundError, StorageError, UsageError
from ..read.permissions import Permissions
from ..read.volume_view import VolumeView
from ..run.folder_sync import replaced_file
from .evidence import Measures
from .functions import find_function
from .object_table import is_table
from .recipe import Stitching, VolumeRecipe, side_folder

__all__ = ["TIME_POINTS", "find_run", "load_recipe", "read_recipe", "remove_recipe", "save_recipe"]

#: Folder of the labels of each point in time, in the folder beside an output.
TIME_POINTS = "moments"
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
    try:
        text = json.dumps(recipe.text(), indent=1, default=str)
        with replaced_file(path) as file:
            file.write(f"{text}\n".encode())
    except OSError as err:
        raise StorageError(f"the recipe cannot be kept: {err}", path=path) from err


def remove_recipe(folder: Path) -> None:
    """Remove the recipe in the folder beside an output, if there is one.

    Parameters
    ----------
    folder
        From `cytovox.blockwise.recipe.side_folder`.
    """
    (folder / _NAME).unlink(missing_ok=True)


def find_run(output: str | os.PathLike[str]) -> Path:
    """Return the folder beside an output that was made by blocks.

    Parameters
    ----------
    output
        Volume of labels.

    Raises
    ------
    InputNotFoundError
        If there is none.
    UsageError
        If there is one for each point in time.
    """
    folder = side_folder(output)
    if (folder / _NAME).is_file():
        return folder
    if (folder / TIME_POINTS).is_dir():
        raise UsageError(
            "these labels have an axis of time, and each point in time has blocks of its own",
            path=os.fspath(output),
            hint="give the segment command again with other options, which segments no block "
            f"again; or name one point in time: {folder / TIME_POINTS / '00000.zarr'}",
        )
    raise InputNotFoundError(
        "there are no blocks of these labels",
        path=folder,
        hint="name the output of: cytovox volume segment",
    )


def read_recipe(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the recipe beside an output as plain values.

    Parameters
    ----------
    folder
        The folder beside the output.

    Raises
    ------
    OSError
        If there is none.
    ValueError, KeyError, TypeError
        If it is none.
    """
    told = json.loads((Path(folder) / _NAME).read_bytes())
    if isinstance(told, dict) and "scale" in told:  # of version 0.1.0
        told["view"] = VolumeView(scale=told.pop("scale")).plain()
    _check_kinds(told)
    if told["table"] is not None and not is_table(told["table"]):
        raise ValueError(f"'table' is {told['table'][:80]!r}")
    return dict(told)


def load_recipe(
    output: str | os.PathLike[str],
    function: Callable[..., Any] | None = None,
    permissions: Permissions | None = None,
) -> VolumeRecipe:
    """Read the recipe of an output.

    Parameters
    ----------
    output
        The labels, as they were named when they were made, or from elsewhere.
    function
        The function, if it shall be called and had no name.
    permissions
        What may be read; no recipe says that.

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
        told = read_recipe(path.parent)
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
            view=_view_of(told, permissions),
            fill_value=told["fill_value"],
            format=told["format"],
            gate=told["gate"],
            table=told["table"],
        )
    except (OSError, ValueError, LookupError, TypeError) as err:
        raise StorageError(
            f"the recipe cannot be read: {err}", path=path, hint="segment again"
        ) from err


def _view_of(told: Mapping[str, Any], permissions: Permissions | None) -> VolumeView:
    view = {name: told["view"][name] for name in _INNER_KINDS["view"]}
    if isinstance(view["voxel_size"], list):
        view["voxel_size"] = tuple(view["voxel_size"])
    return VolumeView(**view, permissions=permissions)


#: What each part of a recipe is, as JSON tells it; None where it may be missing.
_KINDS: dict[str, tuple[Any, ...]] = {
    "input": (str,),
    "function": (str, None),
    "named": (bool,),
    "parameters": (dict,),
    "view": (dict,),
    "fill_value": (int, float, None),
    "connectivity": (int, None),
    "keeps": (str,),
    "format": (str,),
    "gate": (str, None),
    "table": (str, None),
    "stitch": (dict,),
    "measures": (dict, None),
    "block": (list,),
    "context": (list,),
}
_INNER_KINDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "stitch": {
        "mode": (str,),
        "connectivity": (int, None),
        "rule": (str,),
        "threshold": (int, float),
        "min_voxels": (int,),
        "reach": (int, None),
    },
    "view": {
        "scale": (int, str, None),
        "series": (int, str, None),
        "channel": (int, str, None),
        "time": (int, None),
        "axes": (str, None),
        "voxel_size": (int, float, list, None),
        "units": (str, None),
    },
    "measures": {
        "intensity": (bool,),
        "channel": (int, None),
        "percentiles": (list,),
        "surface": (bool,),
    },
}


def _check_kinds(told: Any, kinds: Mapping[str, tuple[Any, ...]] = _KINDS) -> None:
    """Raise a TypeError if a part of a recipe is not what it has to be."""
    for name, kind in kinds.items():
        value = told[name]
        if None in kind and value is None:
            continue
        allowed = tuple(one for one in kind if one is not None)
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            raise TypeError(f"'{name}' is {str(value)[:80]}")
        if name in _INNER_KINDS:
            _check_kinds(value, _INNER_KINDS[name])
        number = (int, float) if name in ("percentiles", "voxel_size") else int
        if isinstance(value, list) and not all(
            isinstance(one, number) and not isinstance(one, bool) for one in value
        ):
            raise TypeError(f"'{name}' is {str(value)[:80]}")


def function_of(recipe: VolumeRecipe) -> Callable[..., Any]:
    """Return the function of a recipe that was read."""
    if recipe.function is not None:
        return recipe.function
    if recipe.named is None:
        raise UsageError(
            "the function was given in Python and has no name to find it by",
            hint="from Python: cytovox.blockwise.replay.replay_block(output, block, function=...)"
            "; or segment with a function that is named as FILE.py:NAME",
        )
    return find_function(recipe.named)
