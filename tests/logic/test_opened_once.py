"""In one run a recording is opened once, and looked at once."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cytovox.cli.main import main
from cytovox.logic.verify import verify_recording
from cytovox.read import HDF5Data, Permissions, RefusedInputError, chunks, opening, structure
from cytovox.testing import simulate_recording


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, str]]:
    """Return how often each file was opened by its path, and looked at."""
    found: Counter[tuple[str, str]] = Counter()
    open_file, check_heaps, look = h5py.File.__init__, opening.check_heaps, structure._Look.file

    def note(what: str, path: Any) -> None:
        name = Path(str(path)).name
        kind = "output" if "output" in name else "temporary input" if "input" in name else name
        found[what, kind] += 1

    def opens(self: h5py.File, name: Any, mode: str = "r", *args: Any, **kwargs: Any) -> None:
        if isinstance(name, str | Path) and mode == "r":
            note("opened", name)
        open_file(self, name, mode, *args, **kwargs)

    def checks(h5: h5py.File, *args: Any) -> None:
        note("heaps", h5.filename)
        check_heaps(h5, *args)

    def looks(self: Any) -> None:
        note("structure", self.h5.filename)
        look(self)

    monkeypatch.setattr(h5py.File, "__init__", opens)
    monkeypatch.setattr(opening, "check_heaps", checks)
    monkeypatch.setattr(structure._Look, "file", looks)
    return found


@pytest.mark.parametrize("where", ["beside", "elsewhere"])
@pytest.mark.parametrize("basins", ["drain", "tap"])
def test_a_run_opens_its_input_once(
    tmp_path: Path, counts: Counter[tuple[str, str]], basins: str, where: str
) -> None:
    path = tmp_path / "raw.rtdc"
    simulate_recording(path, frames=40)
    out = path.with_name("made.rtdc") if where == "beside" else tmp_path / "made" / "made.rtdc"
    counts.clear()
    assert main(["run", str(path), "-o", str(out), "--basins", basins, "--quiet"]) == 0
    for what in ("opened", "heaps", "structure"):
        assert counts[what, "raw.rtdc"] == 1
        assert counts[what, "output"] == 1
    assert counts["heaps", "temporary input"] == counts["structure", "temporary input"] == 1


@pytest.mark.parametrize("basins", ["drain", "tap"])
def test_to_skip_a_finished_result_it_and_its_input_are_opened_once(
    tmp_path: Path, counts: Counter[tuple[str, str]], basins: str
) -> None:
    path, made = tmp_path / "raw.rtdc", tmp_path / "made.rtdc"
    simulate_recording(path, frames=40)
    words = ["run", str(path), "-o", str(made), "--basins", basins, "--quiet"]
    assert main(words) == 0
    counts.clear()
    assert main([*words, "--verify"]) == 0
    assert {counts["opened", name] for name in ("raw.rtdc", "made.rtdc")} == {1}
    assert set(counts.values()) == {1}


@pytest.mark.parametrize("name", ["raw.rtdc", "made.rtdc", "plain.h5"])
def test_a_verification_opens_a_file_once_and_lists_the_chunks_of_a_dataset_once(
    tmp_path: Path,
    counts: Counter[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    path = tmp_path / "raw.rtdc"
    simulate_recording(path, frames=40)
    assert main(["run", str(path), "-o", str(tmp_path / "made.rtdc"), "--quiet"]) == 0
    with h5py.File(tmp_path / "plain.h5", "w") as h5:
        h5.create_dataset("a", data=np.arange(100), chunks=(10,), compression="gzip")
    listed: Counter[str] = Counter()
    list_chunks = chunks.chunk_infos

    def lists(dataset: h5py.h5d.DatasetID) -> Any:
        listed[h5py.h5i.get_name(dataset)] += 1
        return list_chunks(dataset)

    monkeypatch.setattr(chunks, "chunk_infos", lists)
    counts.clear()
    found = verify_recording(tmp_path / name, or_hdf5=True)
    assert found.ok
    assert found.counts["checked"] > 0
    assert counts["opened", name] == 1
    assert set(listed.values()) == {1}


def test_files_that_the_input_shows_parts_of_are_known_to_all_its_readers(tmp_path: Path) -> None:
    simulate_recording(tmp_path / "part.rtdc", frames=40)
    path = tmp_path / "raw.rtdc"
    with h5py.File(tmp_path / "part.rtdc") as old, h5py.File(path, "w") as new:
        new.attrs.update(old.attrs)
        for name in old["events"]:
            new[f"events/{name}"] = h5py.ExternalLink("part.rtdc", f"events/{name}")
    with HDF5Data(path) as data, HDF5Data(path, opened=data.opened) as other:
        assert data.files() == other.files() == [path, tmp_path / "part.rtdc"]
        assert data.followed == other.followed != []
    made = tmp_path / "made.rtdc"
    assert main(["run", str(path), "-o", str(made), "--quiet"]) == 0
    with HDF5Data(made) as result:
        (log,) = (lines for name, lines in result.logs.items() if name.startswith("dcnum-job"))
        read = json.loads("\n".join(log))["read"]["files"]
    assert [Path(file["path"]).name for file in read] == ["raw.rtdc", "part.rtdc"]


def test_readers_of_one_file_share_the_index_of_its_chunks(tmp_path: Path) -> None:
    path = tmp_path / "raw.rtdc"
    simulate_recording(path, frames=40)
    with HDF5Data(path) as data, HDF5Data(path, opened=data.opened, index_mapping=7) as other:
        assert other.locate("image").h5ds.index is data.locate("image").index
        assert other.file is data.file


def test_what_was_examined_with_more_permissions_is_examined_again(tmp_path: Path) -> None:
    path = tmp_path / "raw.rtdc"
    with h5py.File(path, "w") as h5:
        h5.attrs["experiment:event count"] = 3
        h5.create_dataset("events/image", (3, 4, 5), "u1", external=[("pixels", 0, 60)])
    with HDF5Data(path, permissions=Permissions(external=True)) as data:
        with HDF5Data(path, opened=data.opened, permissions=data.permissions) as other:
            assert other.followed == data.followed != []
        with pytest.raises(RefusedInputError, match="is kept in the file pixels"):
            HDF5Data(path, opened=data.opened, permissions=Permissions())
        assert data.image.shape == (3, 4, 5)  # its file is still open
