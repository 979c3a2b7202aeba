"""``cytovox volume predict``: a trained model, block by block, from the command line."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cytovox.cli.main import main
from cytovox.read.open_volume import open_volume
from cytovox.recipe.trust import TRUST_VARIABLE
from cytovox.write.volume_creation import create_volume

Capture = pytest.CaptureFixture[str]

SHAPE = (24, 45, 50)
#: Voxels around a voxel that the network looks at: two kernels of 3.
REACH = 2


@pytest.fixture(autouse=True)
def _nothing_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUST_VARIABLE, "")


def scripted(torch: Any, network: Any, example: Any, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network, example), path)
    return path


def exported(torch: Any, network: Any, example: Any, path: Path, **more: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(network, (example,), **more), path)
    return path


class Models:
    """Networks without padding, so that what is beyond their tile cannot matter."""

    def __init__(self, folder: Path) -> None:
        torch = pytest.importorskip("torch")
        torch.manual_seed(0)
        self.folder = folder
        self.torch = torch
        conv = torch.nn.Conv3d
        self.network = torch.nn.Sequential(
            conv(1, 3, 3), torch.nn.ReLU(), conv(3, 2, 3), torch.nn.Sigmoid()
        ).eval()
        example = torch.zeros(1, 1, 16, 20, 20)
        self.script = scripted(torch, self.network, example, folder / "script.pt")
        # A program is for tiles of one size, if nothing else was said.
        self.program = exported(torch, self.network, example, folder / "program.pt2")
        of_two = conv(2, 1, 3, padding=1).eval()
        self.of_two = scripted(
            torch, of_two, torch.zeros(1, 2, 8, 8, 8), folder / "of_two_channels.pt"
        )

    def whole(self, image: np.ndarray, factor: float, shift: float) -> np.ndarray:
        """Return what the network makes of all at once, with nothing but fill around."""
        padded = np.pad(image, REACH).astype(np.float32) * np.float32(factor) + np.float32(shift)
        with self.torch.inference_mode():
            made = self.network(self.torch.from_numpy(padded)[None, None])
        return made[0].numpy()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, SHAPE).astype(np.uint8)


@pytest.fixture
def raw(tmp_path: Path, image: np.ndarray) -> Path:
    like: dict[str, Any] = {"shape": SHAPE, "dtype": image.dtype, "units": "nanometer"}
    with create_volume(tmp_path / "raw.zarr", voxel_size=(4, 2, 2), **like) as volume:
        volume.write(tuple((0, n) for n in SHAPE), image)
    return tmp_path / "raw.zarr"


def words(raw: Path, model: Path, *more: str, out: str = "out.zarr") -> list[str]:
    given = ["volume", "predict", str(raw), str(raw.with_name(out)), "-m", str(model)]
    return [*given, "--block", "12,32,32", *more]


def made(raw: Path, out: str = "out.zarr") -> np.ndarray:
    with open_volume(raw.with_name(out)) as volume:
        assert volume.voxel_size == (4, 2, 2)
        return volume[...]


@pytest.mark.parametrize(("kind", "workers"), [("script", "0"), ("program", "1")])
def test_blocks_and_tiles_leave_no_trace(
    raw: Path, image: np.ndarray, models: Models, kind: str, workers: str, capsys: Capture
) -> None:
    how = ["--channels", "2", "--factor", "0.004", "--shift", "-0.1", "--trust-model", "-q"]
    how += ["--context", str(REACH), "--tile", "16,20,20", "--overlap", str(REACH)]
    model = getattr(models, kind)
    assert main(words(raw, model, *how, "--workers", workers)) == 0
    expected = models.whole(image, 0.004, -0.1)
    found = made(raw)
    assert found.dtype == np.float32
    assert found.shape == (2, *SHAPE)
    # Tiles of different places may be computed in another order of sums.
    np.testing.assert_allclose(found, expected, atol=2e-6)
    # With too little context, the places of blocks show: the test above can fail.
    less = [*how[:-6], "--tile", "16,20,20", "--overlap", "2", "-q", "--workers", "0"]
    assert main(words(raw, model, *less, out="less.zarr")) == 0
    assert abs(made(raw, "less.zarr") - expected).max() > 0.05
    capsys.readouterr()


def test_as_a_mask_of_bytes(raw: Path, image: np.ndarray, models: Models, capsys: Capture) -> None:
    """What is predicted can be the input of the next command, with the same result as at once."""
    how = ["--channels", "2", "--factor", "0.004", "--trust-model", "--dtype", "uint8"]
    how += ["--context", str(REACH), "--workers", "0", "--json"]
    assert main(words(raw, models.script, *how)) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["exit_code"], content["blocks"], content["failed"]) == (0, 8, [])
    found = made(raw)
    expected = models.whole(image, 0.004, 0) * 255
    assert found.dtype == np.uint8
    assert abs(found - expected).max() <= 0.5 + 1e-3
    classes = raw.with_name("classes.zarr")
    argmax = ["volume", "argmax", str(raw.with_name("out.zarr")), str(classes), "--workers", "0"]
    assert main([*argmax, "--block", "12,32,32", "-q"]) == 0
    with open_volume(classes) as volume:
        assert np.array_equal(volume[...], found.argmax(0))


COUNT = """
import os
import sys

def note(event, details):
    if event == "open" and details[0] == {model!r}:
        with open({log!r}, "a") as file:
            file.write(f"{{os.getpid()}}\\n")

