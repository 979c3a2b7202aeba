"""``cytovox volume``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from cytovox.cli.command_options import parse_lengths, parse_size
from cytovox.cli.main import main
from cytovox.cli.volume_options import as_size, parse_parameters
from cytovox.errors import OptionError
from cytovox.read.open_volume import open_volume
from cytovox.run.memory import peak_bytes
from cytovox.testing.volume_truth import VolumeTruth
from support.volumes import labels_of

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    words = ["--shape", "24,60,60", "--seed", "1", "--voxel-size", "2,1,1"]
    assert main(["simulate", "volume", str(tmp_path / "stack.tif"), *words]) == 0
    return tmp_path / "stack.tif"


def segment(stack: Path, *more: str, out: str = "labels.zarr") -> tuple[int, Path]:
    labels = stack.with_name(out)
    words = ["volume", "segment", str(stack), str(labels), "--block", "16,32,32", "--workers", "0"]
    if "-f" not in more:
        more = ("-f", "label", "--set", "threshold=100", "--stitch", "touch", *more)
    return main([*words, *more]), labels


def test_from_stack_to_labels_table_and_picture(stack: Path, capsys: Capture) -> None:
    picture = stack.with_name("a.png")
    code, labels = segment(stack, "--picture", str(picture))
    assert code == 0
    truth = VolumeTruth.load(stack.with_name("stack.truth.csv"))
    out = capsys.readouterr().out
    assert f"{labels}: {len(truth)} objects, 8 blocks" in out
    assert "touch a seam" in out
    assert stack.with_name("labels.objects.parquet").is_file()
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert labels_of(labels).max() == len(truth)
    with open_volume(labels) as volume:
        assert volume.voxel_size == (2, 1, 1)
        assert volume.units == "nanometer"


def test_arrays_are_made_without_a_block_size(stack: Path) -> None:
    mask = stack.with_name("mask.zarr")
    assert main(["volume", "threshold", str(stack), str(mask), "-t", "100", "--workers", "0"]) == 0
    assert main(["verify", str(mask)]) == 0
    assert set(np.unique(labels_of(mask))) == {0, 1}


def test_labels_that_were_damaged_are_said_and_made_again_by_force(
    stack: Path, capsys: Capture
) -> None:
    labels = segment(stack)[1]
    right = labels_of(labels)
    next(file for file in (labels / "0" / "c").rglob("*") if file.is_file()).unlink()
    assert (labels_of(labels) != right).any()
    capsys.readouterr()
    assert segment(stack, "--verify")[0] == 1
    assert "damaged after it was finished (give --force" in capsys.readouterr().err
    assert segment(stack, "--force")[0] == 0
    assert "labels.zarr was damaged after it was finished" in capsys.readouterr().err
    assert (labels_of(labels) == right).all()
    assert segment(stack, "--verify")[0] == 0
    assert "damaged" not in capsys.readouterr().err


def test_json_shows_all(stack: Path, capsys: Capture) -> None:
    capsys.readouterr()
    code, labels = segment(stack, "--json", "--objects", str(stack.with_name("t.csv")))
    content = json.loads(capsys.readouterr().out)
    assert code == content["exit_code"] == 0
    assert content["output"] == str(labels)
    assert content["failed"] == []
    assert content["objects"] == content["seams"]["objects"] > 0
    assert len(stack.with_name("t.csv").read_text().splitlines()) == content["objects"] + 1


def test_info_restitch_and_objects(stack: Path, capsys: Capture) -> None:
    _, labels = segment(stack, "-q")
    assert main(["volume", "info", str(labels), str(stack)]) == 0
    out = capsys.readouterr().out
    assert "label threshold=100" in out
    assert "8 done" in out
    assert ("B at most" in out) is (peak_bytes() is not None), "where the system tells"
    assert "24 x 60 x 60" in out
    assert main(["volume", "restitch", str(labels), "--stitch", "none", "--workers", "0"]) == 0
    pieces = labels_of(labels).max()
    assert f"{pieces} objects" in capsys.readouterr().out
    assert main(["volume", "info", str(labels), "--json"]) == 0
    run = json.loads(capsys.readouterr().out)["volumes"][0]["run"]
    assert run["recipe"]["stitch"]["mode"] == "none"
    assert run["objects"] == pieces
    table = stack.with_name("large.csv")
    words = ["volume", "objects", str(labels), "-o", str(table), "--gate", "voxels > 500"]
    assert main(words) == 0
    large = int((np.bincount(labels_of(labels).ravel())[1:] > 500).sum())
    assert f"{large} objects" in capsys.readouterr().out
    assert main(["volume", "info", str(stack.with_name("nothing.zarr"))]) == 74
    assert main(["volume", "restitch", str(stack), "--stitch", "none"]) == 74


HOPELESS = """
def hopeless(array):
    raise ValueError("it needs a graphics card")
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_function_that_never_works_is_reported_once(
    stack: Path, capsys: Capture, workers: str
) -> None:
    function = stack.with_name("hopeless.py")
    function.write_text(HOPELESS)
    words = ["-f", f"{function}:hopeless", "--stitch", "touch"]
    words = ["volume", "segment", str(stack), str(stack.with_name("l.zarr")), *words]
    words += ["--block", "4", "--workers", workers]
    assert main(words) == 4
    err = capsys.readouterr().err
    assert err.count("it needs a graphics card") == 2  # when it happens, and at the end
    assert "were not tried" in err
    assert len(err.splitlines()) < 8


