"""The command that does what a button does, in words."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence

from ..errors import UsageError
from ..recipe.recording_recipe import DEFAULT_CODES, STAGES, RecordingRecipe

__all__ = ["call", "in_words", "program", "quoted", "words_of_recipe"]

#: Seconds after which a command is given up.
_LIMIT = 3600


def in_words(words: Sequence[str]) -> str:
    """Return a command as it is typed."""
    return quoted(["cytovox", *words])


def quoted(words: Sequence[str]) -> str:
    """Return words as they are typed."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def program(words: Sequence[str]) -> list[str]:
    """Return a command as a program of this very installation."""
    return [sys.executable, "-m", "cytovox", *words]


def words_of_recipe(recipe: RecordingRecipe) -> list[str]:
    """Return the options of ``cytovox run`` that say how recordings are measured."""
    words = []
    for kind in ("background", "segmenter"):
        if recipe.codes[kind] != DEFAULT_CODES[kind]:
            words += [f"--{kind}", recipe.codes[kind]]
    for stage in STAGES:
        for key, value in recipe.options.get(stage, {}).items():
            words += ["--set", f"{stage}.{key}={value}"]
    return words


def call(words: Sequence[str]) -> tuple[int, str, str]:
    """Run a command; return its exit code, what it printed, and what it said."""
    try:
        ended = subprocess.run(
            program(words),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_LIMIT,
            encoding="utf-8",
            errors="replace",
        )
    except subprocess.TimeoutExpired as err:
        raise UsageError(f"{in_words(words)} was given up after {_LIMIT} s") from err
    return ended.returncode, ended.stdout, ended.stderr.strip().removeprefix("error: ")
