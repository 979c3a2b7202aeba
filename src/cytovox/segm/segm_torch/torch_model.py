"""Loading models: the only place where a model file is run.

Metadata are read without torch and without running anything; `load_model` is
called by the workers alone, after the content of the file has been found to be
trusted.
"""

from __future__ import annotations

import functools
import io
import logging
import os
import pathlib
import threading
import zipfile
from collections.abc import Callable
from typing import Any

from ...errors import OptionError, UsageError
from ...recipe.trust import require_trust
from .model_file import (
    ModelFile,
    check_md5sum,
    inspect_model,
    read_model_file,
    retrieve_model_file,
)
from .model_meta import ModelFileError, choose_wiring
from .torch_setup import get_torch, pick_device, quiet

__all__ = [
    "ModelFileError",
    "check_md5sum",
    "get_model_meta",
    "load_model",
    "program_format",
    "retrieve_model_file",
]

logger = logging.getLogger(__name__)

_EXPORTED, _SCRIPT = "ExportedProgram", "TorchScript"
#: So that threads that want the same model at the same time load it once.
_lock = threading.Lock()


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
    with _lock:
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
        model = (_exported if held == _EXPORTED else _scripted)(torch, program, meta["device"])
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


def _scripted(torch: Any, program: bytes, device: str) -> Callable[[Any], Any]:
    model: Callable[[Any], Any] = torch.jit.load(io.BytesIO(program), map_location=device).eval()
    return model


def _exported(torch: Any, program: bytes, device: str) -> Callable[[Any], Any]:
    exported = torch.export.load(io.BytesIO(program))
    if device != "cpu":
        from torch.export.passes import move_to_device_pass

        exported = move_to_device_pass(exported, device)
    model: Callable[[Any], Any] = exported.module()
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
