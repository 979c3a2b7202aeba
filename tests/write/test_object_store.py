"""Volumes in an object store that speaks S3, read and written over the network."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import numpy as np
import pytest

import cytovox
from cytovox.cli.main import main
from cytovox.errors import (
    InputError,
    InputNotFoundError,
    OptionError,
    OutputExistsError,
    StorageError,
    UsageError,
)
from cytovox.read.open_volume import open_volume
from cytovox.read.volume_address import parse_address
from cytovox.read.volume_store import remove_tree
from cytovox.write.pyramid import write_pyramid
from cytovox.write.volume_creation import create_labels, create_volume

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "volumes-elsewhere.md"


class Store(ThreadingHTTPServer):
    """A stand-in for S3: buckets in memory."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.denied: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Store

    def log_message(self, *args: object) -> None:
        pass

    @property
    def key(self) -> str:
        return unquote(urlsplit(self.path).path)

    def begin(self) -> bytes:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.command, self.key, dict(self.headers)))
        return content

    def answer(self, code: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def error(self, code: int, name: str) -> None:
        text = f"<Error><Code>{name}</Code><Message>{name}</Message></Error>"
        self.answer(code, text.encode(), Content_Type="application/xml")

    def do_GET(self) -> None:
        self.begin()
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            self.list(query.get("prefix", [""])[0])
            return
        content = self.server.objects.get(self.key)
        if content is None:
            self.error(404, "NoSuchKey")
            return
        etag = tag(content)
        if self.headers.get("If-None-Match") == etag:
            self.answer(304, ETag=etag)
            return
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            self.answer(200, content, ETag=etag)
            return
        first, last = wanted.groups()
        start = int(first) if first else max(0, len(content) - int(last))
        stop = min(int(last) + 1, len(content)) if first and last else len(content)
        place = f"bytes {start}-{stop - 1}/{len(content)}"
        self.answer(206, content[start:stop], ETag=etag, Content_Range=place)

    do_HEAD = do_GET  # noqa: N815

    def do_PUT(self) -> None:
        content = self.begin()
        before = self.server.objects.get(self.key)
        match, none = self.headers.get("If-Match"), self.headers.get("If-None-Match")
        if self.key in self.server.denied:
            self.error(403, "AccessDenied")
        elif (none and before is not None) or (match and (before is None or tag(before) != match)):
            self.error(412, "PreconditionFailed")
        else:
            self.server.objects[self.key] = content
            self.answer(200, ETag=tag(content))

    def do_DELETE(self) -> None:
        self.begin()
        self.server.objects.pop(self.key, None)
        self.answer(204)

    def list(self, prefix: str) -> None:
        bucket = self.key.rstrip("/") + "/"
        keys = [key for key in sorted(self.server.objects) if key.startswith(bucket + prefix)]
        names = [escape(key.removeprefix(bucket)) for key in keys]
        found = "".join(f"<Contents><Key>{n}</Key><Size>1</Size></Contents>" for n in names)
        text = f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>"
        self.answer(200, f'<?xml version="1.0"?>{text}'.encode(), Content_Type="application/xml")


def tag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    made = Store()
    thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", made.url)
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    yield made
    made.shutdown()
    made.server_close()
    thread.join(600)


@pytest.fixture
def image() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.random((20, 40, 50)) < 0.1).astype(np.uint8) * 200


def keep(url: str, image: np.ndarray) -> str:
    like: dict[str, Any] = {"shape": image.shape, "dtype": image.dtype, "block": (16,) * 3}
    with create_volume(url, voxel_size=(3, 1, 1), units="nm", **like) as volume:
        volume.write(tuple((0, n) for n in image.shape), image)
    return url


