"""Models make the expected masks, wherever they run; untrusted ones never do."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import shutil
import threading
import warnings
from typing import Any

import numpy as np
import pytest

from cytovox.errors import OptionError, StageError, UsageError
from cytovox.recipe.trust import (
    TRUST_VARIABLE,
    ModelNotTrustedError,
    trust_all_models,
    trust_model,
)
from cytovox.segm import get_available_segmenters
from cytovox.segm.segm_torch import (
    SegmentTorchMPO,
    SegmentTorchSTO,
    SegmentTorchUNI,
    torch_model,
)
from cytovox.segm.segm_torch.model_file import ModelFileError
from cytovox.segm.segm_torch.torch_model import load_model

torch: Any = None

#: This picture was not made with the model as it is: twelve pixels at the edge
#: of its cells are the other way round, here as with the program it comes from.
DRAWN = {"cell_image_2_shift": 12}


@pytest.fixture(scope="module", autouse=True)
def _torch():
    """Import it here, since each process that collects tests would take two seconds for it."""
    global torch
    torch = pytest.importorskip("torch", reason="torch is not installed (extra cytovox[torch])")


@pytest.fixture(autouse=True)
def _nothing_is_loaded():
    torch_model._load.cache_clear()


@pytest.fixture(params=["cpu", "cuda"])
def device(request, monkeypatch):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device here")
    if request.param == "cpu":
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return request.param


@pytest.fixture
def stack(cells):
    return np.stack([image for image, _, _ in cells.values()])


def assert_expected(got, cells, which, device):
    for (name, expected), mask in zip(cells.items(), got, strict=True):
        wrong = int((mask != expected[which]).sum())
        # Other arithmetic may turn a pixel whose probability is almost one half.
        assert wrong <= DRAWN.get(name, 0) + (3 if device == "cuda" else 0), name


def make(cls, path, sha256, **kwargs):
    return cls(model_file=str(path), model_sha256=sha256(path), **kwargs)


# --- masks ------------------------------------------------------------------------------------


def test_mpo_makes_the_expected_masks(model_1, sha256, cells, stack):
    with make(SegmentTorchMPO, model_1, sha256, num_workers=1) as segmenter:
        assert_expected(segmenter.segment_batch(stack), cells, 1, "cpu")
        labels = segmenter.segment_batch_with_labeling(stack)
        assert_expected(labels > 0, cells, 2, "cpu")


def test_sto_makes_the_expected_masks(model_1, sha256, cells, stack, device):
    segmenter = make(SegmentTorchSTO, model_1, sha256)
    masks = segmenter.segment_batch(stack)
    assert masks.dtype == bool
    assert_expected(masks, cells, 1, device)
    assert_expected(segmenter.segment_batch_with_labeling(stack) > 0, cells, 2, device)


@pytest.mark.parametrize("count", [1, 6, 10, 23])
def test_uni_makes_the_expected_masks(model_2, sha256, cells, stack, device, count):
    segmenter = make(SegmentTorchUNI, model_2, sha256)
    assert segmenter.required_batch_size == 10
    names = [list(cells)[i % len(cells)] for i in range(count)]
    masks = segmenter.segment_batch(np.stack([cells[name][0] for name in names]))
    assert masks.shape == (count, 80, 250)
    for name, mask in zip(names, masks, strict=True):
        assert_expected([mask], {name: cells[name]}, 1, device)


def test_all_kinds_agree(models, shared_data, sha256):
    """Also on a recording of another shape, and with the other pair of models."""
    import h5py
    import hdf5plugin  # noqa: F401

    with h5py.File(shared_data / "recordings" / "cytoshot_2023.rtdc") as h5:
        wide = h5["events/image"][:12]
    with h5py.File(shared_data / "recordings" / "cytoshot_2024.rtdc") as h5:
        fitting = h5["events/image"][:13]
    for images, one, two in ((wide, "910c2", "cb45f"), (fitting, "17ec6", "02dcd")):
        with make(SegmentTorchMPO, models[one], sha256, debug=True) as mpo:
            masks = mpo.segment_batch(images)
        assert masks.any()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        for cls, key in ((SegmentTorchSTO, one), (SegmentTorchUNI, two)):
            other = make(cls, models[key], sha256).segment_batch(images)
            assert (other != masks).sum() <= (30 if device == "cuda" else 0)


def test_a_mask_depends_on_its_image_alone(model_1, model_2, sha256, stack, device):
    for cls, path in ((SegmentTorchSTO, model_1), (SegmentTorchUNI, model_2)):
        segmenter = make(cls, path, sha256)
        whole = segmenter.segment_batch(stack)
        np.testing.assert_array_equal(segmenter.segment_batch(stack[::-1])[::-1], whole)
        for i, image in enumerate(stack):
            np.testing.assert_array_equal(segmenter.segment_single(image), whole[i])
        assert segmenter.segment_batch(stack[:0]).shape == (0, 80, 250)


def test_many_threads_at_once(model_2, sha256, stack, device):
    segmenter = make(SegmentTorchUNI, model_2, sha256)
    expected = segmenter.segment_batch(stack)
    before = torch.get_num_threads()
    found = {}
    threads = [
        threading.Thread(target=lambda i=i: found.update({i: segmenter.segment_batch(stack)}))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    for i in range(4):
        np.testing.assert_array_equal(found[i], expected)
    assert torch.get_num_threads() == before


@pytest.mark.peer
def test_equal_to_the_peer(models, shared_data, sha256, stack):
    pytest.importorskip("dcnum")
    import h5py
    import hdf5plugin  # noqa: F401

    with h5py.File(shared_data / "recordings" / "cytoshot_2024.rtdc") as h5:
        images = h5["events/image"][:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from dcnum.segm.segm_torch import SegmentTorchMPO as Peer

        for key, frames in (("910c2", stack), ("910c2", images), ("17ec6", images)):
            path = str(models[key])
            mine = make(SegmentTorchMPO, models[key], sha256)
            kwargs_mask = {"kwargs_mask": {}}
            assert mine.get_ppid() == Peer.get_ppid_from_ppkw({"model_file": path, **kwargs_mask})
            for frame in frames:
                expected = Peer.segment_algorithm(frame, model_file=path)
                np.testing.assert_array_equal(mine.segment_single(frame), expected)


# --- trust ------------------------------------------------------------------------------------


class Bomb:
    """Runs when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture(params=["mpo", "sto", "uni"])
