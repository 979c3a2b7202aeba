"""What is done with one recording, in this process or in a worker of the batch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OutputExistsError, StorageError
from ..recipe.trust import trusted_models, trusting
from ..run.progress import ProgressEvent, RunFinished
from .console import describe, exit_code_of, placed
from .finished import look_at_output
from .progress_display import Quiet
from .settings import Settings
from .signals import exit_code_of_interrupt, stop_gently

if TYPE_CHECKING:
    from ..read import HDF5Data

__all__ = ["Measuring", "Outcome", "folder_for"]

#: Share of dropped masks from which on it is a finding.
_MANY_DROPPED = 0.005


@dataclass(slots=True)
class Outcome:
    """What became of one input."""

    #: The recording, as it was named.
    input: str
    #: Where its result is or would be; None if that was never settled.
    output: str | None = None
    #: done, skipped, failed, stopped, waiting or left out.
    state: str = "waiting"
    #: Why it was left out.
    reason: str | None = None
    frames: int | None = None
    events: int | None = None
    masks_dropped: int | None = None
    objects: dict[str, Any] | None = None
    seconds: float | None = None
    pipeline_hash: str | None = None
    pixel_size: float | None = None
    offset_correction: bool | None = None
    findings: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    error: str | None = None
    exit_code: int = 0

    @property
    def verdict(self) -> str:
        """The state in words, with what was found."""
        words = {"skipped": "skipped, was finished", "waiting": "not begun"}
        words["left out"] = f"left out: {self.reason}"
        if self.error is not None:
            words["failed"] = f"failed: {self.error.removeprefix(f'{self.input}: ')}"
        return ", ".join([words.get(self.state, self.state), *self.findings])

    def fail(self, error: BaseException) -> None:
        """Note the error that ended the work on this input."""
        self.state, self.exit_code = "failed", exit_code_of(error)
        self.error = describe(error)


@dataclass(frozen=True, slots=True)
class Measuring:
    """How recordings are measured; called with each of them."""

    #: What all jobs have in common.
    settings: Settings
    #: File and class of a segmenter of the user, loaded in each process.
    segmenter_file: str | None = None
    #: Whether existing outputs are replaced.
    force: bool = False
    #: Whether finished outputs are read in full before they are skipped.
    verify: bool = False

    def __call__(
        self, path: Path, out: Path, display: Quiet
    ) -> tuple[Outcome, BaseException | None]:
        """Return what became of a recording, and the error that ended it."""
        outcome = Outcome(str(path), str(out))
        try:
            with trusting(self.settings.trusted):
                _run_one(path, out, self, display, outcome)
        except KeyboardInterrupt as interrupt:
            # The result may have been finished before the stop was heeded.
            outcome.state = "stopped" if outcome.seconds is None else "done"
            outcome.exit_code = exit_code_of_interrupt(interrupt)
        except Exception as error:  # noqa: BLE001 - the batch reports it
            outcome.fail(placed(error, outcome.input))
            return outcome, error
        return outcome, None

    def load_segmenter(self) -> None:
        """Load the segmenter of the user, if there is one, so that it is known by its code."""
        if self.segmenter_file is not None:
            from ..segm.find_segmenters import load_segmenter_file

            load_segmenter_file(self.segmenter_file)

    def for_other_machines(self) -> Measuring:
        """Return the same with what this machine's environment allows, and without its folder."""
        from ..read.permissions import default_permissions

        allowed = default_permissions()
        settings = replace(
            self.settings,
            permissions=self.settings.permissions or (allowed if any(astuple(allowed)) else None),
            trusted=self.settings.trusted | trusted_models(),
        )
        name = self.segmenter_file
        return replace(self, settings=settings, segmenter_file=name and os.path.abspath(name))


def _run_one(path: Path, out: Path, how: Measuring, display: Quiet, outcome: Outcome) -> None:
    from ..read import HDF5Data

    settings = how.settings
    arguments = settings.job_arguments()
    given = arguments["data_kwargs"]
    pixel_size, may = given.get("pixel_size"), given.get("permissions")
    # all readers of the recording in this run use the file that is opened here
    with HDF5Data(path, pixel_size=pixel_size, permissions=may) as data:
        if settings.automatic:
            _look_at_recording(data, settings, arguments, display, outcome)
        _run_opened(data, out, arguments, how, display, outcome)


