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
    """Return every command with its full name, in the order of the help.

    A word with which commands begin is one of them if it has options of its own.
    """
    found = []

    def walk(name: str, command: Any) -> None:
        if isinstance(command, click.Group):
            context = click.Context(command)
            if command is not program and command.params:
                found.append((name, command))
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
    context = click.Context(command, parent=click.Context(program, **program.context_settings))
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    usage = [name, *(p.make_metavar(context) for p in arguments), "[OPTIONS]"]
    if isinstance(command, click.Group):
        usage += ["COMMAND", "..."]
    lines = ["", f"## {name}", "", "```", " ".join(usage), "```"]
    lines += ["", inspect.cleandoc(command.help), ""]
    if arguments or options:
        lines += ["| word | meaning |", "|---|---|"]
    lines += [_row(*p.get_help_record(context)) for p in arguments + options]
    return "\n".join(lines) + "\n"


def _row(word: str, meaning: str) -> str:
    word, meaning = (" ".join(text.split()).replace("|", "\\|") for text in (word, meaning))
    return f"| `{word}` | {meaning} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
