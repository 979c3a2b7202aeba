"""The reference of the Python names is complete, builds, and says what arrays hold."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import itertools
import pkgutil
import re
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any, Union, get_args, get_origin

import numpy as np
import pytest

import cytovox

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted((DOCS / "reference" / "api").glob("*.rst"))
#: What the sphinx build needs; without it only the docstrings are looked at.
TOOLS = ("sphinx", "furo", "myst_nb", "pandas")
#: Rooms that are not for Python programs.
UNDOCUMENTED = {"app", "cli", "__main__"}


def documented() -> dict[str, ModuleType]:
    """Return all modules that some page documents."""
    found = {}
    for page in PAGES:
        text = page.read_text("utf-8")
        for name, modules in re.findall(
            r"^\.\. room:: (\S+)(?:\n   :modules: (.*))?", text, re.MULTILINE
        ):
            package = importlib.import_module(name)
            names = modules.split()
            if names == ["all"]:
                names = [info.name for info in pkgutil.iter_modules(package.__path__)]
            found[name] = package
            for short in names:
                found[f"{name}.{short}"] = importlib.import_module(f"{name}.{short}")
    return found


MODULES = documented()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built pages; they are built once, any warning is an error."""
    for tool in TOOLS:
        if importlib.util.find_spec(tool) is None:
            pytest.skip(f"{tool} is not installed")
    if np.lib.NumpyVersion(np.__version__) < "2.0.0":
        pytest.skip("names of types end in an underscore here, which means a link in these pages")
    folder = tmp_path_factory.mktemp("docs")
    html = folder / "html"
    options = ["-W", "--keep-going", "-q", "-b", "html", "-d", str(folder / "trees")]
    options += ["-D", "html_theme=basic"]  # as complete, and made sooner
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(DOCS), str(html)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert built.returncode == 0, built.stderr
    return html


@pytest.fixture(scope="module")
def inventory(site: Path) -> set[str]:
    """Names on the built pages."""
    lines = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    return {line.split(" ", 1)[0] for line in lines.splitlines()}


@pytest.mark.parametrize(
    ("name", "result"), [("recordings", "263 events"), ("volumes", "99 objects in 4 blocks")]
)
def test_notebooks_are_run_when_the_pages_are_built(site: Path, name: str, result: str) -> None:
    page = (site / "notebooks" / f"{name}.html").read_text("utf-8")
    assert result in page
    assert "data:image/png" in page or "_images/" in page, "a picture is shown"


def test_every_room_has_a_page() -> None:
    rooms = {info.name for info in pkgutil.iter_modules(cytovox.__path__)} - UNDOCUMENTED
    assert rooms == {name.split(".")[1] for name in MODULES if "." in name}


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (DOCS / "reference" / "api" / "index.rst").read_text("utf-8")
    assert {p.stem for p in PAGES} - {"index"} == set(re.findall(r"^   (\w+)$", index, re.M))


def test_every_public_name_is_on_a_page(inventory: set[str]) -> None:
    """What several modules list is shown in one place, to which the others link."""
    places: dict[tuple[str, int], list[str]] = {}
    for name, module in MODULES.items():
        for public in getattr(module, "__all__", ()):
            value = getattr(module, public)
            home = getattr(value, "__module__", name)
            places.setdefault((public, id(value)), []).extend(
                [f"{name}.{public}", f"{home}.{public}"]
            )
    assert not [names for names in places.values() if not inventory.intersection(names)]


def public_objects(module: ModuleType) -> Iterator[tuple[str, Any, str, set[str]]]:
    """Yield what a module lists: name, object, docstring, and parameters told elsewhere."""
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        if inspect.isclass(value):
            if value.__module__.startswith("cytovox."):
                told = set().union(*(fields_told_by(base) for base in value.__mro__[1:]))
                yield name, value, inspect.cleandoc(value.__doc__ or ""), told
                yield from methods_of(value, name)
        elif inspect.isroutine(inspect.unwrap(value)):
            yield name, inspect.unwrap(value), inspect.cleandoc(value.__doc__ or ""), set()


