"""``cytovox info``, ``stages``, ``doctor``: what there is; and ``as-dcnum``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import command_options as o

__all__ = ["as_dcnum", "doctor", "info", "stages"]

AsJson = Annotated[bool, typer.Option("--json", help=o.JSON_HELP)]


def info(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Recordings or results (.rtdc).")
    ],
    allowed: o.AllowedToRecordings,
    said: o.Said,
) -> None:
    """Show what is in a file: size, features, where its data are, and how it was made.

    For a result, the pipeline identifier is checked against its hash, and it
    is checked whether the files that it refers to are there.
    """
    from .console import describe_each
    from .description import describe_file, in_words

    may = allowed.permissions()
    code = describe_each("file", files, lambda path: describe_file(path, may), in_words, said)
    raise typer.Exit(code)


def stages(as_json: AsJson = False) -> None:
    """List the stages that are installed, with their options and defaults.

    Stages of other packages are listed beside the built-in ones.

    Example: cytovox run FILE --background rollmed --set background.kernel_size=50
    """
    from .console import print_json, print_text
    from .settings import describe_stages, stages_in_words

    described = describe_stages()
    if as_json:
        print_json({"stages": described})
    else:
        print_text(stages_in_words(described))


def doctor(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FOLDER]", help="Folder for results; the current folder if not given."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show whether this installation, machine and folder are fit for work.

    Versions, compression filters, kernels, extras, disk, memory and its
    limits, cores, worker processes; and in the folder whether files can be
    written, renamed, linked and locked. Nothing is changed or left behind.

    Example: cytovox doctor /mnt/share/results
    """
    from .examination import show_examination

    raise typer.Exit(show_examination(folder or Path.cwd(), as_json=as_json))


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
