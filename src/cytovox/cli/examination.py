"""What ``cytovox doctor`` looks at, one line for each thing."""

from __future__ import annotations

import importlib.metadata
import io
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import StageError, escaped
from .console import FINDINGS, in_columns, print_json, print_text

__all__ = [
    "Examined",
    "examine",
    "exit_code_of_examination",
    "show_examination",
    "table_of",
]

#: Below these there is a finding: bytes on a disk, bytes of memory, open files.
LITTLE_DISK, LITTLE_MEMORY, FEW_FILES = 1 << 30, 1 << 30, 256
#: Bytes that compiled kernels need about.
_KERNELS = 4 << 20
#: Seconds that a worker process may take to answer.
_PATIENCE = 60.0

#: What must be there, and for what.
_NEEDED = {
    "numpy": "arrays",
    "numba": "kernels",
    "h5py": "recordings",
    "hdf5plugin": "compressed recordings",
    "imagecodecs": "compressed TIFF",
    "zstandard": "compression",
    "daisy": "blocks of volumes",
    "funlib.geometry": "blocks of volumes",
    "tensorstore": "volumes in chunks",
    "zarr": "OME-Zarr",
    "tifffile": "TIFF stacks",
    "pyarrow": "tables of objects",
    "scipy": "segmenting volumes",
    "scikit-image": "segmenting volumes",
    "matplotlib": "pictures",
    "rich": "progress",
    "typer": "this program",
}
#: What may be there: package, what it is for, how to get it.
_EXTRAS = {
    "torch": ("neural networks as segmenters", "pip install cytovox[torch]"),
    "distributed": ("work on a Dask cluster", "pip install cytovox[dask]"),
    "mwatershed": ("mutex watershed of affinities", "pip install cytovox[mutex]"),
    "openvino": ("models on Intel processors", "pip install openvino"),
}


@dataclass(frozen=True, slots=True)
class Examined:
    """One thing that was looked at, and what was found."""

    group: str
    name: str
    #: ``"good"``, ``"note"`` (nothing to do), ``"look"`` (a finding) or ``"BAD"`` (work
    #: is not possible).
    state: str
    told: str


def examine(folder: Path) -> list[Examined]:
    """Look at everything; the folder is that for results."""
    parts: list[Callable[[], Iterable[Examined]]] = [
        _programs,
        _filters,
        _kernels,
        _extras,
        _machine,
        _processes,
        lambda: _disks(folder),
        lambda: _folder(folder),
    ]
    return [one for part in parts for one in _safely(part)]


def exit_code_of_examination(found: Sequence[Examined]) -> int:
    """Return the exit code: 1 if work is not possible, 3 if something should be looked at.

    Examples
    --------
    >>> exit_code_of_examination([Examined("disk", "temp", "look", "full")])
    3
    """
    states = {one.state for one in found}
    return 1 if "BAD" in states else FINDINGS if "look" in states else 0


def show_examination(folder: Path, *, as_json: bool) -> int:
    """Look at everything and print it; return the exit code."""
    found = examine(folder)
    code = exit_code_of_examination(found)
    if as_json:
        examined = [asdict(one) | {"state": one.state.lower()} for one in found]
        print_json({"cytovox": __version__, "exit_code": code, "examined": examined})
    else:
        print_text(table_of(found))
    return code


def table_of(found: Sequence[Examined]) -> str:
    """Return all as aligned text, with what is wrong once more at the end.

    Examples
    --------
    >>> print(table_of([Examined("disk", "temp", "good", "9 GB free")]))
    disk  temp  good  9 GB free
    all is well
    """
    groups = ["", *(one.group for one in found)]
    lines = in_columns(
        [
            ("" if one.group == before else one.group, one.name, one.state, escaped(one.told))
            for before, one in zip(groups, found, strict=False)
        ]
    )
    wrong = [one for one in found if one.state in ("look", "BAD")]
    lines += [f"{one.state}: {one.group}, {one.name}: {escaped(one.told)}" for one in wrong]
    return "\n".join(lines if wrong else [*lines, "all is well"])


def _safely(part: Callable[[], Iterable[Examined]]) -> Iterator[Examined]:
    """Continue with the next part if one fails in an unexpected way."""
    try:
        yield from part()
    except Exception as err:
        name = getattr(part, "__name__", "folder").strip("_")
        yield Examined(name, "check", "BAD", f"{type(err).__name__}: {err}")


def _programs() -> Iterator[Examined]:
    yield Examined("programs", "cytovox", "good", __version__)
    bits = "free-threaded, " if not getattr(sys, "_is_gil_enabled", lambda: True)() else ""
    text = f"{platform.python_version()} ({bits}{sys.executable})"
    yield Examined("programs", "python", "good", text)
    yield Examined("programs", "system", "good", platform.platform())
    for package, purpose in _NEEDED.items():
        version = _version(package)
        if version is None:
            text = f"missing; needed for {purpose}: pip install --force-reinstall cytovox"
            yield Examined("programs", package, "BAD", text)
        else:
            yield Examined("programs", package, "good", version)
    import h5py

    yield Examined("programs", "HDF5", "good", h5py.version.hdf5_version)


