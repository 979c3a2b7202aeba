"""The recording that a result was made of, and in which of its frames the events are."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError, InputNotFoundError
from ..read import HDF5Data, RefusedInputError, get_measurement_identifier
from ..read.basin_definitions import find_allowed_file
from ..read.dataset import read_checked
from ..read.identifier import is_made_of
from ..read.members import member
from .record import recorded_input

__all__ = ["check_measurement", "find_origin", "frames_of_events"]

#: The map from events to frames, which a run stores first.
_FRAMES = "basinmap0"


def find_origin(data: HDF5Data, given: Path | None = None) -> Path:
    """Return the recording that a result was made of, as it is given or recorded."""
    recorded = recorded_input(data)
    if given is not None and not given.is_dir():
        if not given.is_file():
            raise InputNotFoundError("there is no such file", path=given)
        return given
    if recorded is None:
        raise InputError(
            "the result does not say which recording it was made of",
            path=data.place,
            hint="name the recording with --input",
        )
    if given is not None:
        found = given / PureWindowsPath(recorded).name
        if not found.is_file():
            raise InputNotFoundError("there is no such file", path=found)
        return found
    candidates = [recorded, PureWindowsPath(recorded).name, *_paths_of_basins(data)]
    place, refused = find_allowed_file(candidates, data.place, data.permissions)
    if place is None and refused is not None:
        raise RefusedInputError(
            f"its recording is {refused}, outside of the folder of the result",
            path=data.place,
            hint=f"if you trust the result, say --input {refused}",
        )
    if place is None:
        raise InputNotFoundError(
            f"its recording cannot be found: {recorded}",
            path=data.place,
            hint="name it with --input",
        )
    return place


def _paths_of_basins(data: HDF5Data) -> list[str]:
    """Return where the basins say that the images of the frames are."""
    return [
        path
        for basin in data.basins
        if basin.get("type") == "file" and "image" in (basin.get("features") or ())
        for path in basin.get("paths") or ()
    ]


def check_measurement(data: HDF5Data, there: HDF5Data) -> None:
    """Raise an error unless a result was made of a recording of this measurement."""
    own, found = (get_measurement_identifier(one.h5) for one in (data, there))
    if found is None or not is_made_of(own, found, mapped=True):
        raise InputError(
            f"the result is of the measurement '{own}', the recording is '{found}'",
            path=there.place,
            hint="give the recording that the result was made of",
        )


def frames_of_events(data: HDF5Data) -> npt.NDArray[np.int64]:
    """Return the frame of the recording in which each event is, from 0."""
    stored: Any = member(data.h5, f"events/{_FRAMES}")
    if stored is None:
        raise InputError(
            "the result does not say in which frame of the recording each event is",
            path=data.place,
            hint="measure the recording again",
        )
    return np.ravel(read_checked(data.checked(stored))).astype(np.int64)
