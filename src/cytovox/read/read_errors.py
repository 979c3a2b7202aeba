"""What HDF5 says when it cannot read, as errors that know their file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import CytovoxError, InputError, StorageError

__all__ = ["read_error", "read_errors"]


@contextmanager
def read_errors(dataset: Any, frames: tuple[int, int] | None = None) -> Iterator[None]:
    """Raise what fails while a dataset is read as an error that names file and place."""
    try:
        yield
    except CytovoxError:
        raise
    except (OSError, RuntimeError) as err:
        raise read_error(err, dataset, frames) from err


def read_error(
    err: BaseException, dataset: Any, frames: tuple[int, int] | None = None
) -> CytovoxError:
    """Return what a failed read means.

    HDF5 tells the reason of the system, if there is one, only within its message.
    """
    name, path = str(dataset.name or "").lstrip("/"), dataset.file.filename
    what = f"'{name}'" if name else "an attribute"
    if frames is not None:
        what = f"frames {frames[0]} to {frames[1] - 1} of {what}"
    frame = None if frames is None else frames[0]
    path = path if isinstance(path, str) else None
    number = getattr(err, "errno", None)
    if number is None and (found := re.search(r"errno = (\d+)", str(err))):
        number = int(found.group(1))
    if number:
        return StorageError(
            f"{what} cannot be read: {os.strerror(number)}",
            path=path,
            frame=frame,
            hint="is the disk or the network still there?",
        )
    reason = " ".join(str(err).split())[:300]
    return InputError(
        f"{what} cannot be read: {reason}",
        path=path,
        frame=frame,
        hint="the file is damaged or was cut short; copy it again from the instrument",
    )