sys.addaudithook(note)
"""


def test_a_worker_loads_the_model_once(
    raw: Path, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process that starts meanwhile keeps a list of when it opened the model."""
    log = tmp_path / "opened"
    code = COUNT.format(model=str(models.script), log=str(log))
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hooks"), prepend=os.pathsep)
    how = ["--channels", "2", "--trust-model", "-q", "--workers", "2", "--context", "2"]
    command = words(raw, models.script, *how)
    command[command.index("12,32,32")] = "8,16,16"
    assert main(command) == 0
    journal = raw.with_name("out.zarr.cytovox") / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    did = [line["worker"].partition(":")[2] for line in lines if line["event"] == "done"]
    assert len(did) == 3 * 3 * 4
    assert sorted(log.read_text().split()) == sorted(set(did))


def refused(capsys: Capture, command: list[str], code: int) -> str:
    capsys.readouterr()
    assert main(command) == code
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert not Path(command[3]).exists()
    return err


def test_a_model_runs_only_if_it_is_trusted(
    raw: Path, models: Models, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = ["--channels", "2", "--workers", "0"]
    digest = hashlib.sha256(models.script.read_bytes()).hexdigest()
    err = refused(capsys, words(raw, models.script, *how), 2)
    assert "not trusted" in err
    assert digest in err
    assert "--trust-model" in err
    # Nothing was begun: another attempt need not say --no-resume.
    assert not raw.with_name("out.zarr.cytovox").exists()
    err = refused(capsys, words(raw, models.script, *how, "--sha256", "ab" * 32), 2)
    assert "not the model" in err
    err = refused(capsys, words(raw, models.script, *how, "--sha256", "x"), 2)
    assert "'x' is not a SHA-256" in err
    assert main(words(raw, models.script, *how, "--sha256", digest, "-q")) == 0
    # Trusted by the environment, it is still the same run, since it is the same content.
    monkeypatch.setenv(TRUST_VARIABLE, digest)
    assert main(words(raw, models.script, *how, "-q")) == 0
    mine = tmp_path / "mine.pt"
    mine.write_bytes(models.script.read_bytes())
    assert main(words(raw, mine, *how, "-q", out="mine.zarr")) == 0
    mine.write_bytes(models.of_two.read_bytes())
    monkeypatch.setenv(TRUST_VARIABLE, "all")
    assert main(words(raw, mine, *how, "-q", out="mine.zarr")) == 2
    assert "model_sha256" in capsys.readouterr().err


def test_without_torch_it_is_said_at_once(
    raw: Path, models: Models, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    err = refused(capsys, words(raw, models.script, "--trust-model", "--workers", "1"), 2)
    assert "torch is not installed" in err
    assert 'pip install "cytovox[torch]"' in err


def test_what_is_not_a_model_is_said_at_once(
    raw: Path, models: Models, tmp_path: Path, capsys: Capture
) -> None:
    text = tmp_path / "text.pt"
    text.write_text("no model")
    err = refused(capsys, words(raw, text, "--trust-model"), 1)
    assert "neither TorchScript nor an ExportedProgram" in err
    assert "torch.jit.save" in err
    err = refused(capsys, words(raw, tmp_path / "nothing.pt", "--trust-model"), 74)
    assert "no such model file" in err
    # The weights alone, as torch.save leaves them, are not a program.
    weights = tmp_path / "weights.pt"
    models.torch.save(models.network.state_dict(), weights)
    assert "neither" in refused(capsys, words(raw, weights, "--trust-model"), 1)
    assert not raw.with_name("out.zarr.cytovox").exists()


def test_a_damaged_model_is_said(
    raw: Path, models: Models, tmp_path: Path, capsys: Capture
) -> None:
    damaged = tmp_path / "damaged.pt"
    with zipfile.ZipFile(models.script) as old, zipfile.ZipFile(damaged, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"" if name.endswith("data.pkl") else old.read(name))
    how = ["--trust-model", "--workers", "0", "--retries", "0"]
    assert "cannot load this TorchScript" in refused(capsys, words(raw, damaged, *how), 4)


@pytest.mark.parametrize(
    ("model", "workers", "more", "said"),
    [
        ("script", 1, ["--channels", "3"], "the model returns 2 channels, not 3 (say channels=2)"),
        ("script", 0, [], "the model returns 2 channels, not 1 (say channels=2)"),
        ("of_two", 0, [], "to have 2 channels, but got 1 channels instead"),
        ("program", 0, ["--channels", "2", "--tile", "18,20,20"], "(1, 1, 18, 20, 20)"),
    ],
)
def test_wrong_channels_and_shapes(
    raw: Path,
    models: Models,
    model: str,
    workers: int,
    more: list[str],
    said: str,
    capsys: Capture,
) -> None:
    how = ["--trust-model", "--workers", str(workers), "--retries", "1", "--block", "64", *more]
    path = getattr(models, model)
    err = refused(capsys, words(raw, path, *how), 4)
    assert said in err
    assert str(path) in err
    # What is wrong with the options is not tried twice.
    assert f"(attempts: {1 if 'returns' in said else 2})" in err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--tile", "4", "--overlap", "2"], "nothing but overlap"),
        (["--tile", "8,8"], "need 3 numbers"),
        (["--tile", "big"], "--tile"),
        (["--dtype", "real"], "'real' is not a type"),
        (["--dtype", "bool"], "'bool' is not a type"),
    ],
)
def test_wrong_options_are_said_at_once(
    raw: Path, models: Models, more: list[str], said: str, capsys: Capture
) -> None:
    err = refused(capsys, words(raw, models.script, "--trust-model", *more), 2)
    assert said in err
    assert not raw.with_name("out.zarr.cytovox").exists()


def test_a_device_that_is_not_there(raw: Path, models: Models, capsys: Capture) -> None:
    how = ["--trust-model", "--workers", "0", "--device", "tpu"]
    assert "no device 'tpu'" in refused(capsys, words(raw, models.script, *how), 4)
