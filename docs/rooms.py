"""The directive ``room``: documents what a package exports, and modules of it.

Each object is shown once, at the first place that lists it in ``__all__``;
later places link to it. The names come from the code, so a page cannot
forget one.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

LOGGER = logging.getLogger(__name__)
#: What becomes of ``NDArray[...]`` when a hint is evaluated.
ARRAY = re.compile(
    r"~?(?:numpy\.)?ndarray\[tuple\[[^\[\]]*\], ~?(?:numpy\.)?dtype\[([^\[\]]*)\]\]"
)


class Room(SphinxDirective):
    """``.. room:: PACKAGE``, with ``:modules:`` all or the names of some."""

    required_arguments = 1
    option_spec = {"modules": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        package = importlib.import_module(self.arguments[0])
        shown: dict[tuple[str, int], str] = {}
        lines = [*describe(package, shown)]
        for module in modules_of(package, self.options.get("modules", "")):
            lines += [module.__name__, "-" * len(module.__name__), "", *describe(module, shown)]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def modules_of(package: ModuleType, wanted: str) -> list[ModuleType]:
    """Return modules of a package, all or those that are named."""
    names = wanted.split()
    if names == ["all"]:
        names = [info.name for info in pkgutil.iter_modules(package.__path__)]
    return [importlib.import_module(f"{package.__name__}.{name}") for name in names]


def describe(module: ModuleType, shown: dict[tuple[str, int], str]) -> Iterator[str]:
    """Yield the lines that document a module; `shown` is what others have documented."""
    yield from (f".. automodule:: {module.__name__}", "")
    room = ".".join(module.__name__.split(".")[:2])
    elsewhere = []
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        home = getattr(value, "__module__", None) or room
        if (name, id(value)) in shown and not isinstance(value, (str, int)):
            elsewhere.append(f":py:obj:`{name} <{shown[name, id(value)]}>`")
        elif home.startswith("cytovox.") and not f"{home}.".startswith(f"{room}."):
            elsewhere.append(f":py:obj:`{name} <{home}.{name}>`")
        else:
            shown[name, id(value)] = f"{module.__name__}.{name}"
            yield from (*directive_for(module.__name__, name, value), "")
    if elsewhere:
        yield from (f"Also here: {', '.join(elsewhere)}.", "")


def directive_for(module: str, name: str, value: Any) -> Iterator[str]:
    """Yield the lines that document one object."""
    if inspect.isclass(value):
        kind = "exception" if issubclass(value, BaseException) else "class"
        yield from (f".. auto{kind}:: {module}.{name}", "   :members:", "   :show-inheritance:")
    elif inspect.isroutine(inspect.unwrap(value)):  # a compiled kernel is wrapped
        yield f".. autofunction:: {module}.{name}"
    else:
        yield from (f".. py:data:: {name}", f"   :module: {module}")
        if isinstance(value, (str, int, float, tuple, frozenset)) and len(repr(value)) < 70:
            yield f"   :value: {value!r}"
        yield from ("", *(f"   {line}" for line in comment_on(module, name, value)))


def comment_on(where: str, name: str, value: Any) -> list[str]:
    """Return the ``#:`` comment on a constant, wherever in the program that is defined."""
    for module in [m for key, m in sys.modules.items() if key.startswith("cytovox")]:
        if getattr(module, name, None) is value:
            comments = ModuleAnalyzer.for_module(module.__name__).find_attr_docs()
            if ("", name) in comments:
                return comments["", name]
    LOGGER.warning("%s.%s has no comment that begins with '#:'", where, name)
    return []


def shorten(
    app: Sphinx,
    what: str,
    name: str,
    obj: Any,
    options: Any,
    arguments: str | None,
    result: str | None,
) -> tuple[str | None, str | None]:
    """Write arrays in signatures as the code does, and defaults so that Sphinx can read them."""
    arguments = arguments and arguments.replace("<factory>", "...")
    return (
        arguments and ARRAY.sub(r"NDArray[\1]", arguments),
        result and ARRAY.sub(r"NDArray[\1]", result),
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directive known to Sphinx."""
    app.add_directive("room", Room)
    app.connect("autodoc-process-signature", shorten)
    return {"parallel_read_safe": True}
