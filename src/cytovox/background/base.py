"""What every background method is and what it returns.

A background method reads a recording and returns data; it never writes a
file. What it returns is one of three things, as `BackgroundResult.kind` says:
a few images with a map from frames to images, one image per frame as a stream
of blocks, or the advice to copy what the recording has.
"""

from __future__ import annotations

import abc
import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import InputError, OptionError, UsageError
from ..kernels.arrays import fitting
from ..kernels.median import top_row_means
from ..recipe.identity import kwargs_to_ppid, ppid_to_kwargs
from ..recipe.options import check_options, options_of
from ..recipe.registry import load_stage
from ..run.memory import cpu_count

__all__ = [
    "MEMORY_BUDGET",
    "OFFSET_ROWS",
    "Background",
    "BackgroundKind",
    "BackgroundResult",
    "BandPool",
    "Recording",
    "empty_images",
    "load_images",
    "place_of",
    "require_frames",
]

#: images above this many bytes are kept in a temporary file
MEMORY_BUDGET = 64 * 2**20
#: rows at the top of the channel, free of cells, that give a frame's brightness
OFFSET_ROWS = 20
#: fewer pixels than this are not worth another thread
_LEAST_PIXELS = 4096


class Recording(Protocol):
    """What a background method needs of a recording."""

    @property
    def image(self) -> Any:
        """Images; a slice ``[a:b]`` gives an array of shape (b - a, H, W)."""

    @property
    def meta(self) -> Mapping[str, Any]:
        """Metadata, keys of the form ``"section:key"``."""

    def __len__(self) -> int: ...

    def __contains__(self, feature: Any) -> bool: ...

    def __getitem__(self, feature: str) -> Any: ...


class BackgroundKind(StrEnum):
    """Shape of a result."""

    MAPPED = "mapped"
    """Few images and the number of the image of each frame."""
    STREAM = "stream"
    """One image per frame, as blocks in order."""
    COPY = "copy"
    """The recording's own background should be copied."""


@dataclass(frozen=True, slots=True)
class BackgroundResult:
    """The background of a recording.

    Examples
    --------
    >>> images = np.full((1, 4, 5), 100, dtype=np.uint8)
    >>> result = BackgroundResult.mapped(images, np.zeros(3, dtype=np.int64), offset=True)
    >>> frames = np.full((2, 4, 5), 103, dtype=np.uint8)
    >>> result.offsets_of(frames, 1).tolist()
    [3.0, 3.0]
    """

    kind: BackgroundKind
    """Which of the three it is."""
    length: int
    """Number of frames N of the recording."""
    images: npt.NDArray[np.uint8] | None = None
    """Mapped: the images, uint8, shape (M, H, W); on disk if they are large."""
    mapping: npt.NDArray[np.int64] | None = None
    """Mapped: image of each frame, int64, shape (N,)."""
    bg_off: npt.NDArray[np.float64] | None = None
    """Mapped: brightness of each frame above its background, float64, shape (N,)."""
    blocks: Iterator[npt.NDArray[np.uint8]] | None = None
    """Stream: uint8 blocks of shape (k, H, W), in order, N images in all; read once."""
    image_means: npt.NDArray[np.float64] | None = None
    """Mapped with offset: mean of the top rows of each image, float64, shape (M,)."""
    warnings: tuple[str, ...] = ()
    """What the user should know of the result, one sentence each."""

    @classmethod
    def mapped(
        cls,
        images: npt.NDArray[np.uint8],
        mapping: npt.NDArray[np.int64],
        *,
        offset: bool,
    ) -> BackgroundResult:
        """Make the result of few images; `offset` prepares for `offsets_of`.

        Parameters
        ----------
        images, mapping
            The images, uint8 of shape (M, H, W), and the index of that of each frame,
            int64 of shape (N,).
        offset
            Whether the means that `offsets_of` needs are computed.
        """
        means = top_row_means(np.ascontiguousarray(images[:, :OFFSET_ROWS]), OFFSET_ROWS)
        return cls(
            BackgroundKind.MAPPED,
            len(mapping),
            images=images,
            mapping=mapping,
            image_means=means if offset else None,
        )

    @property
    def has_offset(self) -> bool:
        """Whether the method corrects the brightness of each frame."""
        return self.image_means is not None

    def offsets_of(self, frames: npt.NDArray[np.uint8], start: int) -> npt.NDArray[np.float64]:
        """Compute the offset of frames that have been read anyway.

        Lets a caller that passes over all frames do without a second pass.

        Parameters
        ----------
        frames
            Images, uint8, shape (n, H, W), or only their top rows.
        start
            Index of the first of them in the recording.

        Returns
        -------
        ndarray
            float64, shape (n,): mean of the top 20 rows of each frame minus that
            of its background image.
        """
        if self.image_means is None or self.mapping is None:
            raise OptionError("this background has no offset correction")
        top = np.ascontiguousarray(frames[:, :OFFSET_ROWS])
        means = top_row_means(top, OFFSET_ROWS)
        return means - self.image_means[self.mapping[start : start + len(top)]]


