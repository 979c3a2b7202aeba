"""Models and images for the tests of this folder, and makers of odd model files."""

from __future__ import annotations

import hashlib
import io
import json
import pathlib
import zipfile

import matplotlib.image
import numpy as np
import pytest

from cytovox.recipe.paths import search_path_registry
from cytovox.recipe.trust import TRUST_VARIABLE

META_2 = {"identifier": "made", "image_shape": [4, 6], "batch_size": 3, "format_version": "2.0"}
META_1 = {
    "identifier": "made",
    "preprocessing": {"norm_mean": 0.5, "norm_std": 0.1, "image_shape": [4, 6]},
}


@pytest.fixture(autouse=True)
def _nothing_is_trusted(monkeypatch):
    monkeypatch.setenv(TRUST_VARIABLE, "")
    before = {topic: list(folders) for topic, folders in search_path_registry.items()}
    yield
    search_path_registry.clear()
    search_path_registry.update(before)


def _picture(path: pathlib.Path) -> np.ndarray:
    values = matplotlib.image.imread(path)
    values = values if values.ndim == 2 else values[..., 0]
    return np.round(values * 255).astype(np.uint8)


@pytest.fixture(scope="session")
def models(shared_data) -> dict[str, pathlib.Path]:
    """The sample models by the beginning of their MD5."""
    return {path.stem[-5:]: path for path in (shared_data / "models").glob("*.dcnm")}


@pytest.fixture(scope="session")
def model_1(models) -> pathlib.Path:
    return models["910c2"]


@pytest.fixture(scope="session")
def model_2(models) -> pathlib.Path:
    """The same network as `model_1`, in format 2."""
    return models["cb45f"]


@pytest.fixture(scope="session")
def sha256():
    return lambda path: hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def cells(shared_data):
    """Images and the masks expected of the model: raw, and cleaned; by name."""
    found = {}
    for path in sorted((shared_data / "models" / "test_images").glob("cell_image_?*.png")):
        if "mask" not in path.name:
            raw, cleaned = (
                _picture(path.with_name(path.stem + end)) > 0
                for end in ("_mask_segm.png", "_mask.png")
            )
            found[path.stem] = _picture(path), raw, cleaned
    return found


@pytest.fixture
def named(tmp_path):
    """Write a model file under the name that fits its content."""

    def write(content: bytes, stem: str = "made") -> pathlib.Path:
        path = tmp_path / f"{stem}_{hashlib.md5(content).hexdigest()[:5]}.dcnm"
        path.write_bytes(content)
        return path

    return write


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


@pytest.fixture
def make_1(named):
    """Write a file of format 1 out of metadata and other members."""

    def make(meta=META_1, **members):
        text = meta if isinstance(meta, bytes) else json.dumps(meta).encode()
        return named(zipped({"m/extra/dcnum_meta.json": text, **members}))

    return make


@pytest.fixture
def make_2(named):
    """Write a file of format 2 out of metadata and a program."""

    def make(meta=META_2, program=b"", **members):
        text = meta if isinstance(meta, bytes) else json.dumps(meta).encode()
        content = zipped({"dcnum_meta.json": text, "made.pt2": program, **members})
        content = b"DCNM" + content[4:]
        return named(content + hashlib.md5(content).hexdigest().encode())

    return make


@pytest.fixture
def program_of():
    """Return the program of a sample of format 2."""

    def read(path: pathlib.Path) -> tuple[dict, bytes]:
        with zipfile.ZipFile(io.BytesIO(b"PK\x03\x04" + path.read_bytes()[4:-32])) as archive:
            (name,) = (n for n in archive.namelist() if n.endswith(".pt2"))
            return json.loads(archive.read("dcnum_meta.json")), archive.read(name)

    return read
