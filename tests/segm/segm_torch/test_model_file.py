"""Model files are read and judged without torch, and without running anything."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytovox.errors import InputNotFoundError, OptionError, SegmenterNotApplicableError
from cytovox.recipe.paths import register_search_path
from cytovox.segm.segm_torch import SegmentTorchMPO, SegmentTorchUNI, model_file
from cytovox.segm.segm_torch.model_file import ModelFileError, choose_wiring, reasons_against
from cytovox.segm.segm_torch.torch_model import (
    check_md5sum,
    get_model_meta,
    program_format,
    retrieve_model_file,
)


def test_format_1(model_1, sha256):
    meta = get_model_meta(model_1)
    assert meta["name"] == "Test model for dcnum"
    assert meta["preprocessing"] == {
        "norm_mean": 0.487,
        "norm_std": 0.084,
        "image_shape": [64, 256],
    }
    assert meta["dcnm_format_version"] == "1.0"
    assert meta["path"] == model_1.absolute()
    assert meta["sha256"] == sha256(model_1)
    assert (meta["backend"], meta["device"]) == ("torch.jit", None)
    assert get_model_meta(model_1, device="cuda")["device"] == "cuda"


def test_format_2(model_2, program_of):
    meta = get_model_meta(str(model_2))
    assert meta["image_shape"] == [64, 256]
    assert meta["batch_size"] == 10
    assert meta["dcnm_format_version"] == "2.0"
    assert meta["wiring_options"] == []
    assert meta["backend"] is None
    assert program_format(program_of(model_2)[1]) == "ExportedProgram"


def test_every_sample_is_sound(models):
    assert len(models) == 4
    for path in models.values():
        check_md5sum(path)
        assert model_file.read_model_file(path).program()


def test_a_bare_name_is_searched(model_1, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputNotFoundError, match="among the torch_model_files"):
        retrieve_model_file(model_1.name)
    register_search_path("torch_model_files", model_1.parent)
    assert retrieve_model_file(model_1.name) == model_1.absolute()
    with pytest.raises(InputNotFoundError, match="no such model file"):
        retrieve_model_file(tmp_path / model_1.name)
    with pytest.raises(OptionError, match="needs a model"):
        retrieve_model_file("")


def test_nothing_imports_torch(model_1, model_2, sha256):
    """Neither importing nor making segmenters, nor asking whether they fit."""
    code = f"""
import sys
from cytovox.segm import get_available_segmenters, get_segmenters
get_available_segmenters()
from cytovox.segm.segm_torch.torch_model import get_model_meta
for code, path, sha in (("torchmpo", {str(model_1)!r}, {sha256(model_1)!r}),
                        ("torchsto", {str(model_1)!r}, {sha256(model_1)!r}),
                        ("torchuni", {str(model_2)!r}, {sha256(model_2)!r})):
    cls = get_segmenters()[code]
    cls.validate_applicability({{"model_file": path}}, {{"setup:chip region": "channel"}}, {{}})
    get_model_meta(path)
    if cls.is_available():
        cls(model_file=path, model_sha256=sha).close()
print("torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.stdout.strip() == "False", done.stderr


# --- what is refused --------------------------------------------------------------------------


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0x40]) + content[at + 1 :]


@pytest.mark.parametrize("key", ["910c2", "cb45f"])
def test_a_changed_byte_is_refused(models, tmp_path, key):
    path = tmp_path / models[key].name
    for at in (0, 5000, -1):
        path.write_bytes(flipped(models[key].read_bytes(), at % models[key].stat().st_size))
        with pytest.raises(ModelFileError, match="renamed, damaged or changed"):
            get_model_meta(path)
        with pytest.raises(ValueError, match="MD5"):
            check_md5sum(path)


def test_a_renamed_model_is_refused(model_1, tmp_path):
    path = tmp_path / "other.dcnm"
    shutil.copy(model_1, path)
    with pytest.raises(ModelFileError, match="begins with 'other', but it begins with '910c2'"):
        retrieve_model_file(path)


