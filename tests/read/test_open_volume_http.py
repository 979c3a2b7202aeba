"""Volumes behind a web server, and servers that do not answer."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import zarr

from cytovox.errors import InputError, InputNotFoundError, UsageError
from cytovox.read.open_volume import open_volume


class Handler(SimpleHTTPRequestHandler):
    """Serve a folder, parts of files too; count what is asked for."""

    seen: list[str] = []  # noqa: RUF012

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.seen.append(self.path)
        path = Path(self.translate_path(self.path))
        if "broken" in self.path:
            self.send_error(500)
            return
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            self.send_response(200)
        else:
            first, last = wanted.groups()
            start = int(first) if first else len(data) - int(last)
            stop = int(last) + 1 if first and last else len(data)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
            data = data[start:stop]
        self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    Handler.seen.clear()
    made = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
    thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()
    thread.join(600)


@pytest.mark.parametrize("shards", [None, (16, 16, 16)])
def test_only_what_is_asked_for(server: str, tmp_path: Path, shards: tuple[int, ...]) -> None:
    voxels = np.random.default_rng(0).integers(0, 255, (32, 32, 32), dtype=np.uint8)
    made = zarr.create_array(
        tmp_path / "a.zarr", shape=(32, 32, 32), dtype="u1", chunks=(8, 8, 8), shards=shards
    )
    made[:] = voxels
    with open_volume(f"{server}/a.zarr/") as volume:
        Handler.seen.clear()
        np.testing.assert_array_equal(volume.read([(1, 5)] * 3), voxels[1:5, 1:5, 1:5])
        assert {s for s in Handler.seen if "/c/" in s} == {"/a.zarr/c/0/0/0"}
        np.testing.assert_array_equal(volume[:], voxels)
        assert volume.fingerprint()["url"] == f"{server}/a.zarr"


def test_ome_and_parents(server: str, tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "b.zarr")
    group.create_array("0", shape=(4, 4), dtype="u1")[:] = 3
    scale = {"type": "scale", "scale": [2, 2]}
    axes = [{"name": a, "type": "space", "unit": "nanometer"} for a in "yx"]
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    for url in (f"{server}/b.zarr", f"{server}/b.zarr/0"):
        with open_volume(url) as volume:
            assert volume.voxel_size == (2, 2)
            assert (volume[:] == 3).all()


def test_what_is_not_there_is_said_soon(server: str) -> None:
    start = time.monotonic()
    with pytest.raises(InputNotFoundError, match=r"nothing\.zarr"):
        open_volume(f"{server}/nothing.zarr")
    with pytest.raises(InputError, match="broken"):
        open_volume(f"{server}/broken.zarr")
    with pytest.raises(InputError, match="does not answer"):
        open_volume("http://127.0.0.1:1/a.zarr")
    assert time.monotonic() - start < 300


def test_web_servers_are_not_written(server: str, tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", shape=(8, 8), dtype="u1", chunks=(8, 8))
    with pytest.raises(UsageError, match="only read"):
        open_volume(f"{server}/a.zarr", writable=True)


def test_object_store_at_another_endpoint(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What speaks S3 elsewhere is found by the variable that all clients know."""
    zarr.create_array(tmp_path / "bucket" / "a.zarr", shape=(8, 8), dtype="u1")[:] = 7
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with open_volume("s3://bucket/a.zarr") as volume:
        assert (volume[:] == 7).all()
