"""This program against the peer's kept results, wherever the tests run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from parity_harness.golden import (
    FOLDER,
    RECORDINGS,
    definition,
    describe,
    differences,
    images_digest,
    simulate,
)
from parity_harness.worker import run_job

AGAIN = "run python tests/parity/make_golden.py and look at what changes"


@pytest.fixture(scope="module", params=list(RECORDINGS))
def recording(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, dict[str, Any]]:
    """Name and path of a simulated recording, and what is kept of its results."""
    name = request.param
    kept = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert kept["definition"] == definition(name), f"other settings than were kept; {AGAIN}"
    path = simulate(name, tmp_path_factory.mktemp(name))
    assert images_digest(path) == kept["images_sha256"], f"other images than were kept; {AGAIN}"
    return name, path, kept["results"]


def test_same_numbers_as_kept(recording: tuple[str, Path, dict[str, Any]], tmp_path: Path) -> None:
    name, path, results = recording
    assert set(results) == set(RECORDINGS[name]["runs"])
    for what, settings in RECORDINGS[name]["runs"].items():
        path_out = tmp_path / "out.rtdc"
        path_out.unlink(missing_ok=True)
        run_job("cytovox", str(path), str(path_out), settings)
        assert differences(describe(path_out), results[what]) == [], what


def test_a_changed_value_is_seen() -> None:
    kept = json.loads((FOLDER / "separated.json").read_text(encoding="utf-8"))
    golden = kept["results"]["defaults"]
    for feature in ("deform", "volume", "tex_con_avg"):
        changed = json.loads(json.dumps(golden))
        column = changed["features"][feature]
        column["kept"][2] = (float.fromhex(column["kept"][2]) * (1 + 1e-6) + 1e-6).hex()
        assert any(feature in line for line in differences(changed, golden))
    changed = json.loads(json.dumps(golden))
    changed["arrays"]["events/mask"][2] = "0" * 32
    assert differences(changed, golden)
