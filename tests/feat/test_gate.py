from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from cytovox.errors import OptionError
from cytovox.feat import Gate


def recording(**filters):
    meta = {
        f"online_filter:{k.replace('__', ' ').replace('_at_', ',')}": v for k, v in filters.items()
    }
    return SimpleNamespace(meta=meta, pixel_size=0.5)


HARD = {"deform__min": 0.1, "deform__max": 0.5, "deform__soft limit": False}


@pytest.mark.parametrize(
    ("area", "kwargs", "expected"),
    [
        (None, {}, 10),
        (25, {}, 10),
        (25, {"online_gates": True}, 25),
        (25, {"online_gates": True, "size_thresh_mask": 5}, 5),
        (25, {"online_gates": True, "size_thresh_mask": 0}, 25),
        (None, {"online_gates": True}, 10),
        (None, {"size_thresh_mask": 0}, 10),
        (None, {"size_thresh_mask": 7}, 7),
    ],
)
def test_size_threshold(area, kwargs, expected):
    data = recording()
    if area is not None:
        data.meta["online_contour:bin area min"] = area
    gate = Gate(data, **kwargs)
    assert gate.kwargs["size_thresh_mask"] == expected
    assert not gate.gate_mask(np.ones((1, expected), bool))
    assert gate.gate_mask(np.ones((1, expected + 1), bool))
    assert not gate.gate_mask(np.ones((50, 50), bool), mask_sum=expected)


def test_only_hard_limits_are_gates():
    data = recording(
        **HARD,
        **{"area_um__min": 3, "area_um__soft limit": True},
        aspect__max=3,
        **{"size_x__max": 50, "size_x__soft limit": False, "target__event count": 3},
    )
    assert Gate(data).box_gates == {}
    gate = Gate(data, online_gates=True)
    assert gate.features == ["deform", "size_x", "size_y"]
    assert gate.box_gates == {
        "deform": [0.1, 0.5],
        "size_x": [1.5, None],
        "size_y": [1.5, None],
    }


def test_range_holds_both_ends_and_no_nan():
    gate = Gate(recording(**HARD), online_gates=True)
    values = np.array([0.05, 0.1, 0.5, 0.51, np.nan])
    assert gate.gate_feature("deform", values).tolist() == [False, True, True, False, False]
    assert gate.gate_feature("deform", 0.1)
    assert not gate.gate_feature("size_x", 1.49)
    assert gate.gate_feature("aspect", 1e9) is True


def test_events():
    gate = Gate(recording(**HARD), online_gates=True)
    events = {
        "deform": np.array([0.05, 0.2, 0.3]),
        "size_x": np.array([1, 1.5, 9]),
        "size_y": np.array([2.0, 2, 1]),
    }
    assert gate.gate_events(events).tolist() == [False, True, False]
    each = [{k: v[i] for k, v in events.items()} for i in range(3)]
    assert [gate.gate_event(event) for event in each] == [None, each[1], None]
    assert Gate(recording()).gate_events(events).all()
    with pytest.raises(ValueError, match="no features"):
        gate.gate_events({})


def test_gated_feature_must_be_computed():
    gate = Gate(recording(**HARD), online_gates=True)
    gate.check(["size_x", "size_y", "deform", "tilt"])
    with pytest.raises(OptionError, match="gated by deform, which is not computed"):
        gate.check(["size_x", "size_y"])


def test_polygons_are_refused_only_if_used():
    data = recording(**{"area_um_at_deform__polygon points": "[]"})
    Gate(data)
    with pytest.raises(OptionError, match="area_um,deform polygon points"):
        Gate(data, online_gates=True)


def test_unknown_limits_are_reported():
    with pytest.warns(UserWarning, match="unknown online gate 'peter'"):
        Gate(recording(peter=1), online_gates=True)


def test_identifier():
    assert Gate.get_ppid_code() == "norm"
    assert Gate.get_ppid_from_ppkw({}) == "norm:o=0^s=10"
    assert Gate.get_ppid_from_ppkw({"size_thresh_mask": None}) == "norm:o=0^s=10"
    assert Gate.get_ppid_from_ppkw({"size_thresh_mask": 0}) == "norm:o=0^s=0"
    assert Gate.get_ppid_from_ppkw({"online_gates": True}) == "norm:o=1^s=10"
    assert Gate.get_ppkw_from_ppid("norm:o=1^s=7") == {
        "online_gates": True,
        "size_thresh_mask": 7,
    }
    data = recording()
    data.meta["online_contour:bin area min"] = 25
    assert Gate(data, online_gates=True).get_ppid() == "norm:o=1^s=25"
    with pytest.raises(ValueError, match="other:o=1"):
        Gate.get_ppkw_from_ppid("other:o=1")


@pytest.mark.peer
@pytest.mark.parametrize(
    "filters",
    [
        {},
        HARD,
        {"deform__min": 0.1, "deform__soft limit": True},
        {"deform__min": 0.1},
        {"deform__max": 0.2, "deform__soft limit": 0},
        {"size_x__max": 5.0, "size_x__soft limit": False},
    ],
)
@pytest.mark.parametrize("kwargs", [{}, {"online_gates": True}, {"size_thresh_mask": 0}])
def test_gate_equals_peer(filters, kwargs):
    peer = pytest.importorskip("dcnum.feat")
    data = recording(**filters)
    data.meta["online_contour:bin area min"] = 25
    nested: dict = {}
    for key, value in data.meta.items():
        section, name = key.split(":")
        nested.setdefault(section, {})[name] = value
    data.meta_nest = nested
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = peer.Gate(data, **kwargs)
    ours = Gate(data, **kwargs)
    assert ours.box_gates == theirs.box_gates
    assert ours.features == theirs.features
    assert ours.kwargs == theirs.kwargs
    assert ours.get_ppid() == theirs.get_ppid()
    assert ours.get_ppid_from_ppkw(kwargs) == theirs.get_ppid_from_ppkw(kwargs)
    rng = np.random.default_rng(0)
    events = {k: rng.normal(size=50) for k in ("deform", "size_x", "size_y")}
    if ours.box_gates:
        np.testing.assert_array_equal(ours.gate_events(events), theirs.gate_events(events))
