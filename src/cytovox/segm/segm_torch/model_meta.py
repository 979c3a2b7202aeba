"""Metadata of a model: whether they are sound, how to run it, what it fits."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import InputError, OptionError

__all__ = ["ModelFileError", "check_meta", "choose_wiring", "reasons_against"]

_MAX_SIDE = 1 << 15
_MAX_BATCH = 1 << 12


class ModelFileError(InputError, ValueError):
    """A model file is damaged, was changed, or is not a model at all."""


def check_meta(meta: Mapping[str, Any], version: str, path: pathlib.Path) -> None:
    """Check the metadata that are needed to run a model."""

    def need(fits: bool, what: str) -> None:
        if not fits:
            raise ModelFileError(f"its metadata are not sound: {what}", path=path)

    if version == "1.0":
        pre = meta.get("preprocessing")
        need(isinstance(pre, dict), "there is no table 'preprocessing'")
        assert isinstance(pre, dict)
        mean, std = pre.get("norm_mean"), pre.get("norm_std")
        need(mean is None or _is_number(mean), "norm_mean is not a number")
        need(std is None or (_is_number(std) and std != 0), "norm_std is not a number but zero")
        need(_is_shape(pre.get("image_shape")), "image_shape is not a height and a width")
    else:
        named = str(meta.get("format_version", version))
        need(named.split(".")[0] == "2", f"format {named} is unknown")
        need(_is_shape(meta.get("image_shape")), "image_shape is not a height and a width")
        size = meta.get("batch_size")
        need(
            size is None or (_is_count(size) and 0 <= size <= _MAX_BATCH),
            "batch_size is not a number of images",
        )
    for name in ("validation", "wiring_options"):
        items = meta.get(name)
        need(
            items is None or (isinstance(items, list) and all(isinstance(i, dict) for i in items)),
            f"{name} is not a list of tables",
        )


def choose_wiring(
    meta: Mapping[str, Any],
    backend: str | None = None,
    device: str | None = None,
    usable: Callable[[str | None, str | None], bool] = lambda backend, device: True,
) -> tuple[str | None, str | None]:
    """Return backend and device with which to run a model."""
    device = None if device is None else str(device)  # or it is a torch.device
    options = meta.get("wiring_options")
    if (backend and device) or not options:
        return backend, device
    allowed = [
        (backend or option.get("backend"), device or option.get("device"))
        for option in options
        if _agree(backend, option.get("backend")) and _agree(device, option.get("device"))
    ]
    if not allowed:
        known = ", ".join(f"{o.get('backend')} on {o.get('device')}" for o in options)
        raise OptionError(
            f"the model does not run with backend={backend}, device={device}",
            hint=f"it knows {known}",
        )
    return next((wiring for wiring in allowed if usable(*wiring)), allowed[0])


def reasons_against(
    meta: Mapping[str, Any],
    recording: Mapping[str, Any] | None,
    logs: Mapping[str, Sequence[str] | str] | None,
) -> list[str]:
    """Return why a model does not fit a recording; nothing if it does."""
    sources: dict[str, Mapping[str, Any]] = {"meta": recording or {}, "logs": logs or {}}
    reasons = []
    for item in meta.get("validation") or []:
        kind, key = item.get("type"), item.get("key")
        if kind not in sources:
            reasons.append(f"Unknown validation type '{kind}'")
        elif key not in sources[kind]:
            if not item.get("allow-missing-key", False):
                reasons.append(f"Key '{key}' missing in {kind}")
        elif not _fits(item, sources[kind][key]):
            reasons.append(str(item.get("reason", "unknown reason")))
    return reasons


def _agree(wanted: str | None, offered: str | None) -> bool:
    return wanted is None or offered is None or wanted == offered


def _fits(item: Mapping[str, Any], data: Any) -> bool:
    if item.get("regexp") is not None:
        text = data if isinstance(data, str) else _as_text(data)
        try:
            found = re.search(str(item["regexp"]), text, re.MULTILINE) is not None
        except (re.error, OverflowError, RecursionError):
            return False
        if found == bool(item.get("regexp-negate", False)):
            return False
    value = item.get("value")
    if value is None:
        return True
    try:
        number = float(data)
        return abs(float(value) - number) <= 0.01 * abs(number)
    except (TypeError, ValueError):
        return bool(str(value) == str(data))


def _as_text(data: Any) -> str:
    if isinstance(data, bytes):
        return data.decode("utf-8", "replace")
    if isinstance(data, Sequence):
        return "\n".join(str(line) for line in data)
    return str(data)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_shape(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(_is_count(side) and 1 <= side <= _MAX_SIDE for side in value)
    )
