"""Folders of chunks, on this computer or in an object store, through tensorstore."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import CytovoxError, InputError, InputNotFoundError, StorageError, UsageError
from .volume_address import Address
from .volume_chunk_files import ChunkFiles, Index
from .volume_folder import digest_files, folder_of, unpack, walk
from .volume_limits import MAX_DOCUMENT_BYTES, Box, box_shape, check_chunk, intersect, slices
from .volume_view import Described

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "TensorSource",
    "forget_torn_write",
    "kvstore",
    "read_json",
    "remove_tree",
    "write_bytes",
]

#: Seconds that one document, or one box, from a remote store may take.
_TIMEOUT = 120.0
#: What tensorstore raises.
_FAILURES = (ValueError, TimeoutError, OSError, NotImplementedError, RuntimeError)
#: Decoded chunks and shard indices that are kept.
_CACHE_BYTES = 16 * 2**20
#: What tensorstore adds to the name of a file while it writes its new content.
_UNFINISHED = ".__lock"


@cache
def context() -> Any:
    """Return the limits that all arrays of this process share.

    Few retries, since a host that does not answer should be reported within
    seconds; the journal of a run tries its blocks again anyway.
    """
    import tensorstore as ts

    threads = max(1, min(4, os.cpu_count() or 1))
    retries = {"max_retries": 4, "initial_delay": "250ms", "max_delay": "4s"}
    return ts.Context(
        {
            "cache_pool": {"total_bytes_limit": _CACHE_BYTES},
            "data_copy_concurrency": {"limit": threads},
            "file_io_concurrency": {"limit": 4},
            "http_request_retries": retries,
            "s3_request_retries": retries,
            "gcs_request_retries": retries,
        }
    )


def kvstore(address: Address) -> Any:
    """Return where tensorstore finds a folder, as it wants it said."""
    import tensorstore as ts

    if not address.remote:
        text = address.url.replace(os.sep, "/")
        return {"driver": "file", "path": f"{text.rstrip('/')}/"}
    try:
        spec: dict[str, Any] = ts.KvStore.Spec(f"{address.url}/").to_json()
    except ValueError as err:
        raise UsageError(
            "this is not a URL that can be read", path=str(address), hint=_first_line(err)
        ) from err
    return spec | _s3_settings() if spec["driver"] == "s3" else spec


def _s3_settings() -> dict[str, Any]:
    """Return what the environment says about S3, by the names that all clients know."""
    said: dict[str, Any] = {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        said["endpoint"] = endpoint.rstrip("/")
        said["aws_region"] = os.environ.get("AWS_REGION", "us-east-1")
    # Else files and a server of the cloud would be asked first, with noise and delay.
    if os.environ.get("AWS_NO_SIGN_REQUEST", "").lower() in ("1", "yes", "true", "on"):
        said["aws_credentials"] = {"type": "anonymous"}
    elif os.environ.get("AWS_ACCESS_KEY_ID"):
        said["aws_credentials"] = {"type": "environment"}
    return said


def _ask(
    address: Address,
    name: str,
    kind: type[InputError] | type[StorageError],
    request: Callable[[Any], Any],
    timeout: float = _TIMEOUT,
) -> Any:
    """Return what the store of a folder answers about a document, or about all that is there."""
    import tensorstore as ts

    spec = kvstore(address)
    try:
        store = ts.KvStore.open(spec, context=context()).result(timeout=_TIMEOUT)
        return request(store).result(timeout=timeout)
    except _FAILURES as err:
        raise explain(err, f"{address}/{name}".rstrip("/"), kind) from err


def read_json(address: Address, name: str) -> Any:
    """Return a document of a folder, or None if there is none of this name."""
    where = f"{address}/{name}"
    if address.remote:
        found = _ask(address, name, InputError, lambda store: store.read(name))
        data = bytes(found.value) if found.state == "value" else None
    else:
        folder = folder_of(address)
        data = unpack(folder, name, MAX_DOCUMENT_BYTES) if folder.holds(name) else None
    if data is None:
        return None
    if len(data) > MAX_DOCUMENT_BYTES:
        raise InputError(
            f"a description of more than {MAX_DOCUMENT_BYTES:,} bytes is not read", path=where
        )
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as err:
        raise InputError("this is not JSON", path=where, hint="write the metadata again") from err
    if not isinstance(document, dict):
        raise InputError("this is not a JSON object", path=where, hint="write the metadata again")
    return document


def write_bytes(address: Address, name: str, data: bytes) -> None:
    """Put a document into a folder; readers see the old or the new one."""
    if not address.remote:
        forget_torn_write(address.path / name)
    _ask(address, name, StorageError, lambda store: store.write(name, data))


def remove_tree(address: Address) -> None:
    """Remove all that is in a folder of chunks."""
    import tensorstore as ts

    every = ts.KvStore.KeyRange()
    _ask(address, "", StorageError, lambda store: store.delete_range(every), 10 * _TIMEOUT)


def forget_torn_write(path: str | os.PathLike[str]) -> None:
    """Remove new content of a file whose writer has died before it was complete.

    tensorstore would write over it from its beginning and not cut it off, so
    that the rest of a longer content stayed behind a shorter one.
    """
    if fcntl is None:
        return
    torn = f"{os.fspath(path)}{_UNFINISHED}"
    try:
        descriptor = os.open(torn, os.O_RDWR)
    except OSError:  # as it should be
        return
    try:
        with contextlib.suppress(OSError):  # its writer lives
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            Path(torn).unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def explain(
    err: Exception, where: str, kind: type[InputError] | type[StorageError]
) -> CytovoxError:
    """Return an error of ours for one of tensorstore."""
    text = _first_line(err)
    if isinstance(err, TimeoutError):
        return kind(f"no answer in {_TIMEOUT:.0f} s", path=where, hint="check the network")
    if "No space left" in str(err) or "Disk quota" in str(err):
        full = StorageError("the storage is full", path=where, hint="make room, then resume")
        full.errno = errno.ENOSPC
        return full
    if "Could not" in text or "curl" in text.lower() or "retry attempts" in text:
        return kind(f"the store does not answer: {text}", path=where, hint="check URL and network")
    if "PERMISSION_DENIED" in text or "Permission denied" in text:
        return kind("the store denies access", path=where, hint="check rights and credentials")
    if kind is InputError:
        return InputError(
            f"it cannot be read: {text}",
            path=where,
            hint="it may be damaged, or not what its metadata say; copy it again",
        )
    return kind(f"it cannot be written: {text}", path=where)


def _first_line(err: Exception) -> str:
    text = str(err).split(" [source locations")[0].split(" [tensorstore_spec")[0].split("\n")[0]
    return text if len(text) <= 300 else f"{text[:297]}..."


class TensorSource:
    """An array of chunks.

    All metadata are in `spec`, so that nothing is read to open it. The chunks of
    `described` are replaced by those that it has.
    """

    def __init__(
        self,
        spec: dict[str, Any],
        folder: Address,
        described: Described,
        documents: list[Any],
        files: ChunkFiles | None,
        *,
        writable: bool,
    ) -> None:
        self._spec = spec
        self._files = files
        self._folder = folder
        self._documents = documents
        in_memory = {"kvstore": {"driver": "memory"}} if folder.archive is not None else {}
        self._tensor = self._opened(spec | in_memory, context(), writable)
        layout = self._tensor.chunk_layout
        chunk, unit = tuple(layout.read_chunk.shape), tuple(layout.write_chunk.shape)
        if writable:
            check_chunk(unit, described.shape, described.dtype, str(folder))
        self.described = replace(described, chunk=chunk, write_unit=unit)

    def _opened(self, spec: dict[str, Any], context: Any, writable: bool = False) -> Any:
        import tensorstore as ts

        spec = spec | {"open": True, "assume_metadata": True}
        try:
            opened = ts.open(spec, context=context, read=True, write=writable)
            tensor = opened.result(timeout=_TIMEOUT)
        except (*_FAILURES, OverflowError, TypeError) as err:
            raise InputError(
                f"its metadata are not understood: {_first_line(err)}",
                path=str(self._folder),
                hint="store it again, or correct the metadata",
            ) from err
        return tensor[ts.d[:].translate_to[0]]

    def read_into(self, box: Box, out: npt.NDArray[Any]) -> None:
        """Read a box straight into memory that is already there."""
        # all files are looked at before one is unpacked
        stored = [] if self._files is None else list(self._files.check(box))
        self._copy(self._tensor, box, out)
        for index, name in stored:
            assert self._files is not None
            if self._folder.archive is not None or name != self._files.names[0](index):
                self._copy_other(self._files, index, name, box, out)
        # A chunk that is not there is read as empty, so that of a volume that is
        # missing as a whole nothing would be noticed.
        if not self._folder.remote and not self._folder.path.exists():
            raise InputNotFoundError(
                "it has vanished",
                path=self._folder.path,
                hint="bring it back; blocks that were done before are kept",
            )

    def _copy(self, tensor: Any, box: Box, out: npt.NDArray[Any]) -> None:
        import tensorstore as ts

        part = tensor[tuple(slice(*b) for b in box)]
        part = part[ts.d[:].translate_to[0]]
        try:
            target = ts.array(out, context=context(), copy=False, write=True)
            target.write(part).result(timeout=_TIMEOUT if self._folder.remote else None)
        except _FAILURES as err:
            raise explain(err, str(self._folder), InputError) from err

    def _copy_other(
        self, files: ChunkFiles, index: Index, name: str, box: Box, out: npt.NDArray[Any]
    ) -> None:
        """Read a chunk that is not where tensorstore looks for it: pass it on in memory."""
        import tensorstore as ts

        data = files.load(name)
        own = ts.Context()  # with a memory of its own
        store = ts.KvStore.open({"driver": "memory"}, context=own).result()
        store.write(files.prefix + files.names[0](index), data).result()
        tensor = self._opened(self._spec | {"kvstore": {"driver": "memory"}}, own)
        part = files.part(index, box)
        self._copy(tensor, part, out[slices(part, box)])

    def write(self, box: Box, array: npt.NDArray[Any]) -> None:
        """Write a box and wait until it is stored."""
        for path, _ in self._files_of(box):
            forget_torn_write(path)
        try:
            try:
                self._store(box, array)
            except _FAILURES:
                if not self._discard_damaged(box):
                    raise
                self._store(box, array)
        except _FAILURES as err:
            raise explain(err, str(self._folder), StorageError) from err

    def _store(self, box: Box, array: npt.NDArray[Any]) -> None:
        part = self._tensor[tuple(slice(*b) for b in box)]
        part.write(array).result(timeout=_TIMEOUT if self._folder.remote else None)

    def _discard_damaged(self, box: Box) -> bool:
        """Remove chunks that cannot be read and are replaced as a whole; return if there are any.

        At the ends of an array tensorstore reads a chunk before it replaces it.
        """
        found = False
        for path, part in self._files_of(box):
            if intersect(part, box) != part:
                continue
            try:
                self._copy(self._tensor, part, np.empty(box_shape(part), self.described.dtype))
            except InputError:
                path.unlink(missing_ok=True)
                found = True
        return found

    def _files_of(self, box: Box) -> Iterator[tuple[Path, Box]]:
        """Yield the files of a box on this computer, and the voxels of the array in each."""
        files, every = self._files, tuple((0, n) for n in self.described.shape)
        for index in () if files is None else files.indices(box):
            assert files is not None
            yield self._folder.path / files.names[0](index), files.part(index, every)

    def identity(self) -> dict[str, Any]:
        """Return a digest of the metadata and, on this computer, of all files' times."""
        text = json.dumps(self._documents, sort_keys=True).encode()
        found: dict[str, Any] = {"metadata": hashlib.sha256(text).hexdigest()}
        if self._folder.archive is not None:
            found |= digest_files(self._folder.path.parent, [self._folder.path])
        elif not self._folder.remote:
            root = self._folder.path
            stored = (e for e in walk(root) if not e.name.endswith(_UNFINISHED))
            found |= digest_files(root, (Path(e.path) for e in stored))
        return found

    def close(self) -> None:
        """Close what is open."""
        self._tensor = None
        if self._folder.archive is not None:
            self._folder.archive.close()
