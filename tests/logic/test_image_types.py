"""Images that are stored as another type than 8 bit."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from cytovox.errors import CytovoxError, InputError
from cytovox.read import HDF5Data

pytestmark = pytest.mark.timeout(120)


def stored_as(path, feature, dtype, values=None):
    """Store images of a recording as another type."""
    with h5py.File(path, "a") as h5:
        images = h5[f"events/{feature}"][:] if values is None else values
        h5.pop(f"events/{feature}", None)
        h5.create_dataset(
            f"events/{feature}", data=images.astype(dtype), chunks=(10, *images.shape[1:])
        )


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i2", "<i4", "<u8"])
def test_whatever_the_type_the_numbers_are_the_same(raw, run_job, events_of, dtype):
    expected, out = raw.with_name("expected.rtdc"), raw.with_name("out.rtdc")
    run_job(raw, expected)
    stored_as(raw, "image", dtype)
    run_job(raw, out)
    one, other = events_of(expected), events_of(out)
    assert other["events/image"].dtype == np.dtype(dtype)
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(other[name], one[name], err_msg=name)
        assert name == "events/image" or other[name].dtype == one[name].dtype


@pytest.mark.parametrize("internal", [True, False])
def test_a_copied_background_keeps_its_type(raw, run_job, internal):
    out = raw.with_name("out.rtdc")
    with HDF5Data(raw) as data:
        median = np.median(data.image[:50], axis=0).astype(np.uint16)
        count = len(data)
    if internal:
        one = raw.with_name("one.rtdc")
        run_job(raw, one)
        with h5py.File(one, "a") as h5:
            images = h5["basin_events/image_bg"][:].astype(np.uint16)
            del h5["basin_events/image_bg"]
            h5["basin_events/image_bg"] = images
        raw = one
    else:
        stored_as(raw, "image_bg", np.uint16, np.repeat(median[None], count, axis=0))
    run_job(raw, out, background_code="copy", segmenter_kwargs={"thresh": -7})
    with HDF5Data(raw) as before, HDF5Data(out) as after:
        assert after.image_bg.dtype == np.uint16
        rows = after["basinmap0"]
        np.testing.assert_array_equal(after.image_bg[:], before.image_bg[:][rows])
        assert len(after) > 100


@pytest.mark.parametrize("frame", [0, 100, 229])
@pytest.mark.parametrize(("value", "dtype"), [(4095, np.uint16), (256, np.int32), (-1, np.int16)])
def test_values_beyond_8_bit_are_refused(raw, run_job, frame, value, dtype):
    with HDF5Data(raw) as data:
        images = data.image[:].astype(dtype)
    images[frame, 3, 5] = value
    stored_as(raw, "image", dtype, images)
    with pytest.raises(CytovoxError, match=f"{value}.*0 to 255.*8 bit"):
        run_job(raw, raw.with_name("out.rtdc"))
    assert not raw.with_name("out.rtdc").exists()


def test_a_12_bit_recording_is_refused_before_any_work(raw, run_job):
    with HDF5Data(raw) as data:
        images = data.image[:].astype(np.uint16) * 16
    stored_as(raw, "image", np.uint16, images)
    events = []
    with pytest.raises(InputError, match=r"frame 0 of 'image' .*8 bit"):
        run_job(raw, raw.with_name("out.rtdc"), on_event=events.append)
    assert events == []
    assert [path.name for path in raw.parent.iterdir()] == ["raw.rtdc"]


@pytest.mark.parametrize(
    "background", [np.zeros((230, 60, 120), np.float32), np.ones((230, 4, 4))]
)
def test_a_stored_background_that_is_not_used_is_not_looked_at(raw, run_job, background):
    with h5py.File(raw, "a") as h5:
        h5["events/image_bg"] = background
    assert run_job(raw, raw.with_name("out.rtdc")).event_count > 100
    with pytest.raises(InputError, match="image_bg"):
        run_job(raw, raw.with_name("copied.rtdc"), background_code="copy")
