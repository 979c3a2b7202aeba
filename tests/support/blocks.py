"""Independent blocks without a volume."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

from cytovox.blockwise.block_result import RunResult
from cytovox.blockwise.placement import Placement

__all__ = ["marks", "run_blocks", "units"]


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


def units(functions: ModuleType, count: int) -> list[Any]:
    """Return blocks of the functions beside the tests."""
    return [functions.Unit(i) for i in range(count)]


def marks(folder: Path) -> dict[int, int]:
    """Return how often each block was done."""
    files = folder.glob("block-*")
    return {int(f.name.partition("-")[2]): len(f.read_text().splitlines()) for f in files}
