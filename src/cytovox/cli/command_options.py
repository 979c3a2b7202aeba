"""Options that commands share, and how a dataclass of options becomes options of a command."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

import click

from ..errors import OptionError, StorageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ..read import Permissions

__all__ = [
    "INPUT",
    "OUTPUT",
    "SAFETY",
    "SETTINGS",
    "Allowed",
    "AllowedToRecordings",
    "Command",
    "Form",
    "Said",
    "SaidOfWork",
    "Where",
    "Workers",
    "argument",
    "option",
    "options",
    "parse_assignments",
    "parse_lengths",
    "parse_size",
    "taking",
]

_T = TypeVar("_T")

#: Sections of the help, into which the parameters of a command are sorted.
ARGUMENTS, INPUT, SETTINGS, OUTPUT = "Arguments", "Input", "Settings", "Output"
OPTIONS, SAFETY = "Options", "Safety"
_ORDER = (INPUT, SETTINGS, OUTPUT, OPTIONS, SAFETY)
#: How numbers that have limits are read, and what messages call them.
_NUMBERS: Mapping[Any, tuple[Callable[..., Any], str]] = {
    int: (click.IntRange, "integer"),
    float: (click.FloatRange, "number"),
}


def argument(metavar: str, help: str) -> dict[str, str]:
    """Return what annotates a parameter of a command that is an argument."""
    return {"metavar": metavar, "help": help}


def option(
    default: Any,
    help: str,
    *names: str,
    read: Callable[..., Any] | None = None,
    panel: str = OPTIONS,
    **how: Any,
) -> Any:
    """Return a field of a dataclass that is an option of a command, named like it if not given.

    `read` makes the value from the text that was given and the name of the option; `panel` is
    the section of the help that shows it. A number may have a `min` and a `max`.
    """
    how |= {"names": names, "read": read, "help": help, "panel": panel}
    return field(default=default, metadata=how)


@dataclass_transform()
def options(cls: type[_T]) -> type[_T]:
    """Make a class a dataclass of options, with no more than is needed: each start pays for it."""
    return dataclass(eq=False, repr=False)(cls)


class _Argument(click.Argument):
    """An argument with a help text; most are names of files."""

    panel = ARGUMENTS

    def __init__(self, name: str, *, metavar: str, help: str, **how: Any) -> None:
        super().__init__([name], metavar=metavar, **how)
        self.help = help

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        return self.make_metavar(ctx), self.help or ""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")]


class _Option(click.Option):
    """An option that the help shows in a section."""

    def __init__(self, names: list[str], *, panel: str, **how: Any) -> None:
        super().__init__(names, **how)
        self.panel = panel


class Command(click.Command):
    """A command whose help has sections."""

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the first paragraph of the help, whatever its length."""
        return " ".join((self.help or "").partition("\n\n")[0].split())

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write nothing: newer releases of click would show arguments apart."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write all parameters, section by section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for one in self.get_params(ctx):
            if (record := one.get_help_record(ctx)) is not None:
                sections.setdefault(getattr(one, "panel", OPTIONS), []).append(record)
        for name, records in sections.items():
            with formatter.section(name):
                formatter.write_dl(records)


def taking(command: Callable[..., Any]) -> dict[str, Any]:
    """Return what click is told of a command: its parameters, and what they are given to.

    Each parameter of the function that is a dataclass stands for its fields, as options.
    """
    arguments: list[click.Parameter] = []
    grouped: list[_Option] = []
    groups: dict[str, type[Any]] = {}
    contexts: list[str] = []
    for name, one in inspect.signature(command, eval_str=True).parameters.items():
        if one.annotation is click.Context:
            contexts.append(name)
        elif isinstance(one.annotation, type) and is_dataclass(one.annotation):
            groups[name] = one.annotation
            grouped += _options_of(one.annotation)
        else:
            arguments.append(_argument(one))

    def call(**given: Any) -> Any:
        for name, group in groups.items():
            given[name] = group(**{f.name: _value(f, given.pop(f.name)) for f in fields(group)})
        given |= dict.fromkeys(contexts, click.get_current_context())
        try:
            return command(**given)
        except BrokenPipeError as err:  # which is not that of stdout
            raise StorageError(err.strerror or str(err), path=err.filename) from err

    grouped.sort(key=lambda one: _ORDER.index(one.panel))
    return {"params": arguments + grouped, "callback": call}


def _argument(parameter: inspect.Parameter) -> _Argument:
    kind, how = get_args(parameter.annotation)
    needed = type(None) not in get_args(kind)
    return _Argument(parameter.name, required=needed, **how, **_reading(kind, {"nargs": -1}))


@functools.cache
def _options_of(group: Any) -> tuple[_Option, ...]:
    """Return the options of a group, which many commands share."""
    types = get_type_hints(group)
    return tuple(_option(one, types[one.name]) for one in fields(group))


def _option(one: Field[Any], kind: Any) -> _Option:
    how = dict(one.metadata)
    names = how.pop("names") or [_name(one)]
    limits = {name: how.pop(name) for name in ("min", "max") if name in how}
    how |= _reading(kind if how.pop("read") is None else str, {"multiple": True}, limits)
    how |= {"required": True} if one.default is ... else {"default": one.default}
    return _Option([*names, one.name], **how)


