"""Several recordings as one, without copying their data."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ..errors import InputError, UsageError
from .basin_definitions import is_basin_map
from .const import HDF5_VERSIONS
from .dataset import read_checked
from .hdf5_data import HDF5Data
from .members import copy_attributes
from .opening import open_own_file
from .permissions import Permissions, default_permissions
from .structure import features_in

__all__ = ["concatenated_hdf5_data"]


def concatenated_hdf5_data(
    paths: Sequence[Path | str],
    path_out: bool | Path | str | None = True,
    compute_frame: bool = True,
    features: list[str] | None = None,
    *,
    permissions: Permissions | None = None,
) -> HDF5Data:
    """Return recordings one after the other as a single recording.

    Only references to the data are stored (virtual datasets), so the files
    must stay where they are. The file that is written can be opened as any
    other if they are in its folder or below; otherwise, its reader must allow
    it (``basin_roots`` of `Permissions`). Attributes come from the first file,
    ``time`` is dropped, and basins are not followed.

    Parameters
    ----------
    paths
        Files in their order.
    path_out
        File to write; True or None makes a temporary one that is removed when
        the program ends.
    compute_frame
        Whether to count ``frame`` on from file to file, starting at 1.
    features
        Features to take; all of the first file if None.
    permissions
        What the files may do; what the environment allows if None.

    Raises
    ------
    UsageError
        If there is no file, or a file lacks a feature of the first.
    InputError
        If the shapes of a feature differ, or there is no ``frame`` to count on.
    """
    if not paths:
        raise UsageError("Please specify at least one file in `paths`!")
    if len(paths) == 1:
        warnings.warn("to concatenate one file is equivalent to using that file", stacklevel=2)
    inputs = [Path(path).resolve() for path in paths]
    target = _target(path_out)
    may = default_permissions() if permissions is None else permissions
    with open_own_file(target, "w", libver=HDF5_VERSIONS) as h5:
        _describe(h5, inputs, features, compute_frame, may)
    # the views of other files in it are those that were just made
    return HDF5Data(target, permissions=replace(may, external=True))


def _target(path_out: bool | Path | str | None) -> Path:
    # not in memory: HDF5 crashes on references to files from there
    if isinstance(path_out, (str, Path)):
        return Path(path_out)
    if path_out is not None and not isinstance(path_out, bool):
        raise UsageError(f"Invalid type for path_out: {type(path_out).__name__}")
    folder = tempfile.mkdtemp(prefix="cytovox_concat_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder) / "concatenated.hdf5"


def _describe(
    h5: h5py.File,
    inputs: list[Path],
    features: list[str] | None,
    compute_frame: bool,
    may: Permissions,
) -> None:
    layout: dict[str, list[h5py.VirtualSource]] = {}
    frames: list[Any] = []
    length = last = 0
    for path in inputs:
        with HDF5Data(path, permissions=may) as data:
            events = data.h5["events"]
            if path is inputs[0]:
                copy_attributes(data.h5, h5)
                layout = {feat: [] for feat in _choose(events, features, compute_frame)}
            for feat, parts in layout.items():
                if feat not in events:
                    raise UsageError(
                        f"there is no feature '{feat}': {inputs[0]} contains more features",
                        path=path,
                    )
                shape, dtype = events[feat].shape, events[feat].dtype
                if parts and shape[1:] != parts[0].shape[1:]:
                    item = parts[0].shape[1:]
                    what = f"'{feat}' has items of shape {shape[1:]}, not {item}"
                    raise InputError(what, path=path)
                parts.append(h5py.VirtualSource(path, f"events/{feat}", shape, dtype))
            if compute_frame:
                frames.append(_count_on(events, path, last))
                last = int(frames[-1][-1]) if len(frames[-1]) else last
            length += data.stored_length
    h5.attrs["experiment:event count"] = length
    for feat, parts in layout.items():
        _link(h5, feat, parts)
    if compute_frame:
        h5["events/frame"] = np.concatenate(frames)


def _choose(events: h5py.Group, features: list[str] | None, compute_frame: bool) -> list[str]:
    readable = [name for name, _ in features_in(events)]
    names = list(events) if features is None else features
    if "contour" in names:
        warnings.warn("Ignoring contour; not implemented yet!", stacklevel=4)
    dropped = {"time", "frame"} if compute_frame else {"time"}
    return [
        feat
        for feat in names
        if feat not in dropped
        and not is_basin_map(feat)
        and (feat not in events or feat in readable)
    ]


def _count_on(events: h5py.Group, path: Path, last: int) -> npt.NDArray[np.uint64]:
    """Return the numbers of frames of a file, of which the first follows another one."""
    if "frame" not in events:
        raise InputError(
            "there is no 'frame' to count on", path=path, hint="use compute_frame=False"
        )
    numbers = read_checked(events["frame"], slice(None)).astype(np.int64)
    return (numbers + (last + 1 - numbers[:1])).astype(np.uint64)


def _link(h5: h5py.File, feat: str, parts: list[h5py.VirtualSource]) -> None:
    shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
    virtual = h5py.VirtualLayout(shape, np.result_type(*(part.dtype for part in parts)))
    start = 0
    for part in parts:
        if part.shape[0]:
            virtual[start : start + part.shape[0]] = part
        start += part.shape[0]
    h5.require_group("events").create_virtual_dataset(feat, virtual)
