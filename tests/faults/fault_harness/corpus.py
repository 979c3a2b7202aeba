"""Small files of all kinds that the program reads, to be copied and then changed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cytovox.errors import CytovoxError

from .helpers import say
from .recordings import keep_folder

__all__ = [
    "RECORDINGS",
    "RECORDING_WORDS",
    "VOLUMES",
    "VOLUME_WORDS",
    "bench",
    "finished_labels",
    "image",
    "made",
    "recording_of",
    "unfinished_labels",
    "unfinished_recording",
    "volume_of",
]

#: Words that measure a recording of the corpus.
RECORDING_WORDS = ("-q", "--workers", "1", "-s", "data.image_chunk_size=5")
#: Words that segment a volume of the corpus.
VOLUME_WORDS = (
    *("-f", "label", "--set", "threshold=100", "--stitch", "touch"),
    *("--block", "12", "--workers", "0", "--retries", "0", "-q"),
)
_FRAMES = 30
_SHAPE = (12, 14, 24)


def made(name: str, make: Callable[[Path], Any]) -> Path:
    """Return a folder of the corpus, in which something was made once, on the bench.

    Parameters
    ----------
    name
        Of the folder.
    make
        Makes files in it.
    """
    folder = _place() / name
    if not folder.exists():
        (part := _place() / "bench").mkdir()
        make(part)
        part.rename(folder)
    return folder


@contextmanager
def bench() -> Iterator[Path]:
    """Give the folder where all was made, as runs know their input by its path."""
    folder = _place() / "bench"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@cache
def _place() -> Path:
    keep_folder()
    return Path(tempfile.mkdtemp(prefix="corpus-", dir=os.environ["CYTOVOX_FAULT_FOLDER"]))


def _raw(folder: Path) -> None:
    from cytovox.testing import simulate_recording

    simulate_recording(
        folder / "raw.rtdc",
        frames=_FRAMES,
        seed=5,
        shape=(48, 120),
        chunk_frames=5,
        save_truth=False,
    )


def _source() -> Path:
    return made("raw", _raw) / "raw.rtdc"


def _stored_otherwise(libver: str, **options: Any) -> Callable[[Path], None]:
    """Return what stores the recording in another way, as other programs do."""

    def make(folder: Path) -> None:
        with (
            h5py.File(_source(), "r") as old,
            h5py.File(folder / "raw.rtdc", "w", libver=libver) as new,
        ):
            new.attrs.update(old.attrs)
            for name, feature in old["events"].items():
                more = options if feature.ndim == 3 else {}
                new.create_dataset(f"events/{name}", data=feature[()], **more)
            new["logs/log"] = np.array([b"one", b"two"] * 10, "S80")
            table = np.zeros(5, [("time", "f8"), ("flow", "f8")])
            new["tables/track"] = table
            new.create_dataset("logs/long", data=["a", "bc" * 50], dtype=h5py.string_dtype())

    return make


def _result(strategy: str) -> Callable[[Path], None]:
    """Return what makes a result of ours, which is a recording as well."""

    def make(folder: Path) -> None:
        shutil.copy(_source(), folder / "source.rtdc")
        words = (*RECORDING_WORDS, "--basins", strategy)
        said = say("run", folder / "source.rtdc", "-o", folder / "raw.rtdc", *words)
        assert said.code == 0, said.out

    return make


#: What makes the recordings; each is ``raw.rtdc`` in a folder of its own.
RECORDINGS: dict[str, Callable[[Path], None]] = {
    "simulated": lambda folder: shutil.copy(_source(), folder / "raw.rtdc"),
    "old": _stored_otherwise("earliest", chunks=(7, 48, 120), compression="gzip", shuffle=True),
    "contiguous": _stored_otherwise("earliest"),
    "new": _stored_otherwise("latest", chunks=(8, 24, 120), compression="lzf", fletcher32=True),
    "drained": _result("drain"),
    "tapped": _result("tap"),
}


def recording_of(kind: str) -> Path:
    """Return a folder with the recording ``raw.rtdc`` of a kind.

    Parameters
    ----------
    kind
        Key of `RECORDINGS`.
    """
    _source()  # so that the bench is free
    return made(kind, RECORDINGS[kind])


def volume_of(kind: str) -> Path:
    """Return a folder with a volume of a kind, and nothing else.

    Parameters
    ----------
    kind
        Key of `VOLUMES`.
    """
    return made(kind, VOLUMES[kind])


def image() -> Any:
    """Return the voxels of all volumes of the corpus."""
    rng = np.random.default_rng(3)
    return (rng.random(_SHAPE) < 0.2).astype(np.uint8) * 200


def _zarr(folder: Path, **options: Any) -> None:
    import zarr

    array = zarr.create_array(folder / "a.zarr", shape=_SHAPE, dtype="u1", **options)
    array[:] = image()


def _ours(format: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        from cytovox.write.volume_creation import create_volume

        options: dict[str, Any] = {"shape": _SHAPE, "dtype": np.uint8, "block": (12, 12, 12)}
        with create_volume(folder / "a.zarr", format=format, **options) as volume:
            volume.write([(0, n) for n in _SHAPE], image())

    return make


def _n5(folder: Path) -> None:
    import tensorstore as ts

    spec = {
        "driver": "n5",
        "kvstore": {"driver": "file", "path": f"{folder / 'a.n5'}/"},
        "metadata": {
            "dimensions": list(_SHAPE[::-1]),
            "blockSize": [12, 12, 12],
            "dataType": "uint8",
            "compression": {"type": "gzip"},
        },
    }
    ts.open(spec, create=True).result().write(image().transpose()).result()


def _hdf5(folder: Path) -> None:
    with h5py.File(folder / "a.h5", "w") as h5:
        h5.create_dataset("volume/raw", data=image(), chunks=(6, 14, 12), compression="gzip")
        h5["volume/raw"].attrs["resolution"] = [4.0, 4.0, 4.0]


def _tiff(**options: Any) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import tifffile

        name = "a.ome.tif" if options.get("ome") else "a.tif"
        tifffile.imwrite(folder / name, image(), **options)

    return make


#: What makes the volumes; each is the only thing in a folder of its own.
VOLUMES: dict[str, Callable[[Path], None]] = {
    "zarr 2": lambda f: _zarr(f, chunks=(6, 7, 12), zarr_format=2),
    "zarr 3": lambda f: _zarr(f, chunks=(6, 7, 12)),
    "sharded": lambda f: _zarr(f, chunks=(3, 7, 6), shards=(6, 14, 12)),
    "OME-Zarr 0.5": _ours("ome-zarr-0.5"),
    "OME-Zarr 0.4": _ours("ome-zarr-0.4"),
    "precomputed": _ours("precomputed"),
    "N5": _n5,
    "HDF5": _hdf5,
    "TIFF": _tiff(),
    "TIFF, packed": _tiff(compression="zlib", tile=(16, 16)),
    "OME-TIFF": _tiff(ome=True, compression="zlib"),
    "ImageJ": _tiff(imagej=True),
    "npy": lambda folder: np.save(folder / "a.npy", image()),
}


def _stop_in_the_middle(folder: Path) -> None:
    from cytovox.errors import InterruptedRunError
    from cytovox.logic import DCNumJobRunner, DCNumPipelineJob, resume

    shutil.copy(_source(), folder / "raw.rtdc")
    checkpoints = []

    def note(self: Any, *checkpoint: Any) -> None:
        before(self, *checkpoint)
        checkpoints.append(checkpoint)
        if len(checkpoints) == 3:
            raise InterruptedRunError

    before = resume.ResumableOutput._note_checkpoint  # noqa: SLF001
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume, "_SECONDS", 0.0)
        patch.setattr(resume, "_DURABLE_SECONDS", 0.0)
        patch.setattr(resume.ResumableOutput, "_note_checkpoint", note)
        job = DCNumPipelineJob(
            folder / "raw.rtdc",
            folder / "out.rtdc",
            data_kwargs={"image_chunk_size": 5},
            background_kwargs={"offset_correction": False},  # as the command line finds it
            num_procs=1,
        )
        runner = DCNumJobRunner(job)
        with pytest.raises(CytovoxError):
            runner.run()
        runner.close(delete_temporary_files=False)
    assert any(folder.glob("*.ledger")), "nothing can be gone on with"


def unfinished_recording() -> Path:
    """Return a folder with ``raw.rtdc`` and what a run that was stopped has left of out.rtdc."""
    _source()  # so that the bench is free
    return made("unfinished recording", _stop_in_the_middle)


def _labels(folder: Path) -> None:
    np.save(folder / "a.npy", image())
    said = say("volume", "segment", folder / "a.npy", folder / "out.zarr", *VOLUME_WORDS)
    assert said.code == 0, said.out


def finished_labels() -> Path:
    """Return a folder with ``a.npy``, its labels ``out.zarr`` and all that is beside them."""
    return made("finished labels", _labels)


def _some_labels(folder: Path) -> None:
    """Let half of the blocks be done: forget the others, as if they never were."""
    from cytovox.run.journal import Journal

    for path in finished_labels().iterdir():
        copy = shutil.copytree if path.is_dir() else shutil.copy2
        copy(path, folder / path.name)
    side = folder / "out.zarr.cytovox"
    with Journal(side / "journal.jsonl") as journal:
        journal.forget("segment", [1])
        journal.forget("relabel")
    shutil.rmtree(folder / "out.zarr")
    (side / "published.json").unlink()


def unfinished_labels() -> Path:
    """Return a folder like that of `finished_labels`, where one of two blocks is not done."""
    finished_labels()  # so that the bench is free
    return made("unfinished labels", _some_labels)
