"""The runner: takes a job from its input to a finished, verified output."""

from __future__ import annotations

import dataclasses
import threading
import time
import traceback
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..background.base import BackgroundKind
from ..errors import CytovoxError, InterruptedRunError, OptionError, StorageError, UsageError
from ..feat import Gate, QueueEventExtractor
from ..read import HDF5Data, get_measurement_identifier
from ..read.opening import OpenedFiles
from ..read.permissions import Permissions, default_permissions
from ..read.structure import left_alone
from ..run.logs import RunLog
from ..run.progress import Listener, RunFinished
from ..run.rows import no_objects, objects_by_cause
from ..segm import UNISegmenter
from ..write import HDF5Writer, copy_metadata
from . import frame_data
from .background_step import sign_background, store_background
from .conveyor import Conveyor
from .job import DCNumPipelineJob
from .preflight import check_room
from .publish import publish, refuse_existing, verify_output
from .record import free_stamp, job_record, time_stamp, wrap_lines, write_identity
from .redo import Redo, what_to_redo
from .resume import fingerprint_of, is_damage, is_resumable, offsets_of_kept
from .runner_data import OF_TEMP_IN
from .runner_log import RunnerLog
from .states import PROGRESS_WEIGHTS, RunState
from .workspace import Workspace, remove_leftovers

__all__ = ["DCNumJobRunner"]

#: Share of frames with a dropped mask above which the log warns.
_DROPPED_WARNING = 0.005
#: Seconds that a thread gets to end when its block is left.
_STOP = 3.0
_GOES_ON = "the same command goes on where this run has stopped"


