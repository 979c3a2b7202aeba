"""The runner: takes a job from its input to a finished, verified output."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import platform
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..background.base import BackgroundKind
from ..errors import InputError, InterruptedRunError, StorageError, UsageError
from ..feat import Gate, QueueEventExtractor
from ..read import HDF5Data, get_measurement_identifier
from ..run.logs import RunLog
from ..run.progress import (
    Listener,
    RunFinished,
    StageFinished,
    StageProgress,
    StageStarted,
    Warned,
    announce,
)
from ..segm import UNISegmenter
from ..write import HDF5Writer, copy_metadata, create_with_basins
from . import plumbing
from .background_step import store_background
from .chunk_slot import Offsets
from .conveyor import Conveyor, chunk_size_for
from .job import DCNumPipelineJob
from .publish import publish, refuse_existing, verify_output
from .record import free_stamp, job_record, time_stamp, wrap_lines, write_identity
from .redo import Redo, what_to_redo
from .runner_log import RunnerLog
from .states import PROGRESS_WEIGHTS, RunState

__all__ = ["DCNumJobRunner"]

#: Attributes of readers, all of which are closed at the end.
_READERS = ("_data_temp_in", "_data_raw", "_whole", "_frame_data")
#: Share of frames with a dropped mask above which the log warns.
_DROPPED_WARNING = 0.005


class DCNumJobRunner(RunnerLog, threading.Thread):
    """Run a pipeline as defined by a `DCNumPipelineJob`.

    Use it as a thread (`start`, `join`) or call `run` directly; in the latter
    case an error is raised. The output gets its name only when it is complete
    and verified.

    Parameters
    ----------
    job
        Pipeline job to run.
    tmp_suffix
        Text that makes the names of temporary files unique; made of the name
        of the host and random digits if None.
    force
        Whether an existing output may be replaced.
    on_event
        Function that is told what happens, see `cytovox.run.progress`.
    processes
        Whether the workers are processes instead of threads. If None, they
        are where the segmenter would keep threads waiting for each other.

    Attributes
    ----------
    ppid, pphash, ppdict
        Identifier of the pipeline, its hash and its parts.
    event_count, masks_dropped : int
        Events so far; masks without a valid contour so far.
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

    def __init__(
        self,
        job: DCNumPipelineJob,
        tmp_suffix: str | None = None,
        *args: Any,
        force: bool = False,
        on_event: Listener | None = None,
        processes: bool | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("name", "cytovox-runner")
        super().__init__(*args, daemon=True, **kwargs)
        self.job = job
        if tmp_suffix is None:
            tmp_suffix = f"{platform.node()}_{uuid.uuid4().hex[:5]}"
        self.tmp_suffix = tmp_suffix
        self.force = force
        self.on_event = on_event
        self.processes = processes
        self.ppid, self.pphash, self.ppdict = job.get_ppid(ret_hash=True, ret_dict=True)
        self.event_count = 0
        self.masks_dropped = 0
        self.error: BaseException | None = None
        self.error_tb: str | None = None
        self.path_in = Path(job["path_in"]).absolute()
        self.path_out = Path(job["path_out"]).absolute()
        self.path_log = self._beside("", ".log")
        self._log = RunLog("Runner", self.path_log, job["log_level"])
        self.logger = self._log.logger
        self._state = RunState.INIT
        self._fractions = dict.fromkeys(PROGRESS_WEIGHTS["drain"], 0.0)
        self._segm_rate = 0.0
        self._data_raw: HDF5Data | None = None
        self._data_temp_in: HDF5Data | None = None
        self._ours: set[Path] = set()
        self._stop_requested = threading.Event()
        self._conveyor: Conveyor | None = None
        self._offsets: Offsets | None = None
        self._stage_seconds: dict[str, float] = {}

    def __enter__(self) -> DCNumJobRunner:
        return self

    def __exit__(self, exc_type: object, exc_val: object, exc_tb: object) -> None:
        self.close()

    def _beside(self, what: str, ending: str) -> Path:
        return self.path_out.with_name(f"{self.path_out.stem}{what}_{self.tmp_suffix}{ending}")

    @property
    def path_temp_in(self) -> Path:
        """Temporary input: refers to the input and holds the background."""
        return self._beside("_input_bb", ".rtdc~")

    @property
    def path_temp_out(self) -> Path:
        """Temporary output."""
        return self._beside("_output", ".rtdc~")

    @property
    def draw(self) -> HDF5Data:
        """Raw input data."""
        if self._data_raw is None:
            self._data_raw = HDF5Data(self.path_in, **self.job["data_kwargs"])
        return self._data_raw

    @functools.cached_property
    def _whole(self) -> HDF5Data:
        """The input without index mapping."""
        return HDF5Data(self.path_in, pixel_size=self.draw.pixel_size)

    @functools.cached_property
    def _frame_data(self) -> HDF5Data:
        """The input with background, without index mapping."""
        self._make_temp_in()
        return HDF5Data(self.path_temp_in, pixel_size=self.draw.pixel_size)

    @functools.cached_property
    def _plan(self) -> plumbing.FramePlan:
        return plumbing.plan_frame_data(
            self._whole,
            self._frame_data,
            self.job["basin_strategy"],
            makes_offsets=self._offsets is not None,
        )

    @property
    def dtin(self) -> HDF5Data:
        """Input data with (corrected) background image.

        Raises
        ------
        InputError
            If there is no background image.
        """
        if self._data_temp_in is None:
            self._make_temp_in()
            kwargs = self.job["data_kwargs"]
            kwargs.setdefault("image_chunk_size", chunk_size_for(self.draw, self.job))
            self._data_temp_in = HDF5Data(self.path_temp_in, **kwargs)
            if "image_bg" not in self._data_temp_in:
                raise InputError("there is no background image", path=self.path_in)
        return self._data_temp_in

    def _make_temp_in(self) -> None:
        if self.path_temp_in not in self._ours:
            self._claim(self.path_temp_in)
            create_with_basins(self.path_temp_in, [self.path_in])

    def _claim(self, path: Path) -> None:
        """Create an empty file that nobody else has, so that it is ours to delete."""
        try:
            with path.open("xb"):
                self._ours.add(path)
        except OSError as err:
            raise StorageError(
                f"the output cannot be made: {err.strerror or err}",
                path=path.parent,
                hint="is the folder there, writable and not full?",
            ) from err

    @property
    def state(self) -> str:
        """Where the run is, one of the words of `RunState`."""
        return self._state.value

    @state.setter
    def state(self, value: str) -> None:
        try:
            self._state = RunState(value)
        except ValueError:
            raise UsageError(f"a run has no state '{value}'") from None

    def get_status(self) -> dict[str, Any]:
        """Return how far the run is.

        Returns
        -------
        dict
            ``progress`` from 0 to 1, ``segm rate`` in frames per second, and
            ``state``.
        """
        if self._state is RunState.DONE:
            progress = 1.0
        else:
            weights = PROGRESS_WEIGHTS[self.job.kwargs["basin_strategy"]]
            done = sum(weight * self._fractions[part] for part, weight in weights.items())
            progress = done / sum(weights.values())
        return {"progress": progress, "segm rate": self._segm_rate, "state": self.state}

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
            Whether the log and all temporary files of this run are removed.
        """
        for name in _READERS:
            self._close_reader(name)
        self._close_log_queue()
        if delete_temporary_files:
            self._log.delete()
            for path in sorted(self._ours):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            self._ours.clear()
        else:
            self._log.close()

    def join(self, delete_temporary_files: bool = True, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Wait for the end of the thread and let go of all files.

        Parameters
        ----------
        delete_temporary_files
            Whether the log and all temporary files of this run are removed.
        *args, **kwargs
            As for `threading.Thread.join`. If the time is over before the thread
            has ended, nothing is let go of.
        """
        super().join(*args, **kwargs)
        if not self.is_alive():
            self.close(delete_temporary_files)

    def _close_reader(self, name: str) -> None:
        data = self.__dict__.get(name)
        if data is not None:
            data.close()
        if name.startswith("_data"):
            setattr(self, name, None)
        else:
            self.__dict__.pop(name, None)

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
            for path in (self.path_temp_in, self.path_temp_out):
                self._discard(path)
            if threading.current_thread() is not self:
                raise

    def _discard(self, path: Path) -> None:
        if path == self.path_temp_in:
            self._close_reader("_data_temp_in")
            self._close_reader("_frame_data")
        if path in self._ours:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
                self._ours.discard(path)

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
        redo = what_to_redo(self.draw, self.ppdict)
        if redo.background:
            defer = self.draw.mapping_indices is None
            self._timed(RunState.BACKGROUND, lambda: self._compute_background(defer))
        self._fractions[RunState.BACKGROUND] = 1.0
        if redo.segmentation:
            self._timed(RunState.SEGMENTATION, self.task_segment_extract)
        else:
            self.logger.info("Nothing to do again; the output refers to the input")
            self._claim(self.path_temp_out)
            self.event_count = len(self.draw)
        self._fractions[RunState.SEGMENTATION] = 1.0
        self._timed(RunState.PLUMBING, lambda: self._plumb(redo))
        self.state = RunState.CLEANUP
        self._write_records(redo, started, begin)
        verify_output(self.path_temp_out, self.event_count)
        publish(self.path_temp_out, self.path_out, replace=self.force)
        self._ours.discard(self.path_temp_out)
        self._discard(self.path_temp_in)
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
        self.draw.check()
        gate = Gate(self.draw, **self.job["gate_kwargs"])
        gate.check(QueueEventExtractor.feature_names(self.job["feature_kwargs"]))
        if not self.force:
            refuse_existing(self.path_out)
        try:
            self.path_out.parent.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise StorageError(
                f"the folder cannot be made: {err.strerror or err}", path=self.path_out.parent
            ) from err

    def _timed(self, state: RunState, task: Callable[[], None]) -> None:
        self.state = state
        total = len(self.draw)
        begin = time.perf_counter()
        self._tell(StageStarted(state.value, total))
        task()
        self._report(state, 1.0)
        seconds = time.perf_counter() - begin
        self._stage_seconds[state.value] = seconds
        self._tell(StageFinished(state.value, seconds))

    def _tell(self, event: Any) -> None:
        announce(self.on_event, event, self.logger)

    def _warn(self, text: str) -> None:
        self.logger.warning(text)
        self._tell(Warned(text))

    def _report(self, state: RunState, fraction: float) -> None:
        """Note progress; this is also where a stop is heeded."""
        if self._stop_requested.is_set():
            raise InterruptedRunError("the run was stopped", path=self.path_in)
        self._fractions[state] = max(self._fractions[state], min(1.0, fraction))
        total = len(self.draw)
        done = int(self._fractions[state] * total)
        self._tell(StageProgress(state.value, done, total))

    def task_background(self) -> None:
        """Compute the background and store it in `path_temp_in`."""
        self._compute_background(defer_offset=False)

    def _compute_background(self, defer_offset: bool) -> None:
        """Compute the background; its offset can wait until frames are loaded."""
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
        if result.has_offset and result.bg_off is None:
            self._offsets = dataclasses.replace(result, images=None).offsets_of
        store_background(result, self._whole, self.path_temp_in, self.ppdict["bg_id"])
        if (
            not result.has_offset
            and result.kind is not BackgroundKind.COPY
            and "bg_off" in self._whole
        ):
            self._warn("the input has a 'bg_off' of an earlier background, which still applies")
        self.logger.info("Finished background computation")

    def task_segment_extract(self) -> None:
        """Segment, measure and write all events into `path_temp_out`."""
        self.logger.info("Starting segmentation and feature extraction")
        self._claim(self.path_temp_out)
        conveyor = Conveyor(
            self.job,
            self.dtin,
            self.path_temp_out,
            frame_images=self._plan.images,
            logger=self.logger,
            processes=self._use_processes(),
            offsets=self._offsets,
        )
        self._conveyor = conveyor
        try:
            conveyor.run(self._on_frames_done)
        finally:
            self._conveyor = None
        self.event_count = conveyor.events
        self.masks_dropped = conveyor.masks_dropped
        self.logger.info("Finished segmentation and feature extraction")
        if self.masks_dropped > _DROPPED_WARNING * len(self.dtin):
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
        self._report(RunState.SEGMENTATION, frames / max(1, len(self.dtin)))

    def _plumb(self, redo: Redo) -> None:
        if redo.segmentation:
            self.task_enforce_basin_strategy()
        else:
            self._pass_on_input()

    def task_enforce_basin_strategy(self) -> None:
        """Bring frame data to the events, as copies or as references."""
        with self._writer() as writer:
            plumbing.bring_frame_data(
                writer, self._plan, self._whole, self._frame_data, self.dtin.mapping_indices
            )

    def _pass_on_input(self) -> None:
        """Make an output of an input to which nothing has to be done."""
        with self._writer() as writer:
            plumbing.pass_on(writer, self._whole, copy=self.job["basin_strategy"] == "drain")

    def _writer(self) -> HDF5Writer:
        return HDF5Writer(self.path_temp_out, ds_kwds=self.job.get_hdf5_dataset_kwargs())

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
            copy_metadata(self._whole.h5, writer.h5)
            if redo.segmentation:
                identifier = get_measurement_identifier(self._whole.h5)
                own = f"dcn-{self.pphash[:7]}"
                writer.h5.attrs["experiment:run identifier"] = (
                    f"{identifier}_{own}" if identifier else own
                )
            record = job_record(
                self.job.kwargs, self.ppdict, self.pphash, redo, self.job.segmenter_source()
            )
            stamp = free_stamp(writer.h5, started)
            writer.store_log(f"dcnum-job-{stamp}", record)
            writer.store_log(f"dcnum-log-{stamp}", wrap_lines(self._log.lines()) or ["-"])
