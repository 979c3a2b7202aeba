"""Volumes with channels and time, arrays from Python, and what files do not say."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from scipy import ndimage

import cytovox
from cytovox import open_volume, segment_volume
from cytovox.blockwise.block_result import BlockStarted
from cytovox.blockwise.object_table import read_objects
from cytovox.blockwise.replay import replay_block
from cytovox.cli.main import main
from cytovox.errors import OutputExistsError, StageError, UsageError
from cytovox.write.volume_creation import create_volume

HOW: dict[str, Any] = {"block": 32, "context": 0, "stitch": "touch", "workers": 0}
ABOVE = {"parameters": {"threshold": 500}}


def blurred(*shape: int) -> Any:
    rng = np.random.default_rng(sum(shape))
    sigma = [0] * (len(shape) - 2) + [2, 2]
    return (ndimage.gaussian_filter(rng.random(shape), sigma) * 1000).astype(np.uint16)


def count(image: Any) -> int:
    return int(ndimage.label(image > 500)[1])


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Three channels that have names."""
    path = tmp_path / "image.zarr"
    with create_volume(path, shape=(3, 80, 60), dtype="u2", axes=("c", "y", "x")) as volume:
        volume.write(((0, 3), (0, 80), (0, 60)), blurred(3, 80, 60))
    group = zarr.open_group(path, mode="a")
    names = [{"label": name} for name in ("DAPI", "GFP", "RFP")]
    group.attrs["ome"] = {**group.attrs["ome"], "omero": {"channels": names}}
    return path


@pytest.mark.parametrize(("channel", "number"), [(1, 1), ("1", 1), ("GFP", 1), ("RFP", 2)])
def test_a_channel_by_number_or_name(image: Path, channel: Any, number: int) -> None:
    result = segment_volume(
        image, image.with_name("a.zarr"), "label", channel=channel, **HOW, **ABOVE
    )
    raw = blurred(3, 80, 60)[number]
    assert result.objects == count(raw)
    with open_volume(result.output) as labels:
        assert np.array_equal(labels[...] > 0, raw > 500)
    table, recipe = read_objects(result.table)
    means = ndimage.mean(raw, _labels(result), table["label"])
    assert np.allclose(table["mean_intensity"], means)
    assert recipe["view"]["channel"] == number


def _labels(result: Any) -> Any:
    with open_volume(result.output) as labels:
        return labels[...]


@pytest.mark.parametrize("function", ["label", "watershed", "blobs"])
def test_the_first_channel_is_taken_with_a_warning(image: Path, function: str) -> None:
    more = ABOVE if function != "blobs" else {}
    with pytest.warns(UserWarning, match=r"channel 0 \(DAPI\) of 3 is segmented"):
        all_of_it = segment_volume(image, image.with_name("a.zarr"), function, **HOW, **more)
    first = segment_volume(image, image.with_name("b.zarr"), function, channel=0, **HOW, **more)
    assert np.array_equal(_labels(all_of_it), _labels(first))


def test_digits_are_a_number_before_they_are_a_name(image: Path) -> None:
    group = zarr.open_group(image, mode="a")
    names = [{"label": str(number)} for number in (1, 2, 647)]
    group.attrs["ome"] = {**group.attrs["ome"], "omero": {"channels": names}}
    for channel, number in (("1", 1), ("2", 2), (1, 1), ("647", 2)):
        with open_volume(image, channel=channel) as volume:
            assert np.array_equal(volume[...], blurred(3, 80, 60)[number])


def test_a_channel_that_is_not_there(image: Path) -> None:
    with pytest.raises(UsageError, match=r"no channel 'Cy5' \(take one of 0 to 2 \(DAPI, GFP"):
        segment_volume(image, image.with_name("a.zarr"), "label", channel="Cy5", **HOW)
    np.save(image.with_name("grey.npy"), blurred(80, 60))
    with pytest.raises(UsageError, match="no channel to choose"):
        segment_volume(
            image.with_name("grey.npy"), image.with_name("a.zarr"), "label", channel=1, **HOW
        )


def above(array: Any, threshold: int) -> Any:
    assert array.shape[0] == 3
    return (array.max(0) > threshold).astype(np.uint32)


def test_functions_of_users_are_given_all_channels_or_the_chosen_one(image: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        segment_volume(image, image.with_name("a.zarr"), above, **HOW, **ABOVE)
    alone = segment_volume(
        image, image.with_name("b.zarr"), lambda a: a > 500, channel="RFP", **HOW
    )
    assert alone.objects == count(blurred(3, 80, 60)[2])


def test_colours_of_a_picture(tmp_path: Path) -> None:
    colours = np.moveaxis(blurred(3, 80, 60), 0, -1)
    tifffile.imwrite(tmp_path / "rgb.tif", colours, photometric="rgb")
    result = segment_volume(
        tmp_path / "rgb.tif", tmp_path / "a.zarr", "label", channel=2, **HOW, **ABOVE
    )
    assert result.objects == count(colours[..., 2])


def test_names_of_channels_of_ome_tiff(tmp_path: Path) -> None:
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP", "RFP"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", blurred(3, 80, 60), metadata=metadata)
    with open_volume(tmp_path / "a.ome.tif", channel="GFP") as volume:
        assert volume.channels == ("DAPI", "GFP", "RFP")
        assert np.array_equal(volume[...], blurred(3, 80, 60)[1])


