"""The files of a volume: in a folder on this computer, or in a zip file.

Nothing is opened that could be waited for without a limit (pipes, devices), and
nothing that is larger than it may be is unpacked.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import itertools
import lzma
import os
import stat
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..errors import InputError
from .permissions import Permissions, RefusedInputError
from .volume_address import Address, safe_join

__all__ = [
    "OF_SYSTEM",
    "PACKED",
    "Folder",
    "check_regular",
    "digest_files",
    "file_identity",
    "find_members",
    "folder_of",
    "name_members",
    "open_archive",
    "reading",
    "unpack",
    "walk",
]

#: Names of what the system says of files: when anything of them was changed, and their rights.
OF_SYSTEM = ("changed", "access")

#: Largest list of files in a zip file: about two million names [bytes].
_MAX_DIRECTORY = 2**28
_LZMA_MEMORY = 2**28
#: So many members of a group are looked at, of so many levels, and named.
_LOOKED_AT, _LEVELS, _NAMED = 1000, 4, 8


def check_regular(path: Path) -> bool:
    """Return whether there is a file."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as err:
        raise InputError(f"it cannot be read: {err.strerror}", path=path) from err
    if stat.S_ISREG(mode):
        return True
    if stat.S_ISDIR(mode):
        return False
    raise InputError(
        "this is a pipe, socket or device, not a file",
        path=path,
        hint="remove it, or copy what it gives into a file",
    )


class _LocalFolder:
    def __init__(self, address: Address) -> None:
        self.where = str(address)
        self.permissions = address.permissions
        self._root = address.path
        self._real = os.path.realpath(self._root) + os.sep

    def holds(self, name: str) -> bool:
        """Return whether there is a file, wherever a link leads."""
        return check_regular(self._root / name)

    def size(self, name: str) -> int | None:
        """Return the bytes of a file that may be read, or None if there is none."""
        path = self._root / name
        if not check_regular(path):
            return None
        real = os.path.realpath(path)
        if not real.startswith(self._real) and not self.permissions.external:
            raise RefusedInputError(
                f"this chunk is a link to {real}, outside of the volume",
                path=path,
                hint=Permissions.hint_for("external"),
            )
        return path.stat().st_size

    def open(self, name: str) -> IO[bytes]:
        return (self._root / name).open("rb")

    def names(self) -> Iterator[str]:
        """Yield names, those of folders with a slash at the end, as they are found."""
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(self._root / folder) as found:
                    for entry in found:
                        name = folder + entry.name
                        if entry.is_dir(follow_symlinks=False):
                            name += "/"
                            folders.append(name)
                        yield name
            except (FileNotFoundError, NotADirectoryError):
                continue  # nothing is stored yet
            except OSError as err:
                raise InputError(
                    f"it cannot be listed: {err.strerror}", path=self._root / folder
                ) from err

    def folders(self) -> list[str]:
        """Return the names of the first folders in it."""
        try:
            with os.scandir(self._root) as entries:
                return [e.name for e in itertools.islice(entries, _LOOKED_AT) if e.is_dir()]
        except OSError:
            return []


class _ZipFolder:
    def __init__(self, address: Address, archive: zipfile.ZipFile) -> None:
        self.where = str(address)
        self.permissions = address.permissions
        self._archive = archive
        self._inner = f"{address.inner.strip('/')}/".lstrip("/")

    def holds(self, name: str) -> bool:
        return self._inner + name in self._archive.NameToInfo

    def size(self, name: str) -> int | None:
        # the last one counts of several with one name, as zarr writes them
        entry = self._archive.NameToInfo.get(self._inner + name)
        return None if entry is None else entry.file_size

    def open(self, name: str) -> IO[bytes]:
        return self._archive.open(self._inner + name)

    def names(self) -> Iterator[str]:
        for name in self._archive.NameToInfo:
            if name.startswith(self._inner):
                yield name[len(self._inner) :]

    def folders(self) -> list[str]:
        return list({name.partition("/")[0] for name in self.names() if "/" in name})


#: The files of an array, by names that are relative to it.
Folder = _LocalFolder | _ZipFolder


def folder_of(address: Address) -> Folder:
    """Return the files of a place on this computer."""
    if address.archive is None:
        return _LocalFolder(address)
    return _ZipFolder(address, address.archive)


def find_members(address: Address, is_member: Callable[[Address], bool]) -> list[Address]:
    """Return the first arrays or images in a group, and in the groups in it."""
    found: list[Address] = []
    groups = [] if address.remote else [address]
    for _ in range(_LEVELS):
        inside = [member for group in groups for member in _inside(group)]
        groups = []
        for member in inside[:_LOOKED_AT]:
            try:
                (found if is_member(member) else groups).append(member)
            except InputError:
                continue  # it is not asked for
            if len(found) > _NAMED:
                return found
    return found


def _inside(group: Address) -> list[Address]:
    ordered = sorted(folder_of(group).folders(), key=lambda name: (len(name), name))
    return [safe_join(group, name) for name in ordered if not name.startswith(".")]


def name_members(found: list[Address], what: str, remote: bool) -> str:
    """Return what to do: a hint with the names of what was found."""
    if found:
        names = ", ".join(map(str, found[:3]))
        return f"{what}: {names}{' ...' if len(found) > 3 else ''}"
    return what if remote else "none is found in it"