def _reading(
    kind: Any, several: Mapping[str, Any], limits: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return how click reads values of a type; `several` is added if there may be several."""
    if get_origin(kind) in (Union, UnionType):  # with None
        kind = get_args(kind)[0]
    if get_origin(kind) is tuple:
        return {**_reading(get_args(kind)[0], several), **several}
    if kind is bool:
        return {"is_flag": True}
    if get_origin(kind) is Literal:
        return {"type": click.Choice(get_args(kind))}
    if kind is Path:
        return {"type": click.Path(path_type=Path)}
    if limits:
        kind_of_range, name = _NUMBERS[kind]
        within = kind_of_range(**limits)
        within.name = name
        return {"type": within}
    return {"type": kind}


def _value(one: Field[Any], given: Any) -> Any:
    read = one.metadata["read"]
    return given if read is None or given is None else read(given, _name(one))


def _name(one: Field[Any]) -> str:
    return f"--{one.name.replace('_', '-')}"


def parse_lengths(text: str, name: str = "--voxel-size") -> tuple[float, ...]:
    """Read the size of a voxel: one number, or one for each axis."""
    try:
        return tuple(float(part) for part in re.split(r"[\s,x]+", text.strip()))
    except ValueError:
        raise OptionError(
            f"{name} '{text}' is not a size", hint=f"write for example {name} 2,0.5,0.5"
        ) from None


def parse_size(text: str, name: str) -> int | tuple[int, ...]:
    """Read a size: one number for all axes, or one for each."""
    parts = re.split(r"[\s,x]+", text.strip())
    if not all(re.fullmatch(r"\d{1,12}", part) for part in parts):
        raise OptionError(
            f"{name} '{text}' is not a size", hint=f"write {name} 64 or {name} 32,64,64"
        )
    sizes = tuple(int(part) for part in parts)
    return sizes[0] if len(sizes) == 1 else sizes


def parse_assignments(words: Iterable[str], key: str, form: str, example: str) -> dict[str, str]:
    """Read what ``--set`` gets; `key` is what a key may be, `form` the same in words."""
    given: dict[str, str] = {}
    for word in words:
        match = re.fullmatch(rf"\s*({key})\s*=\s*(.*?)\s*", word, re.S)
        if match is None:
            raise OptionError(
                f"--set '{word}' is not of the form {form}",
                hint=f"write for example --set {example}",
            )
        if match[1] in given:
            raise OptionError(f"--set {match[1]} is given twice", hint="give it once")
        given[match[1]] = match[2]
    return given


@options
class Allowed:
    """What inputs may do."""

    basin_roots: tuple[str, ...] = option(
        (),
        "A folder that may hold files to which the input refers, besides its own. "
        "May be repeated.",
        "--basin-root",
        panel=SAFETY,
        metavar="DIR",
    )
    external: bool = option(
        False,
        "Follow what leads out of the input: data kept in other files, links, and basins "
        "anywhere. Only for inputs that you trust; what was followed is shown.",
        "--allow-external",
        panel=SAFETY,
    )
    oversized: bool = option(
        False,
        "Lift the limits of sizes and of compression filters.",
        "--allow-oversized",
        panel=SAFETY,
    )

    def permissions(self) -> Permissions | None:
        """Return what is allowed, besides what is allowed anyway; None if that is nothing."""
        if not any(vars(self).values()):
            return None
        from ..read.permissions import default_permissions, existing_folder

        known = default_permissions()
        folders = (*known.basin_roots, *map(existing_folder, self.basin_roots))
        allowed = {kind: True for kind, value in vars(self).items() if value is True}
        return replace(known, **allowed, basin_roots=tuple(dict.fromkeys(folders)))


@options
class AllowedToRecordings(Allowed):
    """What recordings may do."""

    unidentified: bool = option(
        False,
        "Follow basins that do not name the measurement that they belong to.",
        "--allow-unidentified",
        panel=SAFETY,
    )


@options
class Form:
    """In which form a result is shown."""

    as_json: bool = option(False, "Print one JSON object in place of the text.", "--json")


@options
class Said(Form):
    """How much is said, and in which form."""

    debug: bool = option(False, "Show tracebacks.")

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is said of the work while it goes on."""
        return self.as_json


@options
class SaidOfWork(Said):
    """How much is said of work that takes long."""

    quiet: bool = option(False, "Say only what went wrong.", "--quiet", "-q")

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is said of the work while it goes on."""
        return self.quiet or self.as_json


@options
class Workers:
    """How many workers there are."""

    workers: int | None = option(
        None,
        "Number of worker processes; one a core if not given, 0 for none beside this one.",
        min=0,
        metavar="N",
    )


@options
class Where(Workers):
    """Where blocks are done."""

    cluster: str | None = option(
        None,
        "Where workers are, if not on this machine: dask:tcp://host:8786, or a command such "
        "as 'srun -n1 {command}'.",
        metavar="WHERE",
    )
    host: str | None = option(
        None,
        "Address under which workers elsewhere reach this program; only this machine can "
        "if not given.",
        metavar="ADDRESS",
    )
