"""``cytovox verify`` from end to end."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

from cytovox.cli.main import main
from cytovox.run.lock import LockOwner
from cytovox.testing import simulate_recording


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    simulate_recording(folder / "a.rtdc", frames=60, seed=8, save_truth=False)
    assert main(["run", "-q", str(folder / "a.rtdc")]) == 0
    array = zarr.create_array(folder / "v.zarr", shape=(8, 9, 9), chunks=(8, 9, 9), dtype="u1")
    array[:] = 3
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "made"))


def verify(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, Any]:
    capsys.readouterr()
    code = main(["verify", "--json", *map(str, words)])
    out, err = capsys.readouterr()
    said: dict[str, Any] = json.loads(out)
    assert said["exit_code"] == code
    assert err == ""
    return said


def states(said: dict[str, Any]) -> dict[str, str]:
    return {Path(one["path"]).name: one["state"] for one in said["files"]}


def damage(path: Path) -> None:
    with h5py.File(path) as h5:
        chunk = h5["events/deform"].id.get_chunk_info(0)
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset + 10)
        file.write(b"\xff\x00\xff\x00\xff")


def test_a_folder_of_good_files(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(made)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["file", "kind", "checked", "seconds", "state"]
    assert [line.split()[1] for line in lines[1:4]] == ["recording", "result", "volume"]
    assert all(line.endswith("good") for line in lines[1:4])
    assert lines[4] == "3 files: 3 good, 0 not"


def test_one_bad_file_does_not_stop_the_others(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(folder / "a_dcn.rtdc")
    (folder / "b.rtdc").write_bytes((folder / "a.rtdc").read_bytes()[:5000])
    (folder / "c.rtdc").write_text("nothing of the kind")
    (folder / "d_output_host_1.rtdc~").write_bytes(b"half")
    os.truncate(next(p for p in (folder / "v.zarr").rglob("0") if p.is_file()), 3)
    said = verify(capsys, folder, folder / "none.rtdc")
    assert said["exit_code"] == 4
    assert states(said) == {
        "a.rtdc": "good",
        "a_dcn.rtdc": "damaged",
        "b.rtdc": "unreadable",
        "c.rtdc": "unreadable",
        "d_output_host_1.rtdc~": "unfinished",
        "v.zarr": "damaged",
        "none.rtdc": "unreadable",
    }
    errors = {Path(one["path"]).name: one["error"] for one in said["files"]}
    assert "cut short" in errors["b.rtdc"]
    assert "not an HDF5 file" in errors["c.rtdc"]
    codes = {Path(one["path"]).name: one["exit_code"] for one in said["files"]}
    assert codes["none.rtdc"] == 74
    assert codes["a_dcn.rtdc"] == 1
    assert codes["d_output_host_1.rtdc~"] == 3


def test_a_folder_with_nothing_but_folders_says_which_to_name(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outer = folder.parent / "outer"
    (outer / "empty").mkdir(parents=True)
    folder.rename(outer / "day1")
    assert main(["verify", str(outer)]) == 2
    out = capsys.readouterr().out
    assert out.splitlines()[1].endswith("nothing")
    assert f"folders in it do (name them: {outer / 'day1'})" in out


def test_what_is_found_stands_below_the_file(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(folder / "a_dcn.rtdc")
    assert main(["verify", str(folder / "a_dcn.rtdc")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("DAMAGED")
    assert lines[2].startswith("  error: events/deform, chunk at 0: its checksum does not fit")


def test_quick_looks_at_places_only(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(folder / "a_dcn.rtdc")
    said = verify(capsys, "--quick", folder / "a_dcn.rtdc")
    assert said["exit_code"] == 0
    assert "checked" not in said["files"][0]["counts"]
    with h5py.File(folder / "a_dcn.rtdc", "r+") as h5:
        h5.attrs["experiment:event count"] = 3
    assert verify(capsys, "--quick", folder / "a_dcn.rtdc")["exit_code"] == 1


def test_quiet_says_only_what_is_wrong(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "-q", str(folder)]) == 0
    assert capsys.readouterr() == ("", "")
    damage(folder / "a_dcn.rtdc")
    assert main(["verify", "-q", str(folder)]) == 4
    out, err = capsys.readouterr()
    assert "a_dcn.rtdc" in out
    assert "v.zarr" not in out
    assert err == ""


@pytest.mark.parametrize(
    ("name", "code"), [("none.rtdc", 74), ("none.zarr", 74), ("empty", 2), ("text.tif", 1)]
)
def test_alone_a_file_gives_its_own_code(
    tmp_path: Path, name: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.tif").write_text("nothing of the kind")
    assert verify(capsys, tmp_path / name)["exit_code"] == code


def test_hdf5_of_any_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as h5:
        h5.create_dataset("x", data=np.arange(99), chunks=(10,), fletcher32=True)
        h5.create_dataset("y", data=np.zeros((5, 6, 7)), chunks=(5, 6, 7), compression="gzip")
    said = verify(capsys, tmp_path / "a.h5", f"{tmp_path / 'a.h5'}:/y")
    assert [one["kind"] for one in said["files"]] == ["hdf5", "volume"]
    assert said["files"][0]["counts"]["checked"] == 11


def test_nothing_is_written(made: Path) -> None:
    def listed() -> list[tuple[str, int, int]]:
        return [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(made.rglob("*"))]

    before = listed()
    main(["verify", "-q", str(made)])
    assert listed() == before


@pytest.mark.parametrize(
    ("pid", "words", "code"),
    [
        (os.getpid(), f"is being written by process {os.getpid()}", 0),
        (2**22 + 1, "which was stopped; the same command resumes", 3),  # beyond the largest
        (None, "of which nothing else is left", 3),
    ],
    ids=["alive", "dead", "unknown"],
)
def test_whose_a_temporary_file_is(
    tmp_path: Path, pid: int | None, words: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a_dcn_output_here_12345.rtdc~"
    path.write_bytes(b"half")
    if pid is not None:
        owner = LockOwner(pid=pid, suffixes=("here_12345",))
        (tmp_path / "a_dcn.rtdc.lock").write_text(json.dumps(asdict(owner)))
    said = verify(capsys, tmp_path)
    assert said["exit_code"] == code
    assert said["files"][0]["state"] == "unfinished"
    assert words in said["files"][0]["findings"][0]["what"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_pipes_are_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "a.h5")
    os.mkfifo(tmp_path / "b.ozx")
    said = verify(capsys, tmp_path / "a.h5", tmp_path)
    assert states(said) == {"a.h5": "unreadable", "b.ozx": "unreadable"}
    assert all("pipe, socket or device" in one["error"] for one in said["files"])


def test_a_filter_that_is_not_read_is_no_damage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.rtdc"
    simulate_recording(path, frames=10, seed=1)
    with h5py.File(path, "a") as h5:
        images = h5["events/image"][:]
        del h5["events/image"]
        h5["events"].create_dataset("image", data=images, chunks=(5, 80, 400), scaleoffset=8)
    said = verify(capsys, path)
    assert (said["exit_code"], states(said)) == (1, {"a.rtdc": "refused"})
    assert "--allow-oversized" in said["files"][0]["findings"][0]["what"]
    assert states(verify(capsys, path, "--allow-oversized")) == {"a.rtdc": "good"}
