from __future__ import annotations

import numpy as np

from cytovox.kernels.texture import TEXTURE_NAMES, grey_levels, texture_features

DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1))


def measured(corrected, mask):
    """Return the features of one object in a whole image."""
    patch = np.zeros(np.add(mask.shape, 2), np.uint8)
    place = np.flatnonzero(np.pad(mask, 1)).astype(np.int32)
    counts = np.zeros(65536, np.int32)
    out = np.empty(22)
    highest = grey_levels(corrected[mask], place, patch.ravel())
    assert highest == patch.max()
    seen = np.empty(place.size, np.int32)
    texture_features(patch.ravel(), patch.shape[1], place, highest, counts, seen, out)
    assert not counts.any()
    return patch[1:-1, 1:-1], dict(zip(TEXTURE_NAMES, out, strict=True))


def entropy(p):
    p = p[p > 0]
    return -(p * np.log2(p)).sum()


def slow_features(grey):
    """Return the textbook's features, or None if a direction has no pair."""
    found = []
    height, width = grey.shape
    i, j = np.mgrid[:256, :256]
    for dy, dx in DIRECTIONS:
        p = np.zeros((256, 256))
        a = grey[: height - dy, max(0, -dx) : width - max(0, dx)]
        b = grey[dy:, max(0, dx) : width - max(0, -dx)]
        np.add.at(p, (a.ravel(), b.ravel()), 1)
        p = p + p.T
        p[0] = p[:, 0] = 0
        if not p.sum():
            return None
        p /= p.sum()
        px = p.sum(axis=0)
        plus = np.bincount((i + j).ravel(), p.ravel())
        minus = np.bincount(abs(i - j).ravel(), p.ravel())
        k, s = np.arange(256), np.arange(511)
        mean = (k * px).sum()
        variance = (k**2 * px).sum() - mean**2
        hx, hxy = entropy(px), entropy(p)
        uniform = np.count_nonzero(px) == 1
        both = px[:, None] * px
        hxy2 = entropy(both)
        found.append(
            {
                "asm": (p**2).sum(),
                "con": (k**2 * minus).sum(),
                "cor": 1.0 if uniform else ((i * j * p).sum() - mean**2) / variance,
                "var": variance,
                "idm": (p / (1 + (i - j) ** 2)).sum(),
                "sva": (s**2 * plus).sum() - (s * plus).sum() ** 2,
                "sen": entropy(plus),
                "ent": hxy,
                "den": entropy(minus),
                "f12": 0.0 if uniform else (hxy - hxy2) / hx,
                "f13": np.sqrt(max(0, 1 - np.exp(-2 * (hxy2 - hxy)))),
            }
        )
    result = {}
    for name in found[0]:
        values = np.array([f[name] for f in found])
        result[f"tex_{name}_avg"] = values.mean()
        result[f"tex_{name}_ptp"] = np.ptp(values)
    return result


def assert_close(ours, theirs):
    for name in TEXTURE_NAMES:
        limit = 1e-9 * max(abs(theirs[name]), 1)
        if "f13" in name and theirs[name] < 1e-4:
            limit = 1e-7  # square root of rounding noise
        assert abs(ours[name] - theirs[name]) <= limit, name


def test_textbook(blobs, images):
    for k in range(0, len(blobs), 4):
        grey, ours = measured(images.image_corr[k], blobs[k])
        theirs = slow_features(grey)
        if theirs is None:
            assert np.isnan(list(ours.values())).all()
        else:
            assert_close(ours, theirs)


def test_levels_start_at_one_and_wrap():
    corrected = np.array([[-200, 54, 55, 56]], np.int16)
    grey, ours = measured(corrected, np.ones((1, 4), bool))
    assert grey.tolist() == [[1, 255, 0, 1]]
    assert np.isnan(list(ours.values())).all()


def test_uniform_patch():
    _, ours = measured(np.full((5, 7), -20, np.int16), np.ones((5, 7), bool))
    ones = {"tex_asm_avg", "tex_cor_avg", "tex_idm_avg"}
    assert ours == {name: float(name in ones) for name in TEXTURE_NAMES}


def test_counts_beyond_the_table_of_logarithms():
    rng = np.random.default_rng(0)
    corrected = rng.integers(0, 3, (120, 150)).astype(np.int16)
    grey, ours = measured(corrected, np.ones(corrected.shape, bool))
    assert_close(ours, slow_features(grey))
