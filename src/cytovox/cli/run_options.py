"""The options of ``cytovox run`` and of commands that look at what it would do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import UsageError
from . import command_options as o
from .command_options import INPUT, OUTPUT, SAFETY, SETTINGS, option, options

if TYPE_CHECKING:
    from ..read import Permissions
    from ..recipe.recording_recipe import RecordingRecipe
    from .one_recording import Measuring

__all__ = [
    "SET_KEYS",
    "AllowedToRun",
    "DecidingOptions",
    "RecipeOptions",
    "StoredOptions",
    "Work",
    "measurings",
    "one_recipe",
    "recipes_of",
]

#: What ``--set`` knows without stages of others; a test compares it with the stages.
SET_KEYS = (
    "data.pixel_size; background.kernel_size, split_time, thresh_cleansing, frac_cleansing, "
    "offset_correction, batch_size; segmenter.thresh, model_file, model_sha256, backend, device; "
    "mask.clear_border, fill_holes, closing_disk; feature.brightness, haralick, volume; "
    "gate.online_gates, size_thresh_mask"
)


def _recipes(more: str) -> Any:
    words = f"A recipe: FILE.toml, or a name that cytovox recipe list shows.{more}"
    return option((), words, "--recipe", panel=SETTINGS, metavar="RECIPE")


def one_recipe() -> Any:
    """Return the option ``--recipe`` of a command that takes one."""
    return _recipes("")


@options
class DecidingOptions:
    """What decides about the events of a recording."""

    recipes: tuple[str, ...] = _recipes(
        " May be repeated: the results of each are in a folder of its name then."
    )
    like: Path | None = option(
        None,
        "Measure as this result was measured; what is automatic stays so.",
        panel=SETTINGS,
        metavar="RESULT",
    )
    settings: tuple[str, ...] = option(
        (),
        "Change one setting of the recipe, e.g. segmenter.thresh=-3 or mask.closing_disk=0. "
        f"May be repeated. Keys: {SET_KEYS}. Defaults: cytovox stages",
        "--set",
        "-s",
        panel=SETTINGS,
        metavar="STAGE.KEY=VALUE",
    )
    background: str | None = option(
        None,
        "How the background is computed; sparsemed if no recipe says otherwise.",
        panel=SETTINGS,
        metavar="CODE",
    )
    segmenter: str | None = option(
        None,
        "How events are found; also FILE.py:CLASS, your own segmenter; thresh if no recipe says "
        "otherwise.",
        panel=SETTINGS,
        metavar="CODE",
    )
    trust_model: bool = option(
        False,
        "Run the model that the segmenter uses. A model is a program: only say so if you "
        "trust where it comes from.",
        panel=SAFETY,
    )


@options
class StoredOptions(DecidingOptions):
    """How recordings are measured, and their results stored."""

    basins: Literal["drain", "tap"] | None = option(
        None,
        "drain: copy images into the result, as is done if no recipe says otherwise. tap: point "
        "to the input instead; small, but needs the input.",
        panel=OUTPUT,
    )
    compression: str | None = option(
        None,
        "Compression of the result: none, or zstd-1 (fast) to zstd-9 (small); zstd-5 if no "
        "recipe says otherwise.",
        panel=OUTPUT,
        metavar="NAME",
    )


@options
class RecipeOptions(StoredOptions):
    """All that a recipe may hold."""

    frames: str | None = option(
        None,
        "Only some frames: 100 (the first hundred), 10-100-2 (from, to, step), or 3,5,9; or all.",
        panel=INPUT,
        metavar="FRAMES",
    )


@options
class AllowedToRun(o.AllowedToRecordings):
    """What recordings may do that are measured."""

    growing: bool = option(
        False,
        "Measure recordings that another program still writes: the frames that are there "
        "now. Their results are made anew once there are more.",
        panel=SAFETY,
    )


@options
class _Where(o.Where):
    workers: int | None = option(
        None,
        "Number of workers; as many as cores if not given. So many small recordings are measured "
        "side by side, and larger ones one after the other by all workers. With --cluster, how "
        "many recordings are measured at once.",
        min=1,
        metavar="N",
    )


@options
class _Again:
    out: Path | None = option(
        None,
        "Folder for the results, or for one input a file ending in .rtdc. "
        "Without it, NAME_dcn.rtdc beside each input NAME.rtdc.",
        "--out",
        "-o",
        panel=OUTPUT,
        metavar="OUT",
    )
    recurse: bool = option(
        False,
        "Search folders within folders too; results are in the same folders below OUT.",
        "--recurse",
        "-r",
        panel=INPUT,
    )
    force: bool = option(False, "Replace results that exist already.", panel=SAFETY)
    verify: bool = option(
        False,
        "Read finished results in full before they are skipped, not only small ones.",
        panel=SAFETY,
    )
    no_preflight: bool = option(
        False,
        "Do not check before work begins whether disk and memory suffice.",
        panel=SAFETY,
    )
    findings_ok: bool = option(
        False,
        "End with exit code 0 in place of 3, for programs that delete results at any other code.",
        panel=SAFETY,
    )


@options
class _Said(o.SaidOfWork):
    debug: bool = option(False, "Show tracebacks; work in one thread.")


@options
class Work(_Said, _Where, _Again):
    """Where results go, what is done of it, and where."""


def measurings(what: StoredOptions, allowed: AllowedToRun, work: Work) -> dict[str, Measuring]:
    """Return how recordings are measured by each recipe, by its name; all of it is checked."""
    from .one_recording import Measuring
    from .settings import recipe_fields

    permissions = allowed.permissions()
    found: dict[str, Measuring] = {}
    for recipe in recipes_of(what, permissions):
        found[recipe.name] = measuring = Measuring(
            **recipe_fields(recipe),
            workers=work.workers if work.cluster is None else None,
            debug=work.debug,
            preflight=not work.no_preflight,
            permissions=permissions,
            trusted=frozenset({"all"} if what.trust_model else ()),
            segmenter_file=_file_of_segmenter(what.segmenter),
            force=work.force,
            verify=work.verify,
        )
        try:
            measuring.check()
        except UsageError as error:
            changes = (what.settings, what.background, what.segmenter, what.compression)
            if error.path is None and not any(changes):
                error.path = recipe.source or None
            raise
    return found


def recipes_of(what: DecidingOptions, permissions: Permissions | None) -> list[RecordingRecipe]:
    """Return the recipes that are named, each with what is said beside it."""
    from ..recipe.recording_recipe import RecordingRecipe, find_recipe
    from .settings import changed

    if what.like is not None and what.recipes:
        raise UsageError("--like and --recipe are two recipes", hint="give one of them")
    codes = _codes(what)  # a result may be of a segmenter that is known only then
    if what.like is not None:
        from ..logic.recipes import recipe_of_result

        recipes = [recipe_of_result(what.like, permissions)]
    else:
        recipes = [find_recipe(word) for word in what.recipes] or [RecordingRecipe()]
    _refuse_equal_names(recipes)
    more = what if isinstance(what, StoredOptions) else StoredOptions()
    frames = what.frames if isinstance(what, RecipeOptions) else None
    stored: dict[str, Any] = {"basin_strategy": more.basins, "compression": more.compression}
    stored = {name: value for name, value in stored.items() if value is not None}
    return [changed(recipe, what.settings, frames, codes, **stored) for recipe in recipes]


def _codes(what: DecidingOptions) -> dict[str, str]:
    """Return the codes of stages that are given, after loading what is in a file."""
    codes = {"background": what.background, "segmenter": what.segmenter}
    if (file := _file_of_segmenter(what.segmenter)) is not None:
        from ..segm.find_segmenters import load_segmenter_file

        codes["segmenter"] = load_segmenter_file(file).get_ppid_code()
    return {stage: code for stage, code in codes.items() if code is not None}


def _file_of_segmenter(text: str | None) -> str | None:
    if text is None or ".py" not in text:
        return None
    from ..segm.find_segmenters import is_segmenter_file

    return text if is_segmenter_file(text) else None


def _refuse_equal_names(recipes: Sequence[RecordingRecipe]) -> None:
    names = [recipe.name.casefold() for recipe in recipes]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"two recipes are called {name}, and so would be the folder of their results",
                hint="rename one of the files",
            )
