"""``cytovox doctor``: what it looks at, one line for each thing."""

from __future__ import annotations

import functools
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from .. import __version__
from ..errors import StageError, escaped
from .command_options import Form, argument
from .console import FINDINGS, in_columns, show

__all__ = ["Examined", "doctor", "examine", "table_of"]

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
    "zstandard": "compression",
    "cloudpickle": "work on other machines",
    "matplotlib": "pictures",
    "rich": "progress",
    "click": "this program",
}

#: Name of what was looked at, its state, and what was found.
_Found = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Examined:
    """One thing that was looked at, and what was found."""

    group: str
    name: str
    #: ``"good"``, ``"note"`` (nothing to do), ``"look"`` (a finding) or ``"BAD"`` (work
    #: is not possible).
    state: str
    told: str


def doctor(
    folder: Annotated[
        Path | None,
        argument("[FOLDER]", "Folder for results; the current folder if not given."),
    ],
    form: Form,
) -> int:
    """Show whether this installation, machine and folder are fit for work.

    Versions, compression filters, kernels, extras, disk, memory and its
    limits, cores, worker processes; and in the folder whether files can be
    written, renamed, linked and locked. Nothing is changed or left behind.

    Example: cytovox doctor /mnt/share/results
    """
    found = examine(folder or Path.cwd())
    states = {one.state for one in found}
    code = 1 if "BAD" in states else FINDINGS if "look" in states else 0
    examined = [asdict(one) | {"state": one.state.lower()} for one in found]
    plain = {"cytovox": __version__, "exit_code": code, "examined": examined}
    show(plain, table_of(found), as_json=form.as_json)
    return code


def examine(folder: Path) -> list[Examined]:
    """Look at everything; the folder is that for results."""
    parts: list[tuple[str, Callable[[], Iterable[_Found]]]] = [
        ("programs", _programs),
        ("filters", _filters),
        ("kernels", _kernels),
        ("extras", _extras),
        ("machine", _machine),
        ("machine", _processes),
        ("disk", functools.partial(_disks, folder)),
        ("folder", functools.partial(_folder, folder)),
    ]
    return [Examined(group, *one) for group, part in parts for one in _safely(part)]


def table_of(found: Sequence[Examined]) -> str:
    """Return all as aligned text, with what is wrong once more at the end."""
    lines = in_columns([(one.group, one.name, one.state, one.told) for one in found], once=True)
    wrong = [one for one in found if one.state in ("look", "BAD")]
    lines += [escaped(f"{one.state}: {one.group}, {one.name}: {one.told}") for one in wrong]
    return "\n".join(lines if wrong else [*lines, "all is well"])


def _safely(part: Callable[[], Iterable[_Found]]) -> Iterator[_Found]:
    """Continue with the next part if one fails in an unexpected way."""
    try:
        yield from part()
    except Exception as err:
        yield "check", "BAD", f"{type(err).__name__}: {err}"


def _programs() -> Iterator[_Found]:
    import platform

    yield "cytovox", "good", __version__
    bits = "free-threaded, " if not getattr(sys, "_is_gil_enabled", lambda: True)() else ""
    yield "python", "good", f"{platform.python_version()} ({bits}{sys.executable})"
    yield "system", "good", platform.platform()
    for package, purpose in _NEEDED.items():
        version = _version(package)
        text = f"missing; needed for {purpose}: install cytovox again"
        yield package, "good" if version else "BAD", version or text
    import h5py

    yield "HDF5", "good", h5py.version.hdf5_version


def _filters() -> Iterator[_Found]:
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
            yield name, "BAD", f"does not work: {err}"
            continue
        yield name, "good" if good else "BAD", f"works, {values.nbytes} bytes in {packed}"
    for variable in ("HDF5_PLUGIN_PATH", "HDF5_USE_FILE_LOCKING"):
        if value := os.environ.get(variable):
            yield variable, "note", value