def kind(request, model_1, model_2):
    return {
        "mpo": (SegmentTorchMPO, model_1),
        "sto": (SegmentTorchSTO, model_1),
        "uni": (SegmentTorchUNI, model_2),
    }[request.param]


def test_an_untrusted_model_is_refused(kind, sha256, stack, monkeypatch):
    cls, path = kind
    monkeypatch.setattr(torch_model, "load_program", lambda *args: pytest.fail("it was run"))
    algorithm = cls.segment_algorithm
    frames = stack[0] if cls is SegmentTorchMPO else stack
    for attempt in (
        lambda: cls(model_file=str(path)),
        lambda: algorithm(frames, model_file=str(path)),
        lambda: load_model(path),
    ):
        with pytest.raises(ModelNotTrustedError, match=f"model_sha256={sha256(path)}") as caught:
            attempt()
        assert "--trust-model" in str(caught.value)
    with pytest.raises(ModelNotTrustedError, match="not the model that the recipe names"):
        cls(model_file=str(path), model_sha256="00" * 32)


def test_nothing_of_an_untrusted_model_runs(make_1, make_2, tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    data = pickle.dumps(Bomb(ran))
    members = {"m/data.pkl": data, "m/constants.pkl": data, "m/version": b"3"}
    one = make_1(**members)
    two = make_2(**{"data.pkl": data}, program=one.read_bytes())
    for cls, path in ((SegmentTorchMPO, one), (SegmentTorchSTO, one), (SegmentTorchUNI, two)):
        monkeypatch.setenv(TRUST_VARIABLE, "")
        cls.validate_applicability({"model_file": str(path)}, {}, {})
        with pytest.raises(ModelNotTrustedError):
            cls(model_file=str(path))
        trust_model(torch_model.get_model_meta(path)["sha256"])
        cls(model_file=str(path)).close()
        torch_model.get_model_meta(path)
    assert not ran.exists()


def test_trust_of_three_kinds(kind, sha256, cells, monkeypatch):
    cls, path = kind
    image, expected, _ = cells["cell_image_1"]
    for trust in (lambda: trust_model(sha256(path)), trust_all_models):
        monkeypatch.setenv(TRUST_VARIABLE, "")
        trust()
        segmenter = cls(model_file=str(path))
        # What was trusted once stays pinned, whatever becomes of the variable.
        monkeypatch.setenv(TRUST_VARIABLE, "")
        assert segmenter.kwargs["model_sha256"] == sha256(path)
        assert (segmenter.segment_single(image) != expected).sum() <= 3
        segmenter.close()


def test_a_loaded_model_is_not_for_everyone(model_1, sha256):
    load_model(model_1, model_sha256=sha256(model_1))
    with pytest.raises(ModelNotTrustedError):
        load_model(model_1)


def test_workers_refuse_what_was_swapped_meanwhile(models, sha256, tmp_path, stack):
    """The worker checks the bytes that it runs, not those the parent has seen."""
    path = tmp_path / models["910c2"].name
    shutil.copy(models["910c2"], path)
    with make(SegmentTorchMPO, path, sha256, num_workers=1) as segmenter:
        path.unlink()
        shutil.copy(models["17ec6"], path)
        with pytest.raises(StageError, match="damaged or changed"):
            segmenter.segment_batch(stack[:2])
    renamed = tmp_path / models["17ec6"].name
    path.rename(renamed)
    with pytest.raises(ModelNotTrustedError, match="not the model that the recipe names"):
        load_model(renamed, model_sha256=sha256(models["910c2"]))


def test_a_pickle_takes_the_trust_along(kind, sha256, cells):
    cls, path = kind
    if cls is SegmentTorchMPO:
        pytest.skip("it is pickled when its workers start")
    image, expected, _ = cells["cell_image_1"]
    copied = pickle.loads(pickle.dumps(make(cls, path, sha256)))
    assert (copied.segment_single(image) != expected).sum() <= 3


# --- programs and devices ---------------------------------------------------------------------


def scripted(*, good: bool = True) -> bytes:
    class Dark(torch.nn.Module):
        def forward(self, images):
            return images < 50

    class Bad(torch.nn.Module):
        def forward(self, images):
            return (images < 50)[:, 1:]

    module = Dark() if good else Bad()
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module), out)
    return out.getvalue()


