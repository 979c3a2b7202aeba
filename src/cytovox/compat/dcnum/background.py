"""Background methods that write their result into a file.

A background method of cytovox returns data and leaves it to its caller to
write them. Here is such a caller, one class per method. What dcnum's classes
show of their worker processes is there, too, but made only if it is asked for:
the work itself is done by threads.
"""

from __future__ import annotations

import abc
import ctypes
import functools
import logging
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ... import background
from ...background.base import BackgroundKind, Recording
from ...background.timing import recording_times
from ...errors import OptionError
from ...logic.background_step import sign_background, store_background
from ...logic.chunk_slot_data import mp_spawn
from ...read import HDF5Data
from ...read.opening import open_own_file
from ...run.memory import cpu_count
from ...write import HDF5Writer, create_with_basins, set_default_filter_kwargs
from .background_parts import forget, is_same, kept_aside, rechunked

__all__ = [
    "ArrayRecording",
    "Background",
    "BackgroundCopy",
    "BackgroundRollMed",
    "BackgroundSparseMed",
    "get_available_background_methods",
]

PathLike = str | os.PathLike[str]


class ArrayRecording:
    """An array of images, as a recording that has nothing else."""

    def __init__(self, image: npt.NDArray[Any]) -> None:
        self.image = image
        self.meta: Mapping[str, Any] = {}

    def __len__(self) -> int:
        return len(self.image)

    def __contains__(self, feature: Any) -> bool:
        return bool(feature == "image")

    def __getitem__(self, feature: str) -> Any:
        if feature not in self:
            raise KeyError(feature)
        return self.image