def _filters() -> Iterator[Examined]:
    """Store and read a chunk with each filter that recordings use."""
    import h5py
    import hdf5plugin
    import numpy as np

    values = np.arange(1000, dtype=np.uint16)
    ways: dict[str, dict[str, Any]] = {
        "zstd": dict(hdf5plugin.Zstd(clevel=5)),
        "fletcher32": {"fletcher32": True},
        "gzip": {"compression": "gzip"},
    }
    for name, how in ways.items():
        try:
            with h5py.File(io.BytesIO(), "w") as h5:
                h5.create_dataset("a", data=values, chunks=(100,), **how)
                h5.flush()
                good = bool(np.array_equal(h5["a"][:], values))
                packed = h5["a"].id.get_storage_size()
        except (OSError, ValueError, RuntimeError) as err:
            yield Examined("filters", name, "BAD", f"does not work: {err}")
            continue
        text = f"works, {values.nbytes} bytes in {packed}"
        yield Examined("filters", name, "good" if good else "BAD", text)
    for variable in ("HDF5_PLUGIN_PATH", "HDF5_USE_FILE_LOCKING"):
        if value := os.environ.get(variable):
            yield Examined("filters", variable, "note", value)


def _kernels() -> Iterator[Examined]:
    from ..kernels.checksum import fletcher32
    from ..kernels.jit import cache_folder

    folder = cache_folder()
    number = sum(1 for _ in folder.rglob("*.nbi")) if folder is not None else 0
    if folder is None or not _has_room(folder):
        text = "cannot be kept: compiled anew by each process; set CYTOVOX_CACHE_DIR"
        yield Examined("kernels", "cache", "look", text)
    else:
        yield Examined("kernels", "cache", "good", str(folder))
    kept = f"{number} kept" if number else "none yet: the first run takes half a minute longer"
    yield Examined("kernels", "compiled", "good" if number else "note", kept)
    right = fletcher32(b"abcde") == 0x4FF029C7
    text = "right result" if right else "WRONG result of a kernel"
    yield Examined("kernels", "run", "good" if right else "BAD", text)


def _has_room(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            return file.write(bytes(_KERNELS)) == _KERNELS
    except OSError:
        return False


def _extras() -> Iterator[Examined]:
    for package, (purpose, how) in _EXTRAS.items():
        version = _version(package)
        if version is None:
            yield Examined("extras", package, "note", f"not installed; for {purpose}: {how}")
        else:
            yield Examined("extras", package, "good", f"{version}; for {purpose}")
    if _version("torch") is not None:
        yield _cuda()


def _cuda() -> Examined:
    try:
        import torch

        if torch.cuda.is_available():
            names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
            return Examined("extras", "CUDA", "good", f"{torch.version.cuda}: {', '.join(names)}")
    except Exception as err:
        return Examined("extras", "CUDA", "look", f"torch does not start: {err}")
    return Examined("extras", "CUDA", "note", "no device; models run on the processor")


def _machine() -> Iterator[Examined]:
    from ..run.memory import cpu_count, memory_allowed, memory_available, memory_limits

    usable, there = cpu_count(), os.cpu_count() or 1
    yield Examined("machine", "cores", "good", f"{usable} usable of {there}")
    least = memory_allowed()
    for limit in memory_limits():
        little = limit == least and limit.size < LITTLE_MEMORY
        text = f"{_size(limit.size)}, {limit.source}"
        yield Examined("machine", "memory", "look" if little else "good", text)
    if (free := memory_available()) is not None:
        state = "look" if free < LITTLE_MEMORY else "good"
        yield Examined("machine", "free memory", state, _size(free))
    try:
        import resource
    except ImportError:  # Windows
        pass
    else:
        files, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        state = "look" if files < FEW_FILES else "good"
        text = f"{files} at once" + (f"; try: ulimit -n {min(hard, 4096)}" * (state == "look"))
        yield Examined("machine", "open files", state, text)


def _processes() -> Iterator[Examined]:
    """Start one worker as runs do, and wait for its answer."""
    from ..run.executor import TeamExecutor

    state, text = "BAD", f"no answer within {_PATIENCE:.0f} s"
    try:
        with TeamExecutor(1) as team:
            team.submit(abs, 0).result(timeout=_PATIENCE)
        state, text = "good", "starts and answers"
    except TimeoutError:
        pass
    except (OSError, StageError) as err:
        text = f"does not start: {err}"
    yield Examined("machine", "worker process", state, text)


def _disks(folder: Path) -> Iterator[Examined]:
    from ..run.folder_room import existing_folder

    places = {"output": folder, "present": Path.cwd(), "temporary": Path(tempfile.gettempdir())}
    for name, place in places.items():
        try:
            usage = shutil.disk_usage(existing_folder(place))
        except OSError as err:
            yield Examined("disk", name, "look", f"{place}: {err.strerror or err}")
            continue
        state = "look" if usage.free < LITTLE_DISK else "good"
        text = f"{_size(usage.free)} free of {_size(usage.total)} at {place}"
        yield Examined("disk", name, state, text)


def _folder(folder: Path) -> Iterator[Examined]:
    from ..run.folder_room import examine_folder

    for trait in examine_folder(folder):
        state = "good" if trait.good else "BAD" if trait.needed else "look"
        yield Examined("folder", trait.name, state, trait.outcome)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _size(number: int) -> str:
    return f"{number / 1e9:.1f} GB"
