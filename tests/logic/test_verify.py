"""Recordings and results are checked: what is whole passes, what is not is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from cytovox.errors import InputError, InputNotFoundError, VerificationError
from cytovox.logic.verify import require_whole, verify_recording
from cytovox.read.chunks import ChunkIndex


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, raw_template: Path) -> Path:
    """A folder with a raw recording, its drained and its tapped result."""
    from cytovox.logic import DCNumJobRunner, DCNumPipelineJob

    folder = tmp_path_factory.mktemp("made")
    shutil.copy(raw_template, folder / "raw.rtdc")
    for strategy in ("drain", "tap"):
        job = DCNumPipelineJob(
            folder / "raw.rtdc", folder / f"{strategy}.rtdc", basin_strategy=strategy, num_procs=2
        )
        with DCNumJobRunner(job) as runner:
            runner.run()
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "made"))


@pytest.fixture
def drain(folder: Path) -> Path:
    return folder / "drain.rtdc"


def findings_of(path: Path, **more: Any) -> list[str]:
    return [str(one) for one in verify_recording(path, **more).findings]


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 0x10]))


def chunk_of(path: Path, name: str) -> Any:
    with h5py.File(path) as h5:
        return ChunkIndex(h5[name]).chunks[-1]


@pytest.mark.parametrize("name", ["raw", "drain", "tap"])
@pytest.mark.parametrize("thorough", [True, False])
def test_what_is_made_here_is_whole(made: Path, name: str, thorough: bool) -> None:
    found = verify_recording(made / f"{name}.rtdc", thorough=thorough)
    assert found.findings == []
    assert found.ok
    assert found.kind == ("recording" if name == "raw" else "result")
    assert found.counts["events"] > 20
    assert found.counts.get("checksums", 0) == (found.counts["chunks"] if thorough else 0)
    require_whole(found)


def test_real_recordings_are_whole(shared_data: Path) -> None:
    paths = sorted((shared_data / "recordings").glob("*.rtdc"))
    assert paths
    for path in paths:
        found = verify_recording(path)
        assert found.ok, path
        assert not found.warnings, path


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("strategy", ["drain", "tap"])
def test_what_dcnum_makes_is_whole(shared_data: Path, tmp_path: Path, strategy: str) -> None:
    logic = pytest.importorskip("dcnum.logic")
    path = tmp_path / "in.rtdc"
    shutil.copy(shared_data / "recordings" / "cytoshot_2023.rtdc", path)
    job = logic.DCNumPipelineJob(
        path_in=path, path_out=tmp_path / "out.rtdc", basin_strategy=strategy, debug=True
    )
    with logic.DCNumJobRunner(job=job) as runner:
        runner.run()
    found = verify_recording(tmp_path / "out.rtdc")
    assert found.findings == []
    assert found.counts["basins"] == (1 if strategy == "drain" else 3)


@pytest.mark.filterwarnings("ignore")
def test_what_dclab_exports_is_whole(shared_data: Path, tmp_path: Path) -> None:
    dclab = pytest.importorskip("dclab")
    path = tmp_path / "export.rtdc"
    with dclab.new_dataset(shared_data / "recordings" / "cytoshot_2023.rtdc") as data:
        data.export.hdf5(path, features=["deform", "area_um", "image", "mask"])
    assert verify_recording(path).errors == []


@pytest.mark.parametrize(
    "name", ["events/image", "events/deform", "events/mask", "logs", "basins"]
)
def test_a_flipped_byte_is_seen(drain: Path, name: str) -> None:
    with h5py.File(drain) as h5:
        item = h5[name]
        name = name if isinstance(item, h5py.Dataset) else f"{name}/{next(iter(item))}"
    chunk = chunk_of(drain, name)
    flip(drain, chunk.position + chunk.size // 2)
    found = findings_of(drain)
    assert any(
        one.startswith(f"error: {name}") and "checksum does not fit" in one for one in found
    ), found
    with pytest.raises(VerificationError, match=name):
        require_whole(verify_recording(drain))


def test_quick_does_not_read_the_data(drain: Path) -> None:
    chunk = chunk_of(drain, "events/image")
    flip(drain, chunk.position + chunk.size // 2)
    found = verify_recording(drain, thorough=False)
    assert found.ok
    assert "checked" not in found.counts


def test_every_flipped_byte_of_a_chunk_is_seen(drain: Path) -> None:
    chunk = chunk_of(drain, "events/deform")
    whole = drain.read_bytes()
    for position in range(chunk.position, chunk.position + chunk.size, 97):
        flip(drain, position)
        assert not verify_recording(drain, or_hdf5=True).ok, position
        drain.write_bytes(whole)


@pytest.mark.parametrize("share", [0.999, 0.5, 0.01])
def test_a_cut_file_is_called_so(drain: Path, share: float) -> None:
    data = drain.read_bytes()
    drain.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match="cut short"):
        verify_recording(drain)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError):
        verify_recording(tmp_path / "none.rtdc")
    (tmp_path / "empty.rtdc").touch()
    with pytest.raises(InputError, match="empty"):
        verify_recording(tmp_path / "empty.rtdc")
    (tmp_path / "text.rtdc").write_text("nothing of the kind")
    with pytest.raises(InputError, match="not an HDF5"):
        verify_recording(tmp_path / "text.rtdc")


def shorter(h5: h5py.File) -> None:
    values = h5["events/deform"][:-1]
    del h5["events/deform"]
    h5["events/deform"] = values


def unwritten(h5: h5py.File) -> None:
    count = len(h5["events/deform"])
    del h5["events/deform"]
    h5.create_dataset("events/deform", (count,), "f8", chunks=(10,))


def count_lies(h5: h5py.File) -> None:
    h5.attrs["experiment:event count"] = 7


def yield_lies(h5: h5py.File) -> None:
    h5.attrs["pipeline:dcnum yield"] = 7


def hash_lies(h5: h5py.File) -> None:
    h5.attrs["pipeline:dcnum hash"] = "0" * 32


def part_lies(h5: h5py.File) -> None:
    h5.attrs["pipeline:dcnum gate"] = "norm:o=0^s=11"


def both_lie(h5: h5py.File) -> None:
    """The identifier is changed and hashed anew; the record of the run is not."""
    from cytovox.logic.record import ID_ATTRIBUTES
    from cytovox.recipe.identity import compute_pipeline_hash

    part_lies(h5)
    parts = {key: h5.attrs[f"pipeline:dcnum {name}"] for name, key in ID_ATTRIBUTES.items()}
    h5.attrs["pipeline:dcnum hash"] = compute_pipeline_hash(**parts)


def mapping_lies(h5: h5py.File) -> None:
    h5.attrs["pipeline:dcnum mapping"] = "10"


def map_out_of_range(h5: h5py.File) -> None:
    rows = h5["events/basinmap1"]
    rows[len(rows) - 1] = 10**6


def map_negative(h5: h5py.File) -> None:
    h5["events/basinmap1"][0] = -1


def map_missing(h5: h5py.File) -> None:
    del h5["events/basinmap1"]


def basin_group_missing(h5: h5py.File) -> None:
    del h5["basin_events"]


def basin_is_no_json(h5: h5py.File) -> None:
    h5["basins/bad"] = np.array([b"{ this is"])


def image_size(h5: h5py.File) -> None:
    mask = h5["events/mask"][:, 1:]
    del h5["events/mask"]
    h5["events/mask"] = mask


def basin_is_refused(h5: h5py.File) -> None:
    h5["basins/bad"] = np.array([b'{"type": "internal", "features": "image"}'])


def no_count(h5: h5py.File) -> None:
    h5.attrs["experiment:event count"] = "many"


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (shorter, "error: events/deform: has * rows where the header counts"),
        (unwritten, "error: events/deform: * of its chunks were never written"),
        (count_lies, "error: events/area_um: has * rows where the header counts 7 events"),
        (no_count, "error: experiment:event count: is not a number of events: many"),
        (yield_lies, "error: pipeline:dcnum yield: is 7 where the header counts"),
        (hash_lies, "error: pipeline:dcnum hash: is 0000*but the identifier gives"),
        (part_lies, "error: pipeline:dcnum hash: "),
        (both_lie, "error: logs: no record of a run names the pipeline"),
        (mapping_lies, "error: pipeline:dcnum mapping: is 10 where the identifier says 0"),
        (map_out_of_range, "error: basins/*names row 1000000, but basin_events/image_bg has"),
        (map_negative, "error: basins/*names row -1"),
        (map_missing, "error: basins/*its map 'basinmap1' is missing"),
        (basin_group_missing, "error: basins/*the group 'basin_events' is missing"),
        (basin_is_no_json, "error: basins/bad: its definition cannot be read"),
        (basin_is_refused, "error: basins/bad: its definition cannot be read: * are not a list"),
        (image_size, "error: events: images differ in size: image 60 x 120, mask 59 x 120"),
    ],
)
def test_what_is_wrong_is_named(
    drain: Path, change: Callable[[h5py.File], None], finding: str
) -> None:
    with h5py.File(drain, "r+") as h5:
        change(h5)
    found = findings_of(drain, thorough=False)
    first, _, rest = finding.partition("*")
    assert any(one.startswith(first) and rest in one for one in found), found


def texts_in_place_of_numbers(h5: h5py.File) -> None:
    for name in ("experiment:event count", "imaging:pixel size"):
        h5.attrs[name] = str(h5.attrs[name]).encode()


def a_map_behind_a_link(h5: h5py.File) -> None:
    h5.move("events/basinmap1", "map")
    h5["events/basinmap1"] = h5py.SoftLink("/map")


@pytest.mark.parametrize("change", [texts_in_place_of_numbers, a_map_behind_a_link])
def test_what_readers_take_is_whole(drain: Path, change: Callable[[h5py.File], None]) -> None:
    with h5py.File(drain, "r+") as h5:
        change(h5)
    found = verify_recording(drain)
    assert found.ok, found.findings
    assert not found.warnings


def test_the_caller_may_know_the_number_of_events(drain: Path) -> None:
    number = verify_recording(drain, thorough=False).counts["events"]
    assert findings_of(drain, thorough=False, events=number) == []
    assert findings_of(drain, thorough=False, events=number + 1) == [
        f"error: experiment:event count: is {number} where {number + 1} were made"
    ]


def test_a_missing_basin_file_is_to_be_looked_at(folder: Path) -> None:
    (folder / "raw.rtdc").unlink()
    # The absolute path names the folder where all was made, which is still there.
    with h5py.File(folder / "tap.rtdc", "r+") as h5:
        for key, lines in [(k, v[:]) for k, v in h5["basins"].items()]:
            definition = json.loads("\n".join(line.decode() for line in lines))
            if definition["type"] == "file":
                definition["paths"] = definition["paths"][1:]
                del h5["basins"][key]
                h5["basins"][key] = np.array(json.dumps(definition).encode())[None]
    found = verify_recording(folder / "tap.rtdc")
    assert found.ok
    assert any("its file cannot be found" in one.what for one in found.warnings)


def test_a_basin_of_another_measurement(folder: Path) -> None:
    with h5py.File(folder / "tap.rtdc", "r+") as h5:
        h5["basins/other"] = np.array(
            json.dumps(
                {
                    "name": "x",
                    "type": "file",
                    "format": "hdf5",
                    "paths": ["raw.rtdc"],
                    "features": ["image"],
                    "mapping": "basinmap0",
                    "identifier": "another",
                }
            ).encode()
        )[None]
    found = findings_of(folder / "tap.rtdc", thorough=False)
    assert len(found) == 1
    assert "error: basins/other" in found[0]
    assert "not 'another'" in found[0]


def test_a_basin_that_became_shorter(folder: Path) -> None:
    with h5py.File(folder / "tap.rtdc", "r+") as h5:
        h5["basins/short"] = np.array(
            json.dumps(
                {
                    "name": "x",
                    "type": "file",
                    "format": "hdf5",
                    "paths": ["short.rtdc"],
                    "features": ["image"],
                    "mapping": "basinmap0",
                }
            ).encode()
        )[None]
    with h5py.File(folder / "short.rtdc", "w") as h5:
        h5["events/image"] = np.zeros((3, 60, 120), np.uint8)
    found = findings_of(folder / "tap.rtdc", thorough=False)
    assert any("names row" in one and "has 3 rows" in one for one in found), found


def test_links_out_of_the_file_are_not_followed(drain: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as h5:
        h5["data"] = np.arange(5)
    with h5py.File(drain, "r+") as h5:
        h5["events/linked"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/data")
        h5["loop"] = h5["/"]
    found = verify_recording(drain)
    assert not found.ok
    assert "note: events/linked: is in another file, which was not look" in [
        str(one)[:59] for one in found.findings
    ]
    assert "readers refuse it: 'events/linked' is a link to /data" in found.errors[0].what
    assert "checked" not in found.counts


def test_basins_elsewhere_are_opened_only_if_allowed(
    made: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tap = Path(shutil.move(folder / "tap.rtdc", tmp_path / "tap.rtdc"))
    found = verify_recording(tap)  # made elsewhere, where the raw recording still is
    assert found.ok
    assert not found.warnings
    assert found.findings
    assert all("is outside of the folder" in one.what for one in found.findings)
    monkeypatch.setenv("CYTOVOX_BASIN_ROOTS", str(made))
    assert verify_recording(tap).findings == []


@pytest.mark.parametrize(
    "how",
    [
        {"compression": "gzip"},
        {"compression": "gzip", "shuffle": True},
        {"compression": "gzip", "fletcher32": True},
        {"compression": "lzf"},
        {"fletcher32": True},
        dict(hdf5plugin.Zstd(clevel=3)),
        dict(hdf5plugin.Zstd(clevel=3), shuffle=True),
        dict(hdf5plugin.Blosc()),
    ],
    ids=str,
)
def test_filters_of_others(tmp_path: Path, how: dict[str, Any]) -> None:
    path = tmp_path / "a.h5"
    rng = np.random.default_rng(1)
    with h5py.File(path, "w") as h5:
        h5.create_dataset("data", data=rng.integers(0, 9, (50, 30)), chunks=(10, 30), **how)
    found = verify_recording(path, or_hdf5=True)
    assert found.findings == []
    assert found.counts["checked"] == 5
    chunk = chunk_of(path, "data")
    with path.open("r+b") as file:
        file.seek(chunk.position + 2)
        file.write(b"\0" * (chunk.size - 2))
    found = verify_recording(path, or_hdf5=True)
    assert [one.where for one in found.errors] == ["data, chunk at 40/0"]


def test_a_chunk_that_unpacks_to_too_much(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    path = tmp_path / "bomb.h5"
    bomb = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(50 << 20))
    with h5py.File(path, "w") as h5:
        data = h5.create_dataset("data", (100,), "u1", chunks=(100,), **hdf5plugin.Zstd())
        data.id.write_direct_chunk((0,), bomb)
    assert [one.what for one in verify_recording(path, or_hdf5=True).errors] == [
        "does not say what it unpacks to"
    ]


def test_progress_ends_at_the_whole(drain: Path) -> None:
    seen: list[tuple[int, int]] = []
    verify_recording(drain, on_progress=lambda *now: seen.append(now), workers=2)
    assert seen[-1][0] == seen[-1][1] > 0
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("name", ["drain", "tap"])
def test_no_flipped_byte_goes_unseen(folder: Path, name: str) -> None:
    """Wherever one bit is flipped, it is seen, or all features are as they were."""
    path = folder / f"{name}.rtdc"
    whole = path.read_bytes()
    before = features_of(path)
    rng = np.random.default_rng(5)
    seen = 0
    for position in rng.integers(0, len(whole), 60).tolist():
        flip(path, position)
        try:
            good = verify_recording(path).ok
        except InputError:
            good = False
        seen += not good
        assert not good or features_of(path) == before, position
        path.write_bytes(whole)
    assert seen > 20


def features_of(path: Path) -> dict[str, bytes]:
    with h5py.File(path) as h5:
        return {name: values[()].tobytes() for name, values in h5["events"].items()}


def test_groups_that_are_very_deep(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "deep.h5", "w") as h5:
        group = h5
        for _ in range(300):
            group = group.create_group("g")
    found = verify_recording(tmp_path / "deep.h5", or_hdf5=True)
    assert ["so deep" in one.what for one in found.findings] == [True]


def hostile(quick: bool) -> list[Any]:
    from support.hostile import hostile_cases

    return [case for case in hostile_cases(quick=quick) if case.kind == "recording"]


@pytest.mark.parametrize("case", hostile(quick=True), ids=lambda case: case.name)
def test_hostile_files_do_no_harm(case: Any, tmp_path: Path) -> None:
    from support.hostile import write_secret

    target = case.build(write_secret(tmp_path))
    try:
        found = verify_recording(target)
    except InputError:
        return
    text = " ".join(map(str, found.findings))
    assert "please report" not in text
    assert found.counts.get("bytes_checked", 0) < 1 << 26
