from __future__ import annotations

import pytest

from cytovox.errors import OptionError
from cytovox.recipe.options import check_options, options_of


def stage(image, *, thresh: float = -6, size: int | None = None, fast: bool = True): ...


def test_options_come_from_the_signature():
    options = options_of(stage)
    assert [(o.name, o.type, o.default, o.optional) for o in options] == [
        ("thresh", float, -6, False),
        ("size", int, None, True),
        ("fast", bool, True, False),
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"thresh": "-3.5"}, {"thresh": -3.5}),
        ({"thresh": -3}, {"thresh": -3}),
        ({"size": "12"}, {"size": 12}),
        ({"size": "none"}, {"size": None}),
        ({"size": None}, {"size": None}),
        ({"fast": "no"}, {"fast": False}),
        ({"fast": "1"}, {"fast": True}),
        ({}, {}),
    ],
)
def test_values_are_converted(given, expected):
    assert check_options("stage x", options_of(stage), given) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tresh": 1}, "did you mean 'thresh'"),
        ({"size": "many"}, "give a whole number"),
        ({"size": "1.5"}, "give a whole number"),
        ({"fast": "perhaps"}, "give true or false"),
        ({"thresh": None}, "give a number"),
        ({"thresh": "none"}, "give a number"),
    ],
)
def test_mistakes_are_named(given, message):
    with pytest.raises(OptionError, match="stage x") as info:
        check_options("stage x", options_of(stage), given)
    assert message in str(info.value)


def test_a_path_is_a_text(tmp_path):
    def segment(image, *, model_file: str | None = None): ...

    given = {"model_file": tmp_path / "net.dcnm"}
    checked = check_options("segmenter x", options_of(segment), given)
    assert checked == {"model_file": str(tmp_path / "net.dcnm")}
