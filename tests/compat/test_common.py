"""Small helpers: joining, lazy modules, single threads, types of options."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from types import NoneType
from typing import Any, Optional, Union

import h5py
import numpy as np
import pytest

from cytovox import segm
from cytovox.compat.dcnum.common import (
    LazyLoader,
    convert_to_dtype,
    copy_metadata,
    get_available_segmenters,
    get_class_method_info,
    get_segmenters,
    join_worker,
    kwargs_to_ppid,
    simple_type_eval,
    start_workers_threaded,
)
from cytovox.compat.dcnum.os_env_st import (
    RequestSingleThreaded,
    confirm_single_threaded,
    os_env_threading,
    request_single_threaded,
)
from cytovox.feat import Gate
from cytovox.logic import DCNumPipelineJob
from cytovox.logic.universal_worker import UniversalWorker


def test_join_waits_and_gives_up(caplog: pytest.LogCaptureFixture) -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait, args=(60,), daemon=True)
    thread.start()
    with caplog.at_level(logging.INFO), pytest.raises(ValueError, match="'hans'.*did not join"):
        join_worker(thread, timeout=0.05, retries=2, logger=logging.getLogger("x"), name="hans")
    assert len(caplog.records) == 2
    end.set()
    join_worker(thread, timeout=10, retries=1)
    assert not thread.is_alive()


def test_workers_are_started_in_a_thread() -> None:
    threads = [threading.Thread(target=lambda: None) for _ in range(3)]
    start_workers_threaded(threads, logging.getLogger("x"), "some").join(10)
    for thread in threads:
        join_worker(thread, timeout=10, retries=1)


def test_lazy_module_is_imported_when_used() -> None:
    steps: list[Any] = []
    lazy = LazyLoader("json", None, lambda: steps.append("before"), steps.append)
    assert steps == []
    assert not hasattr(lazy, "__wrapped__")
    assert steps == []
    assert lazy.dumps([1]) == "[1]"
    assert lazy.__name__ == "json"
    assert lazy.module_available()
    assert [getattr(step, "__name__", step) for step in steps] == ["before", "json"]


def test_lazy_module_that_is_not_there() -> None:
    lazy = LazyLoader("there_is_no_such_module")
    assert not lazy.module_available()
    with pytest.raises(ImportError):
        _ = lazy.anything


def test_lazy_module_beside_another() -> None:
    assert LazyLoader("decoder", sibling="json.encoder").JSONDecoder().decode("1") == 1


def test_single_threads(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    for name in os_env_threading:
        monkeypatch.setenv(name, "3")
    with RequestSingleThreaded():
        assert {os.environ[name] for name in os_env_threading} == {"1"}
    assert {os.environ[name] for name in os_env_threading} == {"3"}
    confirm_single_threaded()
    assert len(caplog.records) == len(os_env_threading)
    request_single_threaded()
    caplog.clear()
    confirm_single_threaded()
    assert caplog.records == []


@pytest.mark.parametrize(
    ("value", "dtype", "wanted"),
    [
        ("2", Union[None, int], 2),  # noqa: UP007 - clients write it so
        ("2", Optional[int], 2),  # noqa: UP045
        ("2", int | None, 2),
        ("2", [NoneType, int], 2),
        ("2", [None, float], 2.0),
        ("2", "int", 2),
        ("yes", "bool", True),
        ("a", str, "a"),
    ],
)
def test_convert(value: str, dtype: Any, wanted: Any) -> None:
    found = convert_to_dtype(value, dtype)
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("str", str),
        ("UnknownClass", "UnknownClass"),
        ("print", "print"),
        ("str | int", [str, int]),
        ("int | None", [int, NoneType]),
        (str, str),
    ],
)
def test_type_of_a_text(text: Any, wanted: Any) -> None:
    assert simple_type_eval(text) == wanted


def test_unions_are_described_as_lists() -> None:
    info = get_class_method_info(Gate, ["__init__"])
    assert info["annotations"]["__init__"] == {
        "online_gates": bool,
        "size_thresh_mask": [int, NoneType],
    }
    assert info["code"] == "norm"


class Stage:
    def __init__(self, size: int) -> None:
        self.size = size

    def cook(self, *, heat: float = 90) -> float:
        return heat


def test_options_of_the_constructor_may_be_given() -> None:
    given = {"size": 3, "heat": 10.0}
    assert kwargs_to_ppid(Stage, "cook", given, allow_invalid_keys=False) == "h=10"
    with pytest.raises(KeyError, match="wind"):
        kwargs_to_ppid(Stage, "cook", {"wind": 1}, allow_invalid_keys=False)


def test_copied_logs_name_the_version_that_is_played(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as source, h5py.File(tmp_path / "b.h5", "w") as target:
        source["logs/note"] = np.array([b"line"])
        copy_metadata(source, target)
        assert target["logs/note"].attrs["software"].startswith("dcnum 0.31.0+cytovox")


def test_a_segmenter_made_late_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(get_segmenters())

    class SegmentLateComer(segm.MPOSegmenter):
        mask_postprocessing = False

        @staticmethod
        def segment_algorithm(image: Any, *, thresh: float = -6) -> Any:
            return image < thresh

    get_segmenters.cache_clear()
    get_available_segmenters.cache_clear()
    assert set(get_segmenters()) - before == {"latecomer"}
    assert SegmentLateComer.get_ppid_from_ppkw({"thresh": -3}) == "latecomer:t=-3"
    with pytest.raises(ValueError, match="does not support mask postprocessing"):
        SegmentLateComer.get_ppid_from_ppkw({"thresh": -3}, {"clear_border": True})


def test_only_the_first_worker_loads(tmp_path: Path) -> None:
    kwargs = {"path_in": tmp_path / "raw.rtdc", "data_kwargs": {"pixel_size": 0.3}}
    job = DCNumPipelineJob(**kwargs)
    first, second = UniversalWorker.get_worker_dedications(job, 2)
    assert set(first) - set(second) == {"load_all"}
    assert "segment_images" in second
    assert UniversalWorker.get_worker_dedications(job, 1) == [first]
