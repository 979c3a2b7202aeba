"""Independent blocks without a volume."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from cytovox.blockwise.block_result import RunResult
from cytovox.blockwise.placement import Placement

__all__ = ["run_blocks"]


def run_blocks(
    blocks: Iterable[Any],
    function: Callable[[Any], Mapping[str, Any] | None],
    stage: str = "blocks",
    **more: Any,
) -> RunResult:
    """Do blocks; `more` is what a `Placement` has, and what its `run` takes."""
    names = {field.name for field in fields(Placement)}
    where = {name: more.pop(name) for name in names & more.keys()}
    return Placement(**where).run(blocks, function, stage, **more)
