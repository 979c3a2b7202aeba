"""Background methods that write their result into a file.

A background method of cytovox returns data and leaves it to its caller to
write them. Here is such a caller, one class per method.
"""

from __future__ import annotations

import abc
import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import numpy.typing as npt

from ... import background
from ...background.base import BackgroundKind, BackgroundResult, Recording
from ...logic.background_step import store_background
from ...read import HDF5Data
from ...read.members import members
from ...recipe.identity import DCNUM_PPID_GENERATION
from ...run.resources import cpu_count
from ...write import create_with_basins, set_default_filter_kwargs

__all__ = [
    "ArrayRecording",
    "Background",
    "BackgroundCopy",
    "BackgroundRollMed",
    "BackgroundSparseMed",
    "get_available_background_methods",
]

PathLike = str | os.PathLike[str]
_WRITTEN = ("image_bg", "bg_off")


class ArrayRecording:
    """An array of images, as a recording that has nothing else.

    Parameters
    ----------
    image
        Images (N, H, W) of any number type.
    """

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

    Raises
    ------
    OptionError
        If an option has an unknown name or an impossible value.
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
        """Compute the background and write it into the output.

        Raises
        ------
        InputError
            If the recording does not allow it.
        StorageError
            If the output cannot be written.
        """
        self.process_approach()
        self._progress = 1.0

    def process_approach(self) -> None:
        """Compute and write."""
        result = self._method.compute()
        same = any(_is_same(path, self.output_path) for path in self.paths_ref)
        if same and result.kind is BackgroundKind.COPY:
            return
        if same:
            result = _kept_aside(result)
            self.close()  # a file cannot be read while it is written
        elif not self.output_path.exists():
            paths: list[list[PathLike]] = [[path, path.name] for path in self.paths_ref]
            create_with_basins(self.output_path, paths)
        self._write(result)

    def _write(self, result: BackgroundResult) -> None:
        with h5py.File(self.output_path, "a") as h5:
            _forget(h5)
        filters = set_default_filter_kwargs(compression=self.compress)
        # only what is copied is read again, and that is never from an array
        store_background(result, self.hdin, self.output_path, self.get_ppid(), filters)  # type: ignore[arg-type]
        if result.kind is not BackgroundKind.COPY:
            with h5py.File(self.output_path, "a") as h5:
                for dataset in _datasets(h5):
                    dataset.attrs["dcnum ppid background"] = self.get_ppid()
                    dataset.attrs["dcnum ppid generation"] = DCNUM_PPID_GENERATION


class BackgroundCopy(Background):
    """Copy the background images (and offsets) of the input."""

    method = background.BackgroundCopy
    check_user_kwargs = staticmethod(background.BackgroundCopy.check_user_kwargs)


class BackgroundRollMed(Background):
    """Rolling median over the following frames (one background per frame)."""

    method = background.BackgroundRollMed
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
        self.kernel_size = kernel_size
        self.batch_size = batch_size
        super().__init__(
            input_data,
            output_path,
            compress,
            num_cpus,
            kernel_size=kernel_size,
            batch_size=batch_size,
        )


class BackgroundSparseMed(Background):
    """Sparse median: one background per second from a burst of frames."""

    method = background.BackgroundSparseMed
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
        self.kernel_size = kernel_size
        self.split_time = split_time
        self.thresh_cleansing = thresh_cleansing
        self.frac_cleansing = frac_cleansing
        self.offset_correction = offset_correction
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


_KNOWN = (BackgroundCopy, BackgroundRollMed, BackgroundSparseMed)


def get_available_background_methods() -> dict[str, type[Background]]:
    """Return a class for each background method, by code.

    Examples
    --------
    >>> sorted(get_available_background_methods())[:3]
    ['copy', 'rollmed', 'sparsemed']
    """
    known = {one.method: one for one in _KNOWN}
    return {
        code: known.get(method) or _writing(method)
        for code, method in background.get_available_background_methods().items()
    }


def _writing(method: Any) -> type[Background]:
    """Return a class that writes what a method of someone else computes."""
    return type(
        method.__name__,
        (Background,),
        {
            "__doc__": method.__doc__,
            "method": method,
            "check_user_kwargs": staticmethod(method.check_user_kwargs),
        },
    )


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:  # one of them does not exist
        return False


def _kept_aside(result: BackgroundResult) -> BackgroundResult:
    """Return a result that needs its recording no more; a stream goes to a temporary file."""
    if result.blocks is None:
        return result
    file = tempfile.TemporaryFile(prefix="cytovox-background-")  # noqa: SIM115 - read later
    shapes = [_append(file, block) for block in result.blocks]
    file.seek(0)
    return replace(result, blocks=_read_back(file, shapes))


def _append(file: Any, block: npt.NDArray[np.uint8]) -> tuple[int, ...]:
    file.write(np.ascontiguousarray(block).data)
    return block.shape


def _read_back(file: Any, shapes: list[tuple[int, ...]]) -> Iterator[npt.NDArray[np.uint8]]:
    with file:
        for shape in shapes:
            count = int(np.prod(shape))
            yield np.frombuffer(file.read(count), np.uint8).reshape(shape)


def _datasets(h5: h5py.File) -> list[h5py.Dataset]:
    found = [
        h5.get(f"{group}/{feat}") for group in ("events", "basin_events") for feat in _WRITTEN
    ]
    return [dataset for dataset in found if dataset is not None]


def _forget(h5: h5py.File) -> None:
    """Remove an earlier background, and what says in which basin it is."""
    for dataset in _datasets(h5):
        del h5[dataset.name]
    for key, lines in members(h5.get("basins", {})):
        with contextlib.suppress(ValueError):
            text = "\n".join(line.decode("utf-8") for line in lines[:])
            definition = json.loads(text)
            if definition.get("type") == "internal" and definition.get("features"):
                left = [feat for feat in definition["features"] if feat not in _WRITTEN]
                if not left:
                    del h5["basins"][key]
