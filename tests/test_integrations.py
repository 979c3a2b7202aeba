"""Rules for workflow systems, and the scripts for schedulers that the pages show."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cytovox
from cytovox.cli.main import main
from cytovox.testing import simulate_recording

yaml = pytest.importorskip("yaml", reason="PyYAML, which Dask brings, is not installed")

ROOT = Path(__file__).resolve().parents[1]
SNAKEMAKE = ROOT / "integrations" / "snakemake"
NEXTFLOW = ROOT / "integrations" / "nextflow" / "modules" / "cytovox" / "run"
#: Stands in for the program: notes its words, one a line, and makes the result that they name.
FAKE = """#!/bin/sh
[ "$1" = --version ] && { echo "cytovox 1.2.3"; exit; }
for word in "$@"; do echo "$word"; [ "$before" = --out ] && : > "$word"; before=$word; done > words
echo '{}'
"""


@pytest.fixture
def fake(tmp_path: Path) -> dict[str, str]:
    """An environment in which `cytovox` is the program that only notes its words."""
    if sys.platform == "win32":
        pytest.skip("the scripts are for systems with a shell")
    program = tmp_path / "bin" / "cytovox"
    program.parent.mkdir()
    program.write_text(FAKE)
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}


def run_script(script: str, folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


def is_understood(words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Return whether the program measures a recording when it is called like this."""
    monkeypatch.chdir(folder)
    return main(words) == 0


# --- Nextflow ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def module() -> str:
    return (NEXTFLOW / "main.nf").read_text()


@pytest.fixture(scope="module")
def meta() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((NEXTFLOW / "meta.yml").read_text())
    return found


def section(module: str, name: str) -> str:
    """Return the part of a process between a label and the next one."""
    (text,) = re.findall(rf"^    {name}:\n(.*?)(?=^    \w+:\n|^}})", module, re.S | re.M)
    return text


def channels(text: str) -> list[list[str]]:
    """Return for each channel what it consists of: names, or patterns in quotes."""
    lines = [line.strip() for line in text.strip().splitlines()]
    return [
        [one.strip('"') for one in re.findall(r"(?:val|path)[( ](\"[^\"]+\"|\w+)\)?", line)]
        for line in lines
    ]


def test_the_module_is_named_by_its_place(module: str, meta: dict[str, Any]) -> None:
    assert re.findall(r"^process (\w+) \{", module, re.M) == ["CYTOVOX_RUN"]
    assert meta["name"] == "cytovox_run"
    assert module.count("{") == module.count("}")
    assert 'conda "${moduleDir}/environment.yml"' in module


def test_meta_describes_each_input_and_output(module: str, meta: dict[str, Any]) -> None:
    inputs = [[name for part in channel for name in part] for channel in meta["input"]]
    assert channels(section(module, "input")) == inputs == [["meta", "recording"]]
    text = section(module, "output")
    emitted = re.findall(r"emit: (\w+)", text)
    assert emitted == list(meta["output"])
    described = []
    for output in meta["output"].values():
        parts = output[0] if isinstance(output[0], list) else output
        described.append([name for part in parts for name in part])
    assert channels(text) == described
    for channel in (*meta["input"], *meta["output"].values()):
        for part in channel:
            for one in part if isinstance(part, list) else [part]:
                ((_, how),) = one.items()
                assert {"type", "description"} <= set(how)


def test_environments_name_the_wheel_of_this_version() -> None:
    wheel = f"./cytovox-{cytovox.__version__}-py3-none-any.whl"
    for path in (NEXTFLOW / "environment.yml", SNAKEMAKE / "wrapper" / "environment.yaml"):
        *_, pip = yaml.safe_load(path.read_text())["dependencies"]
        assert pip == {"pip": [wheel]}


