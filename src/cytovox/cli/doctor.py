"""``cytovox doctor``: what is installed, what is missing, what this machine allows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["doctor"]


def doctor(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FOLDER]",
            help="Folder for results; the current folder if not given.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object in place of the table.")
    ] = False,
) -> None:
    """Show whether this installation, machine and folder are fit for work.

    Versions, compression filters, kernels, extras, disk, memory and its
    limits, cores, worker processes; and in the folder whether files can be
    written, renamed, linked and locked. Nothing is changed or left behind.

    Example: cytovox doctor /mnt/share/results
    """
    from .console import print_json, print_text
    from .examination import examine, exit_code_of_examination, plain_examination, table_of

    found = examine(Path.cwd() if folder is None else folder)
    code = exit_code_of_examination(found)
    if as_json:
        print_json(plain_examination(found, code))
    else:
        print_text(table_of(found))
    raise typer.Exit(code)
