"""A recording as the rest of the program sees it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy.typing as npt

from ..errors import BasinNotFoundError, InputError
from . import identifier
from .basin_definitions import extract_basin_dicts, is_basin_map
from .basins import MAX_BASIN_DEPTH, Basins
from .cache import HDF5ImageCache, ImageCorrCache
from .const import PROTECTED_FEATURES
from .dataset import CheckedDataset
from .event_table import event_frame
from .mapped import IndexMapping, get_mapped_object, read_rows
from .members import member
from .notebook import recording_html
from .opening import OpenedFiles
from .permissions import Permissions
from .recording_file import RecordingFile
from .structure import check_recording, features_in, what_is_odd

__all__ = ["HDF5Data"]

logger = logging.getLogger(__name__)

#: Features that a run needs, of which most results have none themselves.
_NEEDED = ("image", "image_bg", *PROTECTED_FEATURES)


class HDF5Data(RecordingFile):
    """A recording, read lazily; several threads may share it.

    Features are looked up in the file itself, then in its internal basins,
    then in the files it refers to: a file that was made from another one of
    them first, else in the order of their names.

    Parameters
    ----------
    path
        Path, opened HDF5 file or binary stream.
    pixel_size
        Width of a pixel [µm] instead of the recorded one; rounded to eight
        decimals.
    md5_5m
        MD5 checksum of the first 5 MiB, if known.
    meta, basins, logs, tables
        Contents instead of the stored ones.
    image_cache_size
        Number of image chunks to keep of each image feature.
    image_chunk_size
        Number of frames to read at a time; lowered to whole stored chunks.
    index_mapping
        Rows to show: a number of rows from the start, a slice with start and
        stop, or row numbers in any order, integers of shape (n,).
    permissions
        What the file may lead to, and how much it may claim; what is allowed in
        this process if None, which is nothing unless it was set otherwise.
    opened
        Files that are open already, as another reader has them in its attribute
        `opened`; they are not opened again. That reader must be closed last.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    RefusedInputError
        If the file leads elsewhere, or claims impossible sizes.
    InputError
        If it is not an HDF5 file or was cut short.

    Examples
    --------
    >>> import io
    >>> import numpy as np
    >>> stream = io.BytesIO()
    >>> with h5py.File(stream, "w") as h5:
    ...     h5.attrs.update({"experiment:event count": 3, "imaging:pixel size": 0.34})
    ...     h5["events/image"] = np.zeros((3, 80, 250), np.uint8)
    >>> with HDF5Data(stream, index_mapping=2) as data:
    ...     len(data), data.image.shape, data.get_ppid()
    (2, (2, 80, 250), 'hdf:p=0.34^i=2')
    """

    def __init__(
        self,
        path: Path | str | h5py.File | BinaryIO,
        pixel_size: float | None = None,
        md5_5m: str | None = None,
        meta: dict[str, Any] | None = None,
        basins: list[dict[str, Any]] | None = None,
        logs: dict[str, list[str]] | None = None,
        tables: dict[str, Any] | None = None,
        image_cache_size: int = 2,
        image_chunk_size: int = 1000,
        index_mapping: IndexMapping = None,
        *,
        permissions: Permissions | None = None,
        opened: OpenedFiles | None = None,
    ) -> None:
        state: dict[str, Any] = {
            "pixel_size": None if pixel_size is None else identifier.round_pixel_size(pixel_size),
            "md5_5m": md5_5m,
            "meta": meta,
            "basins": basins,
            "logs": logs,
            "tables": tables,
            "image_cache_size": image_cache_size,
            "image_chunk_size": image_chunk_size,
            "index_mapping": index_mapping,
        }
        super().__init__(path, state, permissions, opened)
        _ = self.h5

    def _reset(self) -> None:
        super()._reset()
        self._scalars: dict[str, npt.NDArray[Any]] = {}
        self._images: dict[str, HDF5ImageCache] = {}
        self._datasets: dict[str, CheckedDataset] = {}
        self._basins = Basins(self, self._lock, self._state["basins"], self._open_nested)

    def __contains__(self, item: object) -> bool:
        return item in self.keys()

    def __getitem__(self, feat: str) -> Any:
        with self._lock:
            if feat in self._scalars:
                return self._scalars[feat]
            obj = self.locate(feat)
            if obj is None:
                raise self._basins.missing(feat)
            if obj.ndim == 3:
                return self.get_image_cache(feat)
            if obj.ndim != 1:
                return obj
            self._scalars[feat] = read_rows(obj, slice(None))
            return self._scalars[feat]

    def close(self) -> None:
        """Close the file and all files it refers to; may be called again."""
        with self._lock:
            self._basins.close()
            super().close()

    @property
    def image_cache_size(self) -> int:
        """Number of image chunks that are kept of each image feature."""
        return int(self._state["image_cache_size"])

    @property
    def image_chunk_size(self) -> int:
        """Number of frames that are read at a time."""
        requested = int(self._state["image_chunk_size"])
        dataset = member(self.h5, "events/image")
        chunks = getattr(dataset, "chunks", None)
        if not chunks:
            return requested
        stored = int(chunks[0])
        return stored if stored >= requested else requested // stored * stored

    @property
    def image_num_chunks(self) -> int:
        """Number of image chunks."""
        return 0 if self.image is None else self.image.num_chunks

    @property
    def image(self) -> HDF5ImageCache | None:
        """Images (frames, rows, columns) as they are stored; None if there are none."""
        return self.get_image_cache("image")

    @property
    def image_bg(self) -> HDF5ImageCache | None:
        """Background images (frames, rows, columns) as they are stored; None if there are none."""
        return self.get_image_cache("image_bg")

    @property
    def image_corr(self) -> ImageCorrCache | None:
        """Images minus background as int16; None if one of them is missing."""
        with self._lock:
            if "image_corr" not in self._cached:
                image, image_bg = self.image, self.image_bg
                both = image is not None and image_bg is not None
                self._cached["image_corr"] = ImageCorrCache(image, image_bg) if both else None  # type: ignore[arg-type]
            corrected: ImageCorrCache | None = self._cached["image_corr"]
            return corrected

    @property
    def mask(self) -> HDF5ImageCache | None:
        """Masks (frames, rows, columns) as bool; None if there are none."""
        return self.get_image_cache("mask")

    @property
    def basins(self) -> list[dict[str, Any]]:
        """Definitions of the basins in the order of look-up."""
        with self._lock:
            return [basin.definition for basin in self._basins]

    @property
    def features_scalar_frame(self) -> list[str]:
        """Scalar features of frames that this recording has."""
        return sorted(set(PROTECTED_FEATURES).intersection(self.keys()))

    def keys(self) -> list[str]:
        """Return the names of all features, in the order of look-up."""
        with self._lock:
            if "keys" not in self._cached:
                found = [name for name, _ in features_in(member(self.h5, "events"))]
                for basin in self._basins:
                    found.extend(basin.features())
                self._cached["keys"] = list(dict.fromkeys(found))
            return list(self._cached["keys"])

    def check(self, need_images: bool = True, need_background: bool = True) -> None:
        """Make sure that a run on this recording can succeed.

        Parameters
        ----------
        need_images
            Whether there must be images and a pixel size.
        need_background
            Whether stored background images, if there are any, must fit the images.

        Raises
        ------
        InputError
            If the file contradicts itself or lacks something, or images have
            grey values that cannot be measured.
        """
        check_recording(self, need_images, need_background)

    def get_basin_data(
        self, index: int
    ) -> tuple[h5py.Group | None, list[str], npt.NDArray[Any] | None]:
        """Return group, feature names and rows of a basin.

        Parameters
        ----------
        index
            Position in `basins`.

        Returns
        -------
        group : h5py.Group or None
            Where the features are, if that can be reached.
        features : list of str
            Names of those that are in it.
        indices : numpy.ndarray or None
            Their rows, integers of shape (n,); None for all.
        """
        with self._lock:
            return self._basins.data_of(index)

    def get_image_cache(self, feat: str) -> HDF5ImageCache | None:
        """Return the images of a feature; None if it does not exist.

        Parameters
        ----------
        feat
            Name of the feature.
        """
        with self._lock:
            if feat not in self._images:
                obj = self.locate(feat)
                if obj is None:
                    problem = self.why_not(feat)
                    if problem is None or isinstance(problem, BasinNotFoundError):
                        return None
                    raise problem
                if obj.ndim != 3:
                    raise InputError(f"'{feat}' holds no images", path=self.place)
                self._images[feat] = HDF5ImageCache(
                    obj, self.image_chunk_size, self.image_cache_size, boolean=feat == "mask"
                )
            return self._images[feat]

    def require_images(self, feat: str) -> HDF5ImageCache:
        """Return the images of a feature.

        Parameters
        ----------
        feat
            Name of the feature.

        Raises
        ------
        InputError
            If there are none.
        """
        images = self.get_image_cache(feat)
        if images is None:
            raise self._basins.missing(feat)
        return images

    def locate(self, feat: str) -> Any:
        """Return a feature as dataset or mapped dataset; None if it does not exist.

        Parameters
        ----------
        feat
            Name of the feature.
        """
        with self._lock:
            own = member(self.h5, f"events/{feat}")
            if own is not None and (odd := what_is_odd(own, "events")):
                hint = "features are rows of numbers"
                raise InputError(f"'{feat}' {odd}", path=self.place, hint=hint)
            if isinstance(own, h5py.Dataset):
                if self.place is None and own.is_virtual:
                    # HDF5 would crash while it looks for the other files
                    raise InputError(f"'{feat}' in a stream refers to other files")
                if feat not in self._datasets:
                    self._datasets[feat] = self.checked(own)
                return get_mapped_object(self._datasets[feat], self.mapping_indices)
            return self._basins.locate(feat)

    def stored_chunk_frames(self, feat: str) -> int:
        """Return how many frames of a feature are stored in one piece; 0 if not in pieces.

        Parameters
        ----------
        feat
            Name of the feature.
        """
        obj = self.locate(feat)
        chunks = getattr(getattr(obj, "h5ds", obj), "chunks", None)
        return int(chunks[0]) if chunks else 0

    def offered(self) -> list[str]:
        """Return what this file offers as a basin of another."""
        return [feat for feat in self.keys() if not is_basin_map(feat)]

    def to_pandas(self, features: Sequence[str] | None = None) -> Any:
        """Return scalar features as a table of pandas, a row for each event or frame.

        Row i belongs to ``data["image"][i]``. Units and labels, as dclab has them,
        are in ``attrs``.

        Parameters
        ----------
        features
            Names of the columns, besides ``frame``; all scalar features if None.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        UsageError
            If pandas is not installed, or there is no such feature.
        """
        return event_frame(self, features)

    def _repr_html_(self) -> str | None:
        """Return what a notebook shows; None for a closed file, of which nothing is known."""
        return None if self._closed else recording_html(self)

    def get_ppid(self) -> str:
        """Return the data part of the pipeline identifier."""
        return self.get_ppid_from_ppkw(
            {"pixel_size": self.pixel_size, "index_mapping": self.index_mapping}
        )

    @classmethod
    def get_ppid_code(cls) -> str:
        """Return the code of recordings in the pipeline identifier."""
        return identifier.CODE

    get_ppid_from_ppkw = staticmethod(identifier.get_ppid_from_ppkw)
    get_ppid_index_mapping = staticmethod(identifier.get_ppid_index_mapping)
    get_ppkw_from_ppid = staticmethod(identifier.get_ppkw_from_ppid)
    extract_basin_dicts = staticmethod(extract_basin_dicts)

    def _referred_length(self) -> int | None:
        """Return the number of rows of what the file refers to."""
        # else the basins ask for the length themselves
        return self._basins.length() if self.index_mapping is None else None

    def _open_nested(self, path: Path, indices: npt.NDArray[Any] | None) -> HDF5Data | None:
        chain = self._chain
        if self.place is not None:
            chain = (*chain, self.place.resolve())
        if path.resolve() in chain or len(chain) > MAX_BASIN_DEPTH:
            logger.warning("not followed, files refer to each other in a circle: %s", path)
            return None
        nested = HDF5Data(
            path,
            image_cache_size=0,
            index_mapping=indices,
            permissions=self.permissions,
            opened=self.opened,
        )
        nested._chain = chain
        # the folder of a file that is referred to is not a folder of the input
        nested.permissions = self.permissions
        return nested

    def referred(self) -> set[Path]:
        """Return the files that this one refers to, at any depth."""
        return self._basins.referred()

    def files(self) -> list[Path]:
        """Return the files that are read: its own, and those that it shows or refers to."""
        own = self.place
        # only when files are open it is known what they show of others
        others = self._basins.files() | self.opened.others
        return [*([] if own is None else [own.resolve()]), *sorted(others)]

    @property
    def followed(self) -> list[str]:
        """What has been read from elsewhere so far because that is allowed, in words."""
        return list(dict.fromkeys([*super().followed, *self._basins.followed]))

    def unread(self, wanted: Iterable[str] = _NEEDED) -> list[str]:
        """Return which basins are left out that may have some features, in words.

        Parameters
        ----------
        wanted
            Names of the features; by default those that a run needs.
        """
        return self._basins.unread(set(wanted).difference(self.keys()))

    def find_basin(self, paths: list[str]) -> tuple[Path | None, bool]:
        """Return the file that a basin would be read from, and whether it may be.

        Parameters
        ----------
        paths
            Where the basin says that it is.
        """
        return self._basins.find(paths)

    def why_not(self, feat: str) -> InputError | None:
        """Return why a feature that this file refers to cannot be read.

        Parameters
        ----------
        feat
            Name of the feature.

        Returns
        -------
        InputError or None
            None if no basin can have it, or its file has no such feature.
        """
        return self._basins.why_not(feat)
