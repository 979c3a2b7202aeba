"""The program ``cytovox``: its commands, its way to fail, its exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from .. import __version__
from .as_dcnum import as_dcnum
from .console import complete_streams, report_error, showing_warnings
from .demo import demo
from .doctor import doctor
from .info import info
from .run import run
from .signals import Stopped, exit_code_of_interrupt, stop_on_signals
from .simulate import simulate
from .stages_command import stages
from .verifying import verify
from .volume_command import volume

__all__ = ["app", "main"]

#: Exit codes are explained in docs/reference/exit-codes.md.
EPILOG = (
    "Exit codes: 0 all good, 1 failed, 2 wrong usage, 3 finished with findings, "
    "4 some files or blocks failed, 74 input or output, 75 output busy, 130 or 143 stopped."
)

app = typer.Typer(
    name="cytovox",
    help="Segment and measure every object in deformability cytometry recordings (.rtdc) and in "
    "volumes of any size.\n\n"
    "Start with:  cytovox demo  and then  cytovox run FOLDER,  or with  cytovox demo --volume  "
    "and then  cytovox volume segment",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(no_args_is_help=True)(run)
app.command(no_args_is_help=True)(info)
app.command(no_args_is_help=True)(verify)
app.command()(doctor)
app.command()(stages)
app.add_typer(volume, name="volume")
app.add_typer(simulate, name="simulate")
app.command()(demo)
# What follows the program's name is its own, options too.
app.command(
    name="as-dcnum",
    no_args_is_help=True,
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True},
)(as_dcnum)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cytovox {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", help="Tell the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code.

    Parameters
    ----------
    arguments
        Words after the program's name; those of the process if None.

    Examples
    --------
    >>> main(["--version"])
    cytovox 0.1.0
    0
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    complete_streams()
    with showing_warnings(), stop_on_signals() as received:
        try:
            code = app(words, prog_name="cytovox", standalone_mode=False)
        except KeyboardInterrupt as interrupt:
            code = exit_code_of_interrupt(interrupt)
        except Exception as error:
            code = report_error(error, debug=debug)
    if code == 130 and received:
        return exit_code_of_interrupt(Stopped(received[0]))
    return code if isinstance(code, int) else 0
