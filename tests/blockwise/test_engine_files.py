"""The worker files that ship, and segmentation functions over regions in world units."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from scipy import ndimage

from cytovox.blockwise import run_blockwise, segment_blockwise
from cytovox.blockwise.argmax_worker import ArgmaxWork
from cytovox.blockwise.array_run import run_array_work
from cytovox.blockwise.block_result import BlockDone
from cytovox.blockwise.placement import Placement
from cytovox.blockwise.predict_worker import PredictWork, tiles
from cytovox.blockwise.threshold_worker import ThresholdWork
from cytovox.errors import OutputExistsError, UsageError
from cytovox.read.open_volume import open_volume
from cytovox.recipe.trust import ModelNotTrustedError
from cytovox.run.journal import FingerprintChangedError
from cytovox.write.volume_creation import create_volume
from support.volumes import labels_of, smooth_noise

SHIPPED = Path(__file__).resolve().parents[2] / "src" / "cytovox" / "blockwise"


def stored(
    folder: Path, array: np.ndarray, voxel: tuple[int, ...], offset: tuple[int, ...]
) -> str:
    """Keep an array as a volume with a place in the world."""
    url = folder / "image.zarr"
    shape = array.shape[-len(voxel) :]
    block = tuple(min(16, n) for n in shape)
    with create_volume(
        url,
        shape=array.shape,
        dtype=array.dtype,
        voxel_size=voxel,
        offset=offset,
        units="nanometer",
        block=block,
    ) as volume:
        counts = [-(-n // b) for n, b in zip(shape, block, strict=True)]
        for index in np.ndindex(*counts):
            places = zip(index, block, shape, strict=True)
            box = [(i * b, min((i + 1) * b, n)) for i, b, n in places]
            box = [*((0, n) for n in array.shape[: -len(voxel)]), *box]
            volume.write(tuple(box), array[tuple(slice(*b) for b in box)])
    return str(url)


@pytest.mark.parametrize("workers", [0, 2])
def test_threshold_from_its_worker_file(tmp_path: Path, workers: int) -> None:
    image = smooth_noise((20, 33, 17))
    url = stored(tmp_path, image, (40, 4, 4), (400, 8, 0))
    out = tmp_path / "mask.zarr"
    create_volume(
        out,
        shape=image.shape,
        dtype="uint8",
        voxel_size=(40, 4, 4),
        offset=(400, 8, 0),
        units="nanometer",
        block=(16, 16, 16),
    ).close()
    block = Roi((0, 0, 0), (640, 64, 64))
    result = run_blockwise(
        SHIPPED / "threshold_worker.py",
        Roi((400, 8, 0), (800, 132, 68)),
        block,
        block,
        workers,
        input=url,
        output=str(out),
        threshold=500,
    )
    assert result
    np.testing.assert_array_equal(labels_of(out), image > 500)


def test_threshold_and_argmax_from_python(tmp_path: Path) -> None:
    image = np.stack([smooth_noise((9, 20, 20), seed) for seed in range(3)])
    url = stored(tmp_path, image, (1, 1, 1), (0, 0, 0))
    largest, mask = tmp_path / "largest.zarr", tmp_path / "mask.zarr"
    assert run_array_work(ArgmaxWork, url, largest, block=16, placement=Placement(1))
    np.testing.assert_array_equal(labels_of(largest), image.argmax(axis=0))
    events: list[Any] = []
    more: dict[str, Any] = {"block": 16, "placement": Placement(0), "on_event": events.append}
    assert run_array_work(ThresholdWork, url, mask, threshold=500, below=True, **more)
    np.testing.assert_array_equal(labels_of(mask), image < 500)
    assert sum(isinstance(event, BlockDone) for event in events) == 4
    events.clear()
    assert run_array_work(ThresholdWork, url, mask, threshold=500, below=True, **more)
    assert not events
    with pytest.raises(FingerprintChangedError, match="threshold was 500 and is 400"):
        run_array_work(ThresholdWork, url, mask, threshold=400, below=True, **more)
    assert run_array_work(ThresholdWork, url, mask, threshold=400, resume=False, **more)
    np.testing.assert_array_equal(labels_of(mask), image > 400)
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputExistsError):
        run_array_work(ThresholdWork, url, tmp_path / "taken", threshold=500, **more)


def test_wrong_options_are_told(tmp_path: Path) -> None:
    block = Roi((0, 0), (8, 8))
    for name in ("threshold", "argmax", "predict", "relabel", "segment"):
        with pytest.raises(UsageError, match="cannot be started so"):
            run_blockwise(SHIPPED / f"{name}_worker.py", block, block, block, 1, nonsense=1)


@pytest.mark.parametrize(
    ("shape", "tile", "overlap"),
    [((10, 7), (6, 9), (1, 2)), ((5,), (5,), (0,)), ((30,), (8,), (3,))],
)
def test_tiles_cover_each_voxel_once(shape: Any, tile: Any, overlap: Any) -> None:
    seen = np.zeros(shape, int)
    for inner, outer in tiles(shape, tile, overlap):
        seen[tuple(slice(*b) for b in inner)] += 1
        axes = zip(inner, outer, shape, tile, overlap, strict=True)
        for (a, b), (c, d), n, length, margin in axes:
            assert d - c == length
            assert a - c >= margin or a == 0
            assert d - b >= margin or b == n
    assert (seen == 1).all()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    """A network of 3 x 3 x 3 that needs one voxel of context, in both formats."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 3, padding=1), torch.nn.Sigmoid()).eval()
    folder = tmp_path_factory.mktemp("model")
    example = torch.zeros(1, 1, 8, 12, 12)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network, example), folder / "script.pt")
        exported = torch.export.export(network, (example,))
        torch.export.save(exported, folder / "program.pt2")
    return folder / "script.pt", folder / "program.pt2", network


