"""Options that commands share, and how a dataclass of options becomes options of a command."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, dataclass_transform, get_type_hints

import typer

from ..errors import OptionError, StorageError

if TYPE_CHECKING:
    from ..read import Permissions

__all__ = [
    "INPUT",
    "JSON_HELP",
    "OUTPUT",
    "SAFETY",
    "SETTINGS",
    "Allowed",
    "AllowedToRecordings",
    "AsJson",
    "Said",
    "SaidOfWork",
    "Where",
    "Workers",
    "option",
    "options",
    "parse_assignments",
    "parse_lengths",
    "parse_size",
    "with_options",
]

_T = TypeVar("_T")

#: Panels of the help, into which the options of a command are sorted.
INPUT, SETTINGS, OUTPUT, SAFETY = "Input", "Settings", "Output", "Safety"
_ORDER = (INPUT, SETTINGS, OUTPUT, None, SAFETY)
JSON_HELP = "Print one JSON object in place of the text."
AsJson = Annotated[bool, typer.Option("--json", help=JSON_HELP)]


def option(
    default: Any,
    help: str,
    *names: str,
    read: Callable[..., Any] | None = None,
    panel: str | None = None,
    **how: Any,
) -> Any:
    """Return a field of a dataclass that is an option of a command, named like it if not given.

    `read` makes the value from the text that was given and the name of the option; `panel` is
    where the help shows it.
    """
    how |= {"names": names, "read": read, "help": help, "rich_help_panel": panel}
    return field(default=default, metadata=how)


@dataclass_transform()
def options(cls: type[_T]) -> type[_T]:
    """Make a class a dataclass of options, with no more than is needed: each start pays for it."""
    return dataclass(eq=False, repr=False)(cls)


def with_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let each parameter of a command that is a dataclass stand for its fields, as options."""
    parameters: list[inspect.Parameter] = []
    groups: dict[str, type[Any]] = {}
    grouped: list[inspect.Parameter] = []
    for one in inspect.signature(command, eval_str=True).parameters.values():
        group = one.annotation
        if isinstance(group, type) and is_dataclass(group):
            groups[one.name] = group
            grouped += _parameters(group)
        else:
            parameters.append(one.replace(kind=one.KEYWORD_ONLY))

    parameters += sorted(grouped, key=_place_in_help)

    @functools.wraps(command)
    def flat(**given: Any) -> Any:
        for name, group in groups.items():
            given[name] = group(**{f.name: _read(f, given.pop(f.name)) for f in fields(group)})
        try:
            return command(**given)
        except KeyboardInterrupt as interrupt:  # of which the parser would leave only a code
            raise typer.Abort from interrupt
        except BrokenPipeError as err:  # which the parser would take for that of stdout
            raise StorageError(err.strerror or str(err), path=err.filename) from err

    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {one.name: one.annotation for one in parameters}
    return flat


@functools.cache
def _parameters(group: Any) -> tuple[inspect.Parameter, ...]:
    """Return the options of a group, which many commands share."""
    return tuple(_options_of(group))


def _options_of(group: Any) -> Iterator[inspect.Parameter]:
    types = get_type_hints(group)
    for one in fields(group):
        how = dict(one.metadata)
        kind = types[one.name] if how.pop("read") is None else str | None
        info = typer.Option(*(how.pop("names") or [_name(one)]), **how)
        yield inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=one.default,
            annotation=Annotated[kind, info],
        )


def _place_in_help(parameter: inspect.Parameter) -> int:
    """Return where an option comes: panels are shown in the order of their first options."""
    return _ORDER.index(parameter.annotation.__metadata__[0].rich_help_panel)


def _read(one: Any, value: Any) -> Any:
    read = one.metadata["read"]
    return value if read is None or value is None else read(value, _name(one))


def _name(one: Any) -> str:
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


def parse_assignments(
    words: Iterable[str] | None, key: str, form: str, example: str
) -> dict[str, str]:
    """Read what ``--set`` gets; `key` is what a key may be, `form` the same in words."""
    given: dict[str, str] = {}
    for word in words or ():
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

    basin_roots: list[str] | None = option(
        None,
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
        folders = (*known.basin_roots, *map(existing_folder, self.basin_roots or ()))
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
class Said:
    """How much is said, and in which form."""

    as_json: bool = option(False, JSON_HELP, "--json")
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
