"""Which models may be loaded: loading a model runs a program.

Trust is given to the content of a file, by its SHA-256, never to a name or a
folder. It is not part of the identity of a pipeline: the same model makes the
same numbers, regardless of who trusts it. It is kept in an environment variable, so that
processes started later know it as well.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator

from ..errors import OptionError, UsageError

__all__ = [
    "TRUST_VARIABLE",
    "ModelNotTrustedError",
    "is_trusted",
    "normalize_sha256",
    "require_trust",
    "trust_all_models",
    "trust_model",
    "trusted_models",
    "trusting",
]

#: Environment variable: ``all``, or SHA-256 values separated by commas.
TRUST_VARIABLE = "CYTOVOX_TRUSTED_MODELS"

_ALL = "all"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ModelNotTrustedError(UsageError):
    """A model would have to be run, and that was not allowed."""


def normalize_sha256(sha256: str) -> str:
    """Return a SHA-256 as 64 hexadecimal digits in lower case.

    Parameters
    ----------
    sha256
        SHA-256, hexadecimal.

    Raises
    ------
    OptionError
        If it is not one.
    """
    text = str(sha256).strip().lower().removeprefix("sha256:")
    if not _SHA256.fullmatch(text):
        raise OptionError(
            f"'{sha256}' is not a SHA-256", hint="give all of its 64 hexadecimal digits"
        )
    return text


def trusted_models() -> frozenset[str]:
    """Return the SHA-256 of each trusted model; contains ``"all"`` for any."""
    entries = os.environ.get(TRUST_VARIABLE, "").lower().split(",")
    return frozenset(entry.strip() for entry in entries if entry.strip())


def trust_model(sha256: str) -> None:
    """Let this process and those it starts load the model of this content.

    Parameters
    ----------
    sha256
        SHA-256 of the whole file, 64 hexadecimal digits.

    Raises
    ------
    OptionError
        If it is not a SHA-256.

    Examples
    --------
    >>> getfixture("monkeypatch").setenv(TRUST_VARIABLE, "")
    >>> trust_model("ab" * 32)
    >>> is_trusted("ab" * 32), is_trusted("cd" * 32)
    (True, False)
    """
    entries = trusted_models() | {normalize_sha256(sha256)}
    os.environ[TRUST_VARIABLE] = ",".join(sorted(entries))


def trust_all_models() -> None:
    """Let this process and those it starts load any model.

    Only sensible where every model comes from people who may run programs
    on this computer.
    """
    os.environ[TRUST_VARIABLE] = ",".join(sorted(trusted_models() | {_ALL}))


@contextlib.contextmanager
def trusting(entries: Collection[str]) -> Iterator[None]:
    """Let this process, and those that it starts meanwhile, load further models for a while.

    Parameters
    ----------
    entries
        What `trusted_models` returned, here or in another process.

    Examples
    --------
    >>> getfixture("monkeypatch").setenv(TRUST_VARIABLE, "")
    >>> with trusting(["all"]):
    ...     is_trusted("ab" * 32)
    True
    >>> is_trusted("ab" * 32)
    False
    """
    before = os.environ.get(TRUST_VARIABLE)
    if entries:
        os.environ[TRUST_VARIABLE] = ",".join(sorted({*trusted_models(), *entries}))
    try:
        yield
    finally:
        if before is not None:
            os.environ[TRUST_VARIABLE] = before
        else:
            os.environ.pop(TRUST_VARIABLE, None)


def is_trusted(sha256: str) -> bool:
    """Return whether the model of this content may be loaded.

    Parameters
    ----------
    sha256
        SHA-256 of the file, hexadecimal.
    """
    entries = trusted_models()
    return _ALL in entries or sha256.lower() in entries


def require_trust(path: str | os.PathLike[str], sha256: str, named: str | None = None) -> None:
    """Refuse a model that is not trusted.

    Parameters
    ----------
    path
        File of the model, for the message.
    sha256
        SHA-256 of its content.
    named
        SHA-256 that the recipe names, if any.

    Raises
    ------
    ModelNotTrustedError
        If the recipe names another content, or if it names none and this one
        is not trusted otherwise.
    """
    if named is not None:
        wanted = normalize_sha256(named)
        if wanted != sha256:
            raise ModelNotTrustedError(
                f"this is not the model that the recipe names: its SHA-256 is {sha256}, "
                f"not {wanted}",
                path=path,
                hint="get the right file, or correct model_sha256",
            )
        return
    if not is_trusted(sha256):
        raise ModelNotTrustedError(
            f"a model is a program, and this one is not trusted; its SHA-256 is {sha256}",
            path=path,
            hint="if you trust its source, set the segmenter option "
            f"model_sha256={sha256} or say --trust-model",
        )