def test_a_change_to_which_the_name_was_fitted_is_refused(model_2, named):
    with pytest.raises(ModelFileError, match="checksum at the end"):
        get_model_meta(named(flipped(model_2.read_bytes(), 5000)))
    with pytest.raises(ModelFileError, match="checksum at the end"):
        get_model_meta(named(model_2.read_bytes()[:-40]))


def test_a_model_that_changes_is_read_again(model_1, tmp_path):
    path = tmp_path / model_1.name
    shutil.copy(model_1, path)
    get_model_meta(path)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ModelFileError, match="damaged or changed"):
        get_model_meta(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"DCNM", b"DCNM" + b"0" * 32, b"GIF89a" * 9])
def test_no_model_at_all(named, content):
    with pytest.raises(ModelFileError):
        get_model_meta(named(content))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_shape": [4]}, "image_shape"),
        ({"image_shape": [4, 0]}, "image_shape"),
        ({"image_shape": [4, 1e9]}, "image_shape"),
        ({"image_shape": None}, "image_shape"),
        ({"batch_size": -1}, "batch_size"),
        ({"batch_size": 10**9}, "batch_size"),
        ({"batch_size": True}, "batch_size"),
        ({"format_version": "3.1"}, "format 3.1"),
        ({"validation": {}}, "validation"),
        ({"validation": ["x"]}, "validation"),
        ({"wiring_options": "cpu"}, "wiring_options"),
    ],
)
def test_metadata_that_cannot_be(make_2, change, said):
    meta = {"image_shape": [4, 6], "batch_size": 3, "format_version": "2.0", **change}
    with pytest.raises(ModelFileError, match=said):
        get_model_meta(make_2(meta))


@pytest.mark.parametrize(
    "pre",
    [
        None,
        [],
        {},
        {"norm_mean": "a", "norm_std": 1, "image_shape": [4, 6]},
        {"norm_mean": 1, "norm_std": 0, "image_shape": [4, 6]},
        {"norm_mean": float("nan"), "norm_std": 1, "image_shape": [4, 6]},
    ],
)
def test_preprocessing_that_cannot_be(make_1, pre):
    with pytest.raises(ModelFileError, match="not sound"):
        get_model_meta(make_1({"preprocessing": pre}))


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b"1" * 20])
def test_metadata_that_are_no_table(make_1, make_2, text):
    for make in (make_1, make_2):
        with pytest.raises(ModelFileError, match="metadata"):
            get_model_meta(make(text))


def test_bombs(make_1, make_2, monkeypatch, model_1):
    """What unpacks to much more than it is, is not unpacked."""
    bomb = b" " * (50 << 20)
    for make in (make_1, make_2):
        path = make(bomb)
        assert path.stat().st_size < 1 << 20
        with pytest.raises(ModelFileError, match="larger than"):
            get_model_meta(path)
    found = model_file.read_model_file(make_2(program=bomb))
    monkeypatch.setattr(model_file, "MAX_MODEL_BYTES", 1 << 20)
    with pytest.raises(ModelFileError, match="larger than"):
        found.program()
    monkeypatch.setattr(model_file, "MAX_MEMBERS", 10)
    with pytest.raises(ModelFileError, match="too many members"):
        model_file.read_model_file(model_1)
    monkeypatch.setattr(model_file, "MAX_MODEL_BYTES", 1000)
    with pytest.raises(ModelFileError, match="may have 1,000 bytes"):
        model_file.read_model_file(model_1)


