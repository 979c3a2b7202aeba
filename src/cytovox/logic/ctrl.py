"""The runner: takes a job from its input to a finished, verified output."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import traceback
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar

from ..errors import CytovoxError, InterruptedRunError
from ..read import HDF5Data
from ..read.opening import OpenedFiles
from ..run.logs import RunLog
from ..run.progress import Listener, RunFinished
from .job import DCNumPipelineJob
from .kernel_loading import loading_kernels
from .live_file import remove_live_file
from .pipeline import Pipeline
from .preflight import check_before, check_room
from .record import tasks_for, time_stamp
from .resume import ResumableOutput, fingerprint_of, is_damage, is_resumable, take_over
from .run_folder import FolderState, RunFolder, refuse_existing, remove_leftovers, verify_output
from .run_input import RunInput
from .run_progress import RunProgress, RunState

__all__ = ["DCNumJobRunner"]

#: Seconds that a thread gets to end when its block is left.
_STOP = 3.0
_CAN_RESUME = "the same command resumes it"


class DCNumJobRunner(threading.Thread):
    """Run a pipeline as defined by a `DCNumPipelineJob`.

    Use it as a thread (`start`, `join`) or call `run` directly; in the latter
    case an error is raised. The output gets its name only when it is complete
    and verified.

    A run that was killed or stopped leaves temporary files beside the output,
    from which the next run of the same job resumes.

    Parameters
    ----------
    job
        Pipeline job to run.
    tmp_suffix
        Text that makes the names of temporary files unique; made of the name
        of the host and random digits if None, or that of a run that this one
        resumes.
    force
        Whether an existing output may be replaced.
    on_event
        Function that is called with each event, see `cytovox.run.progress`.
    processes
        Whether a `UNISegmenter` runs in processes; all else is done by threads.
        If None, it does where it would keep threads waiting for each other.
    preflight
        Whether to look, before work begins, if disk and memory suffice.
    opened
        Files that are open already, see `cytovox.read.HDF5Data`.

    Attributes
    ----------
    job
        The job.
    path_in, path_out : pathlib.Path
        Input and output, absolute.
    ppid, pphash, ppdict
        Identifier of the pipeline, its hash and its parts.
    event_count : int
        Events so far.
    error, error_tb
        Exception that ended the run and its traceback as text, or None.
    path_log : pathlib.Path
        Log of the run, as long as it lasts.
    logger
        Where it is logged.
    log_queue
        Queue for log records of other processes, which come into the log of
        this run. It is made when it is first asked for.

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
    #: Whether the log stays if an error leaves the context, even if the run cannot be resumed.
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
        self.preflight = preflight
        self.ppid, self.pphash, self.ppdict = job.get_ppid(ret_hash=True, ret_dict=True)
        self.error: BaseException | None = None
        self.error_tb: str | None = None
        self.path_in = Path(job["path_in"]).absolute()
        self.path_out = Path(job["path_out"]).absolute()
        self._folder = RunFolder(self.path_out, tmp_suffix)
        self.path_log = self._folder.path("log")
        self._log = RunLog("Runner", self.path_log, job["log_level"])
        self.logger = self._log.logger
        # no part refers to the runner, which is freed as soon as nothing refers to it
        self._inputs = inputs = RunInput(job, self._folder, opened)
        self._output = ResumableOutput(self._folder)
        self._progress = RunProgress(
            self.path_in, job["basin_strategy"], lambda: len(inputs.raw), self.logger, on_event
        )
        self._work = Pipeline(
            job,
            self._inputs,
            self._folder,
            self._output,
            self._progress,
            ids=self.ppdict,
            pphash=self.pphash,
            processes=processes,
        )
        self._ended = threading.Event()
        self._is_within = False

    def __enter__(self) -> DCNumJobRunner:
        self._is_within = True
        return self

    def __exit__(self, exc_type: object, exc_val: object, exc_tb: object) -> None:
        # A thread that is no longer waited for, as after Ctrl-C; which may have made
        # Python believe that it has ended.
        if self.ident is not None and not self._ended.is_set():
            self.request_stop()
            self._ended.wait(_STOP)
        keep = self._keeps_log or self._folder.state is FolderState.KEPT
        self.close(delete_temporary_files=exc_type is None or not keep)

    event_count = property(attrgetter("_work.events"))
    log_queue = property(attrgetter("_log.queue"))
    _qlisten = property(attrgetter("_log.listener"))
    _log_file_handler = property(attrgetter("_log.handler"))
    _state = property(attrgetter("_progress.state"))
    _segm_rate = property(attrgetter("_progress.rate"))
    _data_raw = property(lambda self: self._inputs.reader("raw"))
    _data_temp_in = property(lambda self: self._inputs.reader("temporary"))
    #: Share of each part that is done; None before it begins.
    _progress_bg = property(lambda self: self._progress.begun(RunState.BACKGROUND))
    _progress_ex = property(lambda self: self._progress.begun(RunState.SEGMENTATION))
    _progress_bn = property(lambda self: self._progress.begun(RunState.PLUMBING))

    @property
    def main_logger(self) -> logging.Logger:
        """Logger above that of each run."""
        return logging.getLogger("cytovox")

    @property
    def draw(self) -> HDF5Data:
        """Raw input data."""
        return self._inputs.raw

    @property
    def dtin(self) -> HDF5Data:
        """Input data with (corrected) background image.

        Raises
        ------
        InputError
            If there is no background image.
        """
        return self._inputs.temporary

    @property
    def path_temp_in(self) -> Path:
        """Temporary input: refers to the input and holds the background."""
        return self._folder.path("input")

    @property
    def path_temp_out(self) -> Path:
        """Temporary output."""
        return self._output.path

    @property
    def tmp_suffix(self) -> str:
        """Text that makes the names of temporary files unique."""
        return self._folder.suffix

    @property
    def masks_dropped(self) -> int:
        """Number of masks that passed the gate, but have no valid contour."""
        return self._work.masks_dropped

    @property
    def objects(self) -> dict[str, Any] | None:
        """How many objects were found, kept, and lost by cause; None without segmentation."""
        return self._work.objects

    @property
    def state(self) -> str:
        """State of the run, one of the words of `RunState`."""
        return self._progress.state.value

    @state.setter
    def state(self, value: str) -> None:
        self._progress.enter(value)

    def get_status(self) -> dict[str, Any]:
        """Return how far the run is.

        Returns
        -------
        dict
            ``progress`` from 0 to 1, ``segm rate`` in frames per second, and
            ``state``.
        """
        return self._progress.status()

    def request_stop(self) -> None:
        """Ask the run to stop soon; it then ends with `InterruptedRunError`."""
        self._progress.stop_requested.set()
        self._work.wake()

    def close(self, delete_temporary_files: bool = True) -> None:
        """Close all files; may be called again.

        Parameters
        ----------
        delete_temporary_files
            Whether the log and all temporary files of this run are removed, also
            those from which another run could resume.
        """
        self._inputs.close()
        if delete_temporary_files:
            self._log.delete()  # before the lock, without which its owner is unknown
        else:
            self._log.close()
        self._output.close()
        self._folder.close(delete=delete_temporary_files)

    def join(self, delete_temporary_files: bool = True, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Wait for the end of the thread and close all files.

        Parameters
        ----------
        delete_temporary_files
            Whether the log and all temporary files of this run are removed, also
            those from which another run could resume.
        *args, **kwargs
            As for `threading.Thread.join`. If the time is over before the thread
            has ended, no file is closed.
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
        """Keep what another run can resume, or nothing."""
        self._inputs.close_temporary()
        self._output.close()
        keep = is_resumable(error)
        if self._output.checkpoint is not None and is_damage(error):
            keep = False  # or each run that resumes would end like this
        self._folder.leave(keep=keep, error=error)
        if self._folder.state is FolderState.KEPT and isinstance(error, CytovoxError):
            error.hint = f"{error.hint}; {_CAN_RESUME}" if error.hint else _CAN_RESUME

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
        self._lock()
        self.state = RunState.SETUP
        self.logger.info("Run start: %s", started)
        self._resume()
        checkpoint = self._output.checkpoint
        if checkpoint is not None and checkpoint.is_complete:
            # another run has made it all, but could not publish it
            self._progress.skip(RunState.BACKGROUND, RunState.SEGMENTATION, RunState.PLUMBING)
        else:
            self._make_output(started, begin)
        self.state = RunState.CLEANUP
        self._publish()
        self._progress.skip(RunState.CLEANUP)
        self.state = RunState.DONE
        self._progress.emit(
            RunFinished(
                self.path_out,
                len(self.draw),
                self.event_count,
                self.masks_dropped,
                time.perf_counter() - begin,
                dict(self._progress.seconds),
                objects=self.objects,
                likely_reason=self._work.likely_reason,
            )
        )

    def _check_before(self) -> None:
        """Find every mistake that can be found before work begins."""
        check_before(self.job, self._inputs, self._progress)
        if not self.force:
            if self.path_out.exists():  # a run may have been killed just after it was done
                remove_leftovers(self.path_out, only_published=True)
            refuse_existing(self.path_out)
        if self.preflight and (warning := check_room(self.job, self.draw, self.path_out)):
            self._progress.warn(warning)

    def _lock(self) -> None:
        """Lock the output, so that no other run makes it."""
        self._folder.lock()
        if not self.force:  # it may have come while another run held the lock
            refuse_existing(self.path_out)
        self.path_log = self._folder.path("log")
        self._log.move_to(self.path_log)

    def _resume(self) -> None:
        """Find out what another run of this job has done."""
        warn = self._progress.warn
        fingerprint = fingerprint_of(self.job, self.draw, self.ppdict)
        if changes := take_over(self._folder, fingerprint, force=self.force):
            warn(f"a run that was stopped cannot be resumed: {'; '.join(changes)}")
        fits = self._output.recover(
            self.job.get_hdf5_dataset_kwargs(),
            self._progress.heed_stop,
            preflight=self.preflight,
        )
        if not fits:
            warn("what another run has left does not fit together; starting again")
        checkpoint = self._output.checkpoint
        if checkpoint is not None:
            self._work.start_at(checkpoint)
            done, total = checkpoint.frames, len(self.draw)
            warn(f"resuming a stopped run: {done} of {total} frames were done")

    def _make_output(self, started: str, begin: float) -> None:
        """Do all the work."""
        work, progress = self._work, self._progress
        tasks = tasks_for(self.draw, self.ppdict)
        if tasks.background:
            defer = self.draw.mapping_indices is None
            with loading_kernels() if tasks.segmentation else contextlib.nullcontext():
                progress.timed(
                    RunState.BACKGROUND, lambda: work.add_background(defer_offset=defer)
                )
        progress.skip(RunState.BACKGROUND)
        if tasks.segmentation:
            progress.timed(RunState.SEGMENTATION, self.task_segment_extract)
            progress.skip(RunState.SEGMENTATION)
            progress.timed(RunState.PLUMBING, self.task_enforce_basin_strategy)
        else:
            work.refer_to_input()
            progress.skip(RunState.SEGMENTATION)
            progress.timed(RunState.PLUMBING, work.pass_on_input)
        self.state = RunState.CLEANUP
        self.logger.info("Run duration: %.1f s", time.perf_counter() - begin)
        work.write_records(tasks, started, self._log.lines())

    def _publish(self) -> None:
        """Verify the output and give it its name."""
        permissions = self.job["data_kwargs"].get("permissions")
        verify_output(self.path_temp_out, self.event_count, permissions, self.draw.opened)
        self._inputs.require_unchanged()
        self._folder.publish(self._output.kind, replace=self.force)
        remove_live_file(self.path_out)
        self._inputs.close_temporary()
        self._output.close()
        if self._is_within:  # it is certain that it will be closed
            self._folder.tidy(but=self._until_close)
        else:
            self._folder.leave(keep=False, but=self._until_close)

    def task_background(self) -> None:
        """Compute the background and store it in `path_temp_in`."""
        self._work.add_signed_background()

    def task_segment_extract(self) -> None:
        """Segment, measure and write all events into `path_temp_out`."""
        self._work.segment()

    def task_enforce_basin_strategy(self) -> None:
        """Bring frame data to the events, as copies or as references."""
        self._work.bring_frame_data()
