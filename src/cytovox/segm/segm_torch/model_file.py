"""Model files (``.dcnm``): what is in them, found without running anything.

Both formats are zip archives with a member ``dcnum_meta.json``. Format 1 is
TorchScript. Format 2 holds a program in a member ``.pt2``; its first four bytes
are ``DCNM`` in place of those of a zip archive, and it ends with the MD5 of all
bytes before, in 32 hexadecimal digits.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import pathlib
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import Any

from ...errors import InputError, InputNotFoundError, OptionError
from ...recipe.paths import find_file
from .model_meta import ModelFileError, check_meta

__all__ = [
    "MAX_META_BYTES",
    "MAX_MODEL_BYTES",
    "ModelFile",
    "check_md5sum",
    "inspect_model",
    "read_model_file",
    "retrieve_model_file",
]

#: A larger file is not a model for single cells.
MAX_MODEL_BYTES = 1 << 30
#: Metadata are a page of text.
MAX_META_BYTES = 1 << 20
#: Members of an archive; the largest known model has some hundred.
MAX_MEMBERS = 20_000

_META = "dcnum_meta.json"
_ZIP_MAGIC = b"PK\x03\x04"
_MAGIC_2 = b"DCNM"
_TRAILER = 32


@dataclass(frozen=True, slots=True)
class ModelFile:
    """Content of a model file that has been checked, but not run.

    Parameters
    ----------
    path
        Absolute path.
    sha256, md5
        Of the whole file, in hexadecimal digits.
    format_version
        ``"1.0"`` or ``"2.0"``.
    meta
        Metadata as stored.
    archive
        Bytes of the zip archive.
    """

    path: pathlib.Path
    sha256: str
    md5: str
    format_version: str
    meta: dict[str, Any]
    archive: bytes = field(repr=False)

    def program(self) -> bytes:
        """Return the bytes of the program: all of format 1, a member of format 2."""
        if self.format_version == "1.0":
            return self.archive
        with _opened(self.archive, self.path) as archive:
            names = [n for n in archive.namelist() if n.endswith((".pt2", ".pt"))]
            if len(names) != 1:
                raise ModelFileError(
                    f"a model file holds one program, this one {len(names)}", path=self.path
                )
            return _member(archive, names[0], MAX_MODEL_BYTES, self.path)


def retrieve_model_file(path_or_name: str | os.PathLike[str]) -> pathlib.Path:
    """Return the absolute path of a model file."""
    if path_or_name is None or not os.fspath(path_or_name):
        raise OptionError(
            "this segmenter needs a model", hint="give the option model_file, a .dcnm file"
        )
    path = pathlib.Path(path_or_name)
    if not path.is_file():
        if path.name != os.fspath(path_or_name):
            raise InputNotFoundError("there is no such model file", path=path)
        path = find_file("torch_model_files", path.name)
    path = path.absolute()
    inspect_model(path)
    return path


def check_md5sum(path: str | os.PathLike[str]) -> None:
    """Check that the name of a model file fits its content.

    The last part of the stem, after ``_``, is the beginning (five digits) of
    the MD5 of the file.
    """
    _check_name(pathlib.Path(path), hashlib.md5(_read(path), usedforsecurity=False).hexdigest())


def inspect_model(path: str | os.PathLike[str]) -> ModelFile:
    """Return what is in a model file, without its program.

    The answer is kept until the file changes; see `read_model_file` for the
    errors.
    """
    state = _stat(path)
    return _inspect(os.fspath(path), state.st_size, state.st_mtime_ns)


def read_model_file(path: str | os.PathLike[str]) -> ModelFile:
    """Read a model file in one go, and check it, without running anything."""
    path = pathlib.Path(path)
    content = _read(path)
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    _check_name(path, md5)
    if content[:4] == _MAGIC_2:
        archive = _archive_of_2(content, path)
        meta, version = _read_meta(archive, path, nested=False), "2.0"
    elif content[:4] == _ZIP_MAGIC:
        archive = content
        meta, version = _read_meta(archive, path, nested=True), "1.0"
    else:
        raise ModelFileError("this is not a model file", path=path)
    check_meta(meta, version, path)
    sha256 = hashlib.sha256(content).hexdigest()
    return ModelFile(path, sha256, md5, version, meta, archive)


@functools.lru_cache(maxsize=32)
def _inspect(path: str, size: int, mtime_ns: int) -> ModelFile:
    found = read_model_file(path)
    return ModelFile(
        found.path, found.sha256, found.md5, found.format_version, found.meta, archive=b""
    )


def _stat(path: str | os.PathLike[str]) -> os.stat_result:
    try:
        return os.stat(path)
    except FileNotFoundError as err:
        raise InputNotFoundError("there is no such model file", path=path) from err
    except OSError as err:
        raise InputError(f"cannot be read: {err.strerror}", path=path) from err


def _read(path: str | os.PathLike[str]) -> bytes:
    size = _stat(path).st_size
    if size <= MAX_MODEL_BYTES:
        try:
            with open(path, "rb") as file:
                content = file.read(MAX_MODEL_BYTES + 1)
        except OSError as err:
            raise InputError(f"cannot be read: {err.strerror}", path=path) from err
        size = len(content)
    if size > MAX_MODEL_BYTES:
        raise ModelFileError(
            f"a model file may have {MAX_MODEL_BYTES:,} bytes, this one has {size:,}", path=path
        )
    return content


def _check_name(path: pathlib.Path, md5: str) -> None:
    named = path.stem.rsplit("_", 1)[-1]
    if named != md5[:5]:
        raise ModelFileError(
            f"the name of this model says that its MD5 begins with '{named}', but it begins "
            f"with '{md5[:5]}': the file was renamed, damaged or changed",
            path=path,
            hint="get the model again from where it came from",
        )


def _archive_of_2(content: bytes, path: pathlib.Path) -> bytes:
    body, trailer = content[:-_TRAILER], content[-_TRAILER:]
    if hashlib.md5(body, usedforsecurity=False).hexdigest().encode() != trailer:
        raise ModelFileError(
            "the checksum at the end of this model does not fit its content: "
            "the file was damaged or changed",
            path=path,
            hint="get the model again from where it came from",
        )
    # The archive announced the checksum as its comment, some with a wrong length.
    if body[-22:-18] == b"PK\x05\x06":
        body = body[:-2] + b"\x00\x00"
    return _ZIP_MAGIC + body[4:]


def _opened(archive: bytes, path: pathlib.Path) -> zipfile.ZipFile:
    if archive.count(b"PK\x01\x02") > MAX_MEMBERS:
        raise ModelFileError("the archive has too many members", path=path)
    try:
        return zipfile.ZipFile(io.BytesIO(archive))
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as err:
        raise ModelFileError(f"the archive cannot be read: {err}", path=path) from err


def _member(archive: zipfile.ZipFile, name: str, limit: int, path: pathlib.Path) -> bytes:
    """Return a member; never makes more bytes than the limit."""
    try:
        with archive.open(name) as file:
            content = file.read(limit + 1)
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, RuntimeError) as err:
        raise ModelFileError(f"member '{name}' cannot be read: {err}", path=path) from err
    if len(content) > limit:
        raise ModelFileError(f"member '{name}' is larger than {limit:,} bytes", path=path)
    return content


def _read_meta(archive: bytes, path: pathlib.Path, nested: bool) -> dict[str, Any]:
    with _opened(archive, path) as opened:
        names = [
            name
            for name in opened.namelist()
            if name == _META or (nested and name.endswith(f"/extra/{_META}"))
        ]
        if len(names) != 1:
            raise ModelFileError(
                f"a model file holds one {_META}, this one {len(names)}",
                path=path,
                hint="this is not a .dcnm file",
            )
        content = _member(opened, names[0], MAX_META_BYTES, path)
    try:
        meta = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as err:
        raise ModelFileError(f"its metadata cannot be read: {err}", path=path) from err
    if not isinstance(meta, dict):
        raise ModelFileError("its metadata are not a table", path=path)
    return meta