def test_metadata_or_program_not_once(make_1, make_2):
    with pytest.raises(ModelFileError, match="holds one dcnum_meta.json, this one 2"):
        get_model_meta(make_1(**{"n/extra/dcnum_meta.json": b"{}"}))
    with pytest.raises(ModelFileError, match="one program, this one 2"):
        model_file.read_model_file(make_2(**{"other.pt2": b""})).program()


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.integers(0, 3))
def test_damage_ends_in_one_kind_of_error(tmp_path_factory, model_2, at, value, cut):
    """Even where name and checksum were fitted to the damage."""
    content = bytearray(model_2.read_bytes()[:-32])
    at %= len(content)
    # Most bytes are compressed weights; the ends are where structure is.
    at = at if at % 2 else (at % 500 if at % 4 else len(content) - 1 - at % 200)
    content[at] = value
    body = bytes(content[: len(content) - cut])
    body += hashlib.md5(body).hexdigest().encode()
    folder = tmp_path_factory.getbasetemp() / "damage"
    folder.mkdir(exist_ok=True)
    path = folder / f"m_{hashlib.md5(body).hexdigest()[:5]}.dcnm"
    path.write_bytes(body)
    with contextlib.suppress(ModelFileError):
        found = model_file.read_model_file(path)
        assert isinstance(found.meta, dict)
        found.program()
    path.unlink()


# --- what fits --------------------------------------------------------------------------------

CHANNEL = {"setup:chip region": "channel"}


def test_a_model_fits(model_1, model_2):
    for cls, path in ((SegmentTorchMPO, model_1), (SegmentTorchUNI, model_2)):
        assert cls.validate_applicability({"model_file": str(path)}, CHANNEL, {}) is True


@pytest.mark.parametrize(
    ("meta", "logs", "reasons"),
    [
        ({}, {}, ["Key 'setup:chip region' missing in meta"]),
        (
            {"setup:chip region": "reservoir"},
            {"testing-fail": ["a", "the measurement failed."]},
            [
                "only experiments in channel region supported",
                "measurement failed according to the logs",
            ],
        ),
    ],
)
def test_a_model_does_not_fit(model_1, meta, logs, reasons):
    with pytest.raises(SegmenterNotApplicableError) as caught:
        SegmentTorchMPO.validate_applicability({"model_file": str(model_1)}, meta, logs)
    assert caught.value.reasons_list == reasons
    assert ", ".join(reasons) in str(caught.value)


def test_the_other_format_does_not_fit(model_1, model_2):
    for cls, path, other in ((SegmentTorchUNI, model_1, "mpo"), (SegmentTorchMPO, model_2, "uni")):
        with pytest.raises(SegmenterNotApplicableError, match=f"torch{other}"):
            cls.validate_applicability({"model_file": str(path)}, CHANNEL, {})
        with pytest.raises(OptionError, match="is of format"):
            cls(model_file=str(path))


@pytest.mark.parametrize(
    ("item", "data", "fits"),
    [
        ({"value": 20.0}, 20.0, True),
        ({"value": 20.0}, np.float32(20.2), True),
        ({"value": 20.0}, 19.5, False),
        ({"value": 0}, 0, True),
        ({"value": 0}, 1e-9, False),
        ({"value": 20}, "wide", False),
        ({"value": "wide"}, "wide", True),
        ({"regexp": "^b$"}, ["a", "b"], True),
        ({"regexp": "^b$"}, "a\nb\nc", True),
        ({"regexp": "^b$", "regexp-negate": True}, ["a", "b"], False),
        ({"regexp": "^12"}, 12.5, True),
        ({"regexp": "^RC"}, b"RC-1", True),
        ({"regexp": "("}, "(", False),
        ({"regexp": "^2", "value": 20}, 20, True),
        ({"regexp": "^3", "value": 20}, 20, False),
        ({}, "whatever", True),
    ],
)
def test_one_condition(item, data, fits):
    meta = {"validation": [{"type": "meta", "key": "a", "reason": "r", **item}]}
    assert reasons_against(meta, {"a": data}, None) == ([] if fits else ["r"])