def _run_opened(
    data: HDF5Data,
    out: Path,
    arguments: dict[str, Any],
    how: Measuring,
    display: Quiet,
    outcome: Outcome,
) -> None:
    from ..logic import DCNumJobRunner, DCNumPipelineJob
    from ..logic.run_folder import remove_leftovers

    path, force = Path(outcome.input), how.force
    outcome.pixel_size = arguments["data_kwargs"]["pixel_size"]
    job = DCNumPipelineJob(path_in=path, path_out=out, **arguments)
    outcome.offset_correction = job["background_kwargs"].get("offset_correction")
    outcome.pipeline_hash = job.get_ppid(ret_hash=True)[1]
    if out.exists() and not force:
        standing = look_at_output(job, data, thorough=how.verify)
        force = standing.is_outgrown
        if standing.refusal is not None and not force:
            raise OutputExistsError(
                standing.refusal, path=out, hint="give --force to replace it, or another -o"
            )
        if not force:
            outcome.state, outcome.events = "skipped", standing.events
            _find(outcome)
            remove_leftovers(out, only_published=True)
            display.note(f"{path}: skipped, {out} was made by this very recipe")
            return
        display.note(f"{path}: measured again, {standing.refusal}")

    def listen(event: ProgressEvent) -> None:
        _keep(outcome, event)
        display.show(event)

    with folder_for(out):
        runner = DCNumJobRunner(
            job,
            force=force,
            on_event=listen,
            preflight=how.settings.preflight,
            opened=data.opened,
        )
        with runner, stop_gently(runner.request_stop):
            runner.run()
    outcome.state = "done"
    _find(outcome)


def _look_at_recording(
    data: HDF5Data,
    settings: Settings,
    arguments: dict[str, Any],
    display: Quiet,
    outcome: Outcome,
) -> None:
    """Set the options of a recording that are automatic, as ChipStream does."""
    from ..read import detect_flickering
    from ..read.recording_file import find_pixel_size

    known, background = arguments["data_kwargs"], arguments["background_kwargs"]
    if "pixel_size" in settings.automatic:
        known["pixel_size"], doubt = find_pixel_size(data)
        if doubt is not None:
            doubt = f"{doubt}, pixel_size={known['pixel_size']:g}"
            outcome.warnings.append(doubt)
            display.note(f"{outcome.input}: {doubt}")
    image = data.locate("image")
    # of anything but images, the run reports what is wrong
    if (
        "offset_correction" in settings.automatic
        and image is not None
        and len(image.shape) == 3
        and len(image)
    ):
        flickers = background["offset_correction"] = detect_flickering(data)
        light = "flickers" if flickers else "does not flicker"
        display.note(
            f"{outcome.input}: the light {light}, offset_correction={str(flickers).lower()}"
        )


def _keep(outcome: Outcome, event: ProgressEvent) -> None:
    if isinstance(event, RunFinished):
        outcome.frames = event.frames
        outcome.events = event.events
        outcome.masks_dropped = event.masks_dropped
        outcome.objects = event.objects
        outcome.seconds = round(event.seconds, 3)
    elif (text := getattr(event, "text", None)) is not None:
        outcome.warnings.append(text)


def _find(outcome: Outcome) -> None:
    events, dropped = outcome.events or 0, outcome.masks_dropped or 0
    if not events:
        outcome.findings.append("no events")
    if dropped > _MANY_DROPPED * (events + dropped):
        share = 100 * dropped / (events + dropped)
        outcome.findings.append(f"{share:.1f} % of masks dropped")


@contextlib.contextmanager
def folder_for(out: Path) -> Iterator[None]:
    """Make the folder of a result, with its parents; remove what was made and is empty."""
    missing: list[Path] = []
    for part in out.parents:
        if part.exists():
            break
        missing.append(part)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"the folder cannot be made: {error.strerror or error}",
            path=out.parent,
            hint="name another with -o",
        ) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # it is not empty
            for folder in missing:
                folder.rmdir()
