"""``cytovox demo`` and ``cytovox simulate``."""

from __future__ import annotations

from pathlib import Path

import numba
import numpy as np
import pytest

from cytovox.cli.demo import compare_with_truth
from cytovox.cli.main import main
from cytovox.cli.progress_display import reporting_compilation
from cytovox.testing import Truth


def test_demo_finds_what_is_true(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "demo"
    for _ in range(2):  # an earlier demo is replaced
        assert main(["demo", "--out", str(folder), "--frames", "200"]) == 0
    out = capsys.readouterr().out
    number = len(Truth.load(folder / "demo.truth.csv").whole)
    assert f"cells   true {number}, found {number}, missed 0, extra 0" in out
    assert "outlines follow pixels, which makes cells look more deformed: 0.0" in out
    assert (folder / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.suffix for p in folder.iterdir()) == [".csv", ".png", ".rtdc", ".rtdc"]


@pytest.mark.parametrize("name", ["demo.rtdc", "demo_dcn.rtdc", "demo.png"])
def test_demo_replaces_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / name).write_text("mine", encoding="utf-8")
    assert main(["demo", "--out", str(tmp_path)]) == 1
    assert "not from a demo" in capsys.readouterr().err
    assert (tmp_path / name).read_text("utf-8") == "mine"


def test_comparison_shows_what_is_missing(tmp_path: Path) -> None:
    assert main(["simulate", "recording", str(tmp_path / "a.rtdc"), "--frames", "100"]) == 0
    truth = Truth.load(tmp_path / "a.truth.csv")
    assert main(["run", str(tmp_path / "a.rtdc"), "-q", "--frames", "50"]) == 0
    early = int((truth.whole["frame"] < 50).sum())
    compared = compare_with_truth(tmp_path / "a_dcn.rtdc", truth)
    assert compared.true == len(truth.whole)
    assert compared.found == early
    assert compared.missed == len(truth.whole) - early
    assert compared.extra == 0
    assert not compared.agrees


def test_comparison_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.rtdc"
    assert main(["simulate", "recording", str(path), "--frames", "40", "--cells", "0"]) == 0
    truth = Truth.load(tmp_path / "a.truth.csv")
    assert main(["run", str(path), "-q"]) == 3
    compared = compare_with_truth(tmp_path / "a_dcn.rtdc", truth)
    assert compared.agrees
    assert str(compared) == "cells   true 0, found 0, missed 0, extra 0"


def test_same_seed_same_recording(tmp_path: Path) -> None:
    for name in ("a", "b"):
        words = [str(tmp_path / f"{name}.rtdc"), "--frames", "20", "--seed", "9"]
        assert main(["simulate", "recording", *words]) == 0
    assert (tmp_path / "a.truth.csv").read_bytes() == (tmp_path / "b.truth.csv").read_bytes()


def test_simulation_replaces_only_when_forced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.rtdc"
    path.write_text("mine", encoding="utf-8")
    words = ["simulate", "recording", str(path), "--frames", "5"]
    assert main(words) == 1
    assert "--force" in capsys.readouterr().err
    assert path.read_text("utf-8") == "mine"
    assert main([*words, "--force"]) == 0
    assert main(["simulate", "recording", str(tmp_path / "a.h5")]) == 2


def test_the_compiler_reports_compilation() -> None:
    def kernel_of_ours(x: float) -> float:
        return x + 1

    kernel_of_ours.__module__ = "cytovox.kernels.test"

    def foreign(x: float) -> float:
        return x + 2

    reported: list[str | None] = []
    with reporting_compilation(reported.append):
        ours = numba.njit(kernel_of_ours)
        assert ours(1.0) == 2.0
        assert ours(2.0) == 3.0
        assert numba.njit(foreign)(np.float64(1.0)) == 3.0
    assert reported == ["kernel_of_ours", None]
