"""How recordings are measured, as data; and the files (TOML) that hold it."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from ..errors import InputError, InputNotFoundError, OptionError, UnknownCodeError
from .options import Within, check_options, options_of, suggest
from .registry import OPTION_METHODS, load_stage

__all__ = [
    "AUTO",
    "AUTOMATIC",
    "DEFAULT_CODES",
    "STAGES",
    "PixelSize",
    "RecordingRecipe",
    "find_recipe",
    "parse_frames",
    "presets",
    "read_recipe",
    "recipe_as_toml",
]

#: What has options: the tables of a recipe, and what may stand before the dot of ``--set``.
STAGES = ("data", "background", "segmenter", "mask", "feature", "gate")
DEFAULT_CODES = {
    "background": "sparsemed",
    "segmenter": "thresh",
    "feature": "legacy",
    "gate": "norm",
}
#: Side of a pixel [um].
PixelSize = Annotated[float | None, Within(least=1e-4, most=10_000)]
#: Value by which an option is set for each recording by looking at it.
AUTO = "auto"
#: For a stage and a code, the option of which that is the default.
AUTOMATIC = {("data", None): "pixel_size", ("background", "sparsemed"): "offset_correction"}
#: What stands in a recipe above its tables.
_ABOVE = ("description", "basins", "compression", "frames")
_PRESETS = Path(__file__).parent / "presets"
_ENDING = ".toml"
#: Recipes are not larger than this [bytes].
_MOST = 1 << 16
_HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class RecordingRecipe:
    """How recordings are measured: what identifiers are made of, and how results are stored."""

    #: Code of each stage: background, segmenter, feature, gate.
    codes: Mapping[str, str] = field(default_factory=lambda: dict(DEFAULT_CODES))
    #: Options that were given, of each stage and of the mask; the job checks them.
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    basin_strategy: str = "drain"
    compression: str = "zstd-5"
    #: What the recipe is called; the folder of its results, where there are several.
    name: str = "default"
    #: What it is for, in a sentence.
    description: str = ""
    #: The file that it was read from, if any.
    source: str = ""

    def job_arguments(self) -> dict[str, Any]:
        """Return keyword arguments of a job; new dictionaries every time."""
        arguments: dict[str, Any] = {
            "basin_strategy": self.basin_strategy,
            "compression": self.compression,
            "data_kwargs": dict(self.options.get("data", {})),
        }
        for stage, code in self.codes.items():
            arguments[f"{stage}_code"] = code
            arguments[f"{stage}_kwargs"] = dict(self.options.get(stage, {}))
        if mask := self.options.get("mask"):
            arguments["segmenter_kwargs"]["kwargs_mask"] = dict(mask)
        return arguments

    @property
    def automatic(self) -> set[str]:
        """Options, such as ``data.pixel_size``, that are set by a look at each recording."""
        return {
            f"{stage}.{option}"
            for (stage, code), option in AUTOMATIC.items()
            if self.codes.get(stage) == code and option not in self.options.get(stage, {})
        }


def presets() -> list[RecordingRecipe]:
    """Return the recipes that come with the program."""
    return [read_recipe(path) for path in sorted(_PRESETS.glob(f"*{_ENDING}"))]


def find_recipe(word: str) -> RecordingRecipe:
    """Return the recipe of this name that comes with the program, or that is in a file.

    The ending ``.toml`` may be left out, unless a preset has the name.
    """
    known = [path.stem for path in _PRESETS.glob(f"*{_ENDING}")]
    if word in known:
        return read_recipe(_PRESETS / f"{word}{_ENDING}")
    path = Path(word)
    if not path.exists() and path.with_name(f"{path.name}{_ENDING}").exists():
        path = path.with_name(f"{path.name}{_ENDING}")
    if not path.exists():
        hint = suggest(word, sorted(known), "the recipes that come with the program are")
        raise InputNotFoundError("there is no such recipe", path=word, hint=hint)
    return read_recipe(path)


def read_recipe(path: str | Path) -> RecordingRecipe:
    """Read a recipe; an error names the file, the key, and what to do."""
    path = Path(path)
    try:
        return replace(_recipe(_parse(_content(path))), name=path.stem, source=str(path))
    except (InputError, OptionError) as error:
        error.path = str(path)
        raise


def _content(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError("this is not a file", hint="give a recipe (.toml)")
        with path.open("rb") as file:
            content = file.read(_MOST + 1)
    except OSError as err:
        raise InputError(
            f"the recipe cannot be read: {err.strerror or err}", hint="check its rights"
        ) from err
    if content.startswith(_HDF5):
        raise InputError("this is not a recipe", hint="give a result with --like")
    if len(content) > _MOST:
        raise InputError(f"this is larger than {_MOST} bytes", hint="give a recipe (.toml)")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise InputError("this is not text in UTF-8", hint="give a recipe (.toml)") from err


def _parse(text: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as err:  # numbers can be too long for Python
        why = " ".join(str(err).split())
        hint = "write key = value, texts in quotes; see: cytovox recipe show default"
        raise OptionError(f"this is not TOML: {why}", hint=hint) from err


def _recipe(told: dict[str, Any]) -> RecordingRecipe:
    for key in told:
        if key not in (*_ABOVE, *STAGES):
            raise OptionError(f"a recipe has no '{key}'", hint=suggest(key, [*STAGES, *_ABOVE]))
    tables = {stage: told.get(stage, {}) for stage in STAGES}
    for stage, table in tables.items():
        if not isinstance(table, dict):
            raise OptionError(f"'{stage}' is not a table", hint=f"write [{stage}] above its keys")
    codes = {
        stage: _code(stage, tables[stage].pop("code", code))
        for stage, code in DEFAULT_CODES.items()
    }
    options = {stage: _options(stage, codes, table) for stage, table in tables.items() if table}
    if "frames" in told:
        frames = parse_frames(_text("frames", told["frames"]), "frames")
        options.setdefault("data", {})["index_mapping"] = frames
    basins = _text("basins", told.get("basins", "drain"), str)
    if basins not in ("drain", "tap"):
        raise OptionError(f"basins: '{basins}' is not a value", hint="give drain or tap")
    return RecordingRecipe(
        codes=codes,
        options={stage: given for stage, given in options.items() if given},
        basin_strategy=basins,
        compression=_text("compression", told.get("compression", "zstd-5"), str),
        description=_text("description", told.get("description", ""), str),
    )


def _code(stage: str, value: Any) -> str:
    """Return the code of a stage, which runs no file, as a file would that a command names."""
    code = _text(f"{stage}.code", value, str)
    if ".py" in code.lower():
        raise OptionError(
            f"{stage}.code: '{code}' names a file, which a recipe does not run",
            hint="give it to the command: --segmenter FILE.py:CLASS",
        )
    return code


def _options(stage: str, codes: Mapping[str, str], table: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a table with their types; as text if the stage is not known yet."""
    automatic = AUTOMATIC.get((stage, codes.get(stage)))
    given = {key: _text(f"{stage}.{key}", value) for key, value in table.items()}
    given = {k: v for k, v in given.items() if k != automatic or v.lower() != AUTO}
    kind = "segmenter" if stage == "mask" else stage
    where, method = stage, _data
    if stage != "data":
        try:
            cls = load_stage(kind, codes[kind])
        except UnknownCodeError:  # it may be in a file; the job says so if it is not
            return given
        where = (
            f"mask of segmenter {codes[kind]}" if stage == "mask" else f"{stage} {codes[stage]}"
        )
        method = getattr(cls, OPTION_METHODS[kind][stage == "mask"])
    return check_options(where, options_of(method), given)


