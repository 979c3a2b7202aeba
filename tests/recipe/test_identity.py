from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytovox.recipe.identity import (
    compute_pipeline_hash,
    convert_to_dtype,
    get_class_method_info,
    get_unique_prefix,
    kwargs_to_ppid,
    ppid_to_kwargs,
)
from cytovox.segm import Segmenter
from cytovox.segm.segm_thresh import SegmentThresh


class Stage:
    """Some stage."""

    @staticmethod
    def get_ppid_code() -> str:
        return "some"

    @staticmethod
    def work(*, alpha: float = 1.0, alps: int = 2, on: bool = True, name: str | None = None): ...


def test_known_hash():
    text = (
        "7|hdf:p=0.34^i=0|sparsemed:k=200^s=1^t=0^f=0.8^o=1|thresh:t=-3:cle=1^f=1^clo=2|"
        "legacy:b=1^h=0^v=1|norm:o=0^s=11"
    )
    gen, dat, bg, seg, feat, gate = text.split("|")
    digest = compute_pipeline_hash(
        gen_id=gen, dat_id=dat, bg_id=bg, seg_id=seg, feat_id=feat, gate_id=gate
    )
    assert digest == "4f3a850410b9801393ab5738afe69e9a"
    assert digest == hashlib.md5(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-6.0, "-6"),
        (0.8, "0.8"),
        (-1e-07, "-1e-07"),
        (-1e22, "-10000000000000000000000"),
        (True, "1"),
        (np.bool_(False), "0"),
        (np.float32(-6.1), "-6.099999904632568"),
        (None, "None"),
        ("text", "text"),
    ],
)
def test_values_as_text(value, text):
    assert kwargs_to_ppid(Stage, "work", {"alpha": value}).split("^")[0] == f"alph={text}"


def test_all_options_are_listed_in_order():
    assert kwargs_to_ppid(Stage, "work", {}) == "alph=1^alps=2^o=1^n=None"


def test_unknown_option_warns_or_fails():
    with pytest.warns(UserWarning, match="beta"):
        assert "beta" not in kwargs_to_ppid(Stage, "work", {"beta": 1})
    with pytest.raises(KeyError):
        kwargs_to_ppid(Stage, "work", {"beta": 1}, allow_invalid_keys=False)


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "alpha": st.floats(allow_nan=False, allow_infinity=False),
            "alps": st.integers(-1000, 1000),
            "on": st.booleans(),
        }
    )
)
def test_options_survive_the_identifier(kwargs):
    back = ppid_to_kwargs(Stage, "work", kwargs_to_ppid(Stage, "work", kwargs))
    assert {key: back[key] for key in kwargs} == kwargs


def test_any_prefix_is_understood_and_others_are_not():
    assert ppid_to_kwargs(Stage, "work", "alph=3^na=x")["alpha"] == 3
    with pytest.raises(ValueError, match="zeta"):
        ppid_to_kwargs(Stage, "work", "zeta=3")


@settings(deadline=None)
@given(st.lists(st.text("abc_", min_size=1, max_size=8), min_size=1, max_size=6, unique=True))
def test_prefixes_distinguish_names(names):
    prefixes = get_unique_prefix(names)
    assert len(set(prefixes)) == len(names)
    assert all(name.startswith(prefix) for name, prefix in zip(names, prefixes, strict=True))


def test_class_info_resolves_types():
    info = get_class_method_info(
        SegmentThresh,
        ["segment_algorithm", "process_labels"],
        {"process_labels": SegmentThresh.mask_default_kwargs},
    )
    assert info["code"] == "thresh"
    assert info["defaults"]["process_labels"]["closing_disk"] == 2
    assert info["annotations"]["segment_algorithm"] == {"thresh": float}
    assert info["title"]


@pytest.mark.parametrize(("text", "expected"), [("yes", True), ("0", False), ("2", True)])
def test_truth_values(text, expected):
    assert convert_to_dtype(text, bool) is expected


@pytest.mark.peer
@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "thresh": st.one_of(
                st.floats(-1e6, -1e-6), st.integers(-300, -1), st.sampled_from([-6.0, -0.1])
            )
        }
    ),
    st.fixed_dictionaries(
        {}, optional={"clear_border": st.booleans(), "closing_disk": st.integers(0, 9)}
    ),
)
def test_same_identifier_as_the_peer(kwargs, mask):
    peer = pytest.importorskip("dcnum.segm.segm_thresh").SegmentThresh
    ours = SegmentThresh.get_ppid_from_ppkw(kwargs, mask)
    assert ours == peer.get_ppid_from_ppkw(kwargs, mask)
    assert Segmenter.get_ppkw_from_ppid(ours) == peer.get_ppkw_from_ppid(ours)
