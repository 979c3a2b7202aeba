"""Model files (``.dcnm``): what is in them, found without running anything.

Both formats are zip archives with a member ``dcnum_meta.json``. Format 1 is
TorchScript. Format 2 holds a program in a member ``.pt2``; its first four bytes
are ``DCNM`` in place of those of a zip archive, and it ends with the MD5 of all
bytes before, in 32 hexadecimal digits. The metadata say how to run a model, and
which recordings it fits.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import pathlib
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import InputError, InputNotFoundError, OptionError
from ...recipe.paths import find_file

__all__ = [
    "MAX_META_BYTES",
    "MAX_MODEL_BYTES",
    "ModelFile",
    "ModelFileError",
    "check_md5sum",
    "check_meta",
    "choose_wiring",
    "inspect_model",
    "read_model_file",
    "reasons_against",
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
_MAX_SIDE = 1 << 15
_MAX_BATCH = 1 << 12


@dataclass(frozen=True, slots=True)
class ModelFile:
    """Content of a model file that has been checked, but not run."""

    path: pathlib.Path
    sha256: str  # of the whole file, in hexadecimal digits
    md5: str
    format_version: str  # "1.0" or "2.0"
    meta: dict[str, Any]  # as stored
    archive: bytes = field(repr=False)  # the zip archive

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


class ModelFileError(InputError, ValueError):
    """A model file is damaged, was changed, or is not a model at all."""


def check_meta(meta: Mapping[str, Any], version: str, path: pathlib.Path) -> None:
    """Check the metadata that are needed to run a model."""

    def need(fits: bool, what: str) -> None:
        if not fits:
            raise ModelFileError(f"its metadata are not sound: {what}", path=path)

    if version == "1.0":
        pre = meta.get("preprocessing")
        need(isinstance(pre, dict), "there is no table 'preprocessing'")
        assert isinstance(pre, dict)
        mean, std = pre.get("norm_mean"), pre.get("norm_std")
        need(mean is None or _is_number(mean), "norm_mean is not a number")
        need(std is None or (_is_number(std) and std != 0), "norm_std is not a number but zero")
        need(_is_shape(pre.get("image_shape")), "image_shape is not a height and a width")
    else:
        named = str(meta.get("format_version", version))
        need(named.split(".")[0] == "2", f"format {named} is unknown")
        need(_is_shape(meta.get("image_shape")), "image_shape is not a height and a width")
        size = meta.get("batch_size")
        need(
            size is None or (_is_count(size) and 0 <= size <= _MAX_BATCH),
            "batch_size is not a number of images",
        )
    for name in ("validation", "wiring_options"):
        items = meta.get(name)
        need(
            items is None or (isinstance(items, list) and all(isinstance(i, dict) for i in items)),
            f"{name} is not a list of tables",
        )


def choose_wiring(
    meta: Mapping[str, Any],
    backend: str | None = None,
    device: str | None = None,
    usable: Callable[[str | None, str | None], bool] = lambda backend, device: True,
) -> tuple[str | None, str | None]:
    """Return backend and device with which to run a model."""
    device = None if device is None else str(device)  # or it is a torch.device
    options = meta.get("wiring_options")
    if (backend and device) or not options:
        return backend, device
    allowed = [
        (backend or option.get("backend"), device or option.get("device"))
        for option in options
        if _agree(backend, option.get("backend")) and _agree(device, option.get("device"))
    ]
    if not allowed:
        known = ", ".join(f"{o.get('backend')} on {o.get('device')}" for o in options)
        raise OptionError(
            f"the model does not run with backend={backend}, device={device}",
            hint=f"it knows {known}",
        )
    return next((wiring for wiring in allowed if usable(*wiring)), allowed[0])


def reasons_against(
    meta: Mapping[str, Any],
    recording: Mapping[str, Any] | None,
    logs: Mapping[str, Sequence[str] | str] | None,
) -> list[str]:
    """Return why a model does not fit a recording; nothing if it does."""
    sources: dict[str, Mapping[str, Any]] = {"meta": recording or {}, "logs": logs or {}}
    reasons = []
    for item in meta.get("validation") or []:
        kind, key = item.get("type"), item.get("key")
        if kind not in sources:
            reasons.append(f"Unknown validation type '{kind}'")
        elif key not in sources[kind]:
            if not item.get("allow-missing-key", False):
                reasons.append(f"Key '{key}' missing in {kind}")
        elif not _fits(item, sources[kind][key]):
            reasons.append(str(item.get("reason", "unknown reason")))
    return reasons


def _agree(wanted: str | None, offered: str | None) -> bool:
    return wanted is None or offered is None or wanted == offered


def _fits(item: Mapping[str, Any], data: Any) -> bool:
    if item.get("regexp") is not None:
        text = data if isinstance(data, str) else _as_text(data)
        try:
            found = re.search(str(item["regexp"]), text, re.MULTILINE) is not None
        except (re.error, OverflowError, RecursionError):
            return False
        if found == bool(item.get("regexp-negate", False)):
            return False
    value = item.get("value")
    if value is None:
        return True
    try:
        number = float(data)
        return abs(float(value) - number) <= 0.01 * abs(number)
    except (TypeError, ValueError):
        return bool(str(value) == str(data))


def _as_text(data: Any) -> str:
    if isinstance(data, bytes):
        return data.decode("utf-8", "replace")
    if isinstance(data, Sequence):
        return "\n".join(str(line) for line in data)
    return str(data)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_shape(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(_is_count(side) and 1 <= side <= _MAX_SIDE for side in value)
    )