@pytest.mark.parametrize("named_format", [None, "TorchScript"])
def test_torchscript_in_format_2(make_2, sha256, named_format, device):
    meta = {"image_shape": [4, 6], "format_version": "2.0"}
    if named_format:
        meta["model_file_format"] = named_format
    path = make_2(meta, scripted())
    segmenter = make(SegmentTorchUNI, path, sha256)
    assert segmenter.required_batch_size is None
    images = np.random.default_rng(1).integers(0, 256, (7, 4, 6), dtype=np.uint8)
    np.testing.assert_array_equal(segmenter.segment_batch(images), images < 50)
    images.flags.writeable = False
    np.testing.assert_array_equal(segmenter.segment_single(images[2]), images[2] < 50)
    _, meta = load_model(path, model_sha256=sha256(path))
    assert (meta["backend"], meta["device"]) == ("torch.jit", device)
    assert meta["model_file_format"] == "TorchScript"


@pytest.mark.parametrize("named_format", ["ExportedProgram", "ONNX"])
def test_another_format_than_named(make_2, sha256, named_format):
    meta = {"image_shape": [4, 6], "model_file_format": named_format}
    path = make_2(meta, scripted())
    with pytest.raises(ModelFileError, match=f"{named_format} was expected, but it holds Torch"):
        load_model(path, model_sha256=sha256(path))


@pytest.mark.parametrize("program", [b"", b"PK\x03\x04", None])
def test_no_program(make_2, sha256, program):
    path = make_2(program=scripted()[:400] if program is None else program)
    with pytest.raises(ModelFileError, match="holds something else"):
        load_model(path, model_sha256=sha256(path))


