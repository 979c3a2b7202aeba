"""A volume: voxels by box, slice or region in the world, wherever they are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from .notebook import volume_html
from .volume_axes import SPATIAL, common_unit
from .volume_folder import OF_SYSTEM
from .volume_limits import (
    Box,
    box_shape,
    check_box,
    check_fill,
    check_index,
    intersect,
    slices,
)
from .volume_view import RegionGrid, Source, VolumeView, region_grid

if TYPE_CHECKING:
    from funlib.geometry import Coordinate, Roi

__all__ = ["Volume"]


class Volume:
    """An array with a place in the world, of which only boxes are read.

    Axes are put in the order (time, channel,) z, y, x, whatever the order in
    the file; axes of length 1 that are not of space are left out.

    Parameters
    ----------
    source
        The opened array.
    url
        Where it is.
    reopen
        Opens it again, in another process.
    fill_value
        What is read outside of the volume.
    writable
        Whether it may be written.
    max_bytes
        Largest box that is read at once.
    view
        What is taken of it, and what its file does not say.

    Attributes
    ----------
    url, path : str
        Where it is.
    format : str
        Name of the format, e.g. ``"ome-zarr-0.5"``.
    series : str
        Which image of how many in its file this is; empty if it is the only one.
    shape : tuple of int
        Voxels along each axis.
    ndim : int
        Number of axes.
    spatial_shape : tuple of int
        Voxels along each axis of space.
    dtype : numpy.dtype
        Type of a voxel.
    axes : tuple of str
        One letter per axis, e.g. ``("c", "z", "y", "x")``.
    channels : tuple of str
        Names of the channels of the file, as far as it gives them.
    voxel_size, offset : tuple of float
        Size of a voxel, and place of the first one, along each axis of space, in
        `units`.
    units : str
        Unit of `voxel_size` and `offset`, e.g. ``"nanometer"``; empty if unknown.
    chunk, write_unit : tuple of int
        Voxels along each axis that are decoded together, and that are written
        together (chunk or shard).
    fill_value : number
        What is read outside of the volume.
    writable : bool
        Whether it may be written.

    Examples
    --------
    >>> from cytovox.read.open_volume import open_volume
    >>> path = getfixture("tmp_path") / "a.npy"
    >>> np.save(path, np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    >>> with open_volume(path, fill_value=9) as volume:
    ...     volume.read(((0, 1), (-1, 2), (0, 2)))
    array([[[9, 9],
            [0, 1],
            [4, 5]]], dtype=uint8)
    """

    def __init__(
        self,
        source: Source,
        url: str,
        reopen: Callable[[], Volume],
        *,
        fill_value: float,
        writable: bool,
        max_bytes: int,
        view: VolumeView | None = None,
    ) -> None:
        view = view or VolumeView()
        said = self._described = view.describe(source.described, url)
        self._source: Source | None = source
        self._reopen = reopen
        self._max_bytes = max_bytes
        self._fixed = view.fixed(said, url)
        # position in the file of each axis that is kept
        kept = [
            number
            for number, axis in enumerate(said.axes)
            if axis in SPATIAL or (said.shape[number] > 1 and number not in self._fixed)
        ]
        rank = {"t": -2, "c": -1} | {axis: i for i, axis in enumerate(SPATIAL)}
        self._order = sorted(kept, key=lambda n: rank.get(said.axes[n], -3))
        space = [n for n in self._order if said.axes[n] in SPATIAL]
        self.units, self.voxel_size, self.offset = common_unit(
            [said.units[n] for n in space],
            [said.voxel_size[n] for n in space],
            [said.offset[n] for n in space],
            url,
        )
        self.url = self.path = url
        self.format, self.series, self.channels = said.format, said.series, said.channels
        self.dtype = said.dtype
        self.shape: tuple[int, ...] = self._kept(said.shape)
        self.axes: tuple[str, ...] = self._kept(said.axes)
        self.chunk: tuple[int, ...] = self._kept(said.chunk)
        self.write_unit: tuple[int, ...] = self._kept(said.write_unit)
        self.ndim = len(self._order)
        self.spatial_shape = tuple(said.shape[n] for n in space)
        self.fill_value = check_fill(fill_value, said.dtype, url)
        self.writable = writable

    def number_of_channel(self, channel: int | str) -> int:
        """Return the number of a channel that is given by number or name.

        Parameters
        ----------
        channel
            Number (from 0) or name.

        Raises
        ------
        UsageError
            If there is none.
        """
        view = VolumeView(channel=channel)
        return min(view.fixed(self._described, self.url).values())

    @property
    def grid(self) -> RegionGrid:
        """How voxels and regions in whole world units belong together."""
        return region_grid(self.voxel_size, self.offset, self.units, self.spatial_shape)

    @property
    def roi(self) -> Roi:
        """Region of the whole volume in `roi_units`, as an integer `Roi`."""
        return self.grid.to_roi(tuple((0, n) for n in self.spatial_shape))

    @property
    def roi_voxel_size(self) -> Coordinate:
        """Size of a voxel in `roi_units`, whole numbers."""
        return self.grid.coordinate()

    @property
    def roi_units(self) -> str:
        """Unit of regions: the coarsest in which voxels are whole, else ``"voxel"``."""
        return self.grid.units

    def read(self, box: Iterable[Sequence[int]] | Roi) -> npt.NDArray[Any]:
        """Read a box; where it is outside of the volume, `fill_value` is returned.

        Parameters
        ----------
        box
            ``(start, stop)`` in voxels for each axis, or for each axis of space
            (then all channels are read), or a `Roi` in `roi_units`.

        Returns
        -------
        ndarray
            C order, shape of the box.

        Raises
        ------
        UsageError
            If it is not a box, or is larger than what may be read at once.
        InputError
            If the file is damaged.
        """
        wanted = self._box(box)
        shape = box_shape(wanted)
        size = math.prod(shape) * self.dtype.itemsize
        if size > self._max_bytes:
            raise UsageError(
                f"a box of {shape} voxels takes {size / 2**30:.1f} GiB",
                path=self.url,
                hint=f"read less, or open it with max_bytes={size}",
            )
        inside = intersect(wanted, tuple((0, n) for n in self.shape))
        if inside == wanted:
            out = np.empty(shape, self.dtype)
        else:
            out = np.full(shape, self.fill_value, self.dtype)
        if inside is not None:
            part = self._as_stored(out[slices(inside, wanted)])
            self._opened().read_into(self._stored_box(inside), part)
        return out

    def write(self, box: Iterable[Sequence[int]] | Roi, array: npt.NDArray[Any]) -> None:
        """Write a box of whole write units; returns when it is stored.

        Processes may write boxes side by side, since no two touch the same
        chunk or shard.

        Parameters
        ----------
        box
            As for `read`; within the volume, starting and stopping at multiples
            of `write_unit` or at the end of the volume.
        array
            Voxels, shape of the box, of a type whose values all fit.

        Raises
        ------
        UsageError
            If box or array do not fit; nothing was written.
        StorageError
            If the store refuses.
        """
        wanted = self._box(box)
        if not self.writable:
            raise UsageError("it was opened to read", path=self.url, hint="say writable=True")
        array = np.asarray(array)
        if array.shape != box_shape(wanted):
            raise UsageError(
                f"voxels of shape {array.shape} for a box of {box_shape(wanted)}", path=self.url
            )
        if not np.can_cast(array.dtype, self.dtype, "safe"):
            raise UsageError(
                f"voxels of {array.dtype} do not fit into {self.dtype}",
                path=self.url,
                hint=f"convert them with astype('{self.dtype}') after looking at their range",
            )
        self._check_aligned(wanted)
        if array.size:
            self._opened().write(self._stored_box(wanted), self._as_stored(array))

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        """Read by slices and numbers as of an array, or by `Roi`.

        Slices are of voxels and stop at the end of the volume; a region may
        reach outside.
        """
        if hasattr(key, "to_slices"):
            return self.read(key)
        keys = key if isinstance(key, tuple) else (key,)
        keys = keys if any(k is Ellipsis for k in keys) else (*keys, Ellipsis)
        at = next(i for i, k in enumerate(keys) if k is Ellipsis)
        missing = self.ndim - len(keys) + 1
        keys = (*keys[:at], *[slice(None)] * missing, *keys[at + 1 :])
        if len(keys) != self.ndim:
            raise UsageError(f"{len(keys)} indices for {self.ndim} axes", path=self.url)
        box = [check_index(k, n, self.url) for k, n in zip(keys, self.shape, strict=True)]
        whole = tuple(slice(None) if isinstance(k, slice) else 0 for k in keys)
        read: npt.NDArray[Any] = self.read(box)[whole]
        return read

    def fingerprint(self) -> dict[str, Any]:
        """Return what changes when the volume does, to recognise it later.

        Metadata, and the sizes and times of the files that hold it; the voxels
        themselves are not read. Volumes in object stores are known by their
        metadata only.
        """
        identity = self._opened().identity()
        taken = {self._described.axes[n]: k for n, k in self._fixed.items()}
        return {
            "url": self.url,
            "format": self.format,
            "shape": list(self.shape),
            "dtype": str(self.dtype),
            "axes": list(self.axes),
            "voxel_size": list(self.voxel_size),
            "offset": list(self.offset),
            "units": self.units,
            **({"taken": taken} if taken else {}),
            "content": {k: v for k, v in identity.items() if k not in OF_SYSTEM},
        }

    def stamp(self) -> dict[str, Any]:
        """Return the fingerprint and what the system alone says of the files.

        It shows a change of voxels even if times were set back, but files that
        were copied have another one, so it serves within one run only.
        """
        return self.fingerprint() | {"content": self._opened().identity()}

    def close(self) -> None:
        """Close the files; closing twice is not a mistake."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reopen, ()

    def __repr__(self) -> str:
        size = " x ".join(f"{s:g}" for s in self.voxel_size)
        which = f" ({self.series})" if self.series else ""
        return (
            f"<Volume {self.url}{which} {self.format} {''.join(self.axes)} {self.shape} "
            f"{self.dtype}, voxel {size} {self.units or 'units'}>"
        )

    def _repr_html_(self) -> str | None:
        """Return what a notebook shows; None for a closed volume."""
        return None if self._source is None else volume_html(self)

    def _opened(self) -> Source:
        if self._source is None:
            raise UsageError("the volume is closed", path=self.url, hint="open it again")
        return self._source

    def _kept(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(values[n] for n in self._order)

    def _box(self, box: Any) -> Box:
        if hasattr(box, "to_slices"):
            box = self.grid.to_box(box, self.url)
        entries = tuple(box) if isinstance(box, Iterable) else ()
        leading = self.ndim - len(self.spatial_shape)
        if leading and len(entries) == self.ndim - leading:
            entries = (*((0, n) for n in self.shape[:leading]), *entries)
        return check_box(entries or box, self.ndim, self.url)

    def _stored_box(self, box: Box) -> Box:
        """Return the box in the order of the file."""
        at = [self._fixed.get(n, 0) for n in range(len(self._described.shape))]
        stored = [(n, n + 1) for n in at]
        for number, side in zip(self._order, box, strict=True):
            stored[number] = side
        return tuple(stored)

    def _as_stored(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a view with the axes in the order of the file."""
        dropped = [n for n in range(len(self._described.shape)) if n not in self._order]
        kept = sorted(self._order)
        view = array.transpose([self._order.index(n) for n in kept])
        return np.expand_dims(view, tuple(dropped))

    def _check_aligned(self, box: Box) -> None:
        unit, shape = self.write_unit, self.shape
        better = tuple(
            (a // u * u, min(-(-b // u) * u, n))
            for (a, b), u, n in zip(box, unit, shape, strict=True)
        )
        if any(a < 0 or b > n for (a, b), n in zip(box, shape, strict=True)):
            raise UsageError(
                f"box {box} reaches outside of {shape}",
                path=self.url,
                hint="crop it to the volume",
            )
        if box != better:
            raise UsageError(
                f"box {box} is not a whole number of write units of {unit} voxels, and writers of "
                "neighbouring boxes would undo each other",
                path=self.url,
                hint=f"write {better}: blocks whose size is a multiple of {unit}",
            )
