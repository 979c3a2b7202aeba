"""Pictures of a frame show each object in the colour of what became of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from cytovox.logic.fates import analyse, fate_of
from cytovox.logic.frame_source import Frames
from cytovox.logic.frame_steps import steps_of, trail_of
from cytovox.logic.job import DCNumPipelineJob
from cytovox.read import HDF5Data
from cytovox.report.frame_picture import draw_object, frame_picture, steps_picture
from cytovox.report.style import FATES, new_figure, save_figure
from cytovox.testing import simulate_recording


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    """A frame in which an object is kept, and others are lost under each cause of the clean-up."""
    path = tmp_path_factory.mktemp("frame") / "raw.rtdc"
    simulate_recording(path, frames=3, save_truth=False)
    image = np.full((1, 60, 240), 150, np.uint8)
    for top, bottom, left, right in (
        (20, 40, 20, 40),  # stays, with a hole that holds another
        (50, 60, 60, 70),  # at the border
        (10, 12, 60, 80),  # too thin
        (20, 25, 100, 105),  # too few pixels are left
    ):
        image[0, top:bottom, left:right] = 100
    image[0, 26:34, 26:34] = 150
    image[0, 28:32, 28:32] = 100
    background = np.full_like(image, 150)
    frames = Frames(
        np.array([7]), image, background, image.astype(np.int16) - 150, None, np.zeros(1, bool)
    )
    job = DCNumPipelineJob(path, gate_kwargs={"size_thresh_mask": 20}, num_procs=1)
    with HDF5Data(path) as data:
        return analyse(frames, job, data), job


def colours(figure):
    """Return the colours of all outlines, and of what is filled."""
    outlines = [
        colour[:3]
        for axes in figure.axes
        for mark in axes.collections
        for colour in mark.get_edgecolor()
    ]
    filled = [
        colour
        for axes in figure.axes
        for image in axes.images
        if image.get_array().shape[2:] == (4,)
        for colour in np.unique(image.get_array()[image.get_array()[..., 3] > 0][:, :3], axis=0)
    ]
    return {tuple(np.round(colour, 3)) for colour in outlines + filled}


def rgb(name):
    return tuple(np.round(to_rgb(FATES[name]), 3))


def words(figure):
    return " ".join(text.get_text() for axes in figure.axes for text in axes.texts)


def test_a_frame_shows_every_object_by_its_fate(analysed, tmp_path):
    analysis, _ = analysed
    figure = frame_picture(analysis, 0, "raw.rtdc, frame 7")
    assert {rgb(n) for n in ("kept", "border", "merged", "opening", "size")} <= colours(figure)
    assert len(figure.axes) == 6
    legend = [text.get_text() for text in figure.axes[-1].get_legend().get_texts()]
    assert legend[:2] == ["1 kept: events", "1 lost: border"]
    first, again = (save_figure(figure, tmp_path / name) for name in ("a.png", "b.png"))
    assert first.read_bytes() == again.read_bytes()


def test_the_steps_say_what_each_removes(analysed):
    analysis, job = analysed
    steps = steps_of(analysis, 0, job)
    assert [step.name for step in steps] == [
        "segmentation", "clear_border", "fill_holes", "closing_disk", "size",
    ]  # fmt: skip
    assert "below -6; the lowest is -50" in steps[0].sentence
    assert steps[1].sentence == "1 object of 100 px lost"
    assert steps[2].sentence == "48 px filled; 1 object merged"
    assert "1 object lost" in steps[3].sentence
    assert steps[4].sentence == "1 object lost; kept are those of more than 20 px"
    assert not (steps[4].after[20:25, 100:105]).any()
    assert steps[4].after[20:40, 20:40].any()


def test_the_pixels_of_an_object_are_followed_through_the_steps(analysed):
    analysis, job = analysed
    steps = steps_of(analysis, 0, job)
    trails = {
        fate_of(analysis, index): trail_of(analysis, steps, index)
        for index in range(len(analysis.objects))
    }
    assert trails["kept"] == [336, 336, 400, 388, 388]
    assert trails["border"] == [100, 0]
    assert trails["merged"] == [16, 16, 0]
    assert trails["opening"] == [40, 40, 40, 0]
    assert trails["size"] == [25, 25, 25, 13, 0]


def test_one_object_is_shown_with_its_surroundings(analysed):
    analysis, job = analysed
    index = [fate_of(analysis, i) for i in range(len(analysis.objects))].index("size")
    figure = steps_picture(analysis, 0, steps_of(analysis, 0, job), index)
    assert all(axes.images[0].get_array().shape[:2] == (33, 33) for axes in figure.axes)
    figure = new_figure(2, 2)
    draw_object(figure.add_subplot(), analysis, index)
    assert colours(figure) == {rgb("size")}


def test_a_frame_without_background_is_drawn_too(analysed):
    analysis, _ = analysed
    frames = dataclasses.replace(analysis.frames, image_bg=None, image_corr=None)
    figure = frame_picture(dataclasses.replace(analysis, frames=frames), 0)
    assert words(figure).count("there is no background") == 2


def test_very_many_objects_are_drawn_quickly_and_few_have_numbers(analysed):
    analysis, job = analysed
    image = np.full((1, 120, 240), 150, np.uint8)
    image[0, 2:118:3, 2:238:3] = 100
    image[0, 40:60, 40:60] = 100
    frames = dataclasses.replace(
        analysis.frames, image=image, image_bg=np.full_like(image, 150),
        image_corr=image.astype(np.int16) - 150,
    )  # fmt: skip
    with HDF5Data(job["path_in"]) as data:
        many = analyse(frames, job, data)
    assert len(many.objects) > 2000
    figure = frame_picture(many, 0)
    drawn = figure.axes[4]
    assert len(drawn.collections) < 100
    assert len(drawn.images) == 2
    assert 0 < len(drawn.texts) < 60
    assert {rgb("kept"), rgb("opening")} <= colours(figure)