def open_archive(path: Path, permissions: Permissions) -> zipfile.ZipFile:
    """Open a zip file whose list of files is not too large."""
    try:
        with path.open("rb") as file:
            size = _directory_bytes(file, path.stat().st_size)
        if size > _MAX_DIRECTORY and not permissions.oversized:
            raise RefusedInputError(
                f"the list of its files takes {size:,} bytes",
                path=path,
                hint=f"unpack it, or {Permissions.hint_for('oversized')}",
            )
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, struct.error, OSError, ValueError) as err:
        raise InputError(
            f"this zip file cannot be read: {err}", path=path, hint="copy it again"
        ) from err


def _directory_bytes(file: IO[bytes], size: int) -> int:
    """Return the length of the list at the end of a zip file."""
    start = max(0, size - (1 << 16) - 42)
    file.seek(start)
    tail = file.read(size - start)
    at = tail.rfind(b"PK\5\6")
    if at < 0:
        raise zipfile.BadZipFile("it has no list of files at its end")
    listed: int = struct.unpack_from("<I", tail, at + 12)[0]
    if listed == 0xFFFFFFFF and tail[max(at - 20, 0) : at].startswith(b"PK\6\7"):
        file.seek(struct.unpack_from("<Q", tail, at - 12)[0])
        listed = struct.unpack_from("<Q", file.read(56), 40)[0]
    return listed


def _zstd(data: bytes, most: int) -> bytes:
    import zstandard

    if zstandard.frame_content_size(data) > most:
        raise ValueError(f"it promises more than {most:,} bytes")
    return zstandard.ZstdDecompressor().decompress(data, max_output_size=most)


def _xz(data: bytes, most: int) -> bytes:
    decoder = lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)
    found = decoder.decompress(data, most)
    if len(found) < most and not decoder.eof:
        raise EOFError("it is cut short")
    return found


def _brotli(data: bytes, most: int) -> bytes:
    from imagecodecs import brotli_decode

    return bytes(brotli_decode(data, out=most))


#: How a whole file is packed, by the ending of its name; each returns at most so many bytes.
PACKED: dict[str, Callable[[bytes, int], bytes]] = {
    ".gz": lambda data, most: gzip.GzipFile(fileobj=io.BytesIO(data)).read(most),
    ".br": _brotli,
    ".zstd": _zstd,
    ".zst": _zstd,
    ".bz2": lambda data, most: bz2.BZ2File(io.BytesIO(data)).read(most),
    ".xz": _xz,
}


@contextmanager
def reading(folder: Folder, name: str) -> Iterator[IO[bytes]]:
    """Open a file to read and unpack; each of the libraries has errors of its own for that."""
    where = f"{folder.where}/{name}"
    try:
        with folder.open(name) as file:
            yield file
    except (InputError, MemoryError):
        raise
    except Exception as err:
        if isinstance(err, OSError) and err.strerror:
            raise InputError(f"it cannot be read: {err.strerror}", path=where) from err
        raise InputError(
            f"it cannot be unpacked: {err}", path=where, hint="it is damaged; copy it again"
        ) from err


def unpack(folder: Folder, name: str, most: int) -> bytes:
    """Return what a file holds, unpacked where its name says that it is packed."""
    suffix = os.path.splitext(name)[1].lower()
    with reading(folder, name) as file:
        data = file.read(most + 1)
        if suffix in PACKED and len(data) <= most:
            data = PACKED[suffix](data, most + 1)
    if len(data) > most:
        raise RefusedInputError(
            f"a file of more than {most:,} bytes is not read",
            path=f"{folder.where}/{name}",
            hint="get the volume again",
        )
    return data


def walk(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    """Yield in order what is below a folder and is not a folder."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from walk(entry.path)
        else:
            yield entry


def digest_files(root: Path, files: Iterable[Path], limit: int = 200_000) -> dict[str, Any]:
    """Return number, bytes and a digest of names, sizes and times of files."""
    digest = hashlib.sha256()
    statuses: list[os.stat_result] = []
    number = total = 0
    for file in files:
        if number >= limit:
            break
        try:
            status = file.stat()
        except OSError:
            continue  # a writer replaced it in this moment
        name = os.path.relpath(file, root).replace(os.sep, "/")
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        statuses.append(status)
        number += 1
        total += status.st_size
    found = {"files": number, "bytes": total, "sha256": digest.hexdigest()}
    return found | _system_says(statuses)


def file_identity(path: Path) -> dict[str, Any]:
    """Return size and times of a file."""
    status = path.stat()
    found = {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}
    return found | _system_says([status])


def _system_says(statuses: Iterable[os.stat_result]) -> dict[str, str]:
    """Return what cannot be set back, and what changes it beside the content."""
    changed, access = hashlib.sha256(), hashlib.sha256()
    for status in statuses:
        changed.update(f"{status.st_ctime_ns}\n".encode())
        rights = (status.st_mode, status.st_nlink, status.st_uid, status.st_gid)
        access.update(f"{rights}\n".encode())
    return dict(zip(OF_SYSTEM, (changed.hexdigest(), access.hexdigest()), strict=True))
