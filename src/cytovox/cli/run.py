"""``cytovox run``: measure recordings."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import permission_options as o

if TYPE_CHECKING:
    from .one_recording import Measuring

__all__ = ["Basins", "run"]


class Basins(StrEnum):
    """What becomes of images and other data of whole frames."""

    drain = "drain"
    tap = "tap"


def run(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="Recordings: files, folders, or patterns such as day1/*.rtdc."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            help="Folder for the results, or for one input a file ending in .rtdc. "
            "Without it, NAME_dcn.rtdc beside each input NAME.rtdc.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            metavar="STAGE.KEY=VALUE",
            help="Change one setting, e.g. segmenter.thresh=-3 or mask.closing_disk=0. "
            "May be repeated. See: cytovox stages",
        ),
    ] = None,
    background: Annotated[
        str, typer.Option(metavar="CODE", help="How the background is computed.")
    ] = "sparsemed",
    segmenter: Annotated[
        str,
        typer.Option(
            metavar="CODE", help="How events are found; also FILE.py:CLASS, a segmenter of yours."
        ),
    ] = "thresh",
    trust_model: Annotated[
        bool,
        typer.Option(
            "--trust-model",
            help="Run the model that the segmenter uses. A model is a program: "
            "only say so if you trust where it comes from.",
        ),
    ] = False,
    basins: Annotated[
        Basins,
        typer.Option(
            help="drain: copy images into the result. tap: point to the input instead; "
            "small, but needs the input."
        ),
    ] = Basins.drain,
    basin_roots: o.BasinRoots = None,
    allow_external: o.AllowExternal = False,
    allow_unidentified: o.AllowUnidentified = False,
    allow_oversized: o.AllowOversized = False,
    growing: o.Growing = False,
    compression: Annotated[
        str, typer.Option(metavar="NAME", help="none, or zstd-1 to zstd-9.")
    ] = "zstd-5",
    frames: Annotated[
        str | None,
        typer.Option(
            metavar="FRAMES",
            help="Only some frames: 100 (the first), 10-100-2 (from, to, step), or 3,5,9.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of workers; as many as cores if not given."),
    ] = None,
    recurse: Annotated[
        bool,
        typer.Option(
            "--recurse",
            "-r",
            help="Search folders within folders too; results are in the same folders below OUT.",
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace results that exist already.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Read finished results in full before they are skipped, not only small ones.",
        ),
    ] = False,
    no_preflight: Annotated[
        bool,
        typer.Option(
            "--no-preflight",
            help="Do not look whether disk and memory suffice before work begins.",
        ),
    ] = False,
    findings_ok: Annotated[
        bool,
        typer.Option(
            "--findings-ok",
            help="End with exit code 0 in place of 3, for programs that delete results at others.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object in place of the table.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; work in one thread.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")
    ] = False,
) -> None:
    """Measure recordings: find every event, write its features to a new .rtdc file.

    The numbers equal those of dcnum. A result that was already made by the
    same recipe is skipped; a bad file does not stop the others.

    Example: cytovox run day1 -o results --set segmenter.thresh=-3
    """
    from .one_recording import Measuring
    from .settings import Settings

    may = o.permissions_of(
        basin_roots,
        external=allow_external,
        unidentified=allow_unidentified,
        oversized=allow_oversized,
        growing=growing,
    )
    codes = {"background": background, "feature": "legacy", "gate": "norm"}
    codes["segmenter"], segmenter_file = _segmenter_code(segmenter, trust_model=trust_model)
    common = Settings(
        codes=codes,
        options=_options(settings or [], codes, frames),
        basin_strategy=basins.value,
        compression=compression,
        workers=workers,
        debug=debug,
        preflight=not no_preflight,
        permissions=may,
    )
    code = _run(
        inputs,
        out,
        Measuring(common, segmenter_file, force, verify),
        recurse=recurse,
        findings_ok=findings_ok,
        as_json=as_json,
        quiet=quiet or as_json,
    )
    raise typer.Exit(code)


def _segmenter_code(segmenter: str, *, trust_model: bool) -> tuple[str, str | None]:
    if trust_model:
        from ..recipe.trust import trust_all_models

        trust_all_models()
    if ".py" not in segmenter:
        return segmenter, None
    from ..segm.from_file import is_segmenter_file, load_segmenter_file

    if not is_segmenter_file(segmenter):
        return segmenter, None
    return load_segmenter_file(segmenter).get_ppid_code(), segmenter


def _options(
    words: list[str], codes: dict[str, str], frames: str | None
) -> dict[str, dict[str, Any]]:
    from .settings import parse_frames, parse_settings

    options = parse_settings(words, codes)
    if frames is not None:
        options.setdefault("data", {})["index_mapping"] = parse_frames(frames)
    return options


def _run(
    words: list[str],
    out: Path | None,
    measuring: Measuring,
    *,
    recurse: bool,
    findings_ok: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    from .batch import exit_code_of_batch, run_batch
    from .console import FINDINGS, report_error
    from .inputs import find_inputs, output_paths, refuse_clashes
    from .one_recording import Outcome
    from .progress_display import choose_display
    from .results import show_results

    found = find_inputs(words, recurse=recurse, out=out)
    outputs = output_paths(found.inputs, out, found.below if recurse else None)
    pairs, clashes = refuse_clashes(found.inputs, outputs)
    measuring.settings.check()
    failed = []
    for error in (*found.errors, *clashes):
        report_error(error, debug=measuring.settings.debug)
        failed.append(
            Outcome(str(error.path), state="failed", error=str(error), exit_code=error.exit_code)
        )
    display = choose_display(quiet=quiet)
    with display:
        outcomes = failed + run_batch(pairs, measuring, display)
    outcomes += [Outcome(str(path), state="left out", reason=why) for path, why in found.left_out]
    code = exit_code_of_batch(outcomes)
    if findings_ok and code == FINDINGS:
        code = 0
    show_results(outcomes, code, as_json=as_json, quiet=quiet)
    return code
