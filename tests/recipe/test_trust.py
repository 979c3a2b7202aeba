"""Trust in models: given to content, known to child processes, never guessed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cytovox.errors import OptionError
from cytovox.recipe.trust import (
    TRUST_VARIABLE,
    ModelNotTrustedError,
    is_trusted,
    require_trust,
    trust_all_models,
    trust_model,
    trusted_models,
)

ONE, OTHER = "1a" * 32, "2b" * 32


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    monkeypatch.setenv(TRUST_VARIABLE, "")


def test_nothing_is_trusted_at_first():
    assert not trusted_models()
    with pytest.raises(ModelNotTrustedError) as caught:
        require_trust("x.dcnm", ONE)
    text = str(caught.value)
    assert "x.dcnm" in text
    assert f"model_sha256={ONE}" in text
    assert "--trust-model" in text
    assert caught.value.exit_code == 2


def test_one_model():
    trust_model(ONE.upper())
    assert is_trusted(ONE)
    assert is_trusted(ONE.upper())
    assert not is_trusted(OTHER)
    require_trust("x.dcnm", ONE)


def test_all_models():
    trust_model(ONE)
    trust_all_models()
    assert is_trusted(OTHER)
    assert trusted_models() == {"all", ONE}


def test_the_recipe_names_a_model():
    require_trust("x.dcnm", ONE, named=f" SHA256:{ONE} ")
    trust_all_models()
    # The recipe wants that content, so trusting others is not enough.
    with pytest.raises(ModelNotTrustedError, match="not the model that the recipe names"):
        require_trust("x.dcnm", ONE, named=OTHER)


@pytest.mark.parametrize("text", ["", "all", "abc", ONE[:-1], ONE + "0", "g" * 64])
def test_what_is_not_a_sha256_is_refused(text):
    with pytest.raises(OptionError, match="not a SHA-256"):
        trust_model(text)
    with pytest.raises(OptionError, match="not a SHA-256"):
        require_trust("x.dcnm", ONE, named=text)
    assert not trusted_models()


def test_children_know():
    trust_model(ONE)
    code = f"from cytovox.recipe.trust import *; print(is_trusted({ONE!r}), is_trusted({OTHER!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ.copy(),
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    assert done.stdout.split() == ["True", "False"]
