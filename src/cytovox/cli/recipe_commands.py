"""``cytovox recipe``: files that hold how recordings are measured."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ..errors import OptionError, OutputExistsError, StorageError, UsageError, escaped
from .command_options import Form, Said, argument, option, options
from .console import in_columns, say, show
from .run_options import RecipeOptions, one_recipe, recipes_of

if TYPE_CHECKING:
    from ..recipe.recording_recipe import RecordingRecipe

__all__ = ["described_recipe", "list_recipes", "save", "show_recipe"]


@options
class _Kept(RecipeOptions):
    recipes: tuple[str, ...] = one_recipe()


@options
class _Saved:
    force: bool = option(False, "Replace the file if it exists already.")
    debug: bool = option(False, "Show tracebacks.")


def save(
    file: Annotated[
        str,
        argument(
            "NAME_OR_FILE",
            "Name of the recipe, or its file, which ends in .toml.",
        ),
    ],
    what: _Kept,
    how: _Saved,
) -> None:
    """Write a recipe to a file: everything that decides about results, defaults too.

    It takes the options by which cytovox run is told how to measure. What is
    automatic for each recording stays so unless it is named.

    Example: cytovox recipe save lab --recipe faint --set gate.size_thresh_mask=30
    """
    path = _file_for(file)
    recipes = recipes_of(what, None)
    if len(recipes) > 1:
        raise UsageError("one file holds one recipe", hint="give one --recipe")
    recipe = replace(recipes[0], name=escaped(path.stem), description="")
    _check(recipe, trust=what.trust_model)
    text = described_recipe(recipe)["toml"]
    try:
        with path.open("w" if how.force else "x", encoding="utf-8", newline="\n") as opened:
            opened.write(text)
    except FileExistsError as err:
        hint = "give --force to replace it, or another name"
        raise OutputExistsError("the recipe exists already", path=path, hint=hint) from err
    except OSError as err:
        raise StorageError(
            f"the recipe cannot be written: {err.strerror or err}", path=path
        ) from err
    import shlex

    command = f"cytovox run INPUT... --recipe {shlex.quote(str(path))}"
    say(f"{path} is written; measure by it with: {command}")


def _file_for(text: str) -> Path:
    from ..recipe.recording_recipe import presets

    path = Path(text)
    if not path.name or path.name == ".." or path.is_dir() or text.endswith(("/", os.sep)):
        hint = "give a name, or a file that ends in .toml"
        raise UsageError(f"'{text}' is not the name of a recipe", hint=hint)
    if path.suffix.lower() == ".toml":
        return path
    if any(text == preset.name for preset in presets()):
        raise UsageError(
            f"'{text}' is the name of a recipe that comes with the program",
            hint="choose another name, or a file that ends in .toml",
        )
    return path.with_name(f"{path.name}.toml")


def _check(recipe: RecordingRecipe, *, trust: bool) -> None:
    """Raise an error if runs would refuse the recipe, or would not find a file that it names."""
    from .settings import Settings, recipe_fields

    extra = set(recipe.options.get("data", {})) - {"pixel_size", "index_mapping"}
    if extra:
        name = sorted(extra)[0]
        what = f"data.{name} is not part of a recipe"
        raise OptionError(what, hint="it changes no result; leave it out")
    trusted = frozenset({"all"} if trust else ())
    Settings(**recipe_fields(recipe), trusted=trusted).check()


def show_recipe(
    recipe: Annotated[
        str,
        argument(
            "RECIPE",
            "A recipe: its file, or a name that cytovox recipe list shows; or a result.",
        ),
    ],
    said: Said,
) -> None:
    """Show a recipe as the text of a file, with the identifier of the pipeline.

    Of a result, it is the recipe by which it was made, and its own identifier.

    Example: cytovox recipe show results/M001_dcn.rtdc
    """
    from ..recipe.recording_recipe import find_recipe
    from .inputs import begins_as_hdf5

    path = Path(recipe)
    if path.is_file() and begins_as_hdf5(path):
        from ..logic.recipes import recipe_of_result, stated_identifier
        from ..read import HDF5Data

        made = recipe_of_result(path)
        with HDF5Data(path) as result:
            parts, pphash = stated_identifier(result)
        found = described_recipe(made, ("|".join(parts.values()), pphash))
    else:
        found = described_recipe(find_recipe(recipe))
    show({"exit_code": 0, **found}, found["toml"].rstrip(), as_json=said.as_json)


def described_recipe(
    recipe: RecordingRecipe, identifier: tuple[str, str | None] | None = None
) -> dict[str, Any]:
    """Return a recipe as plain values; with the identifier of a result, if it is of one."""
    from ..logic.recipes import complete_recipe, identifier_of
    from ..recipe.recording_recipe import recipe_as_toml

    text, pphash = identifier or identifier_of(recipe)
    automatic = sorted(recipe.automatic)
    open_ = f"depends on the recording, since {' and '.join(automatic)} are automatic"
    toml = recipe_as_toml(complete_recipe(recipe))
    name = json.dumps(recipe.name, ensure_ascii=False)
    head = f"# recipe {name}\n# identifier: {text}\n# hash: {pphash or open_}\n"
    return {
        "name": recipe.name,
        "description": recipe.description,
        "identifier": text,
        "hash": pphash,
        "automatic": automatic,
        "toml": head + toml,
    }


def list_recipes(form: Form) -> None:
    """List the recipes that come with the program, and what each is for.

    Example: cytovox run day1 --recipe quick
    """
    from ..recipe.recording_recipe import presets

    known = [(one.name, one.description) for one in presets()]
    plain = [{"name": name, "description": text} for name, text in known]
    lines = in_columns(known, fold=85, once=True)
    show({"exit_code": 0, "recipes": plain}, "\n".join(lines), as_json=form.as_json)
