"""Do one block of a run again, in this process, where a debugger can look at it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from ..read.permissions import Permissions
from .evidence import segment_block
from .grid import Block
from .recipe_file import function_of, load_recipe

__all__ = ["Replay", "replay_block"]


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """What came of a block that was done again."""

    block: Block
    labels: npt.NDArray[np.uint32]  # of what it writes, numbered from 1 in raster order
    count: int
    seconds: float  # that the function took


def replay_block(
    output: str | os.PathLike[str],
    block: int,
    *,
    function: Callable[..., Any] | None = None,
    permissions: Permissions | None = None,
) -> Replay:
    """Segment one block again; nothing is written."""
    recipe = load_recipe(output, function, permissions)
    segment = function_of(recipe)
    with recipe.open_input() as volume:
        grid = recipe.grid(volume)
        if not 0 <= block < len(grid):
            raise OptionError(
                f"there is no block {block}", hint=f"blocks are 0 to {len(grid) - 1}"
            )
        chosen = grid[block]
        array = volume.read(chosen.read)
    begin = time.perf_counter()
    result = segment_block(
        array,
        chosen,
        segment,
        recipe.parameters,
        grid,
        stitch=recipe.keeps,
        connectivity=recipe.connectivity,
    )
    seconds = time.perf_counter() - begin
    return Replay(chosen, result.labels, result.evidence.count, seconds)
