"""Words of a command are checked before any work."""

from __future__ import annotations

import re

import pytest

from cytovox.cli.main import main
from cytovox.cli.run_options import SET_KEYS
from cytovox.cli.settings import Settings, parse_frames, parse_settings
from cytovox.errors import OptionError, UnknownCodeError, UsageError
from cytovox.logic.job import DCNumPipelineJob
from cytovox.recipe.described_stages import describe_stage
from cytovox.recipe.registry import GROUPS, codes

CODES = {"background": "sparsemed", "segmenter": "thresh", "feature": "legacy", "gate": "norm"}


def job(*words: str, **codes: str) -> DCNumPipelineJob:
    known = CODES | codes
    settings = Settings(known, parse_settings(words, known))
    settings.check()
    arguments = settings.job_arguments()
    arguments["data_kwargs"].setdefault("pixel_size", 1.0)
    return DCNumPipelineJob("input.rtdc", **arguments)


def test_every_stage_is_understood() -> None:
    made = job(
        "data.pixel_size=0.34",
        "background.kernel_size=100",
        "background.offset_correction=false",
        "segmenter.thresh=-3",
        "mask.closing_disk=0",
        "feature.haralick=no",
        "gate.size_thresh_mask=20",
    )
    assert made["data_kwargs"] == {"pixel_size": 0.34}
    assert made["background_kwargs"] == {"kernel_size": 100, "offset_correction": False}
    assert made["segmenter_kwargs"] == {"thresh": -3.0, "kwargs_mask": {"closing_disk": 0}}
    assert made["feature_kwargs"] == {"haralick": False}
    assert made["gate_kwargs"] == {"size_thresh_mask": 20}


def test_what_is_set_by_looking_may_be_said() -> None:
    words = ["data.pixel_size=auto", "background.offset_correction=Auto"]
    assert parse_settings(words, CODES) == {}
    with pytest.raises(OptionError, match="'thresh'"):
        job("segmenter.thresh=auto")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("segmenter.tresh=-3", "did you mean 'thresh'?"),
        ("mask.clear_boarder=0", "did you mean 'clear_border'?"),
        ("segmentor.thresh=-3", "did you mean 'segmenter'?"),
        ("data.pixelsize=1", "did you mean 'pixel_size'?"),
        ("background.kernel_size=many", "give a whole number"),
        ("feature.volume=maybe", "give true or false"),
        ("feature.volume=nan", "give true or false"),
        ("feature.volume=inf", "give true or false"),
        ("data.pixel_size=1e300", "give a number at least 0.0001 and at most 10000"),
        ("data.pixel_size=0", "give a number at least 0.0001"),
        ("data.pixel_size=-1", "give a number at least 0.0001"),
        ("data.pixel_size=1e-300", "give a number at least 0.0001"),
        ("data.image_chunk_size=0", "give a whole number at least 1"),
        ("background.kernel_size=1e300", "at most 1000000000"),
        ("segmenter.thresh=-inf", "thresh -inf is not a finite number"),
        ("segmenter.thresh=nan", "thresh nan is not a finite number"),
        ("background.split_time=inf", "split_time inf is not a finite number"),
        ("background.split_time=0", "give a number above zero"),
        ("background.frac_cleansing=1.1", "at most 1"),
        ("background.thresh_cleansing=-1", "at least zero"),
        ("mask.closing_disk=-1", "give a whole number at least zero and at most 1000"),
        ("mask.closing_disk=1e9", "at most 1000"),
        ("gate.size_thresh_mask=-1", "give a whole number at least zero"),
        ("gate.size_thresh_mask=1e300", "at most 1000000000"),
        ("thresh=-3", "stage.key=value"),
        ("segmenter.thresh", "stage.key=value"),
    ],
)
def test_mistakes_get_a_hint(word: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        job(word)
    assert message in str(caught.value)


def test_twice_is_a_mistake() -> None:
    with pytest.raises(OptionError, match="given twice"):
        parse_settings(["mask.fill_holes=0", "mask.fill_holes=1"], CODES)


@pytest.mark.parametrize("stage", ["background", "segmenter"])
def test_unknown_code_is_reported_with_the_choice(stage: str) -> None:
    with pytest.raises(UnknownCodeError, match=f"there is no {stage} 'nonsense'.*choose one of"):
        job(**{stage: "nonsense"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"segmenter": {"thresh": 5.0}}, "not below zero"),
        ({"background": {"kernel_size": 0}}, "kernel_size"),
    ],
)
def test_impossible_values_are_reported_before_work(options: dict, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Settings(CODES, options).check()
    assert message in str(caught.value)


def test_good_settings_pass() -> None:
    Settings(CODES, {"mask": {"closing_disk": 0}}).check()


@pytest.mark.parametrize(
    "text", ["", "0", "-5", "10-5", "5-5", "1-9-0", "5,3", "3,3", "a", "1-", "1.5", ",", "9" * 23]
)
def test_impossible_frames_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="rising order"):
        parse_frames(text)


def test_frames_are_read() -> None:
    assert parse_frames("0-10") == slice(0, 10, 1)
    assert parse_frames("0:10:3") == slice(0, 10, 3)
    assert parse_frames(" 7 ") == 7
    assert parse_frames("0,4") == [0, 4]


def test_mask_options_travel_with_the_segmenter() -> None:
    arguments = Settings(CODES, {"mask": {"fill_holes": False}}).job_arguments()
    assert arguments["segmenter_kwargs"] == {"kwargs_mask": {"fill_holes": False}}
    assert arguments["segmenter_code"] == "thresh"


def test_the_help_names_all_keys_of_our_own_stages() -> None:
    named = set()
    for stage, keys in (part.split(".") for part in SET_KEYS.split("; ")):
        named |= {f"{stage}.{key}" for key in keys.split(", ")}
    described = [describe_stage(kind, code) for kind in GROUPS for code in codes(kind)]
    ours = [stage for stage in described if stage["class"].startswith("cytovox.")]
    keys = {option["set"] for stage in ours for option in stage["options"]}
    assert named == keys | {"data.pixel_size"}


@pytest.mark.parametrize("command", ["run", "plan"])
def test_the_help_is_in_sections(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    titles = re.findall(r"^(\w+):$", capsys.readouterr().out, re.M)
    assert titles == ["Arguments", "Input", "Settings", "Output", "Options", "Safety"]
