"""Files can be read by HDF5 1.10 and everything that is later."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from cytovox.logic import DCNumJobRunner, DCNumPipelineJob
from cytovox.read import concatenated_hdf5_data
from cytovox.testing import simulate_recording
from cytovox.write import HDF5Writer, copy_features

#: Newest version of each kind of header message that HDF5 1.10 reads, by message type.
READABLE = {0x01: 2, 0x03: 3, 0x05: 3, 0x08: 4, 0x0B: 2, 0x0C: 3}
CONTINUATION, DATATYPE = 0x10, 0x03


def header_messages(content: bytes, address: int) -> Iterator[tuple[int, bytes]]:
    """Yield type and content of each message of an object header of version 2."""
    assert content[address : address + 5] == b"OHDR\2"
    flags = content[address + 5]
    place = address + 6 + (16 if flags & 32 else 0) + (4 if flags & 16 else 0)
    width = 1 << (flags & 3)
    length = int.from_bytes(content[place : place + width], "little")
    blocks = [(place + width, place + width + length)]
    head = 6 if flags & 4 else 4
    while blocks:
        place, stop = blocks.pop()
        while place + head <= stop:
            size = int.from_bytes(content[place + 1 : place + 3], "little")
            kind, body = content[place], content[place + head : place + head + size]
            if kind == CONTINUATION:
                start = int.from_bytes(body[:8], "little")
                assert content[start : start + 4] == b"OCHK"
                blocks.append((start + 4, start + int.from_bytes(body[8:16], "little") - 4))
            elif kind:
                yield kind, body
            place += head + size


def check_versions(path: Path) -> int:
    """Check superblock and headers of all objects; return how many layouts were seen."""
    content = path.read_bytes()
    assert content[:8] == b"\x89HDF\r\n\x1a\n"
    assert content[8] <= 3
    addresses: dict[int, str] = {}
    with h5py.File(path) as h5:
        addresses[h5py.h5o.get_info(h5.id).addr] = "/"
        h5.visititems(lambda n, o: addresses.update({h5py.h5o.get_info(o.id).addr: n}))
    layouts = 0
    for address, name in addresses.items():
        for kind, body in header_messages(content, address):
            version = body[0] >> 4 if kind == DATATYPE else body[0]
            assert version <= READABLE.get(kind, version), (name, kind)
            layouts += kind == 0x08
    return layouts


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("results")
    raw = folder / "raw.rtdc"
    simulate_recording(raw, frames=60, shape=(64, 96))
    for strategy in ("drain", "tap"):
        job = DCNumPipelineJob(
            raw, folder / f"{strategy}.rtdc", basin_strategy=strategy, num_procs=1
        )
        with DCNumJobRunner(job) as runner:
            runner.run()
    with concatenated_hdf5_data([raw, raw], folder / "both.rtdc"):
        pass
    return [folder / name for name in ("drain.rtdc", "tap.rtdc", "both.rtdc")]


def test_results_have_headers_that_hdf5_1_10_reads(results):
    assert [check_versions(path) > least for path, least in zip(results, (50, 50, 0), strict=True)]


def test_the_check_sees_a_format_that_is_too_new(tmp_path):
    path = tmp_path / "new.h5"
    with h5py.File(path, "w", libver="latest") as h5:
        h5.create_dataset("a", data=np.arange(10), chunks=(5,), compression="gzip")
    with pytest.raises(AssertionError, match="'a', 8"):
        check_versions(path)


def test_data_of_the_newest_format_are_copied_into_a_readable_one(tmp_path):
    rng = np.random.default_rng(0)
    pair = np.dtype([("x", "<i4"), ("y", ">f8")])
    arrays = {
        "image": rng.integers(0, 255, (50, 4, 6), dtype=np.uint8),
        "flags": rng.integers(0, 2, 50).astype(bool),
        "pairs": np.ones(50, pair),
        "deform": rng.random(50),
        "none": np.zeros((0, 4), np.int16),
    }
    with h5py.File(tmp_path / "new.rtdc", "w", libver="latest") as h5:
        for name, array in arrays.items():
            dataset = h5.create_dataset(
                f"events/{name}",
                data=array,
                chunks=(7, *array.shape[1:]),
                maxshape=(None, *array.shape[1:]),
                compression="gzip",
                shuffle=True,
                fletcher32=True,
            )
            dataset.attrs["flag"] = True
        filled = h5.create_dataset("events/filled", (50,), "<i4", chunks=(7,), fillvalue=-3)
        filled[:7] = 1
    with (
        h5py.File(tmp_path / "new.rtdc") as h5,
        HDF5Writer(tmp_path / "out.rtdc", "w") as writer,
    ):
        copy_features(h5, writer.h5, [*arrays, "filled"])
    assert check_versions(tmp_path / "out.rtdc") == len(arrays) + 1
    with h5py.File(tmp_path / "out.rtdc") as h5:
        for name, array in arrays.items():
            copied = h5["events"][name]
            assert copied.dtype == array.dtype
            np.testing.assert_array_equal(copied[:], array)
            assert (copied.chunks[0], copied.compression, copied.shuffle) == (7, "gzip", True)
            assert copied.fletcher32
        assert h5["events/filled"][:].tolist() == [1] * 7 + [-3] * 43


READER = """
import hashlib, json, sys
import h5py, hdf5plugin, numpy
found = {}
with h5py.File(sys.argv[1], "r") as h5:
    def look(name, item):
        values = dict(item.attrs)
        if isinstance(item, h5py.Dataset):
            data = numpy.asarray(item[()])
            content = repr(data.tolist()).encode() if data.dtype.hasobject else data.tobytes()
            found[name] = [sorted(values), hashlib.sha256(content).hexdigest()]
    h5.visititems(look)
print(json.dumps(found))
"""


def read_by(python: str | Path, path: Path) -> dict[str, list[object]]:
    done = subprocess.run(
        [str(python), "-c", READER, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_older_h5py_reads_all_datasets(tmp_path, results):
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    subprocess.run([*pip, "h5py==3.10.0", "numpy<2", "hdf5plugin"], check=True)
    for path in results:
        content = read_by(python, path)
        assert content == read_by(sys.executable, path)
        assert content