class Background(abc.ABC):
    """Base class of background methods.

    A method is made by a subclass named ``Background...`` whose options are the
    keyword-only parameters of `check_user_kwargs`.

    Parameters
    ----------
    data
        The recording, whole and unmapped.
    num_workers
        Number of threads that compute; all usable cores if None. The result
        does not depend on it.
    on_progress
        Called with the share done, from 0 to 1, in the calling thread. Whatever
        it raises stops the computation and reaches the caller.
    logger
        Where to log.
    **kwargs
        Options of the method.

    Raises
    ------
    OptionError
        If an option is unknown or has a value that is not allowed.
    """

    def __init__(
        self,
        data: Recording,
        *,
        num_workers: int | None = None,
        on_progress: Callable[[float], None] | None = None,
        logger: logging.Logger | None = None,
        **kwargs: Any,
    ) -> None:
        options = options_of(self.check_user_kwargs)
        given = check_options(f"background {self.get_ppid_code()}", options, kwargs)
        self.check_user_kwargs(**given)
        if num_workers is not None and num_workers < 1:
            raise OptionError("num_workers must be at least 1", hint="None takes all cores")
        #: options of the method, with defaults
        self.kwargs: dict[str, Any] = {o.name: o.default for o in options} | given
        self.data = data
        self.num_workers = num_workers or cpu_count()
        self.on_progress = on_progress
        self.logger = logger or logging.getLogger(f"cytovox.background.{self.get_ppid_code()}")

    @staticmethod
    @abc.abstractmethod
    def check_user_kwargs() -> None:
        """Raise OptionError if the options are not allowed."""

    @abc.abstractmethod
    def compute(self, *, defer_offset: bool = False) -> BackgroundResult:
        """Compute the background.

        Parameters
        ----------
        defer_offset
            Leave ``bg_off`` out; the caller computes it block by block by
            `BackgroundResult.offsets_of` while passing over the frames anyway.

        Raises
        ------
        InputError
            If the recording does not allow it.
        """

    @classmethod
    def get_ppid_code(cls) -> str:
        """Return the code of the method, e.g. ``"sparsemed"``."""
        return cls.__name__.lower().removeprefix("background")

    @classmethod
    def get_ppid_from_ppkw(cls, kwargs: Mapping[str, Any] | None) -> str:
        """Return the identifier of the method with given options.

        Parameters
        ----------
        kwargs
            Options by name; others keep their defaults. None for no options.

        Examples
        --------
        >>> from cytovox.background import BackgroundRollMed
        >>> BackgroundRollMed.get_ppid_from_ppkw({"kernel_size": 50})
        'rollmed:k=50^b=10000'
        """
        return f"{cls.get_ppid_code()}:{kwargs_to_ppid(cls, 'check_user_kwargs', kwargs)}"

    @staticmethod
    def get_ppkw_from_ppid(ppid: str) -> dict[str, Any]:
        """Return the options of any method from its identifier.

        Parameters
        ----------
        ppid
            Identifier, of any of the methods.

        Raises
        ------
        ValueError
            If the method or one of the options is unknown.

        Examples
        --------
        >>> Background.get_ppkw_from_ppid("rollmed:k=50")
        {'kernel_size': 50, 'batch_size': 10000}
        """
        code, _, text = ppid.partition(":")
        return ppid_to_kwargs(
            load_stage("background", code, Background), "check_user_kwargs", text
        )

    def get_ppid(self) -> str:
        """Return the identifier of this method with its options."""
        return self.get_ppid_from_ppkw(self.kwargs)

    def _report(self, share: float) -> None:
        if self.on_progress is not None:
            self.on_progress(min(max(share, 0.0), 1.0))

    def _checked_length(self) -> int:
        number = len(self.data)
        require_frames(number, place_of(self.data))
        return number


def require_frames(number: int, path: str | os.PathLike[str] | None) -> None:
    """Raise an error if there are no frames of which there can be a background.

    Parameters
    ----------
    number
        Number of frames.
    path
        The recording, for the message.

    Raises
    ------
    InputError
        If there are none.

    Examples
    --------
    >>> require_frames(1, "raw.rtdc")
    """
    if number < 1:
        raise InputError(
            "the recording has no frames, so it has no background",
            path=path,
            hint="leave it out, or check that the recording was finished",
        )


def empty_images(shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Return an array in memory or, above the budget, in a nameless temporary file."""
    if math.prod(shape) <= MEMORY_BUDGET:
        return np.empty(shape, np.uint8)
    # numpy maps the file by a handle of its own, which goes with the array.
    with tempfile.TemporaryFile(prefix="cytovox-background-") as file:
        return np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)


def place_of(data: Recording) -> str | None:
    """Return the path of a recording for a message, if it has one."""
    path = getattr(data, "path", None)
    return os.fspath(path) if isinstance(path, str | os.PathLike) else None


def load_images(data: Recording, start: int, stop: int) -> npt.NDArray[np.uint8]:
    """Read frames ``start`` to ``stop - 1`` as contiguous uint8."""
    if data.image is None:
        raise InputError(
            "the recording has no images (feature 'image')",
            path=place_of(data),
            hint="a background needs the raw recording",
        )
    try:
        images = np.ascontiguousarray(fitting(data.image[start:stop], np.uint8))
    except UsageError as err:
        frames = f"frames {start} to {stop - 1}"
        raise InputError(f"in {frames} {err.what}", path=place_of(data), hint=err.hint) from err
    if images.shape[0] != stop - start:
        raise InputError(
            f"the recording says it has {len(data)} frames, but not all are there",
            path=place_of(data),
            frame=start + images.shape[0],
            hint="the file was cut short; copy it again or repair its event count",
        )
    return images


class BandPool(ThreadPoolExecutor):
    """A pool of threads; each job is a function of a range of pixels."""

    def __init__(self, num_workers: int) -> None:
        super().__init__(num_workers, thread_name_prefix="background")
        self.num_workers = num_workers

    def start(self, pixels: int, job: Callable[[int, int], None]) -> list[Future[None]]:
        """Begin a job on all pixels and return at once."""
        bands = max(1, min(self.num_workers, pixels // _LEAST_PIXELS))
        edges = [pixels * i // bands for i in range(bands + 1)]
        return [self.submit(job, a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]

    @staticmethod
    def wait(futures: list[Future[None]]) -> None:
        """Wait for all bands; raise what one of them raised."""
        for future in futures:
            future.result()