def test_a_program_that_torch_cannot_load(make_1, sha256):
    path = make_1(**{"m/data.pkl": b"x", "m/constants.pkl": b"x"})
    with pytest.raises(ModelFileError, match="cannot load this model"):
        load_model(path, model_sha256=sha256(path))


def test_a_program_that_returns_another_shape(make_2, sha256):
    path = make_2({"image_shape": [4, 6]}, scripted(good=False))
    with pytest.raises(StageError, match="returned the shape"):
        make(SegmentTorchUNI, path, sha256).segment_single(np.zeros((4, 6), np.uint8))


def test_corrected_images_are_refused(model_2, sha256):
    segmenter = make(SegmentTorchUNI, model_2, sha256)
    with pytest.raises(UsageError, match="raw images"):
        segmenter.segment_batch(np.zeros((2, 64, 256), np.int16))
    with pytest.raises(UsageError, match="does not employ background"):
        segmenter.segment_batch(np.zeros((2, 64, 256), np.uint8), np.zeros(2))


def test_devices_and_backends(model_2, sha256, device, monkeypatch):
    segmenter = make(SegmentTorchUNI, model_2, sha256, device=device, backend="torch.eager")
    assert segmenter.segment_single(np.full((64, 256), 120, np.uint8)).shape == (64, 256)
    _, meta = load_model(model_2, device=device, model_sha256=sha256(model_2))
    assert (meta["backend"], meta["device"]) == ("torch.eager", device)
    with pytest.raises(OptionError, match="no backend 'nonsense'"):
        load_model(model_2, "nonsense", device, sha256(model_2))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(OptionError, match="no device 'cuda' here"):
        load_model(model_2, device="cuda", model_sha256=sha256(model_2))


def test_compiled(model_2, sha256, cells):
    segmenter = make(SegmentTorchUNI, model_2, sha256, device="cpu", backend="aot_eager")
    image, expected, _ = cells["cell_image_1"]
    np.testing.assert_array_equal(segmenter.segment_single(image), expected)


def test_settings_are_really_applied(model_1, sha256):
    load_model(model_1, device="cpu", model_sha256=sha256(model_1))
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8")


def test_one_thread_is_put_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with torch_model.one_thread(torch):
            assert torch.get_num_threads() == 1
            with contextlib.suppress(ValueError), torch_model.one_thread(torch):
                raise ValueError
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_available():
    assert {"torchmpo", "torchsto", "torchuni"} <= set(get_available_segmenters())


def test_without_torch(model_1, sha256, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "torchmpo" not in get_available_segmenters()
    for attempt in (
        lambda: make(SegmentTorchMPO, model_1, sha256),
        lambda: load_model(model_1, model_sha256=sha256(model_1)),
    ):
        with pytest.raises(UsageError, match=r'pip install "cytovox\[torch\]"'):
            attempt()


# --- the whole pipeline -----------------------------------------------------------------------


def test_pipelines_agree(model_1, model_2, sha256, shared_data, tmp_path):
    import h5py

    from cytovox.logic import DCNumJobRunner, DCNumPipelineJob

    masks = {}
    for code, path in (("torchsto", model_1), ("torchuni", model_2)):
        out = tmp_path / f"{code}.rtdc"
        job = DCNumPipelineJob(
            shared_data / "recordings" / "cytoshot_2023.rtdc",
            out,
            segmenter_code=code,
            segmenter_kwargs={"model_file": str(path), "model_sha256": sha256(path)},
            num_procs=2,
        )
        job.validate()
        with DCNumJobRunner(job) as runner:
            runner.run()
        with h5py.File(out) as h5:
            masks[code] = h5["events/mask"][:]
            assert h5.attrs["pipeline:dcnum segmenter"] == (
                f"{code}:m={path.name}:cle=1^f=1^clo=0"
            )
    assert len(masks["torchsto"]) > 40
    if not torch.cuda.is_available():
        np.testing.assert_array_equal(masks["torchuni"], masks["torchsto"])
