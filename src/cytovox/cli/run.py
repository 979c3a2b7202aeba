"""``cytovox run``: measure recordings."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .. import __version__
from . import command_options as o
from .command_options import option, options
from .console import FINDINGS, report_error, show

if TYPE_CHECKING:
    from .one_recording import Measuring

__all__ = ["run"]


@options
class _Recipe:
    """Where results go, and how they are made."""

    out: Path | None = option(
        None,
        "Folder for the results, or for one input a file ending in .rtdc. "
        "Without it, NAME_dcn.rtdc beside each input NAME.rtdc.",
        "--out",
        "-o",
        metavar="OUT",
    )
    settings: list[str] | None = option(
        None,
        "Change one setting, e.g. segmenter.thresh=-3 or mask.closing_disk=0. "
        "May be repeated. See: cytovox stages",
        "--set",
        "-s",
        metavar="STAGE.KEY=VALUE",
    )
    background: str = option("sparsemed", "How the background is computed.", metavar="CODE")
    segmenter: str = option(
        "thresh", "How events are found; also FILE.py:CLASS, your own segmenter.", metavar="CODE"
    )
    trust_model: bool = option(
        False,
        "Run the model that the segmenter uses. A model is a program: only say so if you "
        "trust where it comes from.",
    )
    basins: Literal["drain", "tap"] = option(
        "drain",
        "drain: copy images into the result. tap: point to the input instead; small, but "
        "needs the input.",
    )


@options
class _Allowed(o.AllowedToRecordings):
    growing: bool = option(
        False,
        "Measure recordings that another program still writes: the frames that are there "
        "now. Their results are made anew once there are more.",
    )


@options
class _Frames:
    compression: str = option(
        "zstd-5",
        "Compression of the result: none, or zstd-1 (fast) to zstd-9 (small).",
        metavar="NAME",
    )
    frames: str | None = option(
        None,
        "Only some frames: 100 (the first hundred), 10-100-2 (from, to, step), or 3,5,9.",
        metavar="FRAMES",
    )


@options
class _Where(o.Where):
    workers: int | None = option(
        None,
        "Number of workers; as many as cores if not given. With --cluster, how many recordings "
        "are measured at once.",
        min=1,
    )


@options
class _Again:
    recurse: bool = option(
        False,
        "Search folders within folders too; results are in the same folders below OUT.",
        "--recurse",
        "-r",
    )
    force: bool = option(False, "Replace results that exist already.")
    verify: bool = option(
        False, "Read finished results in full before they are skipped, not only small ones."
    )
    no_preflight: bool = option(
        False, "Do not check before work begins whether disk and memory suffice."
    )
    findings_ok: bool = option(
        False,
        "End with exit code 0 in place of 3, for programs that delete results at any other code.",
    )


@options
class _Said(o.SaidOfWork):
    debug: bool = option(False, "Show tracebacks; work in one thread.")


@options
class _Work(_Said, _Again, _Where, _Frames):
    """What is done of it, where, and in which way."""


def run(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="Recordings: files, folders, or patterns such as day1/*.rtdc."
        ),
    ],
    recipe: _Recipe,
    allowed: _Allowed,
    work: _Work,
) -> None:
    """Measure recordings: find every event, write its features to a new .rtdc file.

    The numbers equal those of dcnum. A result that was already made by the
    same recipe is skipped; a bad file does not stop the others.

    Example: cytovox run day1 -o results --set segmenter.thresh=-3
    """
    from .batch import exit_code_of_batch, run_batch, run_on_cluster, table_of
    from .inputs import find_inputs, output_paths, refuse_clashes
    from .one_recording import Outcome
    from .progress_display import showing_progress

    measuring = _measuring(recipe, allowed, work)
    measuring.check()
    found = find_inputs(inputs, recurse=work.recurse, out=recipe.out)
    outputs = output_paths(found.inputs, recipe.out, found.below if work.recurse else None)
    pairs, clashes = refuse_clashes(found.inputs, outputs)
    outcomes = []
    for error in (*found.errors, *clashes):
        report_error(error, debug=work.debug)
        outcomes.append(Outcome(str(error.path)))
        outcomes[-1].fail(error)
    with showing_progress(quiet=work.is_quiet) as display:
        if work.cluster is None:
            outcomes += run_batch(pairs, measuring, display)
        else:
            outcomes += run_on_cluster(pairs, measuring, display, work)
    outcomes += [Outcome(str(path), state="left out", reason=why) for path, why in found.left_out]
    code = exit_code_of_batch(outcomes)
    if work.findings_ok and code == FINDINGS:
        code = 0
    results = [asdict(outcome) for outcome in outcomes]
    plain = {"cytovox": __version__, "exit_code": code, "results": results}
    show(plain, "" if work.quiet else table_of(outcomes), as_json=work.as_json)
    raise typer.Exit(code)


def _measuring(recipe: _Recipe, allowed: _Allowed, work: _Work) -> Measuring:
    from .one_recording import Measuring
    from .settings import parse_frames, parse_settings

    segmenter, segmenter_file = recipe.segmenter, None
    if ".py" in segmenter:
        from ..segm.find_segmenters import is_segmenter_file, load_segmenter_file

        if is_segmenter_file(segmenter):
            segmenter_file = segmenter
            segmenter = load_segmenter_file(segmenter).get_ppid_code()
    codes = {
        "background": recipe.background,
        "feature": "legacy",
        "gate": "norm",
        "segmenter": segmenter,
    }
    options = parse_settings(recipe.settings or [], codes)
    if work.frames is not None:
        options.setdefault("data", {})["index_mapping"] = parse_frames(work.frames)
    return Measuring(
        codes=codes,
        options=options,
        basin_strategy=recipe.basins,
        compression=work.compression,
        workers=work.workers if work.cluster is None else None,
        debug=work.debug,
        preflight=not work.no_preflight,
        permissions=allowed.permissions(),
        trusted=frozenset({"all"} if recipe.trust_model else ()),
        segmenter_file=segmenter_file,
        force=work.force,
        verify=work.verify,
    )