FRAGILE = """
from pathlib import Path

def fragile(array, *, flag=""):
    if array.shape[0] == 8 and not Path(flag).exists():
        raise ValueError("too thin")
    return array > 100
"""


def test_failed_blocks_are_listed_and_done_later(
    stack: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = stack.with_name("fragile.py")
    function.write_text(FRAGILE)
    flag = stack.with_name("flag")
    words = ["-f", f"{function}:fragile", "--set", f"flag={flag}", "--stitch", "touch"]
    code, labels = segment(stack, *words, "--retries", "0")
    assert code == 4
    err = capsys.readouterr().err
    assert "blocks 4, 5, 6 and 1 more: segment failed: ValueError: too thin" in err
    assert "4 of 8 blocks failed" in err
    assert f"cytovox volume replay {labels} 4" in err
    assert not labels.exists()

    assert main(["volume", "replay", str(labels), "4"]) == 1
    assert "too thin" in capsys.readouterr().err
    assert main(["volume", "replay", str(labels), "0"]) == 0
    assert "block 0 (0:16 0:32 0:32)" in capsys.readouterr().out
    assert main(["volume", "replay", str(labels), "99"]) == 2
    seen = []
    monkeypatch.setattr("pdb.post_mortem", seen.append)
    assert main(["volume", "replay", str(labels), "4", "--pdb"]) == 1
    assert seen[0] is not None
    capsys.readouterr()
    assert main(["volume", "info", str(labels)]) == 0
    assert "4 done, 4 failed" in capsys.readouterr().out

    flag.touch()
    code, labels = segment(stack, *words, "--json")
    assert code == 0
    assert json.loads(capsys.readouterr().out)["objects"] == labels_of(labels).max()


def test_another_recipe_is_refused(stack: Path, capsys: Capture) -> None:
    segment(stack, "-q")
    words = ["-f", "label", "--set", "threshold=50", "--stitch", "touch"]
    assert segment(stack, *words)[0] == 2
    assert "threshold was 100 and is 50" in capsys.readouterr().err
    assert segment(stack, *words, "--no-resume", "-q")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-f", "lable", "--stitch", "touch"], "label"),
        (["-f", "label", "--set", "treshold=1", "--stitch", "touch"], "treshold"),
        (["-f", "label", "--set", "x", "--stitch", "touch"], "key=value"),
        (["-f", "label", "--gate", "voxels >", "--stitch", "touch"], "condition"),
        (["-f", "label", "--memory", "much", "--stitch", "touch"], "4G"),
        (["-f", "label", "--context", "a", "--stitch", "touch"], "--context"),
        (["-f", "label", "--block", "0", "--stitch", "touch"], "blocks of (0, 0, 0) voxels"),
    ],
)
def test_wrong_words(stack: Path, capsys: Capture, words: list[str], said: str) -> None:
    code, labels = segment(stack, *words)
    assert code == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert not labels.exists()


