from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytovox.errors import StageError
from cytovox.write import EventStash


def events_of(frame: int, number: int) -> dict[str, np.ndarray] | None:
    if not number:
        return None
    values = frame + np.arange(number) / 100
    return {"deform": values, "mask": np.tile(values[:, None, None] > 3, (1, 2, 3))}


@given(
    counts=st.lists(st.integers(0, 4), min_size=1, max_size=20),
    offset=st.integers(0, 1000),
    data=st.data(),
)
@settings(max_examples=80, deadline=None)
def test_any_order_and_any_batches_give_the_same(counts, offset, data):
    stash = EventStash(offset, counts)
    borders = sorted(data.draw(st.sets(st.integers(0, len(counts)))) | {0, len(counts)})
    batches = data.draw(st.permutations(list(zip(borders, borders[1:], strict=False))))
    for first, last in batches:
        assert not stash.is_complete()
        frames = range(first, last)
        each = [e for i in frames if (e := events_of(offset + i, counts[i]))]
        if last - first == 1:
            stash.add_events(offset + first, each[0] if each else None)
        else:
            rows = {k: np.concatenate([e[k] for e in each]) for k in (each[0] if each else ())}
            stash.add_rows(offset + first, np.array(counts[first:last]), rows)
    assert stash.is_complete()
    assert stash.size == sum(counts)
    expected = [e for i, n in enumerate(counts) if (e := events_of(offset + i, n))]
    for feat in expected[0] if expected else ():
        joined = np.concatenate([e[feat] for e in expected])
        np.testing.assert_array_equal(stash.events[feat], joined)
        assert stash.events[feat].dtype == joined.dtype
    assert stash.indices_for_data.dtype == np.uint32
    assert stash.indices_for_data.tolist() == [
        offset + i for i, n in enumerate(counts) for _ in range(n)
    ]


@pytest.mark.parametrize(
    ("index", "events", "message"),
    [
        (9, None, "do not belong"),
        (13, None, "do not belong"),
        (10, {"deform": np.zeros(3)}, "3 events came, but 2 were announced"),
        (10, {"deform": np.zeros(1)}, "1 events came, but 2 were announced"),
        (10, None, "0 events came"),
        (11, {"deform": np.zeros(1)}, "1 events came"),
        (12, {"deform": np.zeros(1)}, "came twice"),
        (10, {"deform": np.zeros(2), "area": np.zeros(1)}, "'area' has 1 values for 2"),
        (10, {"deform": np.zeros(2), "area": np.zeros(2)}, "without 'area' came before"),
        (10, {"area": np.zeros(2)}, "without 'deform'"),
        (10, {"deform": np.zeros((2, 2))}, "items of shape"),
        (10, {"deform": np.float64(1)}, "0 events came"),
    ],
)
def test_what_does_not_belong_is_refused_and_changes_nothing(index, events, message):
    stash = EventStash(10, [2, 0, 1])
    stash.add_events(12, {"deform": np.array([7.0])})
    with pytest.raises(StageError, match=message) as info:
        stash.add_events(index, events)
    assert info.value.frame == index
    assert stash.events["deform"].tolist() == [0, 0, 7]
    assert list(stash.events) == ["deform"]


def test_batches_must_fit():
    stash = EventStash(10, [2, 0, 1])
    for start, counts, rows in (
        (9, [0, 2], {"deform": np.zeros(2)}),
        (11, [0, 1, 1], {"deform": np.zeros(2)}),
        (10, [1, 1], {"deform": np.zeros(2)}),
        (10, [2, 0], {"deform": np.zeros(3)}),
    ):
        with pytest.raises(StageError):
            stash.add_rows(start, np.array(counts), rows)
    with pytest.raises(StageError, match="negative"):
        EventStash(0, [1, -1])
    assert EventStash(0, []).is_complete()


def test_types_are_widened():
    stash = EventStash(0, [1, 1])
    stash.add_events(0, {"x": np.array([1])})
    stash.add_events(1, {"x": np.array([0.5])})
    assert stash.events["x"].tolist() == [1, 0.5]


@pytest.mark.peer
def test_the_peer_sorts_alike():
    peer = pytest.importorskip("dcnum.write")
    counts = [1, 0, 3, 2]
    ours, theirs = EventStash(4, counts), peer.EventStash(4, counts)
    for frame in (2, 0, 3, 1):
        for stash in (ours, theirs):
            stash.add_events(4 + frame, events_of(frame, counts[frame]))
    assert ours.is_complete()
    assert theirs.is_complete()
    for name in ("size", "num_frames", "index_offset"):
        assert getattr(ours, name) == getattr(theirs, name)
    np.testing.assert_array_equal(ours.nev_idx, theirs.nev_idx)
    np.testing.assert_array_equal(ours.indices_for_data, theirs.indices_for_data)
    for feat, values in theirs.events.items():
        np.testing.assert_array_equal(ours.events[feat], values)