def test_what_is_written_is_read(store: Store, image: np.ndarray) -> None:
    url = keep("s3://bucket/some/raw.zarr", image)
    with open_volume(url) as volume:
        assert volume.voxel_size == (3, 1, 1)
        assert volume.units == "nanometer"
        np.testing.assert_array_equal(volume[:], image)
        store.asked.clear()
        np.testing.assert_array_equal(volume.read([(3, 9)] * 3), image[3:9, 3:9, 3:9])
        asked = {key for command, key, _ in store.asked if "/0/c/" in key}
        assert asked <= {"/bucket/some/raw.zarr/0/c/0/0/0"}  # the shard that it is in
    assert not any("authorization" in map(str.lower, headers) for *_, headers in store.asked)


def test_labels_with_their_pyramid(store: Store, image: np.ndarray, tmp_path: Path) -> None:
    """What is segmented from the store, and copied there again, is the same as from a disk."""
    image = np.pad(image, [(0, 0), (0, 60), (0, 50)])
    how: dict[str, Any] = {"block": 32, "context": 0, "stitch": "touch"}
    how["parameters"] = {"threshold": 100}
    np.save(tmp_path / "raw.npy", image)
    here = cytovox.segment_volume(
        tmp_path / "raw.npy", tmp_path / "here.zarr", "label", workers=0, **how
    )
    url, local = keep("s3://bucket/raw.zarr", image), tmp_path / "labels.zarr"
    result = cytovox.segment_volume(url, local, "label", workers=2, **how)
    assert result.objects == here.objects > 100
    remote = "s3://bucket/labels.zarr"
    with open_volume(local) as labels:
        like = {"shape": labels.shape, "dtype": labels.dtype, "voxel_size": labels.voxel_size}
        with create_labels(remote, units=labels.units, block=(32,) * 3, **like) as copy:
            for y in range(0, 100, 32):  # a slab of blocks at a time
                box = ((0, 20), (y, min(y + 32, 100)), (0, 100))
                copy.write(box, labels.read(box))
    scales = write_pyramid(remote)
    assert len(scales) > 1
    with open_volume(remote) as copy, open_volume(tmp_path / "here.zarr") as expected:
        assert copy.dtype == np.uint32
        np.testing.assert_array_equal(copy[:], expected[:])
        assert copy.voxel_size == (3, 1, 1)
    with open_volume(remote, scale=1) as coarse, open_volume(local, scale=1) as expected:
        np.testing.assert_array_equal(coarse[:], expected[:])


