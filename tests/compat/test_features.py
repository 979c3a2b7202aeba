"""Features of masks, group by group: the peer's numbers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from parity_harness.compare import compare_values

from cytovox.compat.dcnum import features
from cytovox.errors import UsageError

COUNT = 40


@pytest.fixture(scope="module")
def frames() -> dict[str, Any]:
    """Masks of all kinds, and an image with background for each."""
    rng = np.random.default_rng(5)
    masks = np.zeros((COUNT, 24, 31), bool)
    for i, mask in enumerate(masks):
        for _ in range(1 + i % 3):
            y, x = rng.integers(0, 18), rng.integers(0, 25)
            height, width = rng.integers(1, 7, 2)
            blob = rng.random((height, width)) < (0.7 if i % 2 else 1.1)
            mask[y : y + height, x : x + width] |= blob
    masks[0] = False
    masks[1] = False
    masks[1, 3, 4] = True  # a point has no area
    masks[2] = False
    masks[2, 5, 4:12] = True  # nor has a line
    masks[3] = False
    masks[3, 2:12, 2:12] = True
    masks[3, 4:10, 4:10] = False
    masks[3, 6:8, 6:8] = True  # an object in a hole
    image = rng.integers(80, 120, masks.shape).astype(np.uint8)
    background = rng.integers(98, 103, masks.shape).astype(np.uint8)
    corrected = image.astype(np.int16) - background
    offset = rng.normal(0, 0.4, COUNT)
    return {
        "mask": masks,
        "image": image,
        "image_bg": background,
        "image_corr": corrected,
        "bg_off": offset,
    }


def peer_function(place: str, name: str) -> Callable[..., Any]:
    pytest.importorskip("dcnum")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(pytest.importorskip(place), name)


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    assert list(ours) == list(theirs)
    found = []
    for name, values in theirs.items():
        assert ours[name].dtype == values.dtype
        found += compare_values(name, ours[name], values)
    return found


@pytest.mark.peer
def test_contours_and_moments_are_the_peers(frames: dict[str, Any]) -> None:
    theirs = peer_function("dcnum.feat.feat_contour.moments", "moments_based_features")
    masks = frames["mask"][1:]  # of an empty mask it makes an error
    a = features.moments_based_features(masks, 0.34, ret_contour=True)
    b = theirs(mask=masks, pixel_size=0.34, ret_contour=True)
    ours, other = a.pop("contour"), b.pop("contour")
    assert differences(a, b) == []
    assert not a["valid"][:2].any()
    for one, two in zip(ours, other, strict=True):
        assert (one is None) == (two is None)
        assert one is None or np.array_equal(one, two)
    assert "contour" not in features.moments_based_features(masks, 0.34)


@pytest.mark.peer
def test_volumes_are_the_peers(frames: dict[str, Any]) -> None:
    theirs = peer_function("dcnum.feat.feat_contour.volume", "volume_from_contours")
    shape = features.moments_based_features(frames["mask"], 0.34, ret_contour=True)
    given = (shape["contour"], shape["pos_x"], shape["pos_y"], 0.34)
    assert differences(features.volume_from_contours(*given), theirs(*given)) == []


def test_an_empty_mask_has_no_features(frames: dict[str, Any]) -> None:
    shape = features.moments_based_features(frames["mask"][:1], 0.34, ret_contour=True)
    assert shape["contour"] == [None]
    assert not shape["valid"][0]
    assert math.isnan(shape["deform"][0])
    bright = features.brightness_features(frames["image"][:1], frames["mask"][:1])
    assert math.isnan(bright["bright_avg"][0])
    none = features.moments_based_features(np.zeros((0, 5, 5), bool), 0.34)
    assert len(none["area_um"]) == 0
    with pytest.raises(UsageError):
        features.contour_single_opencv(np.zeros((5, 5), bool))


@pytest.mark.peer
@pytest.mark.parametrize(
    "given",
    [
        (),
        ("image_bg",),
        ("image_corr",),
        ("image_bg", "image_corr"),
        ("image_bg", "image_corr", "bg_off"),
    ],
    ids=lambda names: "+".join(names) or "image",
)
@pytest.mark.parametrize("images", ["each", "one"])
def test_brightness_is_the_peers(frames: dict[str, Any], given: Any, images: str) -> None:
    theirs = peer_function("dcnum.feat.feat_brightness", "brightness_features")
    part = slice(1, None) if images == "each" else slice(1, 2)
    kwargs = {name: frames[name][part] for name in ("image", *given)}
    if images == "one" and "bg_off" in kwargs:
        kwargs["bg_off"] = 0.25
    masks = frames["mask"][1:]
    ours = features.brightness_features(mask=masks, **kwargs)
    assert differences(ours, theirs(mask=masks, **kwargs)) == []
    assert list(ours) == features.brightness_names


@pytest.mark.peer
@pytest.mark.parametrize("given", [("image", "image_bg"), ("image_corr",)], ids="+".join)
@pytest.mark.parametrize("images", ["each", "one"])
def test_texture_is_the_peers(frames: dict[str, Any], given: Any, images: str) -> None:
    theirs = peer_function("dcnum.feat.feat_texture", "haralick_texture_features")
    part = slice(None) if images == "each" else slice(0, 1)
    kwargs = {name: frames[name][part] for name in given}
    ours = features.haralick_texture_features(frames["mask"], **kwargs)
    assert differences(ours, theirs(frames["mask"], **kwargs)) == []
    assert list(ours) == features.haralick_names


def test_textures_need_a_background(frames: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="image_corr"):
        features.haralick_texture_features(frames["mask"], image=frames["image"])
    with pytest.raises(UsageError, match="not a stack"):
        features.moments_based_features(frames["mask"][0], 0.34)


def test_revolving_a_washer() -> None:
    assert features.vol_revolve([1, 2, 2, 1], [0, 0, 10, 10]) == pytest.approx(30 * math.pi)
    assert features.vol_revolve([1, 2, 2, 1], [0, 0, 10, 10], 0.5) == pytest.approx(
        30 * math.pi / 8
    )
    assert features.vol_revolve([1, 2, 2, 1], [10, 10, 0, 0]) < 0


def test_numbers_are_those_of_a_run(frames: dict[str, Any]) -> None:
    """The functions give what a recording gets that is measured as a whole."""
    from types import SimpleNamespace

    from cytovox.feat import Gate, QueueEventExtractor

    chosen = slice(3, 30, 2)  # masks of one object
    masks = frames["mask"][chosen].copy()
    gate = Gate(SimpleNamespace(meta={}, pixel_size=0.34), size_thresh_mask=1)
    rows = QueueEventExtractor(None, 0.34, gate, None).measure(
        masks.astype(np.uint16),
        frames["image"][chosen],
        frames["image_bg"][chosen],
        frames["image_corr"][chosen],
        frames["bg_off"][chosen],
    )
    kept = rows.counts > 0
    given = {name: frames[name][chosen][kept] for name in ("image", "image_bg", "image_corr")}
    shape = features.moments_based_features(masks[kept], 0.34, ret_contour=True)
    found = {
        **{name: shape[name] for name in shape if name not in ("valid", "contour")},
        **features.brightness_features(
            mask=masks[kept], bg_off=frames["bg_off"][chosen][kept], **given
        ),
        **features.haralick_texture_features(masks[kept], image_corr=given["image_corr"]),
        **features.volume_from_contours(shape["contour"], shape["pos_x"], shape["pos_y"], 0.34),
    }
    for name, values in found.items():
        assert compare_values(name, values, rows.rows[name]) == []
