"""``cytovox info``: show what is in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import permission_options as o

__all__ = ["info"]


def info(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Recordings or results (.rtdc).")
    ],
    basin_roots: o.BasinRoots = None,
    allow_external: o.AllowExternal = False,
    allow_unidentified: o.AllowUnidentified = False,
    allow_oversized: o.AllowOversized = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object in place of the text.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Show what is in a file: size, features, where data are kept, and by what recipe.

    For a result, the pipeline identifier is checked against its hash, and it
    is checked whether the files that it refers to are there.
    """
    from .console import SOME_FAILED, describe, print_json, print_text, report_error
    from .description import describe_file, in_words

    may = o.permissions_of(
        basin_roots,
        external=allow_external,
        unidentified=allow_unidentified,
        oversized=allow_oversized,
    )
    results = []
    codes = []
    for path in files:
        try:
            found = describe_file(path, may)
        except Exception as error:
            codes.append(report_error(error, debug=debug))
            results.append({"file": str(path), "error": describe(error)})
        else:
            codes.append(0)
            results.append(found)
            if not as_json:
                print_text(in_words(found))
    code = max(codes) if len(codes) == 1 or not any(codes) else SOME_FAILED
    if as_json:
        print_json({"exit_code": code, "files": results})
    raise typer.Exit(code)