@pytest.mark.parametrize(("number", "workers"), [(0, 1), (1, 0)])
def test_predict_in_tiles_is_predict_at_once(
    tmp_path: Path, model: Any, number: int, workers: int
) -> None:
    torch = pytest.importorskip("torch")
    path, network = model[number], model[2]
    image = smooth_noise((10, 20, 21))
    url = stored(tmp_path, image, (1, 1, 1), (0, 0, 0))
    options: dict[str, Any] = {
        "model": str(path),
        "factor": 1 / 1000,
        "tile": (8, 12, 12),
        "overlap": 1,
        "channels": 2,
        "device": "cpu",
    }
    named = hashlib.sha256(path.read_bytes()).hexdigest()
    made = tmp_path / "p.zarr"
    where: dict[str, Any] = {"block": 16, "context": 1, "placement": Placement(workers)}
    assert run_array_work(PredictWork, url, made, model_sha256=named, **options, **where)
    with torch.inference_mode():
        whole_image = torch.from_numpy(image.astype(np.float32) / 1000)[None, None]
        expected = network(whole_image)[0].numpy()
    inner = (slice(None), *(slice(1, -1),) * 3)  # outside of the volume is fill, not padding
    np.testing.assert_allclose(labels_of(made)[inner], expected[inner], atol=1e-5)
    with pytest.raises(ModelNotTrustedError):
        run_array_work(PredictWork, url, tmp_path / "q.zarr", **options, **where)
    untrusted = PredictWork(input=url, output=str(tmp_path / "q.zarr"), **options)
    with pytest.raises(ModelNotTrustedError):
        untrusted.compute(image[:8, :12, :12])