@pytest.mark.parametrize("format", ["ome-zarr-0.5", "ome-zarr-0.4", "zarr2"])
@pytest.mark.parametrize("table", [".parquet", ".csv"])
def test_each_point_in_time_is_segmented(tmp_path: Path, format: str, table: str) -> None:
    film = blurred(4, 80, 60)
    np.save(tmp_path / "film.npy", film)
    words: dict[str, Any] = {**HOW, **ABOVE, "axes": "tyx", "format": format}
    words["objects"] = tmp_path / f"objects{table}"
    result = segment_volume(tmp_path / "film.npy", tmp_path / "a.zarr", "label", **words)
    assert result
    counts = [count(moment) for moment in film]
    assert result.objects == sum(counts)
    with open_volume(result.output) as labels:
        assert labels.axes == ("t", "y", "x")
        assert np.array_equal(labels[...] > 0, film > 500)
        assert [int(labels[n].max()) for n in range(4)] == counts
    assert main(["verify", str(result.output)]) == 0
    if table == ".parquet":
        objects = read_objects(result.table)[0]
        assert np.unique(objects["t"], return_counts=True)[1].tolist() == counts
    else:
        rows = result.table.read_text().splitlines()
        assert rows[0].startswith("t,label,")
        assert len(rows) == 1 + sum(counts)
    again = segment_volume(tmp_path / "film.npy", tmp_path / "a.zarr", "label", **words)
    assert again
    assert again.objects == result.objects
    one = segment_volume(
        tmp_path / "film.npy", tmp_path / "b.zarr", "label", time=2, **{**words, "objects": False}
    )
    assert one.objects == counts[2]


def test_a_film_with_channels(tmp_path: Path) -> None:
    film = blurred(2, 3, 40, 50)
    np.save(tmp_path / "film.npy", film)
    result = segment_volume(
        tmp_path / "film.npy", tmp_path / "a.zarr", "label", axes="tcyx", channel=1, **HOW, **ABOVE
    )
    assert result.objects == sum(count(moment[1]) for moment in film)


def failing_at_once(array: Any) -> Any:
    if array.max() > 60000:
        raise ValueError("too bright")
    return array > 500


def test_a_film_in_which_a_block_fails(tmp_path: Path) -> None:
    film = blurred(3, 40, 50)
    film[1, 0, 0] = 65535
    words: dict[str, Any] = {**HOW, "axes": "tyx", "retries": 0}
    result = segment_volume(film, tmp_path / "a.zarr", failing_at_once, **words)
    assert not result
    assert result.failed[0].error.endswith("ValueError: too bright (time point 1)")
    name = tmp_path / "a.zarr.cytovox" / "moments" / "00001.zarr"
    with pytest.raises(StageError, match="too bright"):
        replay_block(name, result.failed[0].block, function=failing_at_once)
    assert not (tmp_path / "a.zarr").exists()


def test_labels_over_time_are_stitched_and_measured_again_by_the_same_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "film.npy", blurred(2, 80, 60))
    segmented: list[Any] = []

    def listen(event: Any) -> None:
        if isinstance(event, BlockStarted) and event.stage == "segment":
            segmented.append(event.block)

    labels = tmp_path / "a.zarr"
    words: dict[str, Any] = {**HOW, **ABOVE, "axes": "tyx", "on_event": listen}
    first = segment_volume(tmp_path / "film.npy", labels, "label", **words)
    assert segmented
    for command in (["restitch"], ["objects"], ["replay", "0"]):
        told = [command[0], str(labels), *command[1:]]
        assert main(["volume", *told]) == 2
        said = capsys.readouterr().err
        assert "have an axis of time" in said
        assert "00000.zarr" in said
        told[1] = f"{labels}.cytovox/moments/00001.zarr"
        assert main(["volume", *told]) == 0
    segmented.clear()
    again = segment_volume(tmp_path / "film.npy", labels, "label", gate="voxels > 30", **words)
    assert 0 < again.objects < first.objects
    assert not segmented
    one = segment_volume(
        tmp_path / "film.npy", labels, "label", time=1, resume=False, **{**words, "axes": "tyx"}
    )
    assert one
    assert main(["volume", "restitch", str(labels), "-q"]) == 0
    assert segment_volume(tmp_path / "film.npy", labels, "label", resume=False, **words)
    assert main(["volume", "restitch", str(labels), "-q"]) == 2


