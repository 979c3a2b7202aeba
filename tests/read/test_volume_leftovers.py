"""What a killed writer has left does not get into what is written after it."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cytovox.read.open_volume import open_volume
from cytovox.read.volume_address import Address
from cytovox.read.volume_store import forget_torn_write, write_bytes
from cytovox.write.volume_creation import create_labels

fcntl = pytest.importorskip("fcntl", reason="tensorstore keeps its locks otherwise on Windows")

BOX = ((0, 32), (0, 32), (0, 32))


def write_into(folder: Path, leave: bytes) -> dict[str, bytes]:
    """Write labels; before, let a killed writer have left something of each chunk."""
    made = {}
    for format in ("ome-zarr-0.4", "ome-zarr-0.5"):
        url = folder / f"{format}.zarr"
        create_labels(url, shape=(32, 32, 32), block=(32, 32, 32), format=format).close()
        names = {"ome-zarr-0.4": ["0/0/0", "0.0.0"], "ome-zarr-0.5": ["c/0/0/0"]}[format]
        for name in names if leave else ():
            torn = url / "0" / f"{name}.__lock"
            torn.parent.mkdir(parents=True, exist_ok=True)
            torn.write_bytes(leave)
        with open_volume(url, writable=True) as labels:
            labels.write(BOX, np.full((32, 32, 32), 7, np.uint32))
        with open_volume(url) as labels:
            assert np.all(labels[...] == 7)
        (chunk,) = (url / "0" / name for name in names if (url / "0" / name).is_file())
        made[format] = chunk.read_bytes()
    return made


def test_a_chunk_is_not_longer_than_it_is(tmp_path: Path) -> None:
    (tmp_path / "clean").mkdir()
    (tmp_path / "torn").mkdir()
    clean = write_into(tmp_path / "clean", b"")
    assert write_into(tmp_path / "torn", os.urandom(50_000)) == clean


def test_a_document_is_not_longer_than_it_is(tmp_path: Path) -> None:
    (tmp_path / ".zattrs.__lock").write_bytes(b"{}" * 500)
    write_bytes(Address(str(tmp_path), remote=False), ".zattrs", b'{"a": 1}')
    assert (tmp_path / ".zattrs").read_bytes() == b'{"a": 1}'
    assert [path.name for path in tmp_path.iterdir()] == [".zattrs"]


def test_what_another_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    torn = tmp_path / "0.__lock"
    torn.write_bytes(b"new content")
    code = (
        "import fcntl, sys; f = open(sys.argv[1], 'r+b'); "
        "fcntl.lockf(f, fcntl.LOCK_EX); print('locked', flush=True); sys.stdin.read()"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(torn)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"locked\n"
    forget_torn_write(tmp_path / "0")
    assert torn.exists()
    writer.communicate(timeout=600)
    forget_torn_write(tmp_path / "0")
    assert not torn.exists()


@pytest.mark.skipif(not hasattr(fcntl, "F_OFD_SETLK"), reason="a kind of lock that Linux has")
def test_what_this_very_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    torn = tmp_path / "0.__lock"
    with torn.open("w+b") as file:  # locked as tensorstore does it
        whole = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, whole)
        forget_torn_write(tmp_path / "0")
        assert torn.exists()
    forget_torn_write(tmp_path / "0")
    assert not torn.exists()
