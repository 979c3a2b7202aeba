"""What is done with one recording, in this process or in a worker of the batch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import (
    BasinIdentifierMismatchError,
    BasinNotFoundError,
    CytovoxError,
    InputError,
    InputNotFoundError,
    SegmenterNotApplicableError,
    StorageError,
)
from ..recipe.trust import trusted_models, trusting
from ..run.memory import cpu_count
from ..run.progress import ProgressEvent, RunFinished
from ..run.team import LostWorkerError
from .console import describe, exit_code_of
from .progress_display import Quiet
from .settings import Settings
from .signals import exit_code_of_interrupt, stop_gently

if TYPE_CHECKING:
    from ..logic import DCNumPipelineJob
    from ..read import HDF5Data

__all__ = ["Measuring", "Outcome", "Recording", "Task", "folder_for"]

#: Share of dropped masks from which on it is a finding.
_MANY_DROPPED = 0.005
#: Bytes of a recording that is small: some thousand frames.
_SMALL = 64 << 20


@dataclass(slots=True)
class Outcome:
    """What became of one input."""

    #: The recording, as it was named.
    input: str
    #: Where its result is or would be; None if that was never settled.
    output: str | None = None
    #: Name of the recipe by which it is measured.
    recipe: str | None = None
    #: done, skipped, failed, stopped, waiting or left out.
    state: str = "waiting"
    #: Why it was left out.
    reason: str | None = None
    frames: int | None = None
    events: int | None = None
    masks_dropped: int | None = None
    objects: dict[str, Any] | None = None
    #: Why there are few events.
    likely_reason: str | None = None
    seconds: float | None = None
    pipeline_hash: str | None = None
    pixel_size: float | None = None
    offset_correction: bool | None = None
    findings: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    error: str | None = None
    #: Whether it failed because the recording is damaged, or ends what reads it.
    is_broken: bool = False
    exit_code: int = 0

    @property
    def verdict(self) -> str:
        """The state in words, with what was found."""
        words = {"skipped": "skipped, was finished", "waiting": "not begun"}
        words["left out"] = f"left out: {self.reason}"
        if self.error is not None:
            words["failed"] = f"failed: {self.error.removeprefix(f'{self.input}: ')}"
        return ", ".join([words.get(self.state, self.state), *self.findings])

    def see(self, event: ProgressEvent) -> None:
        """Keep what an event of the run tells."""
        if isinstance(event, RunFinished):
            self.frames, self.events = event.frames, event.events
            self.masks_dropped, self.objects = event.masks_dropped, event.objects
            self.seconds = round(event.seconds, 3)
            self.likely_reason = event.likely_reason
        elif (text := getattr(event, "text", None)) is not None:
            self.warnings.append(text)

    def end(self, state: str) -> None:
        """Note that there is a result, and what should be looked at in it."""
        self.state = state
        events, dropped = self.events or 0, self.masks_dropped or 0
        if not events:
            self.findings.append("no events")
        if dropped > _MANY_DROPPED * (events + dropped):
            share = 100 * dropped / (events + dropped)
            self.findings.append(f"{share:.1f} % of masks dropped")

    def fail(self, error: BaseException) -> None:
        """Note the error that ended the work on this input."""
        self.state, self.exit_code = "failed", exit_code_of(error)
        self.error = describe(error)
        self.is_broken = _blames_the_recording(error)


def _blames_the_recording(error: BaseException) -> bool:
    from ..read.permissions import RefusedInputError

    of_another = (
        InputNotFoundError,
        BasinNotFoundError,
        BasinIdentifierMismatchError,
        SegmenterNotApplicableError,
        RefusedInputError,
    )
    if isinstance(error, LostWorkerError):
        return error.unit is not None  # else it was lost before it could work
    return isinstance(error, InputError) and not isinstance(error, of_another)


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording, and where its result goes: names as they were given, and from which folder."""

    input: str
    output: str
    index: int = 0
    folder: str = ""
    #: Name of the recipe by which it is measured.
    recipe: str = "default"
    #: How many recordings are measured at the same time, with this one.
    at_once: int = 1

    @property
    def path(self) -> Path:
        """Where the recording is."""
        return Path(self.folder, self.input)

    @property
    def out(self) -> Path:
        """Where its result goes."""
        return Path(self.folder, self.output)

    @property
    def is_small(self) -> bool:
        """Whether a worker measures it in a few seconds, as the size of the file tells."""
        try:
            return self.path.stat().st_size <= _SMALL
        except OSError:
            return True  # there is nothing to measure

    def __str__(self) -> str:
        return self.path.name

    def outcome(self) -> Outcome:
        """Return what is known of it before anything is done."""
        return Outcome(self.input, self.output, self.recipe)

    def named(self, error: Exception) -> Exception:
        """Let an error of ours name a file as it was given, and this one if it names none."""
        if isinstance(error, CytovoxError):
            names = {str(self.path): self.input, str(self.out): self.output}
            names |= {str(self.path.absolute()): self.input, str(self.out.absolute()): self.output}
            error.path = names.get(error.path or str(self.path), error.path)
        return error


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be done with a recording."""

    job: DCNumPipelineJob
    #: Whether an existing output is replaced.
    force: bool
    #: Whether the output is there, so that nothing is to be done.
    is_finished: bool = False


@dataclass(frozen=True, slots=True)
class Measuring(Settings):
    """How recordings are measured; called with each of them."""

    #: File and class of a segmenter of the user, loaded in each process.
    segmenter_file: str | None = None
    #: Whether existing outputs are replaced.
    force: bool = False
    #: Whether finished outputs are read in full before they are skipped.
    verify: bool = False

    def __call__(self, recording: Recording, display: Quiet) -> tuple[Outcome, Exception | None]:
        """Return what became of a recording, and the error that ended it."""
        outcome = recording.outcome()
        try:
            with trusting(self.trusted):
                self._measure(recording, display, outcome)
        except KeyboardInterrupt as interrupt:
            # The result may have been finished before the stop was heeded.
            if outcome.seconds is None:
                outcome.state = "stopped"
            else:
                outcome.end("done")
            outcome.exit_code = exit_code_of_interrupt(interrupt)
        except Exception as error:  # noqa: BLE001 - the batch reports it
            outcome.fail(recording.named(error))
            return outcome, error
        return outcome, None

    @property
    def is_for_gpu(self) -> bool:
        """Whether the segmenter is made for a GPU, which one process at a time should use."""
        from ..segm.find_segmenters import get_segmenter

        segmenter = get_segmenter(self.codes["segmenter"])
        return getattr(segmenter, "hardware_processor", "cpu") == "gpu"

    def shared(self, at_once: int) -> Measuring:
        """Return the same for one of so many recordings that share the workers."""
        if at_once == 1:
            return self
        return replace(self, workers=max(1, (self.workers or cpu_count()) // at_once))

    def load_segmenter(self) -> None:
        """Load the segmenter of the user, if there is one, so that it is known by its code."""
        if self.segmenter_file is not None:
            from ..segm.find_segmenters import load_segmenter_file

            load_segmenter_file(self.segmenter_file)

    def for_other_machines(self) -> Measuring:
        """Return the same with what this machine's environment allows, and without its folder."""
        from ..read.permissions import default_permissions

        allowed = default_permissions()
        return replace(
            self,
            permissions=self.permissions or (allowed if any(astuple(allowed)) else None),
            trusted=self.trusted | trusted_models(),
            segmenter_file=self.segmenter_file and os.path.abspath(self.segmenter_file),
        )

    def _measure(self, recording: Recording, display: Quiet, outcome: Outcome) -> None:
        from ..logic import DCNumJobRunner
        from ..logic.run_folder import remove_leftovers

        def listen(event: ProgressEvent) -> None:
            outcome.see(event)
            display.show(event)

        # all readers of the recording in this run use the file that is opened here
        with self.open(recording) as data:
            task = self.decide(data, recording, outcome, display.note)
            if task.is_finished:
                remove_leftovers(recording.out, only_published=True)
                made = f"{outcome.output} was made by this very recipe"
                display.note(f"{outcome.input}: skipped, {made}")
                return
            with folder_for(recording.out):
                runner = DCNumJobRunner(
                    task.job,
                    force=task.force,
                    on_event=listen,
                    preflight=self.preflight,
                    opened=data.opened,
                )
                with runner, stop_gently(runner.request_stop):
                    runner.run()
            outcome.end("done")

    def open(self, recording: Recording) -> HDF5Data:
        """Open a recording."""
        from ..read import HDF5Data

        pixel_size = self.options.get("data", {}).get("pixel_size")
        return HDF5Data(recording.path, pixel_size=pixel_size, permissions=self.permissions)

    def decide(
        self, data: HDF5Data, recording: Recording, outcome: Outcome, note: Callable[[str], None]
    ) -> Task:
        """Make the job of a recording, and find out whether its output is finished.

        An error says why an output that exists is neither skipped nor replaced. Nothing is
        written.
        """
        from ..logic import DCNumPipelineJob
        from .finished import OutgrownError, counts_of_output

        arguments = self.job_arguments()
        self._look_at(data, arguments, outcome, note)
        outcome.pixel_size = arguments["data_kwargs"]["pixel_size"]
        job = DCNumPipelineJob(path_in=recording.path, path_out=recording.out, **arguments)
        job.automatic = self.automatic
        outcome.offset_correction = job["background_kwargs"].get("offset_correction")
        outcome.pipeline_hash = job.get_ppid(ret_hash=True)[1]
        if recording.out.exists() and not self.force:
            try:
                counts = counts_of_output(job, data, thorough=self.verify)
            except OutgrownError as error:
                note(f"{outcome.input}: measured again, {error.what}")
                return Task(job, force=True)
            outcome.events, outcome.objects = counts
            outcome.end("skipped")
            return Task(job, force=False, is_finished=True)
        return Task(job, self.force)

    def _look_at(
        self,
        data: HDF5Data,
        arguments: dict[str, Any],
        outcome: Outcome,
        note: Callable[[str], None],
    ) -> None:
        """Set the options of a recording that are automatic, and say what they are."""
        from ..logic.automatic import settle_automatic

        found = settle_automatic(data, self.automatic)
        for stage, options in found.options.items():
            arguments[f"{stage}_kwargs"].update(options)
        if found.doubt is not None:
            doubt = f"{found.doubt}, pixel_size={found.options['data']['pixel_size']:g}"
            outcome.warnings.append(doubt)
            note(f"{outcome.input}: {doubt}")
        if (flickers := found.options.get("background", {}).get("offset_correction")) is not None:
            light = "flickers" if flickers else "does not flicker"
            note(f"{outcome.input}: the light {light}, offset_correction={str(flickers).lower()}")


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
