"""What would become of recordings if they were measured."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import StorageError
from .one_recording import Measuring, Outcome, Recording

__all__ = ["Disk", "Planned", "as_planned", "disks_of", "foresee", "sum_of_minutes"]


@dataclass(slots=True)
class Planned(Outcome):
    """What would become of one input; `state` is to do, skipped, refused or left out."""

    identifier: str | None = None
    minutes: float | None = None
    result_bytes: int | None = None
    #: How many recordings would be measured at the same time, with this one.
    at_once: int = 1
    #: Frames that a run that was stopped has done, if there is one to resume.
    resumed: int | None = None

    @property
    def verdict(self) -> str:
        """The state in words."""
        if self.state == "to do" and self.resumed is not None:
            return f"to do, resumes a stopped run after {self.resumed} frames"
        words = {"skipped": "skipped, is finished", "left out": f"left out: {self.reason}"}
        if self.error is not None:
            words["refused"] = f"refused: {self.error.removeprefix(f'{self.input}: ')}"
        return words.get(self.state, self.state)

    def plain(self) -> dict[str, Any]:
        """Return what is known of it as plain values."""
        names = (
            "input output recipe state reason frames events minutes result_bytes resumed "
            "identifier pipeline_hash pixel_size offset_correction findings warnings error "
            "exit_code"
        )
        found = asdict(self)
        found["minutes"] = None if self.minutes is None else round(self.minutes, 2)
        return {name: found[name] for name in names.split()}


def foresee(recording: Recording, measuring: Measuring) -> tuple[Planned, Exception | None]:
    """Return what would become of a recording, and the error that would end it."""
    from ..logic.prospect import look_ahead
    from ..read import HDF5Data
    from ..recipe.trust import trusting

    found = Planned(recording.input, recording.output, recording.recipe)
    found.at_once = recording.at_once
    measuring = measuring.shared(recording.at_once)
    try:
        with trusting(measuring.trusted), measuring.open(recording) as data:
            task = measuring.decide(data, recording, found, _unsaid)
            found.identifier = task.job.get_ppid()
            if task.force and not measuring.force:
                found.warnings.append("its result is made again: the recording has more frames")
            if task.is_finished:
                chosen = HDF5Data(data.path, opened=data.opened, **task.job["data_kwargs"])
                found.frames = len(chosen)
            else:
                _require_folder(recording.out)
                prospect = look_ahead(
                    task.job, data, force=task.force, preflight=measuring.preflight
                )
                found.state = "to do"
                found.frames, found.events = prospect.frames, prospect.events
                found.minutes = None if prospect.seconds is None else prospect.seconds / 60
                found.result_bytes, found.resumed = prospect.result_bytes, prospect.resumed
                found.warnings += prospect.warnings
    except Exception as error:  # noqa: BLE001 - one file never stops the others
        found.fail(recording.named(error))
        found.state = "refused"
        return found, error
    return found, None


def _unsaid(text: str) -> None:
    """Say nothing of what a run would say of its work."""


def as_planned(outcome: Outcome) -> Planned:
    """Return the same, as part of a plan."""
    state = "refused" if outcome.error else outcome.state
    return Planned(**asdict(replace(outcome, state=state)))


def _require_folder(out: Path) -> None:
    """Raise an error if the folder of a result can be neither written to nor made."""
    there = next((part for part in out.absolute().parents if os.path.lexists(part)), None)
    if there is None or not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        what = "it is not a folder" if there and not there.is_dir() else "it cannot be written to"
        raise StorageError(
            f"the folder cannot be made: {what}", path=there, hint="name another with -o"
        )


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk on which there would be results."""

    folder: str
    result_bytes: int
    free_bytes: int | None

    @property
    def is_too_small(self) -> bool:
        """Whether all results would probably not fit."""
        return self.free_bytes is not None and self.result_bytes > self.free_bytes


def disks_of(planned: Sequence[Planned]) -> list[Disk]:
    """Return for each disk the size of all results that would be made there, and what is free."""
    from ..run.folder_room import existing_folder, free_bytes

    sums: dict[int, tuple[Path, int]] = {}
    for one in planned:
        if one.state == "to do" and one.output is not None:
            folder = existing_folder(Path(one.output).parent)
            number = folder.stat().st_dev
            first, size = sums.get(number, (folder, 0))
            sums[number] = (first, size + (one.result_bytes or 0))
    return [Disk(str(folder), size, free_bytes(folder)) for folder, size in sums.values()]


def sum_of_minutes(planned: Sequence[Planned]) -> float | None:
    """Return how long all takes together; None if that is not known of any."""
    known = [one.minutes / one.at_once for one in planned if one.minutes is not None]
    return round(sum(known), 2) if known else None