@pytest.mark.parametrize("part", ["script", "stub"])
def test_the_script_makes_what_the_module_declares(
    module: str,
    part: str,
    tmp_path: Path,
    fake: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (script,) = re.findall(r'"""\n(.*?)"""', section(module, part), re.S)
    values = {
        "recording": "a.rtdc",
        "prefix": "one",
        "args": "--set segmenter.thresh=-5",
        "task.cpus": "1",
        "task.process": "CYTOVOX_RUN",
    }
    for name, value in values.items():
        script = script.replace(f"${{{name}}}", value)
    assert "${" not in script
    script = "\n".join(line.removeprefix("    ") for line in script.splitlines())
    work = tmp_path / "work"
    work.mkdir()
    simulate_recording(work / "a.rtdc", frames=10, seed=1)
    # Groovy makes $ of \$, and \ of \\
    script = script.replace("\\$", "$").replace("\\\\", "\\")
    assert run_script(script, work, fake) == (0, "")
    for pattern in re.findall(r'path\(?\s*"([^"]+)"', section(module, "output")):
        assert len(list(work.glob(pattern))) == 1, pattern
    versions = yaml.safe_load((work / "versions.yml").read_text().replace("\t", "    "))
    assert versions == {"CYTOVOX_RUN": {"cytovox": "1.2.3"}}
    if part == "script":
        words = (work / "words").read_text().splitlines()
        (work / "one_dcn.rtdc").unlink()
        assert is_understood(words, work, monkeypatch)


# --- Snakemake --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("snakemake") is None, reason="Snakemake is not installed")
def test_snakemake_measures_a_folder(tmp_path: Path) -> None:
    (tmp_path / "recordings").mkdir()
    for name in "ab":
        simulate_recording(tmp_path / "recordings" / f"{name}.rtdc", frames=20, seed=ord(name))
    done = subprocess.run(
        ["snakemake", "--snakefile", SNAKEMAKE / "Snakefile", "--cores", "2"]
        + ["--directory", tmp_path, "--config", "options=--set segmenter.thresh=-5"],
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert results == ["a_dcn.rtdc", "b_dcn.rtdc"]
    assert "1 file: 1 done" in (tmp_path / "logs" / "a.log").read_text()


# --- schedulers -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scripts() -> list[str]:
    """The scripts of the page: one that makes the list, the array, one that starts it."""
    page = (ROOT / "docs" / "how-to" / "schedulers.md").read_text()
    found = re.findall(r"^```sh\n(.*?)^```", page, re.S | re.M)
    assert len(found) == 3
    return found


def test_an_array_of_slurm_measures_one_recording_of_the_list(
    scripts: list[str],
    tmp_path: Path,
    fake: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_list, array, _ = scripts
    for name in ("day 1/b.rtdc", "day 1/a.rtdc", "day 1/a_dcn.rtdc", "day2/._c.rtdc"):
        path = tmp_path / "study" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        simulate_recording(path, frames=10, seed=1)
    assert run_script(make_list, tmp_path, fake) == (0, "")
    listed = (tmp_path / "list.txt").read_text().splitlines()
    assert listed == [str(tmp_path / "study" / "day 1" / name) for name in ("a.rtdc", "b.rtdc")]
    task = {**fake, "SLURM_ARRAY_TASK_ID": "2", "SLURM_CPUS_PER_TASK": "1"}
    assert run_script(array, tmp_path, task) == (0, "")
    words = (tmp_path / "words").read_text().splitlines()
    assert words[:2] == ["run", listed[1]]
    assert is_understood(words, tmp_path, monkeypatch)
    assert (tmp_path / "results" / "day 1" / "b_dcn.rtdc").is_file()


def test_an_array_that_is_longer_than_the_list_says_so(
    scripts: list[str], tmp_path: Path, fake: dict[str, str]
) -> None:
    (tmp_path / "list.txt").write_text("a.rtdc\n")
    code, said = run_script(scripts[1], tmp_path, {**fake, "SLURM_ARRAY_TASK_ID": "2"})
    assert (code, said) == (2, "list.txt has no line 2\n")
    assert not (tmp_path / "words").exists()


def test_the_array_is_as_long_as_the_list(
    scripts: list[str], tmp_path: Path, fake: dict[str, str]
) -> None:
    (tmp_path / "list.txt").write_text("a.rtdc\nb.rtdc\n")
    (tmp_path / "bin" / "cytovox").rename(tmp_path / "bin" / "sbatch")
    assert run_script(scripts[2], tmp_path, fake) == (0, "")
    assert "--array=1-2%20" in (tmp_path / "words").read_text().splitlines()
