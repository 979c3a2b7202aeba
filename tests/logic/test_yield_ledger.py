"""What is found is kept or lost: in drawn recordings whose counts are known, and in real ones."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cytovox.cli.main import main
from cytovox.logic import DCNumJobRunner, DCNumPipelineJob
from cytovox.read import HDF5Data
from cytovox.run.rows import CAUSES
from support.drawn import draw_recording

CELL = (20, 40, 30, 50, 60)
HOLE = (26, 34, 36, 44, 0)
INNER = (28, 32, 38, 42, 60)
SMALL = (20, 25, 90, 95, 60)  # of which the opening leaves 13 px
THIN = (10, 12, 60, 80, 60)
TOP, BOTTOM = (0, 12, 60, 80, 60), (50, 60, 60, 80, 60)
LEFT, RIGHT = (20, 40, 0, 15, 60), (20, 40, 110, 120, 60)
TWO = [CELL, (20, 40, 70, 90, 60)]
BRIDGE = (30, 31, 50, 70, 60)
SPECKS = [(5, 6, 10 * n, 10 * n + 1, 60) for n in range(1, 11)]
LITTLE = (20, 32, 70, 82, 60)
FLAT: Any = []
GATED = "gate"

#: Patches of the first frames, found, and lost by cause.
PLANTED: dict[str, tuple[list[Any], int, dict[str, int]]] = {
    "nothing": ([FLAT], 0, {}),
    "cell": ([[CELL]], 1, {}),
    "top": ([[TOP]], 1, {"border": 1}),
    "bottom": ([[BOTTOM, CELL]], 2, {"border": 1}),
    "left": ([[LEFT]], 1, {"border": 1}),
    "right": ([[RIGHT]], 1, {"border": 1}),
    "thin": ([[THIN]], 1, {"opening": 1}),
    "specks": ([SPECKS], 10, {"opening": 10}),
    "small": ([[SMALL, CELL]], 2, {"size": 1}),
    "hole": ([[CELL, HOLE]], 1, {}),
    "object in a hole": ([[CELL, HOLE, INNER]], 2, {"merged": 1}),
    "two in a hole": (
        [[CELL, HOLE, (27, 29, 37, 39, 60), (30, 32, 40, 42, 60)]], 3, {"merged": 2},
    ),
    "hole at the border": ([[TOP, (4, 8, 64, 72, 0)]], 1, {"border": 1}),
    "divided": ([[*TWO, BRIDGE]], 2, {}),
    "divided, one piece small": ([[CELL, BRIDGE, (28, 33, 70, 75, 60)]], 2, {"size": 1}),
    "touching corners": ([[CELL, (40, 55, 50, 65, 60)]], 2, {}),
    "repeated once": ([[CELL], [CELL]], 2, {"repeated": 1}),
    "repeated twice": ([TWO, TWO, TWO], 6, {"repeated": 4}),
    "repeated at the border": ([[LEFT], [LEFT]], 2, {"border": 1, "repeated": 1}),
    GATED: ([[CELL], [LITTLE]], 2, {"gate": 1}),
    "all at once": (
        [[CELL, HOLE, INNER, THIN, SMALL, LEFT], FLAT, [CELL], [CELL]],
        7,
        {"merged": 1, "opening": 1, "size": 1, "border": 1, "repeated": 1},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def ledgers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one command over all drawn recordings says of each, with the path of the result."""
    folder = tmp_path_factory.mktemp("ledger")
    for name, (patches, _, _) in PLANTED.items():
        path = draw_recording(folder / f"{name}.rtdc", [*patches, *[FLAT] * 12])
        if name == GATED:
            with h5py.File(path, "a") as h5:
                h5.attrs["online_filter:area_um min"] = 20.0
                h5.attrs["online_filter:area_um soft limit"] = False
    settings = ["--set", "gate.size_thresh_mask=20", "--set", "gate.online_gates=true"]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert main(["run", str(folder), "-q", "--json", *settings]) == 3
    results = json.loads(said.getvalue())["results"]
    return {Path(one["input"]).stem: one for one in results}


@pytest.mark.parametrize("name", PLANTED)
def test_what_was_planted_is_found_kept_or_lost(ledgers: dict[str, Any], name: str) -> None:
    _, found, lost = PLANTED[name]
    one = ledgers[name]
    assert one["objects"] == {
        "found": found,
        "kept": found - sum(lost.values()),
        "lost": dict.fromkeys(CAUSES, 0) | lost,
    }
    with HDF5Data(one["output"]) as result:
        assert len(result) == one["events"] == one["objects"]["kept"]


def test_a_result_says_what_was_lost(
    ledgers: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    result = ledgers["all at once"]["output"]
    assert main(["info", result]) == 0
    words = "7 objects found: 2 kept, 5 lost"
    assert words in capsys.readouterr().out
    assert main(["info", result, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["files"]
    assert found["objects"]["lost"]["merged"] == 1


def test_a_finished_result_keeps_its_ledger_when_it_is_skipped(
    ledgers: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    made = ledgers["small"]
    settings = ["--set", "gate.size_thresh_mask=20", "--set", "gate.online_gates=true"]
    assert main(["run", made["input"], "-q", "--json", *settings]) == 0
    (again,) = json.loads(capsys.readouterr().out)["results"]
    assert (again["state"], again["objects"]) == ("skipped", made["objects"])


def test_the_table_has_the_causes_that_occur(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("thin", "left"):
        draw_recording(tmp_path / f"{name}.rtdc", [*PLANTED[name][0], [CELL], *[FLAT] * 12])
    words = ["run", str(tmp_path / "left.rtdc"), str(tmp_path / "thin.rtdc"), "-o", str(tmp_path)]
    assert main(words) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == [
        "file", "frames", "found", "events", "border", "opening", "seconds", "state",
    ]  # fmt: skip
    assert [row.split()[1:6] for row in rows[:2]] == [
        ["14", "2", "1", "1", "0"], ["14", "2", "1", "0", "1"],
    ]  # fmt: skip


def test_it_adds_up_in_real_recordings(shared_data: Path, tmp_path: Path) -> None:
    looked_at = 0
    for path in sorted((shared_data / "recordings").glob("*.rtdc")):
        with HDF5Data(path) as data:
            if "image" not in data or not len(data):
                continue
        job = DCNumPipelineJob(path, tmp_path / path.name, num_procs=1)
        with DCNumJobRunner(job) as runner:
            runner.run()
        assert runner.objects is not None, path.name
        lost = sum(runner.objects["lost"].values())
        assert runner.objects["found"] == runner.event_count + lost, path.name
        with HDF5Data(tmp_path / path.name) as result:
            assert len(result) == runner.event_count
            assert np.all(np.isfinite(result["area_um"][:]))
        looked_at += runner.objects["found"]
    assert looked_at > 50