@pytest.mark.parametrize("kind", ["numpy", "dask", "zarr", "memory"])
def test_arrays_are_segmented(tmp_path: Path, kind: str) -> None:
    raw = blurred(80, 60)
    given: Any = raw
    if kind == "dask":
        given = pytest.importorskip("dask.array").from_array(raw, chunks=(25, 25))
    elif kind == "zarr":
        given = zarr.create_array(tmp_path / "in.zarr", data=raw, chunks=(20, 20))
    elif kind == "memory":
        given = zarr.create_array(zarr.storage.MemoryStore(), data=raw, chunks=(20, 20))
    words: dict[str, Any] = {**HOW, **ABOVE, "voxel_size": (2, 0.5), "units": "um"}
    result = segment_volume(given, tmp_path / "a.zarr", "label", **words)
    assert result.objects == count(raw)
    with open_volume(result.output) as labels:
        assert labels.voxel_size == (2.0, 0.5)
        assert labels.units == "micrometer"
    assert segment_volume(given, tmp_path / "a.zarr", "label", **words).objects == count(raw)
    copied = (tmp_path / "a.zarr.cytovox" / "input.npy").exists()
    assert copied == (kind != "zarr")


def test_what_is_masked_is_not_segmented(tmp_path: Path) -> None:
    raw = np.ma.masked_greater(blurred(80, 60), 550)
    assert raw.mask.any()
    with pytest.raises(UsageError, match="masked"):
        segment_volume(raw, tmp_path / "out.zarr", "label", **HOW, **ABOVE)
    filled = segment_volume(raw.filled(0), tmp_path / "out.zarr", "label", **HOW, **ABOVE)
    assert filled.objects == count(raw.filled(0))


def test_the_place_of_an_array_in_memory_is_said_not_to_be_read(tmp_path: Path) -> None:
    given = zarr.create_array(zarr.storage.MemoryStore(), data=blurred(80, 60), chunks=(20, 20))
    given.attrs["voxel_size"] = [3, 2]
    with pytest.warns(UserWarning, match="voxel size and offset in the attributes"):
        segment_volume(given, tmp_path / "out.zarr", "label", **HOW, **ABOVE)


@pytest.mark.parametrize("name", ["a.objects.parquet", "cells.csv"])
def test_a_table_of_another_program_is_kept(image: Path, name: str) -> None:
    table, out = image.with_name(name), image.with_name("a.zarr")
    table.write_text("of another program")
    objects = None if name.startswith("a.") else table
    more: dict[str, Any] = {"channel": 0, "objects": objects, **HOW, **ABOVE}
    with pytest.raises(OutputExistsError, match="not written"):
        segment_volume(image, out, "label", **more)
    assert table.read_text() == "of another program"
    table.unlink()
    first = segment_volume(image, out, "label", **more)
    again = segment_volume(image, out, "label", **more)
    assert first.table == again.table == table


def test_another_array_is_not_taken_for_the_first(tmp_path: Path) -> None:
    segment_volume(blurred(80, 60), tmp_path / "a.zarr", "label", **HOW, **ABOVE)
    with pytest.raises(cytovox.errors.CytovoxError, match="input"):
        segment_volume(blurred(80, 60) + 1, tmp_path / "a.zarr", "label", **HOW, **ABOVE)


def test_an_array_whose_shape_is_not_known_is_no_volume(tmp_path: Path) -> None:
    dask_array = pytest.importorskip("dask.array")
    given = dask_array.from_array(blurred(80, 60))
    with pytest.raises(UsageError, match=r"shape \(nan, 60\)"):
        segment_volume(given[given[:, 0] > 500], tmp_path / "a.zarr", "label", **HOW)


@pytest.mark.parametrize("given", [5, None, np.array(["a", "b"]), np.zeros(3), np.zeros((0, 4))])
def test_what_is_not_a_volume(tmp_path: Path, given: Any) -> None:
    with pytest.raises(UsageError, match="is not a volume"):
        segment_volume(given, tmp_path / "a.zarr", "label", **HOW)


@pytest.mark.parametrize("axes", ["zy", "zyxx", "qyx", "zyxc"])
def test_axes_that_do_not_fit(tmp_path: Path, axes: str) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 3, 4)))
    with pytest.raises(UsageError, match="do not fit"):
        open_volume(tmp_path / "a.npy", axes=axes)


@pytest.mark.parametrize("size", [(1, 2), 0, (1, 1, -1), float("nan")])
def test_voxel_sizes_that_do_not_fit(tmp_path: Path, size: Any) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 3, 4)))
    with pytest.raises(UsageError, match="voxel size"):
        open_volume(tmp_path / "a.npy", voxel_size=size)


def test_axes_in_another_order(tmp_path: Path) -> None:
    raw = blurred(6, 7, 8)
    np.save(tmp_path / "a.npy", raw)
    with open_volume(tmp_path / "a.npy", axes="xyz", voxel_size=(3, 2, 1), units="nm") as volume:
        assert volume.axes == ("z", "y", "x")
        assert np.array_equal(volume[...], raw.transpose(2, 1, 0))
        assert volume.voxel_size == (3.0, 2.0, 1.0)
