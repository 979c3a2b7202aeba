"""Which events are kept: by the size of their mask and by ranges of their features."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from ..recipe.identity import kwargs_to_ppid, ppid_to_kwargs
from ..recipe.options import Within

__all__ = ["Gate"]

#: Size of a mask, in pixels, that is just too small when nothing else is said.
DEFAULT_SIZE = 10

#: An object must be larger than this along x and y, in pixels, to pass online gates.
MINIMUM_EXTENT = 3


class Gate:
    """Keep the events that are large enough and, if wanted, pass the online gates.

    Parameters
    ----------
    data
        Recording with the attributes `meta` (flat dictionary of
        ``"section:key"`` to value) and `pixel_size` (µm).
    online_gates
        Whether to apply the gates that the instrument applied while measuring.
        They are the ranges ``"online_filter:<feature> min"`` and ``max`` that
        are not soft limits. The limits of ``size_x`` and ``size_y`` are then
        replaced by a minimum of three pixels.
    size_thresh_mask
        Only masks with more pixels are events. If this is None or 0, it is
        ``"online_contour:bin area min"`` with online gates, and else 10.

    Raises
    ------
    OptionError
        If the online gates of the recording hold a polygon, which is not
        supported.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> meta = {"online_filter:deform max": 0.2, "online_filter:deform soft limit": False}
    >>> gate = Gate(SimpleNamespace(meta=meta, pixel_size=0.5), online_gates=True)
    >>> gate.box_gates
    {'deform': [None, 0.2], 'size_x': [1.5, None], 'size_y': [1.5, None]}
    """

    def __init__(
        self,
        data: Any,
        *,
        online_gates: bool = False,
        size_thresh_mask: Annotated[int | None, Within(least=0, most=10**9)] = None,
    ) -> None:
        #: Lowest and highest value allowed, or None, of each gated feature.
        self.box_gates: dict[str, list[Any]] = {}
        meta = data.meta
        if online_gates:
            self.box_gates.update(_online_ranges(meta))
            extent = MINIMUM_EXTENT * float(data.pixel_size)
            self.box_gates["size_x"] = [extent, None]
            self.box_gates["size_y"] = [extent, None]
            size_thresh_mask = size_thresh_mask or meta.get("online_contour:bin area min")
        #: The options, as they are applied.
        self.kwargs: dict[str, Any] = {
            "online_gates": online_gates,
            "size_thresh_mask": size_thresh_mask or DEFAULT_SIZE,
        }

    @property
    def features(self) -> list[str]:
        """Sorted names of the features that are gated."""
        return sorted(self.box_gates)

    @property
    def size_thresh_mask(self) -> float:
        """Size of a mask, in pixels, that is just too small."""
        return float(self.kwargs["size_thresh_mask"])

    def check(self, available_features: Iterable[str]) -> None:
        """Check, before work begins, that all gated features are computed.

        Parameters
        ----------
        available_features
            Names of the features that are computed.

        Raises
        ------
        OptionError
            If one is not.

        Examples
        --------
        >>> from types import SimpleNamespace
        >>> Gate(SimpleNamespace(meta={}, pixel_size=0.5)).check([])
        """
        missing = sorted(set(self.box_gates) - set(available_features))
        if missing:
            raise OptionError(
                f"the recording is gated by {', '.join(missing)}, which is not computed",
                hint="switch that group of features on, or the online gates off",
            )

    def gate_event(self, event: dict[str, Any]) -> dict[str, Any] | None:
        """Return the event, or None if it should not be used.

        Parameters
        ----------
        event
            One number per feature.
        """
        kept = all(self.gate_feature(feat, event[feat]) for feat in self.box_gates)
        return event if kept else None

    def gate_events(self, events: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
        """Return which events should be used.

        Parameters
        ----------
        events
            Arrays by name of the feature, all of shape (n_events, ...).

        Returns
        -------
        numpy.ndarray
            bool of shape (n_events,)

        Raises
        ------
        ValueError
            If there is no feature at all.
        """
        if not events:
            raise ValueError("there are no features to be gated")
        self.check(events)
        kept = np.ones(len(next(iter(events.values()))), bool)
        for feat in self.box_gates:
            kept &= self.gate_feature(feat, events[feat])
        return kept

    def gate_feature(self, feat: str, data: Any) -> Any:
        """Return whether values are within the range of a feature; both ends belong to it.

        Parameters
        ----------
        feat
            Name of the feature; without a gate, all values are.
        data
            A number or an array.

        Returns
        -------
        bool or numpy.ndarray
            Of the kind of `data`. NaN is in no range.
        """
        low, high = self.box_gates.get(feat, (None, None))
        kept: Any = True
        if low is not None:
            kept = np.logical_and(kept, np.greater_equal(data, low))
        if high is not None:
            kept = np.logical_and(kept, np.less_equal(data, high))
        return kept

    def gate_mask(self, mask: npt.NDArray[np.bool_], mask_sum: int | None = None) -> bool:
        """Return whether a mask is large enough.

        Parameters
        ----------
        mask, mask_sum
            Mask, bool of shape (H, W), and the number of its pixels, if known.
        """
        return bool((np.sum(mask) if mask_sum is None else mask_sum) > self.size_thresh_mask)

    def get_ppid(self) -> str:
        """Return the identifier with the options as they are applied."""
        return self.get_ppid_from_ppkw(self.kwargs)

    @classmethod
    def get_ppid_code(cls) -> str:
        """Return the code of this kind of gate."""
        return "norm"

    @classmethod
    def get_ppid_from_ppkw(cls, kwargs: Mapping[str, Any]) -> str:
        """Return the identifier of given options.

        Parameters
        ----------
        kwargs
            Options by name; others keep their defaults.

        Examples
        --------
        >>> Gate.get_ppid_from_ppkw({}), Gate.get_ppid_from_ppkw({"size_thresh_mask": 0})
        ('norm:o=0^s=10', 'norm:o=0^s=0')
        """
        kwargs = dict(kwargs)
        if kwargs.get("size_thresh_mask") is None:
            kwargs["size_thresh_mask"] = DEFAULT_SIZE
        return f"{cls.get_ppid_code()}:{kwargs_to_ppid(cls, '__init__', kwargs)}"

    @staticmethod
    def get_ppkw_from_ppid(gate_ppid: str) -> dict[str, Any]:
        """Return the options that an identifier stands for.

        Parameters
        ----------
        gate_ppid
            Identifier, e.g. ``"norm:o=0^s=10"``.

        Raises
        ------
        ValueError
            If the identifier is of another kind of gate, or not understood.

        Examples
        --------
        >>> Gate.get_ppkw_from_ppid("norm:o=1^s=12")
        {'online_gates': True, 'size_thresh_mask': 12}
        """
        code, _, options = gate_ppid.partition(":")
        if code != Gate.get_ppid_code():
            raise ValueError(
                f"Could not find gating method '{code}' (of '{gate_ppid}'); there is "
                f"'{Gate.get_ppid_code()}'"
            )
        return ppid_to_kwargs(Gate, "__init__", options)


def _online_ranges(meta: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Read the hard limits of the instrument."""
    ranges: dict[str, list[Any]] = {}
    filters = {k.split(":", 1)[1]: v for k, v in meta.items() if k.startswith("online_filter:")}
    for key, value in filters.items():
        feat, _, end = key.rpartition(" ")
        if key.endswith("polygon points"):
            raise OptionError(
                f"the online gates hold a polygon ('{key}'), which is not supported",
                hint="run without online gates",
            )
        if key.endswith("soft limit") or key.startswith("target"):
            continue
        if end not in ("min", "max") or not feat:
            warnings.warn(f"unknown online gate '{key}' is not applied", UserWarning, stacklevel=3)
        elif _is_false(filters.get(f"{feat} soft limit", True)):
            ranges.setdefault(feat, [None, None])[end == "max"] = value
    return ranges


def _is_false(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in ("false", "no", "0")
    return not bool(value)
