"""Options that allow what is refused by default, for one command and what it starts."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated

import typer

__all__ = [
    "AllowExternal",
    "AllowOversized",
    "AllowUnidentified",
    "BasinRoots",
    "Growing",
    "allow_for_command",
]


def allow_for_command(context: typer.Context, *kinds: str, roots: tuple[str, ...] = ()) -> None:
    """Allow something until a command has ended.

    Parameters
    ----------
    context
        The command.
    *kinds
        Of `cytovox.read.permissions.KINDS`.
    roots
        Folders in which basins may lie.
    """
    from ..read.permissions import ALLOW_VARIABLE, ROOTS_VARIABLE, allow, allow_basin_roots

    before = {name: os.environ.get(name) for name in (ALLOW_VARIABLE, ROOTS_VARIABLE)}

    def restore() -> None:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    if kinds or roots:
        context.call_on_close(restore)
        allow(*kinds)
        allow_basin_roots(*roots)


def _kind(kind: str) -> Callable[[typer.Context, bool], bool]:
    def heed(context: typer.Context, value: bool) -> bool:
        if value:
            allow_for_command(context, kind)
        return value

    return heed


def _roots(context: typer.Context, value: list[str] | None) -> list[str] | None:
    if value:
        allow_for_command(context, roots=tuple(value))
    return value


AllowExternal = Annotated[
    bool,
    typer.Option(
        "--allow-external",
        callback=_kind("external"),
        help="Follow what leads out of the input: data kept in other files, links, and basins "
        "anywhere. Only for inputs that you trust; what was followed is told.",
    ),
]
AllowUnidentified = Annotated[
    bool,
    typer.Option(
        "--allow-unidentified",
        callback=_kind("unidentified"),
        help="Follow basins that do not name the measurement they are of.",
    ),
]
AllowOversized = Annotated[
    bool,
    typer.Option(
        "--allow-oversized",
        callback=_kind("oversized"),
        help="Lift the limits of sizes and of compression filters.",
    ),
]
Growing = Annotated[
    bool,
    typer.Option(
        "--growing",
        callback=_kind("growing"),
        help="Measure recordings that another program still writes: the frames that are there "
        "now. Their results are made anew once there are more.",
    ),
]
BasinRoots = Annotated[
    list[str] | None,
    typer.Option(
        "--basin-root",
        metavar="DIR",
        callback=_roots,
        help="A folder in which files may lie that the input refers to, besides its own. "
        "May be repeated.",
    ),
]