class Background(abc.ABC):
    """Compute the background of a recording and write it into a file.

    Parameters
    ----------
    input_data
        Recording (.rtdc), or images (N, H, W).
    output_path
        File to write into. If it does not exist, it is made and refers to the
        recording. It may be the recording itself.
    compress
        Whether to compress what is written.
    num_cpus
        Number of threads; as many as cores if None.
    **kwargs
        Options of the method.
    """

    #: The method that does the work.
    method: ClassVar[type[background.Background]]

    def __init__(
        self,
        input_data: PathLike | npt.NDArray[Any],
        output_path: PathLike,
        compress: bool = True,
        num_cpus: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.logger = logging.getLogger(f"cytovox.background.{self.get_ppid_code()}")
        self.output_path = Path(output_path)
        self.compress = compress
        self.num_cpus = cpu_count() if num_cpus is None else num_cpus
        self.paths_ref: list[Path] = []
        self.hdin: HDF5Data | None = None
        self.data: Recording
        if isinstance(input_data, (str, os.PathLike)):
            self.paths_ref.append(Path(input_data))
            self.data = self.hdin = HDF5Data(Path(input_data))
        else:
            self.data = ArrayRecording(np.asarray(input_data))
        self._progress = 0.0
        try:
            self._method = self.method(
                self.data,
                num_workers=self.num_cpus,
                on_progress=self._on_progress,
                logger=self.logger,
                **kwargs,
            )
        except BaseException:
            self.close()
            raise
        #: Options of the method, with defaults.
        self.kwargs = self._method.kwargs
        self.input_data = self.data.image
        self.image_count = len(self.data)
        self.image_shape = None if self.input_data is None else self.input_data.shape[1:]

    def __enter__(self) -> Background:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the recording; may be called again."""
        if self.hdin is not None:
            self.hdin.close()

    @staticmethod
    @abc.abstractmethod
    def check_user_kwargs() -> None:
        """Raise OptionError if the options are not allowed."""

    @classmethod
    def get_ppid_code(cls) -> str:
        """Return the code of the method, e.g. ``"sparsemed"``."""
        return cls.method.get_ppid_code()

    @classmethod
    def get_ppid_from_ppkw(cls, kwargs: Mapping[str, Any]) -> str:
        """Return the identifier of the method with given options."""
        return cls.method.get_ppid_from_ppkw(kwargs)

    @staticmethod
    def get_ppkw_from_ppid(bg_ppid: str) -> dict[str, Any]:
        """Return the options of any method from its identifier."""
        return background.Background.get_ppkw_from_ppid(bg_ppid)

    def get_ppid(self) -> str:
        """Return the identifier of this method with its options."""
        return self._method.get_ppid()

    def get_progress(self) -> float:
        """Return the share that is done, 0 to 1."""
        return self._progress

    def _on_progress(self, share: float) -> None:
        self._progress = min(share, 0.99)  # it is done when it is written

    def process(self) -> None:
        """Compute the background and write it into the output."""
        self.process_approach()
        self._progress = 1.0

    def process_approach(self) -> None:
        """Compute and write."""
        result = self._method.compute()
        if self._is_input:
            if result.kind is BackgroundKind.COPY:
                return
            result = kept_aside(result)
            self.close()  # a file cannot be read while it is written
        self._prepare_output()
        # only what is copied is read again, and that is never from an array
        store_background(result, self.hdin, self.output_path, self.get_ppid(), self._filters)  # type: ignore[arg-type]
        if result.kind is not BackgroundKind.COPY:
            sign_background(self.output_path, self.get_ppid())

    @property
    def _is_input(self) -> bool:
        return any(is_same(path, self.output_path) for path in self.paths_ref)

    @property
    def _filters(self) -> dict[str, Any]:
        return set_default_filter_kwargs(compression=self.compress)

    def _prepare_output(self) -> None:
        """Make the output if there is none, and remove an earlier background from it."""
        if not self.output_path.exists():
            paths: list[list[PathLike]] = [[path, path.name] for path in self.paths_ref]
            create_with_basins(self.output_path, paths)
        with open_own_file(self.output_path, "a") as h5:
            forget(h5)


class _WithWorkers(Background):
    """Shows what worker processes would share; none is started. Options are attributes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        vars(self).update(self.kwargs)

    @property
    @abc.abstractmethod
    def _shared_frames(self) -> tuple[int, int]:
        """Number of frames in the shared input and output."""

    def _shared(self, frames: int) -> Any:
        return mp_spawn.RawArray(ctypes.c_uint8, frames * math.prod(self.image_shape or ()))

    @functools.cached_property
    def shared_input_raw(self) -> Any:
        """Shared uint8 array for frames that workers take, flat."""
        return self._shared(self._shared_frames[0])

    @functools.cached_property
    def shared_output_raw(self) -> Any:
        """Shared uint8 array for backgrounds that workers make, flat."""
        return self._shared(self._shared_frames[1])

    @functools.cached_property
    def worker_counter(self) -> Any:
        """Number of jobs that workers have done; negative ends them."""
        return mp_spawn.Value("q", 0)

    @functools.cached_property
    def queue(self) -> Any:
        """Queue of jobs for workers, tuples with a slice of pixels."""
        return mp_spawn.Queue()

    @functools.cached_property
    def workers(self) -> list[Any]:
        """Worker processes: none, since threads do the work."""
        return []


class BackgroundCopy(Background):
    """Copy the background images (and offsets) of the input."""

    method = background.BackgroundCopy
    check_user_kwargs = staticmethod(background.BackgroundCopy.check_user_kwargs)


class BackgroundRollMed(_WithWorkers):
    """Rolling median over the following frames (one background per frame)."""

    method = background.BackgroundRollMed
    kernel_size: int
    batch_size: int
    check_user_kwargs = staticmethod(background.BackgroundRollMed.check_user_kwargs)

    def __init__(
        self,
        input_data: PathLike | npt.NDArray[Any],
        output_path: PathLike,
        kernel_size: int = 100,
        batch_size: int = 10000,
        compress: bool = True,
        num_cpus: int | None = None,
    ) -> None:
        #: Number of batches that are written.
        self.current_batch = 0
        self._batches: Iterator[npt.NDArray[np.uint8]] | None = None
        options = {"kernel_size": kernel_size, "batch_size": batch_size}
        super().__init__(input_data, output_path, compress, num_cpus, **options)
        if self.kernel_size > self.image_count:
            self.close()
            raise OptionError(
                f"Cannot compute background: {self.image_count} frames are fewer than the "
                f"{self.kernel_size} of the kernel",
                hint="choose a smaller kernel_size or background 'sparsemed'",
            )

    @property
    def _shared_frames(self) -> tuple[int, int]:
        return self.batch_size + self.kernel_size, self.batch_size

    def map_iterator(self) -> Iterator[slice]:
        """Return slices of pixels that workers can do one after the other."""
        height, width = self.image_shape or (0, 0)
        return (slice(start, start + height) for start in range(0, height * width, height))

    def process_next_batch(self) -> None:
        """Compute and write the backgrounds of the next `batch_size` frames."""
        if self._batches is None:
            self._prepare_output()
            blocks = self._method.compute().blocks
            self._batches = rechunked(blocks or iter(()), self.batch_size)
        batch = next(self._batches)
        with HDF5Writer(self.output_path, mode="a", ds_kwds=self._filters) as writer:
            writer.store_feature_chunk("image_bg", batch)
        sign_background(self.output_path, self.get_ppid())
        self.current_batch += 1
        self._progress = min(1.0, self.current_batch * self.batch_size / self.image_count)

    def process_approach(self) -> None:
        """Compute and write all batches that are left."""
        number = math.ceil(self.image_count / self.batch_size)
        if self.current_batch:
            for _ in range(self.current_batch, number):
                self.process_next_batch()
        else:
            super().process_approach()
            self.current_batch = number


class BackgroundSparseMed(_WithWorkers):
    """Sparse median: one background per second from a burst of frames."""

    method = background.BackgroundSparseMed
    kernel_size: int
    split_time: float
    check_user_kwargs = staticmethod(background.BackgroundSparseMed.check_user_kwargs)

    def __init__(
        self,
        input_data: PathLike | npt.NDArray[Any],
        output_path: PathLike,
        kernel_size: int = 200,
        split_time: float = 1.0,
        thresh_cleansing: float = 0,
        frac_cleansing: float = 0.8,
        offset_correction: bool = True,
        compress: bool = True,
        num_cpus: int | None = None,
    ) -> None:
        super().__init__(
            input_data,
            output_path,
            compress,
            num_cpus,
            kernel_size=kernel_size,
            split_time=split_time,
            thresh_cleansing=thresh_cleansing,
            frac_cleansing=frac_cleansing,
            offset_correction=offset_correction,
        )
        #: Number of frames for one background, no more than there are.
        self.kernel_size = min(self.kernel_size, self.image_count)

    @property
    def _shared_frames(self) -> tuple[int, int]:
        return self.kernel_size, 1

    @functools.cached_property
    def time(self) -> npt.NDArray[np.float64]:
        """Time of each frame since the first, s."""
        return recording_times(self.data, self.image_count)[0]

    @property
    def duration(self) -> float:
        """Time from the first frame to the last, s."""
        return float(self.time[-1] - self.time[0])

    @property
    def step_times(self) -> npt.NDArray[np.float64]:
        """Times of the backgrounds, s."""
        return np.arange(0, self.duration, self.split_time)


_KNOWN = (BackgroundCopy, BackgroundRollMed, BackgroundSparseMed)


def get_available_background_methods() -> dict[str, type[Background]]:
    """Return a class for each background method, by code."""
    known = {one.method: one for one in _KNOWN}
    return {
        code: known.get(method) or _writing(method)
        for code, method in background.get_available_background_methods().items()
    }


def _writing(method: Any) -> type[Background]:
    """Return a class that writes what a method of another package computes."""
    return type(
        method.__name__,
        (Background,),
        {
            "__doc__": method.__doc__,
            "method": method,
            "check_user_kwargs": staticmethod(method.check_user_kwargs),
        },
    )