SEGMENT = """
import numpy as np
from scipy import ndimage
default_parameters = {"level": 0, "fail": ()}

def segment_function(input_array, block, level, fail):
    voxels = tuple(s // v for s, v in zip(block.read_roi.shape, (40, 4, 4)))
    assert tuple(input_array.shape) == voxels
    if tuple(block.write_roi.begin) in {tuple(f) for f in fail}:
        raise ValueError("a bad block")
    return ndimage.label(input_array > level)[0].astype(np.uint64)
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_a_region_is_segmented_as_if_at_once(tmp_path: Path, workers: int) -> None:
    image = smooth_noise((24, 40, 41))
    url = stored(tmp_path, image, (40, 4, 4), (80, 0, 12))
    file = tmp_path / "mine.py"
    file.write_text(SEGMENT)
    # Voxels 4 to 24, 8 to 40 and 0 to 33 of the volume.
    total = Roi((80 + 160, 32, 12), (800, 128, 132))
    block = Roi((0, 0, 0), (400, 64, 64))
    result = segment_blockwise(
        file,
        Coordinate((80, 8, 8)),
        total,
        block,
        block,
        workers,
        input=url,
        output=tmp_path / "labels.zarr",
        parameters={"level": 505},
        stitch="touch",
    )
    assert result
    labels = labels_of(tmp_path / "labels.zarr")
    part = image[4:24, 8:40, :33] > 505
    expected, count = ndimage.label(part)
    assert result.objects == count
    assert labels.shape == part.shape
    pairs = np.unique(np.stack([labels.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(labels)) == len(np.unique(expected))
    assert labels.max() == count
    with open_volume(tmp_path / "labels.zarr") as volume:
        assert volume.roi == total


def test_a_bad_block_is_done_later(tmp_path: Path) -> None:
    image = smooth_noise((16, 32, 32))
    url = stored(tmp_path, image, (40, 4, 4), (0, 0, 0))
    file = tmp_path / "mine.py"
    file.write_text(SEGMENT.replace('raise ValueError("a bad block")', BROKEN))
    block = Roi((0, 0, 0), (640, 64, 64))

    def run(**more: Any) -> Any:
        return segment_blockwise(
            file,
            Coordinate((40, 4, 4)),
            Roi((0, 0, 0), (640, 128, 128)),
            block,
            block,
            1,
            0,
            input=url,
            output=tmp_path / "labels.zarr",
            parameters={"level": 505, "fail": [[0, 64, 0]]} | more,
            stitch="touch",
        )

    first = run()
    assert not first
    assert [f.block for f in first.failed] == [(0, 64, 0)]
    assert not (tmp_path / "labels.zarr").exists()
    (tmp_path / "mended").touch()
    second = run()
    assert second
    assert second.skipped == 3
    np.testing.assert_array_equal(labels_of(tmp_path / "labels.zarr") > 0, image > 505)
    with pytest.raises(FingerprintChangedError, match="level was 505 and is 400"):
        run(level=400)
    third = run()  # nothing is segmented again
    assert third
    assert third.skipped == 4


BROKEN = """
        import pathlib
        if not pathlib.Path(__file__).with_name("mended").exists():
            raise ValueError("a bad block")"""


def test_bad_regions_are_told(tmp_path: Path) -> None:
    url = stored(tmp_path, smooth_noise((8, 8, 8)), (40, 4, 4), (0, 0, 0))
    block = Roi((0, 0, 0), (160, 16, 16))
    total = Roi((0, 0, 0), (320, 32, 32))
    none = Coordinate((0, 0, 0))
    for bad in (
        (Roi((0, 0, 0), (320, 33, 32)), block, block, none),
        (total, block, Roi((0, 0, 0), (160, 18, 16)), none),
        (total, block, block, Coordinate((0, 2, 0))),
        (total, block, Roi((0, 0, 0), (80, 16, 16)), none),
    ):
        with pytest.raises(UsageError):
            segment_blockwise(
                "label", bad[3], *bad[:3], 1, input=url, output=tmp_path / "labels.zarr"
            )
    assert not (tmp_path / "labels.zarr").exists()
