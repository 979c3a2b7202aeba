"""Which functions can segment a block, by name, by file, or as they are."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UnknownCodeError, UsageError
from ..recipe.python_file import load_python_file

__all__ = ["GROUP", "as_segment_function", "filled", "find_function", "function_names"]

#: Entry-point group of functions of arrays.
GROUP = "cytovox.volume_functions"


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
