"""The house keeps its own rules: arrows, lists of names, sizes, what is shipped."""

from __future__ import annotations

import ast
import graphlib
import importlib
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import cytovox
from cytovox.run import extras

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "cytovox"
MODULES = sorted(SOURCE.rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
#: Packages that are imported under another name.
IMPORTED_AS = {"pillow": "PIL", "scikit-image": "skimage"}


def imported_as(requirement: str) -> str:
    name = re.match(r"[\w.-]+", requirement).group()
    return IMPORTED_AS.get(name, name.split(".")[0].replace("-", "_"))


#: What may be imported besides the standard library and ourselves: what is
#: declared, be it as an optional part that users can choose.
ALLOWED = {
    imported_as(requirement)
    for name, wanted in [
        ("", PROJECT["dependencies"]),
        *PROJECT["optional-dependencies"].items(),
    ]
    if name != "test"
    for requirement in wanted
}
#: What an optional part may import beyond that.
EXTRAS = {"segm_torch": {"torch", "openvino"}, "on-path": {"dcnum"}}


def test_extras_are_described_as_they_are_declared() -> None:
    declared = PROJECT["optional-dependencies"]
    page = (ROOT / "docs" / "how-to" / "install.md").read_text("utf-8")
    for extra, packages in extras.EXTRAS.items():
        assert set(packages) == {Requirement(text).name for text in declared[extra]}, extra
        (row,) = re.findall(rf"^\| `{extra}` \|.*\| (.*?)(?: \(.*\))? \|$", page, re.M)
        assert row.split(", ") == list(packages), f"the page about installing, {extra}"


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_arrows_hold() -> None:
    importlinter = pytest.importorskip("importlinter.cli")
    code = importlinter.lint_imports(
        config_filename=str(ROOT / "pyproject.toml"), no_logo=True, cache_dir=None
    )
    assert code == 0


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_module(path: Path) -> None:
    tree = tree_of(path)
    assert ast.get_docstring(tree), "a module says what it is for"
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            imported.add(node.module.split(".")[0])
    extras = set().union(*(EXTRAS.get(part, ()) for part in path.parts))
    foreign = imported - ALLOWED - extras - set(sys.stdlib_module_names) - {"cytovox"}
    assert not foreign, f"not a run-time dependency: {foreign}"
    assert not re.search(r"\btime\.sleep\(", path.read_text(encoding="utf-8")), "wait for a fact"
    called = {
        n.func.id
        for n in ast.walk(tree)
        if isinstance(n, ast.Call)
        if isinstance(n.func, ast.Name)
    }
    assert "print" not in called, "what is said goes through cli.console or a log"


@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if p.name not in ("__init__.py", "__main__.py")],
    ids=lambda p: p.relative_to(SOURCE).as_posix(),
)
def test_public_names_are_listed_and_there(path: Path) -> None:
    name = ".".join(("cytovox", *path.relative_to(SOURCE).with_suffix("").parts))
    module = importlib.import_module(name)
    listed = module.__all__
    assert len(set(listed)) == len(listed)
    assert all(hasattr(module, public) for public in listed)


def test_names_are_posix_only_nowhere() -> None:
    """What only some systems have is asked for before it is used."""
    posix_only = re.compile(r"^\s*(import|from) (fcntl|resource|pwd|grp)\b", re.M)
    for path in MODULES:
        for match in posix_only.finditer(path.read_text(encoding="utf-8")):
            before = path.read_text(encoding="utf-8")[: match.start()]
            assert before.rstrip().endswith("try:"), f"{path}: {match.group()} has no fallback"


def test_version_is_the_same_everywhere() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {cytovox.__version__}" in changes
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {cytovox.__version__}\n" in citation
    said = subprocess.run(
        [sys.executable, "-m", "cytovox", "--version"],
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    assert said.stdout.strip() == f"cytovox {cytovox.__version__}"


def test_nothing_heavy_is_loaded_before_it_is_needed() -> None:
    """Not for help, and not the compiler for workers that run the segmenters of users."""
    code = (
        "import sys; from cytovox.cli.main import main; main(['run', '--help']);"
        "heavy = {'numpy', 'numba', 'h5py', 'matplotlib', 'rich'} & set(sys.modules);"
        "import cytovox.logic, cytovox.segm, cytovox.blockwise.volumes;"
        "heavy |= {'numba'} & set(sys.modules);"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600, capture_output=True)


def test_each_decision_is_a_page_with_its_parts() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    numbers = [int(p.name[:4]) for p in records]
    assert numbers == sorted(set(numbers)), "each number is given once"
    for path in records:
        text = path.read_text(encoding="utf-8")
        for part in ("## Context", "## Choice", "## Consequences"):
            assert part in text, f"{path.name} lacks {part}"


def test_the_tested_releases_are_ones_that_are_declared() -> None:
    """Whoever changes a dependency runs ``make constraints``."""
    pins: dict[str, list[Requirement]] = {}
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        if line and not line.lstrip().startswith("#"):
            pins.setdefault(canonicalize_name(Requirement(line).name), []).append(
                Requirement(line)
            )
    assert "torch" not in pins, "its builds differ from machine to machine"
    optional = PROJECT["optional-dependencies"]
    chosen = ("test", "bench", "app", "volumes", "dask", "mutex")
    for text in (*PROJECT["dependencies"], *(one for extra in chosen for one in optional[extra])):
        wanted = Requirement(text)
        if wanted.name == PROJECT["name"]:  # another extra
            continue
        pinned = pins[canonicalize_name(wanted.name)]
        for pin in pinned:
            (only,) = pin.specifier
            assert wanted.specifier.contains(only.version), f"{pin} is not {wanted}"


def imports_of(path: Path) -> set[str]:
    """Return the modules of ours that a module names in an import, wherever it stands."""
    name = ".".join(("cytovox", *path.relative_to(SOURCE).with_suffix("").parts))
    package = name.split(".")[:-1]
    found: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and (node.level or node.module.startswith("cytovox")):
            start = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*start, *([node.module] if node.module else [])])
            found |= {origin, *(f"{origin}.{alias.name}" for alias in node.names)}
    return found - {name}


def test_no_two_modules_import_each_other() -> None:
    """Not even later, inside of a function; what a package hands on does not count."""
    modules = {
        ".".join(("cytovox", *p.relative_to(SOURCE).with_suffix("").parts)): p
        for p in MODULES
        if p.name != "__init__.py"
    }
    graph = {name: imports_of(path) & set(modules) for name, path in modules.items()}
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(f"a circle: {' > '.join(error.args[1])}")


def test_no_two_modules_have_one_name() -> None:
    names = Counter(path.name for path in MODULES if not path.name.startswith("__"))
    assert [name for name, count in names.items() if count > 1] == []
