"""What the page sends, checked value by value."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from ..recipe.recording_recipe import AUTO, AUTOMATIC, DEFAULT_CODES, STAGES, RecordingRecipe
from ..recipe.registry import codes

__all__ = ["Body"]

_HINT = "reload the page"


@dataclass(frozen=True, slots=True)
class Body:
    """The object that a request holds."""

    values: Mapping[str, Any]

    @classmethod
    def read(cls, content: bytes) -> Body:
        """Read a request."""
        try:
            values = json.loads(content)
        except (ValueError, RecursionError) as err:
            raise UsageError("the request is not JSON", hint=_HINT) from err
        if not isinstance(values, dict):
            raise UsageError("the request is not an object", hint=_HINT)
        return cls(values)

    def text(self, name: str, default: str | None = None) -> str:
        """Return a text."""
        value = self.values.get(name, default)
        if not isinstance(value, str):
            raise UsageError(f"'{name}' is not a text", hint=_HINT)
        return value

    def texts(self, name: str) -> list[str]:
        """Return a list of texts."""
        value = self.values.get(name, [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise UsageError(f"'{name}' is not a list of texts", hint=_HINT)
        return value

    def number(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """Return a whole number within limits, which are possible."""
        value = self.values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise UsageError(f"'{name}' is not a whole number from {low} to {high}", hint=_HINT)
        return value

    def numbers(self, name: str) -> list[float]:
        """Return a list of numbers."""
        value = self.values.get(name)
        if not isinstance(value, list) or not all(
            isinstance(one, int | float) and math.isfinite(one) for one in value
        ):
            raise UsageError(f"'{name}' is not a list of numbers", hint=_HINT)
        return value

    def recipe(self) -> RecordingRecipe:
        """Return the recipe that the settings of the page make, of stages that are installed."""
        settings = Body(_mapping(self.values.get("settings", {})))
        chosen = dict(DEFAULT_CODES)
        for kind, code in _mapping(settings.values.get("codes", {})).items():
            if kind not in chosen or code not in codes(kind):
                raise UsageError(f"there is no {kind} '{code}'", hint=_HINT)
            chosen[kind] = code
        options: dict[str, dict[str, Any]] = {}
        for name, value in _mapping(settings.values.get("options", {})).items():
            stage, _, key = name.partition(".")
            if stage not in STAGES or not isinstance(value, str):
                raise UsageError(f"'{name}' is not a setting", hint=_HINT)
            if value.lower() != AUTO or key != AUTOMATIC.get((stage, chosen.get(stage))):
                options.setdefault(stage, {})[key] = value
        if "pixel_size" in options.get("data", {}):
            options["data"]["pixel_size"] = _positive(options["data"]["pixel_size"])
        return RecordingRecipe(codes=chosen, options=options)


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UsageError("the settings are not an object", hint=_HINT)
    return value


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UsageError(f"'{text}' is not a pixel size", hint="give a number above 0")
    return value
