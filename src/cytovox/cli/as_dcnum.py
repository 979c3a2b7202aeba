"""``cytovox as-dcnum``: run a program that was written for dcnum."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["as_dcnum"]


def as_dcnum(
    command: Annotated[
        list[str],
        typer.Argument(
            metavar="COMMAND...",
            help="Program and its arguments, e.g. chipstream-cli in.rtdc out.rtdc.",
        ),
    ],
) -> None:
    """Run a program that imports dcnum, with cytovox in place of dcnum.

    For example:  cytovox as-dcnum -- chipstream-cli in.rtdc out.rtdc

    The program must be installed in the same environment as cytovox; dcnum
    need not be. Its exit code is passed on.
    """
    from ..compat.dcnum import run_as_dcnum

    raise typer.Exit(run_as_dcnum(command))