def test_labels_are_copied_as_described(
    store: Store, image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example of the page about volumes elsewhere does what it says."""
    (code,) = re.findall(r"^```py\n(.*?)^```", PAGE.read_text("utf-8"), re.S | re.M)
    monkeypatch.chdir(tmp_path)
    labels = np.pad(image, [(0, 130), (0, 100), (0, 100)]).astype(np.uint32)
    like: dict[str, Any] = {"shape": labels.shape, "units": "um", "offset": (5, 0, 0)}
    with create_labels("labels.zarr", block=(64,) * 3, **like) as volume:
        volume.write(tuple((0, n) for n in labels.shape), labels)
    exec(compile(code, str(PAGE), "exec"), {})
    with open_volume("s3://bucket/labels.zarr") as copy:
        np.testing.assert_array_equal(copy[:], labels)
        assert (copy.offset, copy.units) == ((5, 0, 0), "micrometer")
    with open_volume("s3://bucket/labels.zarr", scale=1) as copy:
        assert copy.shape == (75, 70, 75)


def test_commands_read_from_a_store(
    store: Store, image: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = keep("s3://bucket/raw.zarr", image)
    mask = tmp_path / "mask.zarr"
    words = ["volume", "threshold", url, str(mask), "-t", "100", "--block", "16"]
    assert main([*words, "--workers", "1", "-q"]) == 0
    with open_volume(mask) as volume:
        np.testing.assert_array_equal(volume[:], image > 100)
    assert main(["volume", "info", url]) == 0
    assert "20 x 40 x 50" in capsys.readouterr().out
    # The journal must be where it can be appended to and locked.
    words[3] = "s3://bucket/mask.zarr"
    assert main([*words, "--workers", "0"]) == 2
    err = capsys.readouterr().err
    assert "the journal of 's3://bucket/mask.zarr' would have no place" in err
    assert "then copy" in err
    with pytest.raises(OptionError, match="would have no place"):
        cytovox.segment_volume(
            url, "s3://bucket/labels.zarr", "label", block=16, context=0, stitch="touch"
        )
    assert not any(key.startswith(("/bucket/mask", "/bucket/labels")) for key in store.objects)


def test_nothing_is_replaced_unasked(store: Store, image: np.ndarray) -> None:
    url = keep("s3://bucket/raw.zarr", image)
    keep("s3://bucket/raw.zarr.too", image)
    like = {"shape": image.shape, "block": (16,) * 3}
    with pytest.raises(OutputExistsError):
        create_labels(url, **like)
    create_labels(url, overwrite=True, **like).close()
    with open_volume(url) as volume:
        assert not volume[:].any()
    with open_volume("s3://bucket/raw.zarr.too") as volume:  # a neighbour of a similar name
        np.testing.assert_array_equal(volume[:], image)
    remove_tree(parse_address(url))
    assert {key.split("/")[2] for key in store.objects} == {"raw.zarr.too"}


@pytest.mark.parametrize("format", ["ome-zarr-0.4", "zarr2", "precomputed"])
def test_other_formats(store: Store, image: np.ndarray, format: str) -> None:
    url = f"s3://bucket/{format}"
    labels = image.astype(np.uint32)
    with create_labels(
        url, shape=image.shape, units="nm", block=(16,) * 3, format=format
    ) as volume:
        volume.write(tuple((0, n) for n in image.shape), labels)
    with open_volume(url) as volume:
        np.testing.assert_array_equal(volume[:], labels)


def test_a_part_of_a_write_unit_is_refused(store: Store) -> None:
    labels = create_labels("s3://bucket/labels.zarr", shape=(32, 32, 32), block=(32, 32, 32))
    with pytest.raises(UsageError, match="write units"):
        labels.write(((0, 16), (0, 32), (0, 32)), np.ones((16, 32, 32), np.uint32))
    labels.close()


def test_what_fails_is_reported(store: Store, image: np.ndarray) -> None:
    with pytest.raises(InputNotFoundError, match="nothing"):
        open_volume("s3://bucket/nothing.zarr")
    labels = create_labels("s3://bucket/labels.zarr", shape=(16, 16, 16), block=(16,) * 3)
    store.denied.add("/bucket/labels.zarr/0/c/0/0/0")
    with pytest.raises(StorageError, match="denies access"):
        labels.write(((0, 16),) * 3, np.ones((16, 16, 16), np.uint32))
    labels.close()
    keep("s3://bucket/raw.zarr", image)
    chunk = "/bucket/raw.zarr/0/c/0/0/0"
    store.objects[chunk] = store.objects[chunk][:-7]
    with open_volume("s3://bucket/raw.zarr") as volume, pytest.raises(InputError):
        volume[:]


def test_with_keys_requests_are_signed(
    store: Store, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_NO_SIGN_REQUEST")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "something")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", store.url)  # the one for S3 alone counts
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    keep("s3://bucket/raw.zarr", image)
    signed = {k.lower(): v for k, v in store.asked[-1][2].items()}["authorization"]
    assert "Credential=somebody/" in signed
    assert "/eu-central-1/s3/" in signed


def test_nothing_is_said_and_no_key_is_looked_for(
    store: Store, image: np.ndarray, tmp_path: Path
) -> None:
    """Without keys, tensorstore would ask files and servers, and complain about each."""
    keep("s3://bucket/raw.zarr", image)
    code = "import cytovox; print(cytovox.open_volume('s3://bucket/raw.zarr')[:].sum())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True
    )
    assert done.stdout.strip() == str(image.sum(dtype=int))
    assert done.stderr == ""
