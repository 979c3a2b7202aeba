"""Torch, and loading models: the only place where a model file is run.

Torch is imported when first needed and set up to give the same numbers twice.
Metadata are read without it; `load_model` is called by the workers alone, after
the content of the file has been found to be trusted.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import pathlib
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

from ...errors import OptionError, UsageError
from ...recipe.trust import require_trust
from ...run.extras import require
from .model_file import (
    ModelFile,
    ModelFileError,
    check_md5sum,
    choose_wiring,
    inspect_model,
    read_model_file,
    retrieve_model_file,
)

__all__ = [
    "ModelFileError",
    "check_md5sum",
    "get_model_meta",
    "get_torch",
    "load_model",
    "load_program",
    "one_thread",
    "pick_device",
    "program_format",
    "quiet",
    "retrieve_model_file",
    "setup_torch",
]

logger = logging.getLogger(__name__)

_EXPORTED, _SCRIPT = "ExportedProgram", "TorchScript"
#: So that threads that want the same model at the same time load it once.
_loading = threading.Lock()
_counting = threading.Lock()
# Torch has one number of threads for the whole process, so its users are counted here.
_users = 0
_threads_before = 1


def get_torch() -> Any:
    """Return the module `torch`, set up by `setup_torch`."""
    require("torch", "models")
    # Read when CUDA's linear algebra is first used, so it must come before.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    setup_torch(torch)
    return torch


@functools.cache
def setup_torch(torch: Any) -> None:
    """Make torch deterministic, for the whole process; does so once.

    Nondeterministic algorithms raise in place of giving other numbers each
    time, cuDNN neither measures which algorithm is fastest nor rounds to
    TF32, and TorchScript does not rewrite a model after its first calls.
    """
    # `use_deterministic_algorithms` also imports the compiler of torch, in two seconds.
    torch.set_deterministic_debug_mode("error")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    with quiet():
        torch.jit.set_fusion_strategy([("STATIC", 0), ("DYNAMIC", 0)])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep torch from warning that a kind of model is getting old.

    The kind is fixed by the model file, so the user can do nothing about it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", UserWarning)
        yield


def pick_device(torch: Any, device: str | None = None) -> str:
    """Return the device on which to run: as asked for, else CUDA where there is one."""
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind = str(device).split(":")[0]
    if kind == "cpu" or (kind == "cuda" and torch.cuda.is_available()):
        return str(device)
    raise OptionError(f"there is no device '{device}' here", hint="leave it out, or give cpu")


@contextlib.contextmanager
def one_thread(torch: Any) -> Iterator[None]:
    """Let torch compute with one thread on the CPU while the block runs.

    The workers share the cores among them; more threads of torch only slow
    them down. The setting is put back when the last of several
    blocks that run at the same time ends.
    """
    global _users, _threads_before
    with _counting:
        if _users == 0:
            _threads_before = torch.get_num_threads()
        _users += 1
        # Outside of the first block it still matters for the thread itself.
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _counting:
            _users -= 1
            if _users == 0:
                torch.set_num_threads(_threads_before)


def get_model_meta(
    path_or_name: str | os.PathLike[str], backend: str | None = None, device: str | None = None
) -> dict[str, Any]:
    """Return the metadata of a model, without running anything."""
    found = inspect_model(retrieve_model_file(path_or_name))
    meta = _meta_of(found)
    meta["backend"], meta["device"] = choose_wiring(meta, backend, device)
    return meta


def load_model(
    path_or_name: str | os.PathLike[str],
    backend: str | None = None,
    device: str | None = None,
    model_sha256: str | None = None,
) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    """Load a model; this runs what is in the file."""
    path = retrieve_model_file(path_or_name)
    sha256 = inspect_model(path).sha256
    require_trust(path, sha256, model_sha256)
    with _loading:
        return _load(path, sha256, backend, None if device is None else str(device))


@functools.cache
def _load(
    path: pathlib.Path, sha256: str, backend: str | None, device: str | None
) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    """Load a model that is trusted; once for each process."""
    # The bytes that are run are those that are trusted, even if the file changes meanwhile.
    found = read_model_file(path)
    if found.sha256 != sha256:
        raise ModelFileError("the file was changed while it was being loaded", path=path)
    torch = get_torch()
    meta = _meta_of(found)
    wiring = choose_wiring(meta, backend, device, lambda b, d: _is_usable(torch, b, d))
    meta["backend"], meta["device"] = wiring[0], pick_device(torch, wiring[1])
    with quiet():
        model = _run_file(torch, found, meta)
    logger.info(
        "model %s (SHA-256 %s) runs on %s with %s",
        path.name,
        sha256,
        meta["device"],
        meta["backend"],
    )
    return model, meta


def program_format(program: bytes) -> str | None:
    """Return what kind of program this is, by the names of its members alone."""
    try:
        with zipfile.ZipFile(io.BytesIO(program)) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
            names |= set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError):
        return None
    if names & {"models/model.json", "serialized_exported_program.json"}:
        return _EXPORTED
    if {"data.pkl", "constants.pkl"} <= names:
        return _SCRIPT
    return None


def _meta_of(found: ModelFile) -> dict[str, Any]:
    script = [{"backend": "torch.jit", "device": None}]
    return {
        "wiring_options": script if found.format_version == "1.0" else [],
        **found.meta,
        "path": found.path,
        "sha256": found.sha256,
        "dcnm_format_version": found.format_version,
    }


def _is_usable(torch: Any, backend: str | None, device: str | None) -> bool:
    if str(device).startswith("cuda") and not torch.cuda.is_available():
        return False
    if backend in (None, "torch.jit", "torch.eager"):
        return True
    return backend in torch.compiler.list_backends()


def _run_file(torch: Any, found: ModelFile, meta: dict[str, Any]) -> Callable[[Any], Any]:
    program = found.program()
    held = program_format(program)
    named = _SCRIPT if found.format_version == "1.0" else meta.get("model_file_format")
    if held is None or named not in (None, held):
        raise ModelFileError(
            f"a program of the format {named or 'ExportedProgram or TorchScript'} was expected, "
            f"but it holds {held or 'something else'}",
            path=found.path,
        )
    if named is None:
        logger.info("model %s names no file format; it holds %s", found.path.name, held)
    meta["model_file_format"] = held
    try:
        model = load_program(torch, program, held, meta["device"])
    except Exception as err:
        raise ModelFileError(
            f"torch {torch.__version__} cannot load this model: {_first_line(err)}",
            path=found.path,
        ) from err
    usual = "torch.eager" if held == _EXPORTED else "torch.jit"
    meta["backend"] = meta["backend"] or usual
    if meta["backend"] in ("torch.jit", "torch.eager"):
        # What a program is decides how it runs without compilation.
        meta["backend"] = usual
        return model
    return _compiled(torch, model, meta["backend"])


def load_program(torch: Any, program: bytes, kind: str, device: str) -> Callable[[Any], Any]:
    """Load a program that is trusted, of a kind that `program_format` knows."""
    model: Callable[[Any], Any]
    if kind == _SCRIPT:
        model = torch.jit.load(io.BytesIO(program), map_location=device).eval()
        return model
    exported = torch.export.load(io.BytesIO(program))
    if device != "cpu":
        from torch.export.passes import move_to_device_pass

        exported = move_to_device_pass(exported, device)
    model = exported.module()
    return model


def _compiled(torch: Any, model: Callable[[Any], Any], backend: str) -> Callable[[Any], Any]:
    if backend == "openvino":
        try:
            import openvino.torch  # noqa: F401
        except ImportError as err:
            raise UsageError("openvino is not installed", hint="pip install openvino") from err
    known = torch.compiler.list_backends(exclude_tags=())
    if backend not in known:
        raise OptionError(f"torch has no backend '{backend}'", hint=f"it knows {', '.join(known)}")
    compiled: Callable[[Any], Any] = torch.compile(model, backend=backend)
    return compiled


def _first_line(err: BaseException) -> str:
    lines = str(err).strip().splitlines()
    return lines[0] if lines else type(err).__name__
