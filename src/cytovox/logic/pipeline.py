"""The tasks of a job: from its input to a temporary output that is complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from ..background.base import BackgroundKind
from ..read import HDF5Data, get_measurement_identifier
from ..run.rows import no_objects, objects_by_cause
from ..segm import UNISegmenter
from ..write import HDF5Writer, copy_metadata
from ..write.ledger import Checkpoint
from . import frame_data
from .background_step import (
    add_background,
    keep_background,
    kept_background,
    offsets_of_kept,
    sign_background,
)
from .conveyor import Conveyor
from .frame_data import internal_images
from .frame_source import FrameSource
from .job import DCNumPipelineJob
from .likely_reason import is_few, likely_reason
from .measured_before import MeasuredBefore, known_bursts
from .record import Tasks, free_stamp, job_record, wrap_lines, write_identity
from .resume import ResumableOutput
from .run_folder import RunFolder
from .run_input import RunInput
from .run_progress import RunProgress, RunState

__all__ = ["Pipeline"]

#: Share of frames with a dropped mask above which the log warns.
_DROPPED_WARNING = 0.005


@dataclass(eq=False)
class Pipeline:
    """Does the tasks of a job, and counts what they find."""

    job: DCNumPipelineJob
    inputs: RunInput
    folder: RunFolder
    output: ResumableOutput
    progress: RunProgress
    _: KW_ONLY
    ids: Mapping[str, str]
    pphash: str
    processes: bool | None = None

    def __post_init__(self) -> None:
        self.logger = self.progress.logger
        self.events = 0
        #: Events of each frame that another run has done.
        self.counts = np.empty(0, np.int64)
        self._objects = no_objects(1)[0]
        #: Why there are no or few events, if that is so and known.
        self.likely_reason: str | None = None
        self._conveyor: Conveyor | None = None

    @property
    def objects(self) -> dict[str, Any] | None:
        """How many objects were found, kept, and lost by cause; None without segmentation."""
        counts = objects_by_cause(self._objects)
        return counts if counts["kept"] == self.events else None

    @property
    def masks_dropped(self) -> int:
        """Number of masks that passed the gate, but have no valid contour."""
        return 0 if self.objects is None else int(self.objects["lost"]["contour"])

    def start_at(self, checkpoint: Checkpoint) -> None:
        """Take over what another run has counted."""
        self.counts = checkpoint.counts.astype(np.int64)
        self.events = checkpoint.events
        self._objects = np.array(checkpoint.objects)

    def wake(self) -> None:
        """Act on a request to stop now."""
        conveyor = self._conveyor
        if conveyor is not None:
            conveyor.wake()

    def add_background(self, *, defer_offset: bool) -> None:
        """Compute the background; its offset can wait until frames are loaded."""
        inputs = self.inputs
        if (kept := kept_background(self.folder)) is not None:
            self.logger.info("The background of another run is used")
            inputs.offsets = offsets_of_kept(inputs.frame_data) if kept["deferred"] else None
            return
        self.logger.info("Starting background computation")
        result = add_background(
            self.job,
            inputs,
            self.ids["bg_id"],
            defer_offset=defer_offset,
            known=known_bursts(self.folder.path_out, self.job),
            on_progress=lambda fraction: self.progress.report(RunState.BACKGROUND, fraction),
            logger=self.logger,
        )
        for text in result.warnings:
            self.progress.warn(text)
        is_new = result.kind is not BackgroundKind.COPY
        if is_new and not result.has_offset and "bg_off" in inputs.whole:
            self.progress.warn(
                "the input has a 'bg_off' of an earlier background, which still applies"
            )
        keep_background(self.folder, deferred=inputs.offsets is not None)
        self.logger.info("Finished background computation")

    def add_signed_background(self) -> None:
        """Compute the background with its offset, for all that read the temporary input."""
        self.add_background(defer_offset=False)
        # what was read before lacks the background
        self.inputs.close_temporary()
        if self.job["background_code"] != "copy":
            sign_background(self.folder.path("input"), self.ids["bg_id"])

    def segment(self) -> None:
        """Segment, measure and write all events into the output."""
        self.logger.info("Starting segmentation and feature extraction")
        ledger = self.output.open()
        before = self._measured_before()
        conveyor = Conveyor(
            self.job,
            self.inputs.slots,
            self.output.target,
            frame_images=self.inputs.plan.images,
            logger=self.logger,
            processes=self._use_processes(),
            offsets=self.inputs.offsets,
            ledger=ledger,
            counts=self.counts,
            before=before,
        )
        self._conveyor = conveyor
        try:
            conveyor.run(self._on_frames_done)
        finally:
            self._conveyor = None
            if before is not None:
                before.close()
                self.logger.info("Frames whose events were known: %d", before.frames)
        self.events = conveyor.events
        self._objects = conveyor.objects
        self.logger.info("Finished segmentation and feature extraction")
        self._report_objects()

    def _measured_before(self) -> MeasuredBefore | None:
        """Return what was measured while the recording was written."""
        before = MeasuredBefore.find(self.folder.path_out, self.job)
        background = internal_images(self.inputs.frame_data)
        if before is not None and background is not None:
            images, mapping, *_ = background
            before.expect(images, mapping)
        return before

    def _report_objects(self) -> None:
        counts = objects_by_cause(self._objects)
        lost = ", ".join(f"{cause} {number}" for cause, number in counts["lost"].items())
        self.logger.info(
            "Objects: found %d, kept %d, lost: %s", counts["found"], counts["kept"], lost
        )
        if self.masks_dropped > _DROPPED_WARNING * len(self.inputs.slots):
            self.progress.warn(f"Encountered {self.masks_dropped} invalid masks")
        if not self.events:
            self.progress.warn(f"No events found in {self.inputs.path}")
        if is_few(self.events, len(self.inputs.slots)):
            self.likely_reason = likely_reason(FrameSource.of_run(self.job, self.inputs), self.job)
            if self.likely_reason is not None:
                self.progress.warn(f"few events, likely because {self.likely_reason}")

    def _use_processes(self) -> bool:
        if self.processes is not None:
            return self.processes
        cls = self.job.get_segmenter_class()
        alone = self.job["debug"] or self.job["num_procs"] == 1
        return issubclass(cls, UNISegmenter) and not (cls.releases_gil or alone)

    def _on_frames_done(self, share: float, events: int, rate: float) -> None:
        self.events = events
        self.progress.rate = rate
        self.progress.report(RunState.SEGMENTATION, share)

    def refer_to_input(self) -> None:
        """Begin an output with the events of the input, to which nothing has to be done."""
        self.logger.info("Nothing to do again; the output refers to the input")
        self.folder.claim(self.output.kind)
        self.events = len(self.inputs.raw)

    def bring_frame_data(self) -> None:
        """Bring frame data to the events, as copies or as references."""
        inputs = self.inputs
        with self._writer() as writer:
            frame_data.bring_frame_data(
                writer, inputs.plan, inputs.whole, inputs.frame_data, inputs.slots.mapping_indices
            )

    def pass_on_input(self) -> None:
        """Bring all that the input holds to an output that refers to it."""
        with self._writer() as writer:
            copy = self.job["basin_strategy"] == "drain"
            frame_data.pass_on(writer, self.inputs.whole, copy=copy)

    def _writer(self) -> HDF5Writer:
        return HDF5Writer(self.output.target, ds_kwds=self.job.get_hdf5_dataset_kwargs())

    def write_records(self, tasks: Tasks, started: str, log_lines: Sequence[str]) -> None:
        """Write attributes and logs into the output, and note that it is complete."""
        raw, whole = self.inputs.raw, self.inputs.whole
        mapping = self.job["data_kwargs"].get("index_mapping")
        with self._writer() as writer:
            write_identity(
                writer.h5,
                ids=self.ids,
                pphash=self.pphash,
                mapping=HDF5Data.get_ppid_index_mapping(mapping),
                events=self.events,
                pixel_size=raw.pixel_size,
            )
            copy_metadata(whole.h5, writer.h5, permissions=raw.permissions)
            if tasks.segmentation:
                identifier = get_measurement_identifier(whole.h5)
                own = f"dcn-{self.pphash[:7]}"
                writer.h5.attrs["experiment:run identifier"] = (
                    f"{identifier}_{own}" if identifier else own
                )
            record = job_record(
                self.job.kwargs,
                self.ids,
                self.pphash,
                tasks,
                self.job.segmenter_source(),
                source=self.inputs.source(),
                objects=self.objects,
                automatic=self.job.automatic,
            )
            stamp = free_stamp(writer.h5, started)
            writer.store_log(f"dcnum-job-{stamp}", record)
            writer.store_log(f"dcnum-log-{stamp}", wrap_lines(log_lines) or ["-"])
        objects = tuple(self._objects.tolist())
        self.output.complete(len(raw), self.events, objects)
