"""Write docs/reference/commands.md from the commands themselves.

Run it after a change of the command line; a test compares the page.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import click

from cytovox.cli.main import program

PAGE = Path(__file__).parent / "reference" / "commands.md"
HEAD = """# Commands

<!-- Written by docs/make_cli_reference.py; say "make docs" after a change. -->

`cytovox --help` and `cytovox COMMAND --help` show the same. `python -m cytovox` is the same
program. `cytovox --version` shows the version.

The shell completes words of commands, options and files after
`eval "$(_CYTOVOX_COMPLETE=bash_source cytovox)"` in `~/.bashrc`, or with `zsh_source` in
`~/.zshrc`; fish takes `_CYTOVOX_COMPLETE=fish_source cytovox | source`.
"""


def commands() -> list[tuple[str, Any]]:
    """Return every command with its full name, in the order of the help."""
    found = []

    def walk(name: str, command: Any) -> None:
        if isinstance(command, click.Group):
            context = click.Context(command)
            for sub in command.list_commands(context):
                walk(f"{name} {sub}", command.get_command(context, sub))
        else:
            found.append((name, command))

    walk("cytovox", program)
    return found


def page() -> str:
    """Return the text of the page."""
    return HEAD + "".join(_section(name, command) for name, command in commands())


def _section(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    usage = " ".join([name, *(_metavar(p) for p in arguments), "[OPTIONS]"])
    lines = ["", f"## {name}", "", "```", usage, "```", "", inspect.cleandoc(command.help), ""]
    if arguments or options:
        lines += ["| word | meaning |", "|---|---|"]
    lines += [f"| `{_metavar(p)}` | {_cell(p)} |" for p in arguments]
    lines += [f"| {_words(p)} | {_cell(p)} |" for p in options]
    return "\n".join(lines) + "\n"


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _words(parameter: Any) -> str:
    takes = "" if parameter.is_flag else f" {parameter.metavar or parameter.name.upper()}"
    return ", ".join(f"`{word}{takes}`" for word in parameter.opts)


def _cell(parameter: Any) -> str:
    text = parameter.help.replace("|", "\\|")
    default = parameter.default
    if callable(default) or default in (None, False, [], ()) or "UNSET" in repr(default).upper():
        return text
    return f"{text} Default: `{getattr(default, 'value', default)}`."


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