def test_masks_argmax_and_other_labels(stack: Path, capsys: Capture) -> None:
    mask, other, third = (stack.with_name(n) for n in ("mask.zarr", "other.zarr", "third.zarr"))
    common = ["--block", "16,32,32", "--workers", "0", "-q"]
    assert main(["volume", "threshold", str(stack), str(mask), "-t", "100", *common]) == 0
    image = labels_of(stack)
    assert np.array_equal(labels_of(mask), image > 100)
    code, labels = segment(stack, "-q")
    assert code == 0
    found = labels_of(labels)
    merges = stack.with_name("merges.csv")
    merges.write_text("old,new\n1,1\n2,1\n3,5\n")
    assert main(["volume", "relabel", str(labels), str(other), "-t", str(merges), *common]) == 0
    expected = np.select([np.isin(found, (1, 2)), found == 3], [1, 5], 0)
    assert np.array_equal(labels_of(other), expected)
    assert main(["volume", "relabel", str(other), str(third), *common]) == 0
    assert np.array_equal(labels_of(third), np.where(expected == 5, 2, expected))
    assert main(["volume", "argmax", str(stack), str(stack.with_name("no.zarr")), *common]) == 1
    assert "channels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("1000.0,1\n3,2\n", "not a table of labels"),
        ("1;2\n", "not a table of labels"),
        ("-1,2\n", "not a table of labels"),
        (np.array([[3.5, 1]]), "its numbers are float64"),
        (np.array([[-1, 1]]), "the label -1 is below 0"),
        ("new,old\n5,3\n", ""),
        ("+3,5\n", ""),
    ],
)
def test_a_table_of_labels_is_read_as_it_is(
    tmp_path: Path, capsys: Capture, table: Any, said: str
) -> None:
    labels, out, file = tmp_path / "labels.npy", tmp_path / "out.zarr", tmp_path / "table.csv"
    np.save(labels, np.repeat(np.arange(8, dtype=np.uint8), 64).reshape(8, 8, 8))
    if isinstance(table, str):
        file.write_text(table)
    else:
        np.save(file := tmp_path / "table.npy", table)
    words = ["volume", "relabel", str(labels), str(out), "-t", str(file), "--workers", "0", "-q"]
    assert main(words) == (1 if said else 0)
    assert said in capsys.readouterr().err
    if not said:
        assert np.array_equal(np.unique(labels_of(out)), [0, 5])


def test_labels_below_zero_are_not_given_numbers(tmp_path: Path, capsys: Capture) -> None:
    labels, out = tmp_path / "labels.npy", tmp_path / "out.zarr"
    np.save(labels, np.repeat(np.array([-1, 5], np.int32), 256).reshape(8, 8, 8))
    assert main(["volume", "relabel", str(labels), str(out), "--workers", "0", "-q"]) == 1
    assert "the label -1 is below 0" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", [np.uint64, np.int64])
@pytest.mark.parametrize("below", [False, True])
def test_a_threshold_for_integers_beyond_floats(tmp_path: Path, dtype: Any, below: bool) -> None:
    limit = 2**53 + 4
    image = np.full((4, 4, 4), limit, dtype)
    image[0], image[1] = limit - 1, limit + 1
    np.save(tmp_path / "a.npy", image)
    words = ["volume", "threshold", str(tmp_path / "a.npy"), str(tmp_path / "b.zarr")]
    words += ["-t", str(limit), "--workers", "0", "-q", *(["--below"] if below else [])]
    assert main(words) == 0
    expected = image < limit if below else image > limit
    assert np.array_equal(labels_of(tmp_path / "b.zarr"), expected)


