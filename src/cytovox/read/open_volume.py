"""Open a volume, whatever its format and wherever it is."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import replace

from ..errors import InputError, InputNotFoundError, UsageError
from ..run.extras import require
from .const import VOLUME_FILES
from .permissions import Permissions, default_permissions
from .volume import Volume
from .volume_address import Address, parse_address, safe_join
from .volume_folder import check_regular, find_members, name_members, open_archive
from .volume_limits import MAX_BOX_BYTES
from .volume_view import Source, VolumeView

__all__ = ["open_volume"]

_FORMATS = (
    "zarr, OME-Zarr, N5, precomputed (also zipped), HDF5 (file.h5:/path), TIFF and .npy are read"
)

_ONLY_READ = "this format is only read"
#: What macOS puts into zip files beside a folder.
_OF_MACOS = {"__MACOSX", ".DS_Store"}


def open_volume(
    url: str | os.PathLike[str],
    *,
    scale: int | str | None = None,
    series: int | str | None = None,
    channel: int | str | None = None,
    time: int | None = None,
    axes: str | None = None,
    voxel_size: float | Sequence[float] | None = None,
    units: str | None = None,
    fill_value: float = 0,
    writable: bool = False,
    max_bytes: int = MAX_BOX_BYTES,
    permissions: Permissions | None = None,
) -> Volume:
    """Open a volume; its voxels are read when asked for, and only those.

    Parameters
    ----------
    url
        A path or URL: a folder, zip file or URL of zarr 2 or 3 (sharded or not),
        OME-Zarr 0.1 to 0.6, N5, or neuroglancer precomputed; ``file.zip:/path``
        for an array in a zip file, ``file.h5:/path`` in HDF5; a TIFF stack in
        one file (``file.tif:/1`` for its second image), or a folder of TIFF
        pages; a ``.npy`` file. Folders of chunks are also read at ``s3://``,
        ``gs://``, ``http://`` and ``https://``. For S3, ``AWS_ENDPOINT_URL`` and
        ``AWS_REGION`` in the environment name another server than Amazon's, and
        ``AWS_NO_SIGN_REQUEST=YES`` is for public buckets.
    scale
        Which scale of a pyramid, by number or name; the finest by default.
    series
        Which image of several in one file, by number or name (TIFF), or by path
        (HDF5, zip); the same as a place inside of the file after ``:/``. By
        default it is the first image, which a warning says. In a folder, the
        path of an image or array.
    channel, time
        Only this channel, by number (from 0) or name, and this point in time;
        the volume then has no such axis.
    axes
        One letter of t, c, z, y, x for each axis, in the order of the file, in
        place of what it says.
    voxel_size, units
        Size of a voxel along each axis of space, or one for all, and its unit,
        in place of what the file says; the first voxel is at 0 then.
    fill_value
        What is read outside of the volume.
    writable
        Open it to write as well (zarr, N5, precomputed).
    max_bytes
        Largest box that is read at once.
    permissions
        What may be read beside what is refused by default; what the environment
        allows if None.

    Returns
    -------
    Volume
        To be closed, or used in a ``with`` statement.

    Raises
    ------
    InputNotFoundError
        If there is nothing.
    InputError
        If it is not a volume, or one that is not to be read.
    UsageError
        If the URL, the scale, or the fill value cannot be, or packages of the
        extra ``[volumes]`` are missing.

    Examples
    --------
    >>> import numpy as np
    >>> path = getfixture("tmp_path") / "a.npy"
    >>> np.save(path, np.arange(24, dtype=np.uint16).reshape(2, 3, 4))
    >>> with open_volume(path) as volume:
    ...     volume.shape, volume.axes, int(volume[1, 2, 3])
    ((2, 3, 4), ('z', 'y', 'x'), 23)
    """
    require("volumes", "volumes")
    may = default_permissions() if permissions is None else permissions
    address = replace(parse_address(url), permissions=may)
    file = str(address)
    if series is not None:
        if address.inner:
            raise UsageError("the place in the file says which image already", path=file)
        if address.remote or address.path.is_dir():
            address = safe_join(address, str(series).strip("/"))
        else:
            address = replace(address, inner=f"/{series}".replace("//", "/"))
    size = (
        voxel_size
        if voxel_size is None or isinstance(voxel_size, (int, float))
        else tuple(voxel_size)
    )
    view = VolumeView(scale, series, channel, time, axes, size, units, may)
    source = _open_source(address, scale, writable)
    try:
        return Volume(
            source,
            str(address),
            functools.partial(
                open_volume,
                file,
                **view.keywords(),
                fill_value=fill_value,
                writable=writable,
                max_bytes=max_bytes,
            ),
            fill_value=fill_value,
            writable=writable,
            max_bytes=max_bytes,
            view=view,
        )
    except BaseException:
        source.close()
        raise


def _open_source(address: Address, scale: int | str | None, writable: bool) -> Source:
    if address.remote:
        if writable and address.url.startswith("http"):
            raise UsageError("web servers are only read", path=str(address), hint="write s3 or gs")
    elif check_regular(address.path):
        if writable:
            raise UsageError(_ONLY_READ, path=address.path, hint="write OME-Zarr")
        return _open_file(address, scale)
    elif not address.path.is_dir():
        raise InputNotFoundError(
            "there is no such file or folder", path=address.path, hint=_FORMATS
        )
    elif address.inner:
        raise UsageError("this is a folder, which has no series", path=str(address))
    return _open_folder(address, scale, writable)


def _open_folder(address: Address, scale: int | str | None, writable: bool) -> Source:
    from .volume_n5 import open_n5
    from .volume_precomputed import open_precomputed
    from .volume_tiff import open_tiff_folder
    from .volume_zarr import is_volume, open_zarr

    for opener in (open_zarr, open_n5, open_precomputed):
        source = opener(address, scale, writable=writable)
        if source is not None:
            return source
    if address.archive is not None:
        raise InputError(
            "there is no zarr, N5 or precomputed volume in this zip file",
            path=str(address),
            hint="unpack it, if it holds something else",
        )
    if address.remote:
        raise InputNotFoundError(
            "there is no zarr, N5 or precomputed volume",
            path=str(address),
            hint="other formats are read after copying them to this computer",
        )
    pages = open_tiff_folder(address, scale)
    if pages is None:
        members = find_members(address, is_volume)
        hint = name_members(members, "name one of those in it", remote=False)
        raise InputError(
            "this folder is not a volume", path=address.path, hint=hint if members else _FORMATS
        )
    if writable:
        raise UsageError(_ONLY_READ, path=address.path, hint="write OME-Zarr")
    return pages


def _open_file(address: Address, scale: int | str | None) -> Source:
    import h5py

    from .volume_hdf5 import open_hdf5
    from .volume_npy import open_npy
    from .volume_tiff import open_tiff

    try:
        with address.path.open("rb") as file:
            head = file.read(8)
    except OSError as err:
        raise InputError(f"it cannot be read: {err.strerror}", path=address.path) from err
    if head[:4] in (b"PK\3\4", b"PK\5\6"):
        return _open_zip(address, scale)
    if head[:2] in (b"II", b"MM") and (head[2:4].strip(b"\0") in (b"*", b"+")):
        return open_tiff(address, scale)
    if head[:6] == b"\x93NUMPY" and not address.inner:
        return open_npy(address, scale)
    if address.inner or h5py.is_hdf5(address.path):  # some programs write a header before it
        return open_hdf5(address, scale)
    hint = _FORMATS
    if address.name in VOLUME_FILES:
        hint = f"open the folder that it describes: {address.path.parent}"
    raise InputError("this file is not a volume", path=address.path, hint=hint)


def _open_zip(address: Address, scale: int | str | None) -> Source:
    archive = open_archive(address.path, address.permissions)
    try:
        inside = replace(address, inner=address.inner.rstrip("/"), archive=archive)
        tops = {name.partition("/")[0] for name in archive.NameToInfo} - _OF_MACOS
        if not inside.inner and len(tops) == 1 and min(tops) not in archive.NameToInfo:
            inside = replace(inside, inner=f"/{min(tops)}")  # the folder was zipped as a whole
        return _open_folder(inside, scale, False)
    except BaseException:
        archive.close()
        raise