def test_odd_conditions():
    conditions = [
        {"type": "logs", "key": "a"},
        {"type": "logs", "key": "a", "allow-missing-key": True},
        {"type": "weather", "key": "a"},
        {"type": "meta", "key": "a", "value": 3},
    ]
    assert reasons_against({"validation": conditions}, {"a": 1}, None) == [
        "Key 'a' missing in logs",
        "Unknown validation type 'weather'",
        "unknown reason",
    ]
    assert reasons_against({}, None, None) == []


@pytest.mark.peer
def test_reasons_are_those_of_the_peer(models):
    pytest.importorskip("dcnum")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from dcnum.segm import SegmenterNotApplicableError as PeerError
        from dcnum.segm.segm_torch import SegmentTorchMPO as Peer

        for path in (models["910c2"], models["17ec6"]):
            for meta in (
                {},
                CHANNEL,
                {"setup:identifier": "RC-x", "setup:channel width": 20.1},
                {"setup:identifier": "ZMD", "setup:channel width": 30.0},
            ):
                for logs in ({}, {"dclab-compress": ['  "date": "2024-05-07",']}):
                    expected, got = [], []
                    try:
                        Peer.validate_applicability({"model_file": str(path)}, meta, logs)
                    except PeerError as err:
                        expected = err.reasons_list
                    try:
                        SegmentTorchMPO.validate_applicability(
                            {"model_file": str(path)}, meta, logs
                        )
                    except SegmenterNotApplicableError as err:
                        got = err.reasons_list
                    assert got == expected


# --- identity and wiring ----------------------------------------------------------------------


def test_identifier(model_1, model_2, tmp_path):
    text = "torchmpo:m=unet-dcnum-test_g1_910c2.dcnm:cle=1^f=1^clo=0"
    for path in (str(model_1), model_1, model_1.name, tmp_path / model_1.name):
        options = {"model_file": path, "model_sha256": "ab" * 32, "kwargs_mask": {}}
        assert SegmentTorchMPO.get_ppid_from_ppkw(options) == text
    options = {"model_file": model_2, "device": "cpu", "backend": "torch.eager"}
    assert (
        SegmentTorchUNI.get_ppid_from_ppkw(options, {"closing_disk": 2})
        == f"torchuni:m={model_2.name}:cle=1^f=1^clo=2"
    )
    found = SegmentTorchMPO.get_ppkw_from_ppid(text)
    assert found["model_file"] == model_1.name
    assert found["kwargs_mask"] == {"clear_border": True, "fill_holes": True, "closing_disk": 0}
    assert SegmentTorchMPO.get_ppid_from_ppkw(found) == text


def test_wiring_on_a_device_of_torch():
    cpu = pytest.importorskip("torch").device("cpu")
    meta = {"wiring_options": [{"backend": "openvino", "device": "cpu"}]}
    assert choose_wiring(meta, device=cpu) == ("openvino", "cpu")
    assert isinstance(choose_wiring({}, device=cpu)[1], str)


def test_wiring(model_2, make_2):
    meta = {
        "wiring_options": [
            {"backend": "cudagraphs", "device": "cuda"},
            {"backend": "openvino", "device": "cpu"},
            {"backend": "torch.eager", "device": "cpu"},
        ]
    }
    assert choose_wiring(meta) == ("cudagraphs", "cuda")
    assert choose_wiring(meta, device="cpu") == ("openvino", "cpu")
    assert choose_wiring(meta, backend="torch.eager") == ("torch.eager", "cpu")
    assert choose_wiring(meta, "any", "thing") == ("any", "thing")
    assert choose_wiring(meta, usable=lambda b, d: b == "torch.eager") == ("torch.eager", "cpu")
    assert choose_wiring({}, device="cuda") == (None, "cuda")
    with pytest.raises(OptionError, match="does not run with backend=None, device=tpu"):
        choose_wiring(meta, device="tpu")
    path = make_2({**json.loads(json.dumps(meta)), "image_shape": [4, 6]})
    assert get_model_meta(path, device="cpu")["backend"] == "openvino"
