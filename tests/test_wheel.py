"""The wheel builds, and works with nothing but what it declares to need."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]


def call(*words: str | Path, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=environment | {"PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def needed(one: Distribution, known: dict[str, Distribution]) -> set[str]:
    """Return the names of all that a distribution needs without any extra."""
    names: set[str] = set()
    todo = [one]
    while todo:
        for line in todo.pop().requires or []:
            requirement = Requirement(line)
            name = canonicalize_name(requirement.name)
            wanted = not requirement.marker or requirement.marker.evaluate({"extra": ""})
            if wanted and name not in names:
                names.add(name)
                todo.append(known[name])
    return names


def bring(one: Distribution, folder: Path) -> None:
    """Let a distribution that is installed here be in another folder of packages as well."""
    for name in {file.parts[0] for file in one.files or []} - {"..", "__pycache__"}:
        source, target = Path(str(one.locate_file(name))), folder / name
        if os.name != "nt":
            target.symlink_to(source)
        elif source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)


@pytest.mark.timeout(600)
def test_demo_runs_from_a_wheel_in_an_environment_of_what_it_needs(tmp_path: Path) -> None:
    """To install what is needed takes longer than all the rest, so it is brought from here."""
    pip = ("-m", "pip", "--disable-pip-version-check", "--quiet")
    call(sys.executable, *pip, "wheel", "--no-deps", "-w", tmp_path, ROOT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("cytovox-*.whl")
    env = tmp_path / "env"
    venv.create(env)
    programs = env / ("Scripts" if os.name == "nt" else "bin")
    into = (*pip, "--python", programs / "python", "install", "--no-compile", "--no-deps")
    call(sys.executable, *into, wheel, cwd=tmp_path)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(env)}))
    (installed,) = distributions(path=[str(packages)])
    known = {canonicalize_name(one.name): one for one in distributions()}
    for name in needed(installed, known):
        bring(known[name], packages)
    where = call(
        programs / "python", "-c", "import cytovox; print(cytovox.__file__)", cwd=tmp_path
    )
    assert Path(where.strip()).is_relative_to(tmp_path.resolve())
    demo = ("demo", "--frames", "100", "--out", tmp_path / "demo")
    assert "found" in call(programs / "cytovox", *demo, cwd=tmp_path)
    (picture,) = (tmp_path / "demo").glob("*.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