class DCNumJobRunner(RunnerLog, threading.Thread):
    """Run a pipeline as defined by a `DCNumPipelineJob`.

    Use it as a thread (`start`, `join`) or call `run` directly; in the latter
    case an error is raised. The output gets its name only when it is complete
    and verified.

    A run that was killed or stopped leaves temporary files beside the output,
    with which the next run of the same job goes on.

    Parameters
    ----------
    job
        Pipeline job to run.
    tmp_suffix
        Text that makes the names of temporary files unique; made of the name
        of the host and random digits if None, or that of a run with which this
        one goes on.
    force
        Whether an existing output may be replaced.
    on_event
        Function that is told what happens, see `cytovox.run.progress`.
    processes
        Whether a `UNISegmenter` runs in processes; all else is done by threads.
        If None, it does where it would keep threads waiting for each other.
    preflight
        Whether to look, before work begins, if disk and memory suffice.
    opened
        Files that are open already, see `cytovox.read.HDF5Data`.

    Attributes
    ----------
    ppid, pphash, ppdict
        Identifier of the pipeline, its hash and its parts.
    event_count : int
        Events so far.
    error, error_tb
        Exception that ended the run and its traceback as text, or None.
    path_log : pathlib.Path
        Log of the run, as long as it lasts.

    Examples
    --------
    >>> from cytovox.testing import simulate_recording
    >>> folder = getfixture("tmp_path")
    >>> _ = simulate_recording(folder / "raw.rtdc", frames=20)
    >>> with DCNumJobRunner(DCNumPipelineJob(folder / "raw.rtdc", num_procs=1)) as runner:
    ...     runner.run()
    >>> runner.state, (folder / "raw_dcn.rtdc").exists()
    ('done', True)
    """

    #: Kinds of temporary files that stay until `close` when the run is done.
    _until_close: ClassVar[tuple[str, ...]] = ()
    #: Whether the log stays if an error leaves the context, even if nobody can go on.
    _keeps_log: ClassVar[bool] = False

    def __init__(
        self,
        job: DCNumPipelineJob,
        tmp_suffix: str | None = None,
        *args: Any,
        force: bool = False,
        on_event: Listener | None = None,
        processes: bool | None = None,
        preflight: bool = True,
        opened: OpenedFiles | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("name", "cytovox-runner")
        super().__init__(*args, daemon=True, **kwargs)
        self.job = job
        self.force = force
        self.on_event = on_event
        self.processes = processes
        self.preflight = preflight
        self._opened = opened
        self.ppid, self.pphash, self.ppdict = job.get_ppid(ret_hash=True, ret_dict=True)
        self.event_count = 0
        self._objects = no_objects(1)[0]
        self.error: BaseException | None = None
        self.error_tb: str | None = None
        self.path_in = Path(job["path_in"]).absolute()
        self.path_out = Path(job["path_out"]).absolute()
        self._files = Workspace(self.path_out, tmp_suffix)
        self.path_log = self._files.path("log")
        self._log = RunLog("Runner", self.path_log, job["log_level"])
        self.logger = self._log.logger
        self._state = RunState.INIT
        self._fractions = dict.fromkeys(PROGRESS_WEIGHTS["drain"], 0.0)
        self._segm_rate = 0.0
        self._stop_requested = threading.Event()
        self._ended = threading.Event()
        self._is_within = False
        self._conveyor: Conveyor | None = None
        self._counts: npt.NDArray[np.int64] | None = None
        self._stage_seconds: dict[str, float] = {}

    def __enter__(self) -> DCNumJobRunner:
        self._is_within = True
        return self

    def __exit__(self, exc_type: object, exc_val: object, exc_tb: object) -> None:
        # A thread that nobody waits for any more, as after Ctrl-C; which may have made
        # Python believe that it has ended.
        if self.ident is not None and not self._ended.is_set():
            self.request_stop()
            self._ended.wait(_STOP)
        keep = self._keeps_log or self._files.is_kept
        self.close(delete_temporary_files=exc_type is None or not keep)

    @property
    def masks_dropped(self) -> int:
        """Number of masks that passed the gate, but have no valid contour."""
        return 0 if self.objects is None else int(self.objects["lost"]["contour"])

    @property
    def objects(self) -> dict[str, Any] | None:
        """How many objects were found, kept, and lost by cause; None without segmentation."""
        told = objects_by_cause(self._objects)
        return told if told["kept"] == self.event_count else None

    @property
    def tmp_suffix(self) -> str:
        """Text that makes the names of temporary files unique."""
        return self._files.suffix

    def request_stop(self) -> None:
        """Ask the run to stop soon; it then ends with `InterruptedRunError`."""
        self._stop_requested.set()
        conveyor = self._conveyor
        if conveyor is not None:
            conveyor.wake()

    def close(self, delete_temporary_files: bool = True) -> None:
        """Let go of all files; may be called again.

        Parameters
        ----------
        delete_temporary_files
            Whether the log and all temporary files of this run are removed, also
            those with which another run could go on.
        """
        self._close_readers()
        self._close_log_queue()
        if delete_temporary_files:
            self._log.delete()  # before the lock, without which nobody knows whose it was
        else:
            self._log.close()
        self._files.close(delete=delete_temporary_files)

    def join(self, delete_temporary_files: bool = True, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Wait for the end of the thread and let go of all files.

        Parameters
        ----------
        delete_temporary_files
            Whether the log and all temporary files of this run are removed, also
            those with which another run could go on.
        *args, **kwargs
            As for `threading.Thread.join`. If the time is over before the thread
            has ended, nothing is let go of.
        """
        super().join(*args, **kwargs)
        if not self.is_alive():
            self.close(delete_temporary_files)

    def run(self) -> None:
        """Execute the job; an error is raised unless this is a thread's run."""
        try:
            self.run_pipeline()
        except BaseException as err:
            self.error = err
            self.error_tb = traceback.format_exc()
            self.state = RunState.ERROR
            if not isinstance(err, (KeyboardInterrupt, InterruptedRunError)):
                self.logger.debug("the run has failed", exc_info=True)
            self._give_up(err)
            if threading.current_thread() is not self:
                raise
        finally:
            self._ended.set()

    def _give_up(self, error: BaseException) -> None:
        """Leave what another run can go on with, or nothing."""
        self._close_readers(OF_TEMP_IN)
        if not self._files.is_entered:
            return
        keep = is_resumable(error)
        if self._counts is not None and is_damage(error):
            keep = False  # or each run that goes on would end like this
        self._files.leave(keep=keep, error=error)
        if self._files.is_kept and isinstance(error, CytovoxError):
            error.hint = f"{error.hint}; {_GOES_ON}" if error.hint else _GOES_ON

    def run_pipeline(self) -> None:
        """Execute the pipeline job.

        Raises
        ------
        CytovoxError
            If the job cannot be done; then there is no output.
        """
        begin = time.perf_counter()
        started = time_stamp()
        self._check_before()
        self.state = RunState.SETUP
        self.logger.info("Run start: %s", started)
        self._go_on()
        if not self._is_complete():
            self._make_output(started, begin)
        self.state = RunState.CLEANUP
        verify_output(
            self.path_temp_out,
            self.event_count,
            self.job["data_kwargs"].get("permissions"),
        )
        self._require_unchanged()
        self._files.begin_publishing()
        publish(self.path_temp_out, self.path_out, replace=self.force)
        self._files.let_go(self.path_temp_out)
        self._close_readers(OF_TEMP_IN)
        if self._is_within:  # it is certain that somebody closes it
            self._files.tidy(but=self._until_close)
        else:
            self._files.leave(keep=False, but=self._until_close)
        self._fractions[RunState.CLEANUP] = 1.0
        self.state = RunState.DONE
        seconds = time.perf_counter() - begin
        self._tell(
            RunFinished(
                self.path_out,
                len(self.draw),
                self.event_count,
                self.masks_dropped,
                seconds,
                dict(self._stage_seconds),
                objects=self.objects,
            )
        )

    def _check_before(self) -> None:
        """Find every mistake that can be found before work begins."""
        self.job.check_options()
        if self.path_out.resolve() == self.path_in.resolve():
            raise UsageError(
                "input and output are the same file",
                path=self.path_in,
                hint="choose another name for the output",
            )
        if self.draw.index_mapping is not None and not len(self.draw):
            raise OptionError(
                "index_mapping chooses no frames",
                path=self.path_in,
                hint="leave it out for all frames",
            )
        # a stored background may also be that of an earlier run, which still holds
        measured = "pipeline:dcnum background" in self.draw.meta
        self.draw.check(need_background=measured or self.job["background_code"] == "copy")
        self._stamp_files()
        if self._is_growing:
            self._warn(
                f"another program has the input open for writing: {len(self.draw)} frames that "
                "are there now are measured"
            )
        # what is followed because somebody allowed it is also shown
        given = self.job["data_kwargs"].get("permissions") or default_permissions()
        tell = self.logger.info if given == Permissions() else self._warn
        if alone := left_alone(self.draw.h5, self.draw.stored_length):
            self._warn(f"not read: {'; '.join(alone)}")
        for text in self.draw.followed:
            tell(f"read from elsewhere: {text}")
        for text in self.draw.unread():
            self._warn(text)
        gate = Gate(self.draw, **self.job["gate_kwargs"])
        gate.check(QueueEventExtractor.feature_names(self.job["feature_kwargs"]))
        if not self.force:
            if self.path_out.exists():  # a run may have been killed just after it was done
                remove_leftovers(self.path_out, only_published=True)
            refuse_existing(self.path_out)
        if self.preflight and (warning := check_room(self.job, self.draw, self.path_out)):
            self._warn(warning)
        self._lock()

    def _lock(self) -> None:
        """Let nobody else make this output."""
        try:
            self.path_out.parent.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise StorageError(
                f"the folder cannot be made: {err.strerror or err}", path=self.path_out.parent
            ) from err
        self._files.lock()
        if not self.force:  # it may have come while another run held the lock
            refuse_existing(self.path_out)
        self.path_log = self._files.path("log")
        self._log.move_to(self.path_log)

    def _go_on(self) -> None:
        """Find out what another run of this job has done."""
        fingerprint = fingerprint_of(self.job, self.draw, self.ppdict)
        changes = self._files.enter(fingerprint, force=self.force)
        if changes:
            self._warn(f"a run that was stopped cannot be resumed: {'; '.join(changes)}")
        ds_kwds = self.job.get_hdf5_dataset_kwargs()
        if not self._files.recover(ds_kwds, self._heed_stop, preflight=self.preflight):
            self._warn("what another run has left does not fit together; beginning anew")
        checkpoint = self._files.checkpoint
        if checkpoint is None:
            return
        self._counts = checkpoint.counts.astype(np.int64)
        self.event_count = checkpoint.events
        self._objects = np.array(checkpoint.objects)
        total = len(self.draw)
        self._warn(
            f"going on where another run was stopped: {checkpoint.frames} of {total} frames"
        )

    def _is_complete(self) -> bool:
        """Return whether another run has made it all, but could not publish it."""
        checkpoint = self._files.checkpoint
        if checkpoint is None or not checkpoint.is_complete:
            return False
        for part in self._fractions:
            self._fractions[part] = 1.0
        return True

    def _make_output(self, started: str, begin: float) -> None:
        """Do all the work."""
        redo = what_to_redo(self.draw, self.ppdict)
        if redo.background:
            defer = self.draw.mapping_indices is None
            self._timed(RunState.BACKGROUND, lambda: self._compute_background(defer))
        self._fractions[RunState.BACKGROUND] = 1.0
        if redo.segmentation:
            self._timed(RunState.SEGMENTATION, self.task_segment_extract)
        else:
            self.logger.info("Nothing to do again; the output refers to the input")
            self._files.claim(self.path_temp_out)
            self.event_count = len(self.draw)
        self._fractions[RunState.SEGMENTATION] = 1.0
        self._timed(RunState.PLUMBING, lambda: self._plumb(redo))
        self.state = RunState.CLEANUP
        self._write_records(redo, started, begin)
        objects = tuple(self._objects.tolist())
        self._files.complete_output(len(self.draw), self.event_count, objects)

    def task_background(self) -> None:
        """Compute the background and store it in `path_temp_in`."""
        self._compute_background(defer_offset=False)
        # what was read before lacks the background
        self._close_readers(OF_TEMP_IN)
        if self.job["background_code"] != "copy":
            sign_background(self.path_temp_in, self.ppdict["bg_id"])

    def _compute_background(self, defer_offset: bool) -> None:
        """Compute the background; its offset can wait until frames are loaded."""
        if (kept := self._files.kept_background()) is not None:
            self.logger.info("The background of another run is used")
            self._offsets = offsets_of_kept(self._frame_data) if kept["deferred"] else None
            return
        self.logger.info("Starting background computation")
        self._make_temp_in()
        cls = self.job._stage_class("background")  # noqa: SLF001
        method = cls(
            self._whole,
            num_workers=self.job["num_procs"],
            on_progress=lambda fraction: self._report(RunState.BACKGROUND, fraction),
            logger=self.logger,
            **self.job["background_kwargs"],
        )
        result = method.compute(defer_offset=defer_offset)
        for text in result.warnings:
            self._warn(text)
        if result.has_offset and result.bg_off is None:
            self._offsets = dataclasses.replace(result, images=None).offsets_of
        store_background(result, self._whole, self.path_temp_in, self.ppdict["bg_id"])
        if (
            not result.has_offset
            and result.kind is not BackgroundKind.COPY
            and "bg_off" in self._whole
        ):
            self._warn("the input has a 'bg_off' of an earlier background, which still applies")
        self._files.keep_background(deferred=self._offsets is not None)
        self.logger.info("Finished background computation")

    def task_segment_extract(self) -> None:
        """Segment, measure and write all events into `path_temp_out`."""
        self.logger.info("Starting segmentation and feature extraction")
        ledger = self._files.open_output()
        conveyor = Conveyor(
            self.job,
            self._slots_in,
            self._files.store or self.path_temp_out,
            frame_images=self._plan.images,
            logger=self.logger,
            processes=self._use_processes(),
            offsets=self._offsets,
            ledger=ledger,
            counts=self._counts,
        )
        self._conveyor = conveyor
        try:
            conveyor.run(self._on_frames_done)
        finally:
            self._conveyor = None
        self.event_count = conveyor.events
        self._objects = conveyor.objects
        self.logger.info("Finished segmentation and feature extraction")
        told = objects_by_cause(self._objects)
        lost = ", ".join(f"{cause} {number}" for cause, number in told["lost"].items())
        self.logger.info("Objects: found %d, kept %d, lost: %s", told["found"], told["kept"], lost)
        if self.masks_dropped > _DROPPED_WARNING * len(self._slots_in):
            self._warn(f"Encountered {self.masks_dropped} invalid masks")
        if not self.event_count:
            self._warn(f"No events found in {self.path_in}")

    def _use_processes(self) -> bool:
        if self.processes is not None:
            return self.processes
        cls = self.job.get_segmenter_class()
        alone = self.job["debug"] or self.job["num_procs"] == 1
        return issubclass(cls, UNISegmenter) and not (cls.releases_gil or alone)

    def _on_frames_done(self, frames: int, events: int, rate: float) -> None:
        self.event_count = events
        self._segm_rate = rate
        self._report(RunState.SEGMENTATION, frames / max(1, len(self._slots_in)))

    def _plumb(self, redo: Redo) -> None:
        if redo.segmentation:
            self.task_enforce_basin_strategy()
        else:
            self._pass_on_input()

    def task_enforce_basin_strategy(self) -> None:
        """Bring frame data to the events, as copies or as references."""
        with self._writer() as writer:
            frame_data.bring_frame_data(
                writer, self._plan, self._whole, self._frame_data, self._slots_in.mapping_indices
            )

    def _pass_on_input(self) -> None:
        """Make an output of an input to which nothing has to be done."""
        with self._writer() as writer:
            frame_data.pass_on(writer, self._whole, copy=self.job["basin_strategy"] == "drain")

    def _writer(self) -> HDF5Writer:
        target = self._files.store or self.path_temp_out
        return HDF5Writer(target, ds_kwds=self.job.get_hdf5_dataset_kwargs())

    def _write_records(self, redo: Redo, started: str, begin: float) -> None:
        """Write attributes and logs into the temporary output."""
        self.logger.info("Run duration: %.1f s", time.perf_counter() - begin)
        mapping = self.job["data_kwargs"].get("index_mapping")
        with self._writer() as writer:
            write_identity(
                writer.h5,
                ids=self.ppdict,
                pphash=self.pphash,
                mapping=HDF5Data.get_ppid_index_mapping(mapping),
                events=self.event_count,
                pixel_size=self.draw.pixel_size,
            )
            copy_metadata(self._whole.h5, writer.h5, permissions=self.draw.permissions)
            if redo.segmentation:
                identifier = get_measurement_identifier(self._whole.h5)
                own = f"dcn-{self.pphash[:7]}"
                writer.h5.attrs["experiment:run identifier"] = (
                    f"{identifier}_{own}" if identifier else own
                )
            record = job_record(
                self.job.kwargs,
                self.ppdict,
                self.pphash,
                redo,
                self.job.segmenter_source(),
                source=self._source(),
                objects=self.objects,
            )
            stamp = free_stamp(writer.h5, started)
            writer.store_log(f"dcnum-job-{stamp}", record)
            writer.store_log(f"dcnum-log-{stamp}", wrap_lines(self._log.lines()) or ["-"])
