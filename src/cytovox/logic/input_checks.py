"""Every mistake of a job that can be found before work begins."""

from __future__ import annotations

from pathlib import Path

from ..errors import OptionError, UsageError
from ..feat import Gate, QueueEventExtractor
from ..read.permissions import Permissions, default_permissions
from ..read.structure import left_alone
from .job import DCNumPipelineJob
from .run_input import RunInput
from .run_progress import RunProgress

__all__ = ["check_before"]


def check_before(job: DCNumPipelineJob, inputs: RunInput, progress: RunProgress) -> None:
    """Check the options of a job and its input, and report what is not read of it."""
    job.check_options()
    if Path(job["path_out"]).resolve() == inputs.path.resolve():
        raise UsageError(
            "input and output are the same file",
            path=inputs.path,
            hint="choose another name for the output",
        )
    data = inputs.raw
    if data.index_mapping is not None and not len(data):
        raise OptionError(
            "index_mapping chooses no frames",
            path=inputs.path,
            hint="leave it out for all frames",
        )
    # a stored background may also be that of an earlier run, which still holds
    measured = "pipeline:dcnum background" in data.meta
    data.check(need_background=measured or job["background_code"] == "copy")
    inputs.stamp_files()
    _report_sources(inputs, progress)
    gate = Gate(data, **job["gate_kwargs"])
    gate.check(QueueEventExtractor.feature_names(job["feature_kwargs"]))


def _report_sources(inputs: RunInput, progress: RunProgress) -> None:
    """Report what is read from elsewhere, and what is not read."""
    data = inputs.raw
    if inputs.is_growing:
        progress.warn(
            f"another program has the input open for writing: {len(data)} frames that "
            "are there now are measured"
        )
    if alone := left_alone(data.h5, data.stored_length):
        progress.warn(f"not read: {'; '.join(alone)}")
    # what is followed because it was allowed is also shown
    given = inputs.job["data_kwargs"].get("permissions") or default_permissions()
    report = progress.logger.info if given == Permissions() else progress.warn
    for text in data.followed:
        report(f"read from elsewhere: {text}")
    for text in data.unread():
        progress.warn(text)