def _data(*, pixel_size: PixelSize = None) -> None:
    """Declare what a recipe says about the input; the frames stand above the tables."""


def _text(where: str, value: Any, *kinds: type) -> str:
    """Return a value as the text that would be given on a command line."""
    if isinstance(value, kinds or (str, int, float)):
        return str(value).lower() if isinstance(value, bool) else str(value)
    kind = "a text in quotes" if kinds else "a number, a text in quotes, true or false"
    raise OptionError(f"{where} is of a kind that it cannot be", hint=f"give {kind}")


def parse_frames(text: str, name: str = "--frames") -> int | slice | list[int] | None:
    """Read which frames to use: all, the first, from and to without the last, step, or a list."""
    text = text.strip()
    if text == "all":
        return None
    if re.fullmatch(r"\d{1,18}", text) and int(text) > 0:
        return int(text)
    if match := re.fullmatch(r"(\d{1,18})[-:](\d{1,18})(?:[-:](\d{1,18}))?", text):
        start, stop, step = (int(part or 1) for part in match.groups())
        if start < stop and step > 0:
            return slice(start, stop, step)
    if re.fullmatch(r"\d{1,18}(,\d{1,18})+", text):
        frames = [int(part) for part in text.split(",")]
        if frames == sorted(set(frames)):
            return frames
    raise OptionError(
        f"{name} '{text}' does not name frames in rising order",
        hint="write 100 for the first hundred, 10-100-2 for a range, 3,5,9, or all",
    )


def recipe_as_toml(recipe: RecordingRecipe) -> str:
    """Return a recipe as the text of a file."""
    above: dict[str, Any] = {
        "description": recipe.description,
        "basins": recipe.basin_strategy,
        "compression": recipe.compression,
    }
    tables = {stage: dict(recipe.options.get(stage, {})) for stage in STAGES}
    if (frames := tables["data"].pop("index_mapping", None)) is not None:
        above["frames"] = _frames_in_words(frames)
    for option in recipe.automatic:
        stage, _, key = option.partition(".")
        tables[stage][key] = AUTO
    lines = [f"{key} = {_toml(value)}" for key, value in above.items() if value != ""]
    for stage, table in tables.items():
        code = {"code": recipe.codes[stage]} if stage in recipe.codes else {}
        if told := code | table:
            lines += ["", f"[{stage}]"]
            lines += [f"{key} = {_toml(value)}" for key, value in told.items()]
    return "\n".join([*lines, ""])


def _toml(value: Any) -> str:
    if isinstance(value, str):
        # JSON leaves DEL as it is, which TOML does not allow.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)


def _frames_in_words(mapping: Any) -> str:
    if isinstance(mapping, slice):
        text = "-".join(str(part) for part in (mapping.start, mapping.stop, mapping.step))
    elif isinstance(mapping, list):
        text = ",".join(map(str, mapping))
    else:
        text = str(mapping)
    try:
        if parse_frames(text) == mapping:
            return text
    except OptionError:
        pass
    raise OptionError(
        f"the choice of frames {text} cannot be written in a recipe",
        hint="choose other frames with --frames, or all of them with --frames all",
    )
