"""The program ``cytovox``: its commands, its way to fail, its exit codes."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.main import get_command

from .. import __version__
from ..run.extras import require
from .command_options import Allowed, with_options
from .console import complete_streams, describe, print_json, report_error, showing_warnings
from .signals import Stopped, exit_code_of_interrupt, stop_on_signals

__all__ = ["main", "program"]

#: Exit codes are explained in docs/reference/exit-codes.md.
EPILOG = (
    "Exit codes: 0 all good, 1 failed, 2 wrong usage, 3 finished with findings, "
    "4 some files or blocks failed, 74 cannot read or write, 75 another run makes the output, "
    "130 or 143 stopped."
)


@dataclass(frozen=True, slots=True)
class _Command:
    """Where a command is, and how it is called."""

    function: str
    #: Whether it has something to do without arguments; else it shows its help.
    may_be_bare: bool = False
    needs_volumes: bool = False
    #: Whether what follows its arguments are options of another program.
    passes_on: bool = False


_of_volumes = functools.partial(_Command, needs_volumes=True)


@dataclass(frozen=True, slots=True)
class _Group:
    """Commands that begin with the same word."""

    help: str
    commands: Mapping[str, _Command]
    #: Takes the options that stand before a command.
    callback: Callable[..., None] | None = None


def _options_of_volumes(context: typer.Context, allowed: Allowed) -> None:
    """Take the options that stand before a command for volumes."""
    context.obj = allowed.permissions()


#: All commands in the order of the help.
_COMMANDS: Mapping[str, _Command | _Group] = {
    "run": _Command("run.run"),
    "plan": _Command("run_plan.plan"),
    "look": _Command("look.look"),
    "explain": _Command("explain.explain"),
    "info": _Command("info.info"),
    "report": _Command("report.report"),
    "diff": _Command("diff.diff"),
    "verify": _Command("verifying.verify"),
    "export": _Command("export.export"),
    "relink": _Command("basin_commands.relink"),
    "drain": _Command("basin_commands.drain"),
    "tap": _Command("basin_commands.tap"),
    "watch": _Command("watch.watch"),
    "live": _Command("live.live"),
    "doctor": _Command("doctor.doctor", may_be_bare=True),
    "stages": _Command("stage_list.stages", may_be_bare=True),
    "demo": _Command("demo.demo", may_be_bare=True),
    "app": _Command("app_command.app", may_be_bare=True),
    "as-dcnum": _Command("as_dcnum.as_dcnum", passes_on=True),
    "recipe": _Group(
        "Keep how recordings are measured in a file, and measure others in the same way.\n\n"
        "Start with:  cytovox recipe list  and then  cytovox run FOLDER --recipe NAME",
        {
            "save": _Command("recipe_commands.save"),
            "show": _Command("recipe_commands.show_recipe"),
            "list": _Command("recipe_commands.list_recipes", may_be_bare=True),
        },
    ),
    "volume": _Group(
        "Segment and measure volumes block by block, whatever their size.\n\n"
        "Start with:  cytovox volume segment stack.tif labels.zarr --function label "
        "--set threshold=100 --stitch touch",
        {
            "segment": _of_volumes("volume_make.segment"),
            "restitch": _of_volumes("volume_make.restitch"),
            "objects": _of_volumes("volume_make.objects"),
            "threshold": _of_volumes("volume_make.threshold"),
            "argmax": _of_volumes("volume_make.argmax"),
            "predict": _of_volumes("volume_make.predict"),
            "relabel": _of_volumes("volume_make.relabel"),
            "plan": _of_volumes("volume_look.plan"),
            "info": _of_volumes("volume_look.info"),
            "replay": _of_volumes("volume_look.replay"),
        },
        _options_of_volumes,
    ),
    "simulate": _Group(
        "Make data whose truth is known, to try things out.",
        {
            "recording": _Command("demo.recording"),
            "volume": _of_volumes("demo.volume"),
        },
    ),
}


def _load(command: _Command) -> Callable[..., Any]:
    """Return the function of a command, whose parameters are all options and arguments."""
    module, name = command.function.split(".")
    function = with_options(getattr(importlib.import_module(f"{__package__}.{module}"), name))
    if not command.needs_volumes:
        return function

    @functools.wraps(function)
    def checked(**given: Any) -> Any:
        require("volumes", "volumes")  # says at once what is not installed
        return function(**given)

    return checked


def _add(to: typer.Typer, name: str, command: _Command) -> None:
    others = {"allow_interspersed_args": False, "ignore_unknown_options": True}
    to.command(
        name,
        no_args_is_help=not command.may_be_bare,
        context_settings=others if command.passes_on else None,
    )(_load(command))


def _add_group(to: typer.Typer, name: str, group: _Group, only: str | None) -> None:
    commands = typer.Typer(help=group.help, no_args_is_help=True)
    if group.callback is not None:
        commands.callback()(with_options(group.callback))
    for one, command in group.commands.items():
        if only in (None, one):
            _add(commands, one, command)
    to.add_typer(commands, name=name)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cytovox {__version__}")
        raise typer.Exit


def _options_of_all(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options that stand before a command."""


@functools.cache
def program(name: str | None = None, of_group: str | None = None) -> Any:
    """Return the program with all commands, or with one, or with one or all of a group."""
    app = typer.Typer(
        name="cytovox",
        help="Segment and measure every object in deformability cytometry recordings (.rtdc) and "
        "in volumes of any size.\n\n"
        "Start with:  cytovox demo  and then  cytovox run FOLDER,  or with  "
        "cytovox demo --volume  and then  cytovox volume segment",
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options_of_all)
    for one, command in _COMMANDS.items():
        if name not in (None, one):
            continue
        if isinstance(command, _Group):
            _add_group(app, one, command, of_group)
        else:
            _add(app, one, command)
    return get_command(app)


def _named(words: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the command that is wanted and that of its group, where they stand at the start.

    To load all takes longer than most of what a command does first.
    """
    name = words[0] if words and words[0] in _COMMANDS else None
    group = _COMMANDS[name] if name else None
    if isinstance(group, _Group) and len(words) > 1 and words[1] in group.commands:
        return name, words[1]
    return name, None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    complete_streams()
    with showing_warnings(), stop_on_signals() as received:
        try:
            code = program(*_named(words))(words, prog_name="cytovox", standalone_mode=False)
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
