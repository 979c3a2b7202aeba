"""The program ``cytovox``: its commands, its way to fail, its exit codes."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.main import get_command

from .. import __version__
from ..run.extras import require
from . import app_command, demo, volume_look, volume_make
from .basin_commands import drain, relink, tap
from .command_options import Allowed, with_options
from .console import complete_streams, describe, print_json, report_error, showing_warnings
from .diff import diff
from .doctor import doctor
from .explain import explain
from .export import export
from .info import info
from .live import live
from .look import look
from .recipe_commands import list_recipes, save, show_recipe
from .report import report
from .run import run
from .run_plan import plan
from .signals import Stopped, exit_code_of_interrupt, stop_on_signals
from .stage_list import stages
from .verifying import verify
from .watch import watch

__all__ = ["app", "main"]

#: Exit codes are explained in docs/reference/exit-codes.md.
EPILOG = (
    "Exit codes: 0 all good, 1 failed, 2 wrong usage, 3 finished with findings, "
    "4 some files or blocks failed, 74 cannot read or write, 75 another run makes the output, "
    "130 or 143 stopped."
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
volume = typer.Typer(
    help="Segment and measure volumes block by block, whatever their size.\n\n"
    "Start with:  cytovox volume segment stack.tif labels.zarr --function label "
    "--set threshold=100 --stitch touch",
    no_args_is_help=True,
)
recipes = typer.Typer(
    help="Keep how recordings are measured in a file, and measure others in the same way.\n\n"
    "Start with:  cytovox recipe list  and then  cytovox run FOLDER --recipe NAME",
    no_args_is_help=True,
)
simulations = typer.Typer(
    help="Make data whose truth is known, to try things out.", no_args_is_help=True
)


@volume.callback()
@with_options
def _volume(context: typer.Context, allowed: Allowed) -> None:
    """Take the options that stand before a command for volumes."""
    context.obj = allowed.permissions()


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


def _needing_volumes(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command say at once if what volumes need is not installed."""

    @functools.wraps(command)
    def checked(**given: Any) -> Any:
        require("volumes", "volumes")
        return command(**given)

    return checked


def _add(
    group: typer.Typer,
    *commands: Callable[..., Any],
    help_if_bare: bool = True,
    of_volumes: bool = False,
) -> None:
    for command in commands:
        added = with_options(command)
        if of_volumes:
            added = _needing_volumes(added)
        group.command(no_args_is_help=help_if_bare)(added)


_add(app, run, plan, look, explain, info, report, diff, verify, export)
_add(app, relink, drain, tap, watch, live)
_add(app, doctor, stages, demo.demo, help_if_bare=False)
_add(app, app_command.app, help_if_bare=False)
# What follows the program's name is its own, options too.
app.command(
    "as-dcnum",
    no_args_is_help=True,
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True},
)(with_options(as_dcnum))
_add(volume, volume_make.segment, volume_make.restitch, volume_make.objects, of_volumes=True)
_add(volume, volume_make.threshold, volume_make.argmax, volume_make.predict, of_volumes=True)
_add(volume, volume_make.relabel, volume_look.plan, of_volumes=True)
_add(volume, volume_look.info, volume_look.replay, of_volumes=True)
_add(simulations, demo.recording)
_add(simulations, demo.volume, of_volumes=True)
_add(recipes, save)
recipes.command("show", no_args_is_help=True)(with_options(show_recipe))
recipes.command("list")(with_options(list_recipes))
app.add_typer(recipes, name="recipe")
app.add_typer(volume, name="volume")
app.add_typer(simulations, name="simulate")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cytovox {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options that stand before a command."""


@functools.cache
def _commands() -> Any:
    """Return the tree of commands; a program that runs many of them builds it once."""
    return get_command(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    complete_streams()
    with showing_warnings(), stop_on_signals() as received:
        try:
            code = _commands()(words, prog_name="cytovox", standalone_mode=False)
        except (KeyboardInterrupt, typer.Abort) as stop:
            code = exit_code_of_interrupt(stop.__cause__ or stop)
            if as_json:
                print_json({"exit_code": code, "error": "stopped"})
        except Exception as error:
            code = report_error(error, debug="--debug" in words)
            if as_json:
                print_json({"exit_code": code, "error": describe(error)})
        except SystemExit as end:
            if not isinstance(end.__context__, BrokenPipeError):
                raise
            code = 0  # whoever reads the help has read enough
    if code == 130 and received:
        return exit_code_of_interrupt(Stopped(received[0]))
    return code if isinstance(code, int) else 0
