"""The recipe beside an output, from which labels are stitched again or replayed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ..errors import InputNotFoundError, StorageError, UsageError
from ..read.permissions import Permissions
from ..read.volume_view import VolumeView
from ..run.folder_sync import replaced_file
from ..write.table_files import is_table
from .functions import find_function
from .recipe import VolumeRecipe, side_folder

__all__ = ["TIME_POINTS", "find_run", "load_recipe", "read_recipe", "remove_recipe", "save_recipe"]

#: Folder of the labels of each point in time, in the folder beside an output.
TIME_POINTS = "moments"
_NAME = "recipe.json"


def save_recipe(folder: str | os.PathLike[str], recipe: VolumeRecipe) -> None:
    """Write the recipe into the folder beside an output."""
    path = Path(folder) / _NAME
    try:
        text = json.dumps(recipe.text(), indent=1, default=str)
        with replaced_file(path) as file:
            file.write(f"{text}\n".encode())
    except OSError as err:
        raise StorageError(f"the recipe cannot be kept: {err}", path=path) from err


def remove_recipe(folder: Path) -> None:
    """Remove the recipe in the folder beside an output, if there is one."""
    (folder / _NAME).unlink(missing_ok=True)


def find_run(output: str | os.PathLike[str]) -> Path:
    """Return the folder beside an output that was made by blocks."""
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
    """Read the recipe in the folder beside an output as plain values.

    An OSError, ValueError, KeyError or TypeError says that there is none.
    """
    told = json.loads((Path(folder) / _NAME).read_bytes())
    _fields(told)
    return dict(told)


def load_recipe(
    output: str | os.PathLike[str],
    function: Callable[..., Any] | None = None,
    permissions: Permissions | None = None,
) -> VolumeRecipe:
    """Read the recipe of an output, which may be named as elsewhere.

    It has a function only if that is given here; see `VolumeRecipe.named`.
    """
    path = find_run(output) / _NAME
    try:
        found = _fields(json.loads(path.read_bytes()))
    except (OSError, ValueError, LookupError, TypeError) as err:
        raise StorageError(
            f"the recipe cannot be read: {err}", path=path, hint="segment again"
        ) from err
    view = dataclasses.replace(found.pop("view"), permissions=permissions)
    return VolumeRecipe(output=os.fspath(output), function=function, view=view, **found)


def _fields(told: Any) -> dict[str, Any]:
    """Return the fields of a recipe that was read; an error names what in it cannot be."""
    if isinstance(told, dict) and "scale" in told:  # of version 0.1.0
        told["view"] = VolumeView(scale=told.pop("scale")).plain()
    kinds = get_type_hints(VolumeRecipe)
    kinds |= {"function": str | None, "named": bool, "stitch": kinds.pop("stitching")}
    del kinds["output"]
    found = {name: _typed(told[name], kind, name) for name, kind in kinds.items()}
    if found["table"] is not None and not is_table(found["table"]):
        raise ValueError(f"'table' is {found['table'][:80]!r}")
    function = found.pop("function")
    found["named"] = function if found["named"] else None
    found["stitching"] = found.pop("stitch")
    return found


def _typed(value: Any, kind: Any, name: str) -> Any:
    """Return what JSON tells as what a field of a dataclass holds."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        either = [one for one in inner if (one is type(None)) == (value is None)]
        for one in either[:-1]:
            with contextlib.suppress(TypeError):
                return _typed(value, one, name)
        if either:
            return _typed(value, either[-1], name)
    elif origin is tuple:
        if isinstance(value, list):
            return tuple(_typed(one, inner[0], name) for one in value)
    elif dataclasses.is_dataclass(kind):
        if isinstance(value, dict):
            kinds = get_type_hints(kind)
            kinds.pop("permissions", None)  # which no file gives
            make: Any = kind
            return make(**{one: _typed(value[one], kinds[one], one) for one in kinds})
    else:
        simple = {float: (float, int), Mapping: (dict,), Literal: (str,)}
        is_known = origin is not Literal or value in inner
        if is_known and type(value) in simple.get(origin or kind, (kind,)):
            return value
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