def methods_of(cls: type, name: str) -> Iterator[tuple[str, Any, str, set[str]]]:
    """Yield the public methods and properties that a class defines itself."""
    for key, value in vars(cls).items():
        if key.startswith("_"):
            continue
        function = getattr(value, "__func__", value)
        if isinstance(value, property):
            function = value.fget
        if inspect.isfunction(inspect.unwrap(function)):
            told = set().union(*(told_by(base, key) for base in cls.__mro__[1:]))
            yield f"{name}.{key}", function, inspect.getdoc(getattr(cls, key)) or "", told


def fields_told_by(base: type) -> set[str]:
    """Return the fields that a class passes on to the dataclasses made of it."""
    if not (is_dataclass(base) and base.__module__.startswith("cytovox.")):
        return set()
    return {*described(inspect.cleandoc(base.__doc__ or "")), *fields_of(base)}


def told_by(base: type, key: str) -> set[str]:
    """Return the parameters of a method that a base class describes."""
    method = vars(base).get(key)
    method = getattr(method, "__func__", method)
    if not inspect.isfunction(method):
        return set()
    if not base.__module__.startswith("cytovox."):
        return set(parameters_of(method))
    return set(described(inspect.cleandoc(method.__doc__ or "")))


def section(doc: str, title: str) -> str:
    """Return a section of a docstring in the style of NumPy."""
    match = re.search(rf"^{title}\n-+\n(.*?)(?=^\S[^\n]*\n--|\Z)", doc, re.DOTALL | re.MULTILINE)
    return match.group(1) if match else ""


def described(doc: str) -> dict[str, str]:
    """Return what a docstring says of each parameter, or field of a dataclass."""
    texts: dict[str, str] = {}
    names: list[str] = []
    for line in (section(doc, "Parameters") + section(doc, "Attributes")).splitlines():
        if line and not line[0].isspace():
            names = [n.strip().lstrip("*") for n in line.split(" : ")[0].split(",")]
        for name in names:
            texts[name] = texts.get(name, "") + line + "\n"
    return texts


def fields_of(cls: type) -> dict[str, str]:
    """Return the texts that stand below the fields of a dataclass."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body
    return {
        field.target.id: text.value.value
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }


def parameters_of(value: Any) -> dict[str, Any]:
    """Return the parameters of a function or class, with their hints."""
    try:
        signature = inspect.signature(value, eval_str=True)
    except NameError:  # a hint for the type checker alone
        signature = inspect.signature(value)
    return {
        p.name: p.annotation
        for p in signature.parameters.values()
        if p.name not in ("self", "cls") and not p.name.startswith("_")
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }


def is_array(hint: Any) -> bool:
    """Return whether a hint means an array, or one among other things."""
    if get_origin(hint) in (Union, UnionType):
        return any(is_array(argument) for argument in get_args(hint))
    return (get_origin(hint) or hint) is np.ndarray


def returns_array(function: Any) -> bool:
    """Return whether a function returns an array, alone or in a tuple."""
    try:
        hint = inspect.signature(function, eval_str=True).return_annotation
    except NameError:  # a hint for the type checker alone
        return False
    return is_array(hint) or (get_origin(hint) is tuple and any(map(is_array, get_args(hint))))


def says_shape(text: str) -> bool:
    """Return whether a text says how many dimensions an array has."""
    return bool(re.search(r"shape|\(\w+(, ?\w+)*,?\)", text))


def complaints(module: ModuleType) -> Iterator[str]:
    """Yield what the docstrings of a module leave out."""
    for name, value, doc, told in public_objects(module):
        if not doc:
            yield f"{name} has no docstring"
            continue
        if inspect.isclass(value) and not takes_arguments(value):
            continue
        said = described(doc) | (fields_of(value) if inspect.isclass(value) else {})
        for parameter, hint in parameters_of(value).items():
            if parameter not in said and parameter not in told:
                yield f"{name} does not describe {parameter}"
            elif parameter in said and is_array(hint) and not says_shape(said[parameter]):
                yield f"{name} does not say the shape of {parameter}"
        if inspect.isfunction(value) and returns_array(value):
            summary = doc.split("\n\n")[0]
            if not says_shape(section(doc, "Returns") + summary):
                yield f"{name} does not say the shape of what it returns"


def takes_arguments(cls: type) -> bool:
    """Return whether a class is called by its users with arguments of its own."""
    return "__init__" in vars(cls) or hasattr(cls, "_fields")


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_are_complete(name: str) -> None:
    assert not list(complaints(MODULES[name]))
