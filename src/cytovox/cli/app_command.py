"""``cytovox app``: a page on this machine, in the browser."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import click

from .command_options import argument, option, options
from .console import print_text, say
from .signals import Stopped, stop_gently

__all__ = ["app"]


@options
class _Serving:
    port: int = option(
        0,
        "Port of the page on this machine; 0 for any that is free.",
        min=0,
        max=65535,
        metavar="PORT",
    )
    no_browser: bool = option(False, "Print the address, and do not open a browser.")
    debug: bool = option(False, "Show tracebacks.")


def app(
    serving: _Serving,
    folder: Annotated[
        Path | None,
        argument("[FOLDER]", "Folder whose files the page may see; the current one if not given."),
    ],
) -> None:
    """Open a page in the browser: look, tune, run a folder, see results.

    Only this machine can open it, and only with the address that is printed.
    Runs that are started there go on when the page or this program ends.

    Example: cytovox app day1
    """
    from ..run.extras import require

    require("app", "the page")
    from ..app.server import serve

    def ready(address: str, once: str) -> None:
        print_text(address)
        say("end it with Ctrl-C; runs that were started go on")
        if not serving.no_browser:
            click.launch(once)

    try:
        serve(folder or Path(), serving.port, ready, functools.partial(stop_gently, resumes=False))
    except Stopped:
        say("stopped")
        raise