def _kernels() -> Iterator[_Found]:
    import numpy as np

    from ..kernels.kept_kernels import cache_folder
    from ..kernels.median import top_row_means

    folder = cache_folder()
    number = sum(1 for _ in folder.rglob("*.nbi")) if folder is not None else 0
    if folder is None or not _has_room(folder):
        text = "cannot be kept: compiled anew by each process; set CYTOVOX_CACHE_DIR"
        yield "cache", "look", text
    else:
        yield "cache", "good", str(folder)
    kept = f"{number} kept" if number else "none yet: the first run takes half a minute longer"
    yield "compiled", "good" if number else "note", kept
    right = top_row_means(np.array([[[1, 2], [9, 9]]], np.uint8), 1).tolist() == [1.5]
    yield "run", *(("good", "right result") if right else ("BAD", "WRONG result of a kernel"))


def _has_room(folder: Path) -> bool:
    import tempfile

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            return file.write(bytes(_KERNELS)) == _KERNELS
    except OSError:
        return False


def _extras() -> Iterator[_Found]:
    from ..run.extras import EXTRAS, hint_for, is_installed

    optional: dict[str, tuple[str, str]] = {}
    for extra, packages in EXTRAS.items():
        for package, purpose in packages.items():
            others, how = optional.get(package, ("", hint_for(extra)))
            optional[package] = (f"{others}, {purpose}" if others else purpose, how)
    optional["openvino"] = ("models on Intel processors", "pip install openvino")
    for package, (purpose, how) in optional.items():
        if is_installed(package) and (version := _version(package)) is not None:
            yield package, "good", f"{version}; for {purpose}"
        else:
            yield package, "note", f"not installed; for {purpose}: {how}"
    if _version("torch") is not None:
        yield "CUDA", *_cuda()


def _cuda() -> tuple[str, str]:
    try:
        import torch

        if torch.cuda.is_available():
            names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
            return "good", f"{torch.version.cuda}: {', '.join(names)}"
    except Exception as err:
        return "look", f"torch does not start: {err}"
    return "note", "no device; models run on the processor"


def _machine() -> Iterator[_Found]:
    from ..run.folder_room import in_words
    from ..run.memory import cpu_count, memory_allowed, memory_available, memory_limits

    yield "cores", "good", f"{cpu_count()} usable of {os.cpu_count() or 1}"
    least = memory_allowed()
    for limit in memory_limits():
        little = limit == least and limit.size < LITTLE_MEMORY
        yield "memory", "look" if little else "good", f"{in_words(limit.size)}, {limit.source}"
    if (free := memory_available()) is not None:
        yield "free memory", "look" if free < LITTLE_MEMORY else "good", in_words(free)
    try:
        import resource
    except ImportError:  # Windows
        return
    files, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < FEW_FILES:
        yield "open files", "look", f"{files} at once; try: ulimit -n {min(hard, 4096)}"
    else:
        yield "open files", "good", f"{files} at once"


def _processes() -> Iterator[_Found]:
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
    yield "worker process", state, text


def _disks(folder: Path) -> Iterator[_Found]:
    import shutil
    import tempfile

    from ..run.folder_room import existing_folder, in_words

    places = {"output": folder, "present": Path.cwd(), "temporary": Path(tempfile.gettempdir())}
    for name, place in places.items():
        try:
            usage = shutil.disk_usage(existing_folder(place))
        except OSError as err:
            yield name, "look", f"{place}: {err.strerror or err}"
            continue
        text = f"{in_words(usage.free)} free of {in_words(usage.total)} at {place}"
        yield name, "look" if usage.free < LITTLE_DISK else "good", text


def _folder(folder: Path) -> Iterator[_Found]:
    from ..run.folder_room import examine_folder

    for trait in examine_folder(folder):
        state = "good" if trait.good else "BAD" if trait.needed else "look"
        yield trait.name, state, trait.outcome


def _version(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
