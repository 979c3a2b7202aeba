"""What commands share that look at one frame, of a recording or of what a result was made of."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ..errors import OutputExistsError, UsageError, escaped
from .command_options import INPUT, AllowedToRecordings, argument, option, options
from .run_options import DecidingOptions, one_recipe, recipes_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..logic import DCNumPipelineJob
    from ..logic.fates import Analysis
    from ..logic.frame_source import FrameSource
    from ..read import HDF5Data, Permissions
    from .progress_display import Quiet

__all__ = ["FrameFile", "FrameOptions", "LookedAt", "looking_at", "save_picture"]

FrameFile = Annotated[Path, argument("FILE", "A recording, or the result of a run (.rtdc).")]


@options
class FrameOptions(DecidingOptions):
    """Which frame is looked at, and how it is measured."""

    recipes: tuple[str, ...] = one_recipe()
    frame: int = option(
        ...,
        "Number of the frame in the recording, from 0, as dclab counts (ds['image'][N]) and "
        "--frames of cytovox run. DCscope shows it as N + 1. The feature 'frame' is another "
        "number, that of the camera.",
        "--frame",
        "-n",
        min=0,
        metavar="N",
        panel=INPUT,
    )
    origin: Path | None = option(
        None,
        "Of a result: the recording that it was made of, or its folder, if it is not where the "
        "run has read it or beside the result.",
        "--input",
        metavar="FILE|FOLDER",
        panel=INPUT,
    )

    @property
    def changes_recipe(self) -> bool:
        """Whether the recipe is another one than that of a result."""
        return bool(
            self.recipes or self.like or self.settings or self.background or self.segmenter
        )


@dataclass(frozen=True, slots=True, eq=False)
class LookedAt:
    """A frame, analysed as the only one."""

    file: Path
    recording: Path
    number: int
    #: What the camera has counted, which is the feature ``frame``; None if it is not there.
    camera: int | None
    job: DCNumPipelineJob
    analysis: Analysis
    #: The result by whose own recipe the frame is analysed, if it was measured there.
    result: HDF5Data | None
    #: Why it may not say the same: another version, a recording that has changed.
    reasons: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """The frame in words."""
        camera = "" if self.camera is None else f", {self.camera} of the camera"
        of = "" if self.recording == self.file else f" of {self.recording.name}"
        counted = f"{self.number + 1} in DCscope{camera}"
        return escaped(f"{self.file.name}: frame {self.number}{of} ({counted})")

    def plain(self) -> dict[str, Any]:
        """Return what is looked at as values that JSON knows."""
        from ..run.rows import objects_by_cause

        return {
            "file": str(self.file),
            "recording": str(self.recording),
            "frame": self.number,
            "frame_in_dcscope": self.number + 1,
            "frame_of_camera": self.camera,
            "pipeline": self.job.get_ppid(),
            "objects": objects_by_cause(self.analysis.objects.counts(1)[0]),
        }


@contextlib.contextmanager
def looking_at(
    file: Path, what: FrameOptions, allowed: AllowedToRecordings, display: Quiet
) -> Iterator[LookedAt]:
    """Analyse a frame as a run would; that of a result, as the run that made it."""
    from ..logic.fates import analyse
    from ..logic.origin import check_measurement, find_origin
    from ..logic.recipes import job_of_result
    from ..read import HDF5Data
    from ..read.permissions import default_permissions
    from ..recipe.trust import trusting

    may, recording = allowed.permissions(), file
    reasons: tuple[str, ...] = ()
    with contextlib.ExitStack() as stack:
        data = stack.enter_context(HDF5Data(file, permissions=may))
        result = data if "pipeline:dcnum hash" in data.meta else None
        if result is not None:
            recording = find_origin(result, what.origin)
            may = (may or default_permissions()).within(recording.absolute().parent)
            data = stack.enter_context(HDF5Data(recording, permissions=may, opened=data.opened))
            check_measurement(result, data)
            reasons = tuple(_reasons_to_differ(result, data))
        elif what.origin is not None:
            raise UsageError("this is no result; --input is for such", path=file)
        stack.enter_context(trusting(frozenset({"all"} if what.trust_model else ())))
        if result is None or what.changes_recipe:
            job = _job_of(data, recording, what, None if result is None else file, may)
            result = None
        else:
            job = job_of_result(result, recording)
        source = stack.enter_context(_frames_of(job, data, display))
        analysis = analyse(source.read([what.frame]), job, source.data)
        camera = float(source.data["frame"][what.frame]) if "frame" in source.data else math.nan
        if result is not None and what.frame not in source.chosen():
            display.note(f"{file}: frame {what.frame} is not among the frames of the run")
            result = None
        counted = int(camera) if math.isfinite(camera) else None
        yield LookedAt(file, recording, what.frame, counted, job, analysis, result, reasons)


def _reasons_to_differ(result: HDF5Data, recording: HDF5Data) -> Iterator[str]:
    from .. import __version__
    from ..logic.record import read_record
    from .finished import change_since

    record = read_record(result)
    if (change := change_since(recording, record.get("read"))) is not None:
        yield f"the result {change}"
    if (version := record.get("cytovox version")) != __version__:
        yield f"the result was made by cytovox {version or 'not at all'}; this is {__version__}"


def _job_of(
    data: HDF5Data,
    recording: Path,
    what: FrameOptions,
    result: Path | None,
    may: Permissions | None,
) -> DCNumPipelineJob:
    """Return the job that a command asks for, with what is automatic settled."""
    from ..logic import DCNumPipelineJob
    from ..logic.automatic import settle_automatic
    from .settings import Settings, recipe_fields

    if result is not None and not what.recipes:
        what.like = what.like or result
    recipes = recipes_of(what, may)
    if len(recipes) > 1:
        raise UsageError("a frame is looked at with one recipe", hint="give one --recipe")
    settings = Settings(**recipe_fields(recipes[0]), permissions=may)
    settings.check()
    arguments = settings.job_arguments()
    for stage, settled in settle_automatic(data, settings.automatic).options.items():
        arguments[f"{stage}_kwargs"].update(settled)
    return DCNumPipelineJob(recording, **arguments)


def _frames_of(job: DCNumPipelineJob, data: HDF5Data, display: Quiet) -> FrameSource:
    """Return the frames of a job; the background is shown while it is computed."""
    from ..logic.frame_source import FrameSource
    from ..run.progress import StageProgress, StageStarted

    total = len(data)
    display.show(StageStarted("background", total))

    def show(fraction: float) -> None:
        display.show(StageProgress("background", int(fraction * total), total))

    return FrameSource(job, opened=data.opened, on_progress=show)


def save_picture(figure: Figure, path: Path, *, force: bool) -> Path:
    """Write a picture, over none that is there unless that was said."""
    from ..report import save_figure

    if path.suffix.lower() != ".png":
        raise UsageError("a picture is a file ending in .png", path=path, hint="name it so")
    if os.path.lexists(path) and not force:
        hint = "give --force to replace it, or another -o"
        raise OutputExistsError("the picture exists already", path=path, hint=hint)
    return save_figure(figure, path)
