"""Volumes that stay open in a process, since the next block needs them again."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Any

from ..read.open_volume import open_volume
from ..read.volume import Volume
from ..read.volume_view import VolumeView

__all__ = ["close_kept", "keep_open"]

_OPENED: dict[tuple[Any, ...], Volume] = {}
_MOST = 8
_opening = threading.Lock()


def keep_open(
    url: str,
    view: VolumeView | None = None,
    fill_value: float = 0,
    writable: bool = False,
    stamp: int | str = 0,
) -> Volume:
    """Return a volume that stays open in this process."""
    key = (url, view, fill_value, writable, stamp)
    with _opening:
        if key not in _OPENED:
            while len(_OPENED) >= _MOST:
                _OPENED.pop(next(iter(_OPENED))).close()
            words = {} if view is None else view.keywords()
            _OPENED[key] = open_volume(url, fill_value=fill_value, writable=writable, **words)
        return _OPENED[key]


def close_kept(stamps: Collection[int | str] | None = None) -> None:
    """Close them."""
    with _opening:
        for key in list(_OPENED):
            if stamps is None or key[-1] in stamps:
                _OPENED.pop(key).close()
