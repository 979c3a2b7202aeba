"""Functions that segment a block: how they are named and loaded, and what they take."""

from __future__ import annotations

import dataclasses
import inspect
import re
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import OptionError, UnknownCodeError, UsageError
from ..read.volume import Volume
from ..read.volume_view import VolumeView
from ..recipe.python_file import load_python_file

__all__ = [
    "GROUP",
    "as_segment_function",
    "filled",
    "find_function",
    "function_names",
]

#: Entry-point group of functions of arrays.
GROUP = "cytovox.volume_functions"
Function = TypeVar("Function", bound=Callable[..., Any])


def function_names() -> list[str]:
    """Return the names of all installed functions.

    Examples
    --------
    >>> "watershed" in function_names()
    True
    """
    return sorted(point.name for point in entry_points(group=GROUP))


def find_function(function: Callable[..., Any] | str) -> Callable[..., Any]:
    """Return the function that segments a block.

    Parameters
    ----------
    function
        The function itself, the name of an installed one, or
        ``"file.py:name"``.

    Raises
    ------
    UnknownCodeError
        If no function has this name.
    UsageError
        If the file has no such function.

    Examples
    --------
    >>> find_function("label").__name__
    'label'
    """
    if callable(function):
        return function
    # A drive letter has a colon, too, but no Python name behind it.
    match = re.fullmatch(r"(.*\.py)(?::\s*([^\W\d]\w*))?", str(function).strip(), re.S)
    if match:
        return _from_file(match[1], match[2])
    for point in entry_points(group=GROUP):
        if point.name == function:
            found: Callable[..., Any] = point.load()
            return found
    raise UnknownCodeError(
        f"there is no function '{function}'",
        hint=f"choose one of {', '.join(function_names())}, or file.py:name",
    )


def _from_file(path: str, name: str | None) -> Callable[..., Any]:
    module = load_python_file(path)
    found = getattr(module, name or "segment", None)
    if not callable(found):
        raise UsageError(
            f"there is no function '{name or 'segment'}' in this file",
            path=path,
            hint="write file.py:name",
        )
    function: Callable[..., Any] = found
    return function


def keywords_of(function: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)[1:]
    except (TypeError, ValueError):
        return []


def takes(function: Callable[..., Any], name: str) -> bool:
    """Return whether a function has a parameter of this name, or takes any.

    >>> takes(lambda array, *, sigma=1: array, "sigma")
    True
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # some compiled functions do not tell
        return True
    kinds = {parameter.kind for parameter in parameters.values()}
    return name in parameters or inspect.Parameter.VAR_KEYWORD in kinds


def check_parameters(
    function: Callable[..., Any], parameters: Mapping[str, Any], *, arrays: int = 1
) -> None:
    """Refuse parameters that a function does not take after so many arrays."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some compiled functions do not tell
        return
    try:
        signature.bind(*(None,) * arrays, **parameters)
    except TypeError as err:
        name = getattr(function, "__name__", str(function))
        known = keywords_of(function)[arrays - 1 :]
        raise OptionError(
            f"function '{name}' cannot be called so: {err}",
            hint=f"it knows {', '.join(known) or 'no parameters'}",
        ) from err


def one_channel(function: Function) -> Function:
    """Say that a function takes one channel; of several the first, if none is named."""
    function.one_channel = True  # type: ignore[attr-defined]
    return function


def all_channels(function: Function) -> Function:
    """Say that a function needs all channels; naming one means that it is measured."""
    function.one_channel = False  # type: ignore[attr-defined]
    return function


def choose_channel(
    volume: Volume, function: Callable[..., Any], view: VolumeView, channel: int | str | None
) -> tuple[VolumeView, int | None]:
    """Return what a function is given, and the channel to measure if it is given all."""
    takes_one = getattr(function, "one_channel", None)
    if channel is None:
        if not takes_one or "c" not in volume.axes:
            return view, None
        name = f" ({volume.channels[0]})" if volume.channels else ""
        warnings.warn(
            f"{volume.url}: channel 0{name} of {volume.shape[volume.axes.index('c')]} is "
            "segmented; name another one as channel",
            stacklevel=4,
        )
        channel = 0
    number = volume.number_of_channel(channel)
    if takes_one is False:
        return view, number
    return dataclasses.replace(view, channel=number), None


def filled(array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return an image in which each voxel that is not finite has the value of the nearest one.

    A filter would otherwise spread NaN or infinity over everything within its reach.

    Parameters
    ----------
    array
        Image of any real type and shape.

    Returns
    -------
    numpy.ndarray
        float32 of the same shape; 0 if no voxel is finite.

    Examples
    --------
    >>> filled(np.array([1, np.nan, np.nan, 5])).tolist()
    [1.0, 1.0, 5.0, 5.0]
    """
    from scipy import ndimage

    with np.errstate(over="ignore"):
        image = array.astype(np.float32)
    missing = ~np.isfinite(image)
    if not missing.any():
        return image
    if missing.all():
        return np.zeros_like(image)
    nearest = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
    found: npt.NDArray[np.float32] = image[tuple(nearest)]
    return found


def as_segment_function(
    function: Callable[..., npt.NDArray[Any]],
) -> Callable[..., npt.NDArray[np.uint64]]:
    """Return ``segment_function`` of a segment-function file.

    Parameters
    ----------
    function
        A function of that file, ``f(array, **parameters) -> labels``.

    Examples
    --------
    >>> from cytovox.blockwise.label_function import label
    >>> as_segment_function(label)(np.array([0, 5, 5, 0, 5]), None, threshold=1).tolist()
    [0, 1, 1, 0, 2]
    """

    def segment_function(
        input_array: npt.NDArray[Any], block: Any, **parameters: Any
    ) -> npt.NDArray[np.uint64]:
        """Segment a block with the function of this file.

        Parameters
        ----------
        input_array
            Image of the block and its context, of the shape of its read
            region, channels first.
        block
            The block, which is not needed here.
        **parameters
            Options of the function.

        Returns
        -------
        numpy.ndarray
            Labels of the block, uint64 of the shape of its read region, 0 is
            background.
        """
        return function(np.asarray(input_array), **parameters).astype(np.uint64, copy=False)

    segment_function.__module__ = function.__module__
    segment_function.__qualname__ = segment_function.__name__
    return segment_function
