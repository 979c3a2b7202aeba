"""Options that allow what is refused by default, for one command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..read import Permissions

__all__ = [
    "AllowExternal",
    "AllowOversized",
    "AllowUnidentified",
    "BasinRoots",
    "Growing",
    "permissions_of",
]


def permissions_of(roots: Sequence[str] | None = None, **kinds: bool) -> Permissions | None:
    """Return what options allow, besides what is allowed anyway; None if that is nothing."""
    allowed = {kind: True for kind, is_allowed in kinds.items() if is_allowed}
    if not allowed and not roots:
        return None
    from ..read.permissions import default_permissions, existing_folder

    known = default_permissions()
    folders = (*known.basin_roots, *map(existing_folder, roots or ()))
    return replace(known, **allowed, basin_roots=tuple(dict.fromkeys(folders)))


AllowExternal = Annotated[
    bool,
    typer.Option(
        "--allow-external",
        help="Follow what leads out of the input: data kept in other files, links, and basins "
        "anywhere. Only for inputs that you trust; what was followed is shown.",
    ),
]
AllowUnidentified = Annotated[
    bool,
    typer.Option(
        "--allow-unidentified",
        help="Follow basins that do not name the measurement they are of.",
    ),
]
AllowOversized = Annotated[
    bool,
    typer.Option(
        "--allow-oversized",
        help="Lift the limits of sizes and of compression filters.",
    ),
]
Growing = Annotated[
    bool,
    typer.Option(
        "--growing",
        help="Measure recordings that another program still writes: the frames that are there "
        "now. Their results are made anew once there are more.",
    ),
]
BasinRoots = Annotated[
    list[str] | None,
    typer.Option(
        "--basin-root",
        metavar="DIR",
        help="A folder that may hold files to which the input refers, besides its own. "
        "May be repeated.",
    ),
]
