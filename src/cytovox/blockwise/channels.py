"""Which channels of a volume a function is given."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from ..read.volume import Volume
from ..read.volume_view import VolumeView

__all__ = ["all_channels", "choose_channel", "one_channel"]

Function = TypeVar("Function", bound=Callable[..., Any])


def one_channel(function: Function) -> Function:
    """Say that a function takes an image of one channel.

    Of a volume with channels it is then given one, the first if none is named.
    """
    function.one_channel = True  # type: ignore[attr-defined]
    return function


def all_channels(function: Function) -> Function:
    """Say that a function needs all channels; naming one means that it is measured."""
    function.one_channel = False  # type: ignore[attr-defined]
    return function


def choose_channel(
    volume: Volume, function: Callable[..., Any], view: VolumeView, channel: int | str | None
) -> tuple[VolumeView, int | None]:
    """Return what a function is given, and the channel to measure if it is given all."""
    takes_one = getattr(function, "one_channel", None)
    if channel is None:
        if not takes_one or "c" not in volume.axes:
            return view, None
        name = f" ({volume.channels[0]})" if volume.channels else ""
        warnings.warn(
            f"{volume.url}: channel 0{name} of {volume.shape[volume.axes.index('c')]} is "
            "segmented; name another one as channel",
            stacklevel=4,
        )
        channel = 0
    number = volume.number_of_channel(channel)
    if takes_one is False:
        return view, number
    return dataclasses.replace(view, channel=number), None
