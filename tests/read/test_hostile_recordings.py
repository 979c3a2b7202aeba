"""Files made to harm are refused by name, in bounded memory, and lead nowhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cytovox.cli.main import main
from cytovox.errors import CytovoxError, InputError, OptionError
from cytovox.logic import DCNumJobRunner, DCNumPipelineJob
from cytovox.read import HDF5Data, Permissions, RefusedInputError, open_volume
from cytovox.read.members import dataset_ids
from cytovox.read.permissions import ALLOW_VARIABLE, ROOTS_VARIABLE, default_permissions
from cytovox.testing import simulate_recording
from support.hostile import (
    SECRET,
    HostileCase,
    hostile_cases,
    read_everything,
    write_secret,
)
from support.hostile_recordings import plain_recording

CASES = {case.name: case for case in hostile_cases()}
DRIVER = Path(__file__).with_name("hostile_driver.py")
#: What a case may take beyond the program itself [bytes].
BOUND = 256 << 20


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What became of each case in a process of its own with bounded memory."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("processes with bounded memory need Linux")
    folder = tmp_path_factory.mktemp("hostile")
    ran = subprocess.run(
        [sys.executable, str(DRIVER), str(folder)],
        capture_output=True,
        text=True,
        timeout=900,
        check=True,
    )
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    return {entry["name"]: entry for entry in found}


@pytest.mark.timeout(900)
def test_all_were_tried(attempts: dict[str, dict[str, Any]]) -> None:
    assert list(attempts) == list(CASES)
    assert len(CASES) >= 160
    assert len(hostile_cases(quick=True)) >= 25


@pytest.mark.parametrize("name", CASES)
def test_case(attempts: dict[str, dict[str, Any]], name: str) -> None:
    case, found = CASES[name], attempts[name]
    assert found["status"] == 0, found
    assert found["outcome"] == ("refused" if case.refused else "opened"), found
    if case.refused:
        assert re.search(case.says, found["message"], re.DOTALL), found
        assert "/inbox/" in found["message"]
        assert found["message"].endswith(")"), f"no hint: {found}"
    base = min(entry["peak"] for entry in attempts.values())
    assert found["peak"] - base < BOUND, found


# ------------------------------------------------------------- what may be allowed

LIFTED = [case for case in hostile_cases() if case.allow in ("external", "basin_root")]


def lifted(case: HostileCase, folder: Path) -> Permissions:
    if case.allow == "basin_root":
        return Permissions(basin_roots=(folder / "private",))
    return Permissions(external=True)


@pytest.mark.parametrize(
    "case", [c for c in LIFTED if c.kind == "recording"], ids=lambda case: case.name
)
def test_what_is_allowed_is_followed_and_named(case: HostileCase, tmp_path: Path) -> None:
    target = case.build(write_secret(tmp_path))
    with HDF5Data(target, permissions=lifted(case, tmp_path)) as data:
        for feat in sorted(data.keys()):
            _ = data[feat]
        _ = data.logs, data.tables
        text = "\n".join(data.followed)
    assert "secret" in text or "near.rtdc" in text or "%b" in text


def test_a_basin_without_identifier_is_followed_where_that_is_allowed(tmp_path: Path) -> None:
    target = CASES["basin without identifier"].build(write_secret(tmp_path))
    with HDF5Data(target, permissions=Permissions(unidentified=True)) as data:
        data.check()
        assert data.followed == [f"a basin is in the file {target.with_name('other.rtdc')}"]


def test_a_file_that_has_no_identifier_need_not_be_identified(tmp_path: Path) -> None:
    """So what was recorded without any can be referred to, as the peers do."""
    target = CASES["basin without identifier"].build(write_secret(tmp_path))
    with h5py.File(target.with_name("other.rtdc"), "a") as h5:
        del h5.attrs["experiment:run identifier"]
    with HDF5Data(target) as data:
        data.check()


def test_sizes_are_lifted(tmp_path: Path) -> None:
    target = CASES["chunks of one pixel"].build(write_secret(tmp_path))
    with HDF5Data(target, permissions=Permissions(oversized=True)) as data:
        data.check()


def test_permissions_are_kept_when_a_reader_travels(tmp_path: Path) -> None:
    import pickle

    target = CASES["external image"].build(write_secret(tmp_path))
    with HDF5Data(target, permissions=Permissions(external=True)) as data:
        there = pickle.loads(pickle.dumps(data))
    with there:
        assert (there.image[:] == SECRET).all()


def test_unknown_permissions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOW_VARIABLE, "everything")
    with pytest.raises(OptionError, match="everything"):
        default_permissions()


# ------------------------------------------------------------------ command line


def test_the_command_line_allows_for_one_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ALLOW_VARIABLE, raising=False)
    target = str(CASES["external image"].build(write_secret(tmp_path)))
    assert main(["info", target]) == 1
    text = capsys.readouterr().err
    assert "secret.raw" in text
    assert "--allow-external" in text
    assert main(["info", target, "--allow-external"]) == 0
    assert "secret.raw" in capsys.readouterr().out
    assert default_permissions() == Permissions()
    assert main(["info", target]) == 1


def test_info_shows_a_basin_that_is_not_followed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = str(CASES["basin in the folder beside"].build(write_secret(tmp_path)))
    assert main(["info", target]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "NOT FOLLOWED (outside of the folder; see --basin-root)" in out
    assert main(["info", target, "--basin-root", str(tmp_path / "private")]) == 0
    assert "NOT FOLLOWED" not in capsys.readouterr().out
    assert main(["info", target, "--basin-root", str(tmp_path / "nowhere")]) == 2


def test_a_run_says_and_logs_what_it_followed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "day" / "raw.rtdc"
    raw.parent.mkdir()
    simulate_recording(raw, frames=20, seed=5)
    tap, out = tmp_path / "results" / "tap.rtdc", tmp_path / "again.rtdc"
    assert main(["run", str(raw), "-o", str(tap), "--basins", "tap", "--quiet"]) == 0
    words = ["run", str(tap), "-o", str(out), "--set", "segmenter.thresh=-5"]
    assert main(words) == 1
    assert f"--basin-root {raw.parent}" in capsys.readouterr().err
    assert not out.exists()
    assert main([*words, "--basin-root", str(raw.parent)]) == 0
    assert str(raw) in capsys.readouterr().err
    with HDF5Data(out) as data:
        logs = [lines for name, lines in data.logs.items() if name.startswith("dcnum-log")]
        assert any("a basin is in the file" in " ".join(lines) for lines in logs)


def test_a_run_with_permissions_from_python(tmp_path: Path) -> None:
    raw = tmp_path / "raw.rtdc"
    simulate_recording(raw, frames=20, seed=5)
    kept = tmp_path / "kept.raw"
    with h5py.File(raw, "a") as h5:
        image = h5["events/image"][:]
        kept.write_bytes(image.tobytes())
        del h5["events/image"]
        outside = [(str(kept), 0, image.nbytes)]
        h5.create_dataset("events/image", image.shape, image.dtype, external=outside)
    with pytest.raises(RefusedInputError, match=r"kept\.raw"):
        DCNumPipelineJob(raw)
    permissions = Permissions(external=True)
    job = DCNumPipelineJob(raw, data_kwargs={"permissions": permissions}, num_procs=1)
    with DCNumJobRunner(job) as runner:
        runner.run()
    with HDF5Data(job["path_out"]) as data:
        np.testing.assert_array_equal(data.image[0].shape, image.shape[1:])


# --------------------------------------------------------------------- filters


def test_no_filter_is_loaded_from_a_folder(tmp_path: Path) -> None:
    """Whatever HDF5_PLUGIN_PATH says, and the filters that are known still work."""
    path = plain_recording(tmp_path / "plain.rtdc")
    words = (
        "from cytovox.read import HDF5Data; import h5py, sys\n"
        "before = [h5py.h5pl.get(i) for i in range(h5py.h5pl.size())]\n"
        "with HDF5Data(sys.argv[1]) as data: print(int(data.image[0].max()))\n"
        "print(before, h5py.h5pl.size())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", words, str(path)],
        env={"HDF5_PLUGIN_PATH": str(tmp_path / "planted"), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    pixel, paths = ran.stdout.splitlines()
    assert pixel == "60"
    assert "planted" in paths
    assert paths.endswith(" 0")


@pytest.mark.parametrize("filters", [{}, {"compression": "gzip"}, {"compression": "lzf"}])
@pytest.mark.parametrize("more", [{}, {"shuffle": True}, {"fletcher32": True}])
def test_ordinary_storage_is_read(tmp_path: Path, filters: Any, more: Any) -> None:
    path = plain_recording(tmp_path / "a.rtdc")
    image = np.random.default_rng(0).integers(0, 255, (20, 16, 24), np.uint8)
    with h5py.File(path, "a") as h5:
        del h5["events/image"]
        h5.create_dataset("events/image", data=image, chunks=(7, 5, 24), **filters, **more)
    with HDF5Data(path) as data:
        data.check()
        np.testing.assert_array_equal(data.image[:], image)


def test_other_known_filters_are_read(tmp_path: Path) -> None:
    import hdf5plugin

    image = np.random.default_rng(0).integers(0, 9, (20, 16, 24), np.uint8)
    for number, packed in enumerate(
        [
            hdf5plugin.Blosc(cname="lz4"),
            hdf5plugin.Blosc(cname="zstd", shuffle=2),
            hdf5plugin.LZ4(),
            hdf5plugin.Bitshuffle(cname="none"),
            hdf5plugin.Bitshuffle(cname="lz4"),
            hdf5plugin.Bitshuffle(cname="zstd"),
            hdf5plugin.Zstd(3),
        ]
    ):
        path = plain_recording(tmp_path / f"{number}.rtdc")
        with h5py.File(path, "a") as h5:
            del h5["events/image"]
            h5.create_dataset("events/image", data=image, chunks=(5, 16, 24), **packed)
        with HDF5Data(path) as data:
            np.testing.assert_array_equal(data.image[:], image)


def test_a_chunk_of_gzip_that_could_be_large_is_unpacked_once_more(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (1, 1024, 1024), np.uint8)
    with h5py.File(tmp_path / "a.h5", "w") as h5:
        h5.create_dataset("raw", data=image, chunks=image.shape, compression="gzip")
    with open_volume(f"{tmp_path / 'a.h5'}:/raw") as volume:
        np.testing.assert_array_equal(volume[:], image)


# ------------------------------------------------------------------ real recordings


def test_real_recordings_open_with_nothing_allowed(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ALLOW_VARIABLE, raising=False)
    monkeypatch.delenv(ROOTS_VARIABLE, raising=False)
    paths = sorted((shared_data / "recordings").glob("*.rtdc"))
    assert paths
    for path in paths:
        with HDF5Data(path) as data, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one is empty
            assert data.followed == []
            for feat in sorted(data.keys()):
                assert len(data[feat]) == len(data)
            assert all(data.logs[name] is not None for name in data.logs)
            assert all(len(table) for table in data.tables.values())


@pytest.mark.parametrize("case", hostile_cases(quick=True), ids=lambda case: case.name)
def test_refusals_name_the_file(case: HostileCase, tmp_path: Path) -> None:
    """On every system, though without a bound of memory."""
    target = case.build(write_secret(tmp_path))
    if not case.refused:
        assert not any((part == SECRET).any() for part in read_everything(case, target))
        return
    with pytest.raises(CytovoxError, match=case.says) as caught:
        list(read_everything(case, target))
    assert isinstance(caught.value, (InputError, ValueError))


@pytest.mark.parametrize("command", [["info"], ["verify"], ["volume", "info"]])
def test_a_heap_in_which_hdf5_would_go_round_for_ever(tmp_path: Path, command: list[str]) -> None:
    path = tmp_path / "a.rtdc"
    plain_recording(path)
    data = bytearray(path.read_bytes())
    heap = data.index(b"GCOL")
    # after the first text follows a free place of no size
    data[heap + 48 : heap + 4096] = bytes(4096 - 48)
    path.write_bytes(data)
    words = [sys.executable, "-m", "cytovox", *command, str(path)]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert ran.returncode == 1
    text = ran.stdout + ran.stderr
    assert str(path) in text
    assert f"texts in the file cannot be separated (heap at byte {heap})" in text


def test_heaps_with_whatever_texts_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.rtdc"
    plain_recording(path)
    lines = [f"{'GCOL' * (number % 40)} line {number}" for number in range(5000)]
    with h5py.File(path, "a") as h5:
        h5.create_dataset("logs/many", data=lines, dtype=h5py.string_dtype())
        for turn in range(20):  # leaves free places behind
            h5.attrs["setup:module composition"] = "x" * (50 * turn)
            del h5["logs/many"]
            h5.create_dataset("logs/many", data=lines[turn:], dtype=h5py.string_dtype())
    with HDF5Data(path) as data:
        assert data.logs["many"] == lines[19:]


def test_a_chunk_beyond_the_end_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.rtdc"
    with h5py.File(path, "w") as h5:
        h5.create_dataset("events/deform", data=np.ones(1000), chunks=(1000,))
        place = h5["events/deform"].id.get_chunk_info(0).byte_offset
    data = path.read_bytes()
    assert data.count(place.to_bytes(8, "little")) == 1
    path.write_bytes(data.replace(place.to_bytes(8, "little"), (1 << 60).to_bytes(8, "little")))
    words = [sys.executable, "-m", "cytovox", "verify", str(path)]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert ran.returncode == 1
    assert "events/deform" in ran.stdout


def test_all_data_are_found_whatever_leads_there(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as h5:
        h5["a/b/c"] = np.arange(3)
        h5["a/again"] = h5["a/b/c"]
        h5["a/b/up"] = h5["a"]
        h5["a/root"] = h5["/"]
        h5["d"] = np.arange(4)
        h5["e"] = h5py.SoftLink("/nowhere")
        h5["f"] = h5py.ExternalLink("nowhere.h5", "/")
        h5["g"] = np.dtype("f8")
    with h5py.File(path) as h5:
        found = [h5py.Dataset(one).shape for _, one in dataset_ids(h5)]
    assert sorted(found) == [(3,), (4,)]