def test_argmax(tmp_path: Path) -> None:
    import tifffile

    image = np.random.default_rng(0).integers(0, 99, (3, 8, 20, 20)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", image, metadata={"axes": "CZYX"}, ome=True)
    words = ["volume", "argmax", str(tmp_path / "a.tif"), str(tmp_path / "b.zarr")]
    assert main([*words, "--workers", "0", "--block", "8", "-q"]) == 0
    assert np.array_equal(labels_of(tmp_path / "b.zarr"), image.argmax(0))


def test_plan_shows_cost_and_context(stack: Path, capsys: Capture) -> None:
    words = ["volume", "plan", str(stack), "-f", "watershed", "--set", "threshold=100"]
    words += ["--block", "16,32,32", "--context", "8", "--workers", "4"]
    assert main([*words, "--json"]) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert content["blocks"] == 8
    assert content["workers"] == 4
    assert content["worker_bytes"] > 1e7
    assert content["disk_bytes"] > 1e3
    assert set(content["disagreement"]) == {"4 4 4", "8 8 8"}
    assert all(0 <= error < 0.5 for error in content["disagreement"].values())
    assert not stack.with_name("plan.cytovox").exists()


def test_stopped_run_can_go_on(stack: Path) -> None:
    function = stack.with_name("slow.py")
    function.write_text(
        "import time\ndef slow(array):\n    time.sleep(0.4)\n    return array > 100\n"
    )
    labels = stack.with_name("labels.zarr")
    words = ["volume", "segment", str(stack), str(labels), "-f", f"{function}:slow"]
    words += ["--stitch", "touch", "--block", "8,32,32", "--workers", "1"]
    command = [sys.executable, "-m", "cytovox", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    journal = stack.with_name("labels.zarr.cytovox") / "journal.jsonl"
    limit = time.monotonic() + 300
    while time.monotonic() < limit and process.poll() is None:
        if journal.exists() and '"done"' in journal.read_text():
            break
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 130, err
    assert "resumes" in err
    assert not labels.exists()
    assert main([*words, "-q"]) == 0
    true, count = ndimage.label(labels_of(stack) > 100)
    assert labels_of(labels).max() == count


def test_demo_with_a_volume(tmp_path: Path, capsys: Capture) -> None:
    for _ in range(2):  # an earlier demo is replaced
        assert main(["demo", "--volume", "--out", str(tmp_path / "demo")]) == 0
    out = capsys.readouterr().out
    number = len(VolumeTruth.load(tmp_path / "demo" / "volume.truth.csv"))
    assert f"true {number}, found {number}, with exactly the true voxels {number}" in out
    assert (tmp_path / "demo" / "volume.png").is_file()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "volume.png").write_text("mine")
    assert main(["demo", "--volume", "--out", str(tmp_path / "mine")]) == 1
    assert (tmp_path / "mine" / "volume.png").read_text() == "mine"


def test_words_are_read() -> None:
    assert parse_size("32 x 64,64", "--block") == (32, 64, 64)
    assert parse_size("64", "--block") == 64
    assert parse_lengths("2,0.5,0.5") == (2.0, 0.5, 0.5)
    words = ["a=1.5", "b=x", "c=none", "d=false", "e=[1,2]"]
    assert parse_parameters(words) == {"a": 1.5, "b": "x", "c": None, "d": False, "e": [1, 2]}
    assert as_size("1.5k") == 1536
    assert as_size("512 MiB") == 512 << 20
    for wrong in ("0", "x", "1.2.3G"):
        with pytest.raises(OptionError):
            as_size(wrong)


@pytest.mark.parametrize(
    ("option", "value"), [("--memory", "much"), ("--block", "a"), ("--voxel-size", "1,b")]
)
def test_a_wrong_value_is_named_with_its_option_before_work(
    tmp_path: Path, capsys: Capture, option: str, value: str
) -> None:
    words = ["volume", "segment", str(tmp_path / "absent.tif"), str(tmp_path / "labels.zarr")]
    assert main([*words, "-f", "label", option, value]) == 2
    assert f"error: {option} '{value}' is not a size (write " in capsys.readouterr().err


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from cytovox.cli.main import main; main(['volume', 'segment', '--help']);"
        "heavy = {'numpy', 'numba', 'h5py', 'tensorstore', 'daisy'} & set(sys.modules);"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600, capture_output=True)
