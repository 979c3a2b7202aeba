"""The program ``cytovox``: its commands, its way to fail, its exit codes."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from .. import __version__
from ..run.extras import require
from .command_options import Allowed, Command, taking
from .console import (
    complete_streams,
    describe,
    discard,
    print_json,
    print_text,
    report_error,
    showing_warnings,
)
from .signals import Stopped, exit_code_of_interrupt, stop_on_signals

__all__ = ["main", "program"]

#: Exit codes are explained in docs/reference/exit-codes.md.
EPILOG = (
    "Exit codes: 0 all good, 1 failed, 2 wrong usage, 3 finished with findings, "
    "4 some files or blocks failed, 74 cannot read or write, 75 another run makes the output, "
    "130 or 143 stopped."
)
#: Holds what a shell asks for that completes words.
_COMPLETE = "_CYTOVOX_COMPLETE"


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


class _Group(click.Group, Command):
    """Commands that begin with the same word; each is loaded when it is called or shown.

    To load all takes longer than most of what a command does first.
    """

    def __init__(self, places: Mapping[str, _Command | _Group], **how: Any) -> None:
        # These are never called: an error about a name that is not known looks for similar ones.
        super().__init__(commands={name: click.Command(name) for name in places}, **how)
        self._places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of the help."""
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, or None if there is none of this name."""
        found = self._places.get(cmd_name)
        return _load(cmd_name, found) if isinstance(found, _Command) else found


@functools.cache
def _load(name: str, command: _Command) -> Command:
    module, function = command.function.split(".")
    called = getattr(importlib.import_module(f"{__package__}.{module}"), function)
    others = {"allow_interspersed_args": False, "ignore_unknown_options": True}
    return Command(
        name,
        help=inspect.getdoc(called),
        no_args_is_help=not command.may_be_bare,
        context_settings=others if command.passes_on else None,
        **taking(_requiring_volumes(called) if command.needs_volumes else called),
    )


def _requiring_volumes(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def checked(**given: Any) -> Any:
        require("volumes", "volumes")  # says at once what is not installed
        return function(**given)

    return checked


def _options_of_volumes(context: click.Context, allowed: Allowed) -> None:
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
        {
            "save": _Command("recipe_commands.save"),
            "show": _Command("recipe_commands.show_recipe"),
            "list": _Command("recipe_commands.list_recipes", may_be_bare=True),
        },
        help="Keep how recordings are measured in a file, and measure others in the same way.\n\n"
        "Start with:  cytovox recipe list  and then  cytovox run FOLDER --recipe NAME",
    ),
    "volume": _Group(
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
        help="Segment and measure volumes block by block, whatever their size.\n\n"
        "Start with:  cytovox volume segment stack.tif labels.zarr --function label "
        "--set threshold=100 --stitch touch\n\n"
        "Its own options stand before the command: cytovox volume --basin-root DIR segment ...",
        **taking(_options_of_volumes),
    ),
    "simulate": _Group(
        {
            "recording": _Command("demo.recording"),
            "volume": _of_volumes("demo.volume"),
        },
        help="Make data whose truth is known, to try things out.",
    ),
}

program = _Group(
    _COMMANDS,
    help="Segment and measure every object in deformability cytometry recordings (.rtdc) and "
    "in volumes of any size.\n\n"
    "Start with:  cytovox demo  and then  cytovox run FOLDER,  or with  "
    "cytovox demo --volume  and then  cytovox volume segment",
    epilog=EPILOG,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "show_default": True,
    },
)
click.version_option(
    __version__, prog_name="cytovox", message="%(prog)s %(version)s", help="Show the version."
)(program)


def _call(words: list[str]) -> Any:
    """Call the command that the words name; return its exit code, or None for 0."""
    if shell := os.environ.get(_COMPLETE):
        from click.shell_completion import shell_complete

        return shell_complete(program, {}, "cytovox", _COMPLETE, shell)
    try:
        with program.make_context("cytovox", words) as context:
            return program.invoke(context)
    except click.exceptions.Exit as end:  # after the help, and the version
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as without_words:
        print_text(without_words.format_message())
        return without_words.exit_code


def _failed(error: BaseException, words: Sequence[str]) -> int:
    """Say why a command has not ended as it should; return the exit code."""
    # An error takes the place of an interrupt that comes while Python makes a class.
    stop = error.__cause__ if isinstance(error.__cause__, KeyboardInterrupt) else error
    if isinstance(stop, KeyboardInterrupt):
        code, text = exit_code_of_interrupt(stop), "stopped"
    else:
        code, text = report_error(error, debug="--debug" in words), describe(error)
    if "--json" in words:
        with contextlib.suppress(OSError):  # stdout may be what has failed
            print_json({"exit_code": code, "error": text})
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    complete_streams()
    with showing_warnings(), stop_on_signals() as received:
        try:
            code = _call(words)
        except BrokenPipeError:  # whoever reads the help has read enough
            code = 0
            discard(sys.stdout)
        except (Exception, KeyboardInterrupt) as error:
            code = _failed(error, words)
    if code == 130 and received:
        return exit_code_of_interrupt(Stopped(received[0]))
    return code if isinstance(code, int) else 0
