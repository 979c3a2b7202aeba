"""``cytovox verify``: whether files are whole."""

from __future__ import annotations

from typing import Annotated

import typer

from . import permission_options as o

__all__ = ["verify"]


def verify(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="Recordings, results and volumes of any program; folders are searched for them.",
        ),
    ],
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Look at headers and places only, not at the data."),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of threads; as many as cores if not given."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object in place of the table.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is wrong.")] = False,
    basin_roots: o.BasinRoots = None,
) -> None:
    """Check that files are whole: nothing missing, nothing changed, nothing torn.

    Of recordings: lengths of all features, checksums of all chunks, header,
    pipeline identifier, basins, logs. Of volumes: every chunk and shard, all
    scales; of labels that were made here also the blocks, the numbers of the
    labels and the table of objects. Nothing is written. A bad file does not
    stop the others.

    Example: cytovox verify results labels.zarr
    """
    from .verifying import exit_code_of_checks, find_files, show_checks, verify_files

    found = find_files(files)
    checks = verify_files(
        found,
        thorough=not quick,
        workers=workers,
        debug=debug,
        quiet=quiet or as_json,
        permissions=o.permissions_of(basin_roots),
    )
    code = exit_code_of_checks(checks)
    show_checks(checks, code, as_json=as_json, quiet=quiet)
    raise typer.Exit(code)
