"""``cytovox run`` from end to end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from cytovox.cli.main import main
from cytovox.testing import simulate_recording


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "raw.rtdc"
    simulate_recording(path, frames=60, seed=8)
    return path


@pytest.fixture
def raw(good: Path, tmp_path: Path) -> Path:
    path = tmp_path / "a.rtdc"
    shutil.copy(good, path)
    return path


def run_json(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict:
    capsys.readouterr()
    code = main(["run", "--json", *map(str, words)])
    said = json.loads(capsys.readouterr().out)
    assert said["exit_code"] == code
    return said


def count_of(path: Path) -> int:
    with h5py.File(path) as h5:
        assert len(h5["events/area_um"]) == h5.attrs["experiment:event count"]
        return int(h5.attrs["experiment:event count"])


def test_result_lies_beside_the_input(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(raw)]) == 0
    out, err = capsys.readouterr()
    result = raw.with_name("a_dcn.rtdc")
    number = count_of(result)
    header, row, total, objects = out.splitlines()
    head, tail = header.split()[:4], header.split()[-2:]
    assert [*head, *tail] == ["file", "frames", "found", "events", "seconds", "state"]
    found = int(row.split()[2])
    assert row.split()[:4] == [str(raw), "60", str(found), str(number)]
    assert f"{found} objects found: {number} kept, {found - number} lost" in objects
    assert row.split()[-1] == "done"
    assert total == "1 file: 1 done"
    assert "a.rtdc: segmentation 60 frames in" in err
    assert sorted(p.name for p in raw.parent.iterdir()) == ["a.rtdc", "a_dcn.rtdc"]


def test_json_is_all_there_is_on_stdout(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = run_json(capsys, raw, "-o", raw.parent / "made.rtdc")
    (result,) = said["results"]
    assert result["state"] == "done"
    assert result["frames"] == 60
    assert result["events"] == count_of(raw.parent / "made.rtdc")
    assert len(result["pipeline_hash"]) == 32
    assert result["error"] is None
    objects = result["objects"]
    assert objects["found"] == objects["kept"] + sum(objects["lost"].values())
    assert objects["kept"] == result["events"]


def test_finished_results_are_skipped(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(raw), "--quiet"]) == 0
    result = raw.with_name("a_dcn.rtdc")
    before = result.read_bytes()
    assert main(["run", str(raw)]) == 0
    out, err = capsys.readouterr()
    assert "skipped" in err
    assert "1 file: 1 skipped" in out
    assert result.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "segmenter.thresh=-7"], "another recipe"),
        (["--frames", "30"], "another recipe"),
        (["--basins", "tap"], "--basins drain"),
    ],
)
def test_other_results_are_refused_until_forced(
    raw: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["run", str(raw), "--quiet"]) == 0
    result = raw.with_name("a_dcn.rtdc")
    before = result.read_bytes()
    assert main(["run", str(raw), "--quiet", *words]) == 1
    assert message in capsys.readouterr().err
    assert result.read_bytes() == before
    assert main(["run", str(raw), "--quiet", "--force", *words]) == 0
    assert result.read_bytes() != before


def test_result_of_another_measurement_is_refused(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(raw), "--quiet"]) == 0
    with h5py.File(raw, "a") as h5:
        h5.attrs["experiment:run identifier"] = "another"
    assert main(["run", str(raw), "--quiet"]) == 1
    assert "another measurement" in capsys.readouterr().err


def test_incomplete_result_is_refused(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(raw), "--quiet"]) == 0
    with h5py.File(raw.with_name("a_dcn.rtdc"), "a") as h5:
        h5["events/area_um"].resize((1,))
    assert main(["run", str(raw), "--quiet"]) == 1
    assert "incomplete" in capsys.readouterr().err


def test_bad_file_does_not_stop_the_batch(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = raw.parent
    (folder / "b.rtdc").write_bytes(b"bad")
    shutil.copy(raw, folder / "c.rtdc")
    said = run_json(capsys, folder, folder / "gone.rtdc", "-o", folder / "out")
    assert said["exit_code"] == 4
    states = {Path(r["input"]).name: (r["state"], r["exit_code"]) for r in said["results"]}
    assert states == {
        "gone.rtdc": ("failed", 74),
        "a.rtdc": ("done", 0),
        "b.rtdc": ("failed", 1),
        "c.rtdc": ("done", 0),
    }
    made = sorted(p.name for p in (folder / "out").iterdir())
    assert made == ["a_dcn.rtdc", "c_dcn.rtdc"]


def test_folder_twice_skips_all(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(raw, raw.with_name("b.rtdc"))
    pattern = str(raw.parent / "*.rtdc")
    assert [r["state"] for r in run_json(capsys, pattern)["results"]] == ["done", "done"]
    states = [r["state"] for r in run_json(capsys, raw.parent)["results"]]
    assert states == ["skipped", "skipped", "left out", "left out"]


def test_no_events_is_a_finding(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = run_json(capsys, raw, "--set", "segmenter.thresh=-250")
    assert said["exit_code"] == 3
    assert said["results"][0]["findings"] == ["no events"]
    again = run_json(capsys, raw, "--set", "segmenter.thresh=-250")
    assert again["exit_code"] == 3
    assert again["results"][0]["state"] == "skipped"


def test_settings_reach_the_job(raw: Path) -> None:
    words = ["--set", "segmenter.thresh=-5", "--set", "mask.closing_disk=1", "--workers", "1"]
    words += ["--set", "feature.haralick=false", "--frames", "10-50-2", "--background", "rollmed"]
    words += ["--set", "background.kernel_size=20", "--compression", "zstd-1"]
    assert main(["run", str(raw), "--quiet", *words]) == 0
    with h5py.File(raw.with_name("a_dcn.rtdc")) as h5:
        assert h5.attrs["pipeline:dcnum segmenter"] == "thresh:t=-5:cle=1^f=1^clo=1"
        assert h5.attrs["pipeline:dcnum background"] == "rollmed:k=20^b=10000"
        assert h5.attrs["pipeline:dcnum feature"] == "legacy:b=1^h=0^v=1"
        assert h5.attrs["pipeline:dcnum mapping"] == "10-50-2"
        assert "tex_asm_avg" not in h5["events"]


def test_segmenter_from_a_file(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from cytovox.segm import UNISegmenter\n"
        "class SegmentMine(UNISegmenter):\n"
        "    requires_background_correction = True\n"
        "    @staticmethod\n"
        "    def segment_algorithm(image, *, level: float = 6):\n"
        "        return image < -level\n",
        encoding="utf-8",
    )
    words = [str(raw), "--segmenter", f"{file}:SegmentMine", "--quiet"]
    assert main(["run", *words, "--set", "segmenter.levle=5"]) == 2
    assert "did you mean 'level'?" in capsys.readouterr().err
    own = tmp_path / "own.rtdc"
    assert main(["run", *words, "--set", "segmenter.level=6", "-o", str(own)]) == 0
    assert main(["run", str(raw), "--set", "mask.closing_disk=5", "--quiet"]) == 0
    assert count_of(own) == count_of(raw.with_name("a_dcn.rtdc"))


@pytest.mark.parametrize(("flicker", "word"), [(0.0, "false"), (0.05, "true")])
def test_offset_correction_is_set_by_the_light(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flicker: float, word: str
) -> None:
    raw = tmp_path / "a.rtdc"
    simulate_recording(raw, frames=40, seed=5, flicker=flicker)
    assert main(["run", str(raw)]) == 0
    assert f"offset_correction={word}" in capsys.readouterr().err
    with h5py.File(tmp_path / "a_dcn.rtdc") as h5:
        background = h5.attrs["pipeline:dcnum background"]
        assert background.endswith(f"^o={'1' if word == 'true' else '0'}")
        assert ("bg_off" in h5["events"]) == (word == "true")
    explicit = ["--set", f"background.offset_correction={word}"]
    assert run_json(capsys, raw, *explicit)["results"][0]["state"] == "skipped"
    automatic = ["--set", "background.offset_correction=auto"]
    assert run_json(capsys, raw, *automatic)["results"][0]["state"] == "skipped"


def test_offset_correction_as_it_is_given(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = run_json(capsys, raw, "--set", "background.offset_correction=true")
    assert said["results"][0]["offset_correction"] is True
    with h5py.File(raw.with_name("a_dcn.rtdc")) as h5:
        assert h5.attrs["pipeline:dcnum background"].endswith("^o=1")


def test_other_backgrounds_have_no_offset_correction(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = run_json(capsys, raw, "--background", "rollmed")
    assert said["results"][0]["offset_correction"] is None
    words = ["--background", "rollmed", "--set", "background.offset_correction=auto"]
    assert main(["run", str(raw), "-o", str(raw.parent / "o"), *words]) == 2
    assert "offset_correction" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("identifier", "stored", "log", "taken", "said_in_words"),
    [
        ("RC-1", 0.34, None, 0.2645, "naiad 1.0"),
        ("RC-1", 0.34, ["Laser: on", " Device Name: Naiad 1.1 "], 0.2675, "naiad 1.1"),
        ("RC-1", 0.0, ["device name: naiad 1.0"], 0.2645, "naiad 1.0"),
        ("RC-1", 0.34, ["device name: other"], 0.34, "'other' is not known"),
        ("RC-1", 0.256, ["device name: naiad 1.1"], 0.256, None),
        ("ZMD-1", 0.34, ["device name: naiad 1.1"], 0.34, None),
    ],
)
def test_pixel_size_of_devices_that_store_a_wrong_one(
    raw: Path,
    capsys: pytest.CaptureFixture[str],
    identifier: str,
    stored: float,
    log: list[str] | None,
    taken: float,
    said_in_words: str | None,
) -> None:
    with h5py.File(raw, "a") as h5:
        h5.attrs.update({"setup:identifier": identifier, "imaging:pixel size": stored})
        if log is not None:
            h5["logs/cytoshot-acquisition"] = [line.encode() for line in log]
    assert main(["run", str(raw)]) == 0
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if "pixel size" in line]
    if said_in_words is None:
        assert lines == []
    else:
        assert len(lines) == 1
        assert said_in_words in lines[0]
        assert lines[0].startswith(str(raw))
        assert lines[0].endswith(f"pixel_size={taken}")
    with h5py.File(raw.with_name("a_dcn.rtdc")) as h5:
        assert h5.attrs["imaging:pixel size"] == taken
        assert f"p={taken}^" in h5.attrs["pipeline:dcnum data"]
    said = run_json(capsys, raw, "--set", "data.pixel_size=auto")["results"][0]
    assert (said["state"], said["pixel_size"]) == ("skipped", taken)
    assert bool(said["warnings"]) == bool(said_in_words)


def test_pixel_size_as_it_is_given(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File(raw, "a") as h5:
        h5.attrs.update({"setup:identifier": "RC-1", "imaging:pixel size": 0.34})
    assert main(["run", str(raw), "--set", "data.pixel_size=0.34"]) == 0
    assert "pixel size" not in capsys.readouterr().err
    with h5py.File(raw.with_name("a_dcn.rtdc")) as h5:
        assert h5.attrs["imaging:pixel size"] == 0.34


def test_what_is_left_out_is_a_row(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = raw.parent
    (folder / "._a.rtdc").write_bytes(b"\0\5\x16\7")
    assert main(["run", str(raw), "-q"]) == 0
    said = run_json(capsys, folder, "-o", folder / "out")
    assert said["exit_code"] == 0
    states = {Path(r["input"]).name: r["state"] for r in said["results"]}
    left = "left out"
    assert states == {"a.rtdc": "done", "a_dcn.rtdc": left, "._a.rtdc": left}
    assert all(r["reason"] for r in said["results"] if r["state"] == left)
    assert main(["run", str(folder), "-o", str(folder / "out")]) == 0
    out, _ = capsys.readouterr()
    assert "left out: is a result itself" in out
    assert "3 files: 1 skipped, 2 left out" in out


def test_two_inputs_of_one_output_are_refused_and_the_others_measured(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(raw, raw.with_name("in.rtdc"))
    shutil.copy(raw, raw.with_name("in.RTDC"))
    if len(list(raw.parent.glob("[iI]n.*"))) < 2:
        pytest.skip("the file system does not distinguish the case of letters")
    said = run_json(capsys, raw.parent)
    assert said["exit_code"] == 4
    rows = said["results"]
    states = {Path(row["input"]).name: row["state"] for row in rows}
    assert states == {"in.rtdc": "failed", "in.RTDC": "failed", raw.name: "done"}
    assert sum("as would that of" in (row["error"] or "") for row in rows) == 2
    assert not raw.with_name("in_dcn.rtdc").exists()


def test_a_failure_keeps_its_code_beside_what_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.rtdc").write_bytes(b"bad")
    (tmp_path / "._a.rtdc").write_bytes(b"\0\5\x16\7")
    assert run_json(capsys, tmp_path)["exit_code"] == 1


def test_folders_are_mirrored(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in ("one", "two/deep"):
        (tmp_path / "day" / place).mkdir(parents=True)
        shutil.copy(good, tmp_path / "day" / place / "M001_data.rtdc")
    said = run_json(capsys, tmp_path / "day", "--recurse", "-o", tmp_path / "res")
    assert [r["state"] for r in said["results"]] == ["done", "done"]
    made = sorted(p.relative_to(tmp_path / "res") for p in (tmp_path / "res").rglob("*.rtdc"))
    assert [p.as_posix() for p in made] == [
        "one/M001_data_dcn.rtdc",
        "two/deep/M001_data_dcn.rtdc",
    ]


def test_findings_can_be_taken_as_success(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = ["--set", "segmenter.thresh=-250"]
    said = run_json(capsys, raw, "--findings-ok", *nothing)
    assert said["exit_code"] == 0
    assert said["results"][0]["findings"] == ["no events"]
    assert main(["run", str(raw), "-q", "--findings-ok", str(raw.parent / "gone.rtdc")]) == 4


@pytest.mark.skipif(os.name == "nt", reason="streams are closed by a POSIX shell")
@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&- <&-", "2>&1 | head -n 1"])
def test_a_closed_stream_does_not_change_the_exit_code(raw: Path, redirection: str) -> None:
    words = f"{sys.executable} -m cytovox run {raw}"
    script = f"{words} {redirection}; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", script], timeout=300, check=False, capture_output=True)
    assert ended.returncode == 0
    assert count_of(raw.with_name("a_dcn.rtdc")) > 0


def test_names_cannot_forge_lines(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = raw.with_name("b\x1b[31m\nerror: forged.rtdc")
    try:
        shutil.copy(raw, bad)
    except OSError:
        pytest.skip("such names cannot be given here")
    assert main(["run", str(bad)]) == 0
    (raw.parent / "c\x1b\nerror: x.rtdc").write_bytes(b"bad")
    assert main(["run", str(raw.parent), "-o", str(raw.parent / "out")]) == 4
    assert main(["verify", str(bad.with_name(f"{bad.stem}_dcn.rtdc"))]) == 0
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert not [line for line in (out + err).splitlines() if line.startswith("error: forged")]
    assert "b\\x1b[31m\\nerror: forged.rtdc" in out
    with h5py.File(bad.with_name(f"{bad.stem}_dcn.rtdc")) as h5:
        logs = b"".join(b"".join(log[:]) for log in h5["logs"].values())
    assert b"\x1b" not in logs
