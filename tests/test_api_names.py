"""Every name of the documented interface is here, with its parameters and bases.

The tables below were taken from the reference pages of `logic`,
`logic.slot_register`, `segm.segmenter_mpo` and `write`, name by name. Where a
page gives a value of an attribute, it is in the table, unless that is only what
the first line of a constructor says.
"""

from __future__ import annotations

import ast
import collections
import functools
import importlib
import inspect
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

from cytovox.compat.dcnum.table import TABLE
from cytovox.logic import (
    ChunkSlot,
    DCNumJobRunner,
    DCNumPipelineJob,
    ExtendedJSONEncoder,
    SlotRegister,
    UniversalWorkerProcess,
    UniversalWorkerThread,
)
from cytovox.logic.slot_register import StateWarden, count_time
from cytovox.read import HDF5Data
from cytovox.run.children import mp_spawn
from cytovox.segm import MPOSegmenter
from cytovox.segm.segmenter_mpo import (
    MPOSegmenterWorker,
    MPOSegmenterWorkerProcess,
    MPOSegmenterWorkerThread,
)
from cytovox.testing import simulate_recording
from cytovox.write import (
    ChunkWriter,
    EventStash,
    HDF5Writer,
    QueueWriterProcess,
    QueueWriterThread,
)

#: The page gives no value, or one that says nothing.
SOME = object()


@dataclass(frozen=True)
class Documented:
    """What a page says of a class."""

    signature: str
    bases: tuple[str, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    properties: tuple[str, ...] = ()
    methods: dict[str, str] = field(default_factory=dict)
    static: tuple[str, ...] = ()


def some(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names, SOME)


EXIT = "(exc_type, exc_val, exc_tb)"
THREAD = "threading.Thread"
#: The pages call the process class of the spawn context so.
PROCESS = "multiprocessing.process.BaseProcess"

SLOT_REGISTER = Documented(
    "(job, data, event_queue=None, num_slots=3)",
    attributes=some(
        "job",
        "data",
        "event_queue",
        "chunk_size",
        "num_chunks",
        "_slots",
        "timers",
        "counters",
        "_state",
        "num_frames",
        "feat_nevents",
    ),
    properties=("chunks_loaded", "masks_dropped", "write_queue_size", "slots", "state"),
    methods={
        "__getitem__": "(idx)",
        "__iter__": "()",
        "__len__": "()",
        "close": "()",
        "find_slot": "(state, chunk=None)",
        "get_counter_lock": "(name)",
        "get_time": "(method_name)",
        "reserve_slot_for_task": "(current_state, next_state, chunk_slot=None, batch_size=None)",
        "task_load_all": "(logger=None)",
        "task_label_masks": "(logger=None)",
        "task_process_labels": "(logger=None)",
        "task_extract_features": "(logger=None)",
    },
)

QUEUE_WRITER_BASE = "write.queue_writer_base.QueueWriterBase"

PAGES: dict[str, dict[str, Documented]] = {
    "logic": {
        "ChunkSlot": Documented(
            "(job, data, is_remainder=False)",
            bases=("logic.chunk_slot_data.ChunkSlotData",),
            attributes={
                "_instance_counter": SOME,
                "index": SOME,
                "job": SOME,
                "data": SOME,
                "is_remainder": False,
                "seg_cls": SOME,
            },
            methods={"__repr__": "()", "load": "(idx)"},
        ),
        "DCNumJobRunner": Documented(
            "(job, tmp_suffix=None, *args, **kwargs)",
            bases=(THREAD,),
            attributes={
                "error_tb": None,
                "job": SOME,
                "tmp_suffix": SOME,
                "event_count": 0,
                "_data_raw": None,
                "_data_temp_in": None,
                "_state": "init",
                "_progress_bg": None,
                "_progress_ex": None,
                "_progress_bn": None,
                "_segm_rate": 0,
                **some("main_logger", "path_log", "_log_file_handler", "log_queue"),
                **some("_qlisten", "logger"),
            },
            properties=("draw", "dtin", "path_temp_in", "path_temp_out", "state"),
            methods={
                "__enter__": "()",
                "__exit__": EXIT,
                "close": "(delete_temporary_files=True)",
                "join": "(delete_temporary_files=True, *args, **kwargs)",
                "get_status": "()",
                "run": "()",
                "run_pipeline": "()",
                "task_background": "()",
                "task_enforce_basin_strategy": "()",
                "task_segment_extract": "()",
            },
        ),
        "DCNumPipelineJob": Documented(
            "(path_in, path_out=None, data_code='hdf', data_kwargs=None, "
            "background_code='sparsemed', background_kwargs=None, segmenter_code='thresh', "
            "segmenter_kwargs=None, feature_code='legacy', feature_kwargs=None, "
            "gate_code='norm', gate_kwargs=None, basin_strategy='drain', "
            "compression='zstd-5', num_procs=None, log_level=logging.INFO, debug=False)",
            attributes=some("kwargs"),
            methods={
                "__getitem__": "(item)",
                "__getstate__": "()",
                "__setstate__": "(state)",
                "assert_pp_codes": "()",
                "get_hdf5_dataset_kwargs": "()",
                "get_ppid": "(ret_hash=False, ret_dict=False)",
                "get_segmenter_class": "()",
                "validate": "()",
            },
        ),
        "ExtendedJSONEncoder": Documented(
            "(*, skipkeys=False, ensure_ascii=True, check_circular=True, allow_nan=True, "
            "sort_keys=False, indent=None, separators=None, default=None)",
            bases=("json.JSONEncoder",),
            methods={"default": "(o)"},
        ),
        "SlotRegister": SLOT_REGISTER,
        "UniversalWorkerProcess": Documented(
            "(*args, **kwargs)",
            bases=("logic.universal_worker.UniversalWorker", PROCESS),
            methods={"start": "()"},
        ),
        "UniversalWorkerThread": Documented(
            "(*args, **kwargs)",
            bases=("logic.universal_worker.UniversalWorker", THREAD),
        ),
    },
    "logic.slot_register": {
        "count_time": Documented("()", methods={"__call__": "(func)"}),
        "SlotRegister": SLOT_REGISTER,
        "StateWarden": Documented(
            "(chunk_slot, current_state, next_state, batch_size=None)",
            attributes=some(
                "batch_range", "batch_size", "chunk_slot", "current_state", "next_state"
            ),
            methods={"__enter__": "()", "__exit__": EXIT, "__repr__": "()"},
        ),
    },
    "segm.segmenter_mpo": {
        "MPOSegmenter": Documented(
            "(*, num_workers=None, kwargs_mask=None, debug=False, **kwargs)",
            bases=("segm.segmenter.Segmenter", "abc.ABC"),
            attributes={
                "hardware_processor": "cpu",
                "num_workers": SOME,
                "slot_list": None,
                **some("mp_slot_index", "mp_active", "mp_num_workers_done", "mp_shutdown"),
                "_worker_starter": None,
                "_workers": [],
            },
            methods={
                "__enter__": "()",
                "__exit__": EXIT,
                "__getstate__": "()",
                "__setstate__": "(state)",
                "join_workers": "()",
                "reinitialize_workers": "(slot_list)",
                "segment_batch": "(images, bg_off=None)",
                "segment_chunk": "(chunk, slot_list)",
                "segment_single": "(image, bg_off=None)",
                "close": "()",
            },
        ),
        "MPOSegmenterWorker": Documented(
            "(segmenter, sl_start, sl_stop)",
            attributes=some(
                "segmenter",
                "slot_list",
                "mp_slot_index",
                "mp_active",
                "mp_num_workers_done",
                "mp_shutdown",
                "sl_start",
                "sl_stop",
            ),
            methods={"run": "()"},
        ),
        "MPOSegmenterWorkerProcess": Documented(
            "(*args, **kwargs)",
            bases=("segm.segmenter_mpo.MPOSegmenterWorker", PROCESS),
            methods={"start": "()"},
        ),
        "MPOSegmenterWorkerThread": Documented(
            "(*args, **kwargs)", bases=("segm.segmenter_mpo.MPOSegmenterWorker", THREAD)
        ),
    },
    "write": {
        "ChunkWriter": Documented(
            "(path_out, dq, write_queue_size, ds_kwds=None, mode='a', parent_logger=None, "
            "*args, **kwargs)",
            bases=(THREAD,),
            attributes={
                "writer": SOME,
                "dq": SOME,
                "may_stop_loop": False,
                "must_stop_loop": False,
                "write_queue_size": SOME,
            },
            methods={"run": "()"},
        ),
        "EventStash": Documented(
            "(index_offset, feat_nevents)",
            attributes=some(
                "events",
                "feat_nevents",
                "nev_idx",
                "size",
                "num_frames",
                "index_offset",
                "indices_for_data",
                "_tracker",
            ),
        ),
        "QueueWriterProcess": Documented(
            "(log_queue, *args, **kwargs)",
            bases=(QUEUE_WRITER_BASE, PROCESS),
            attributes=some("log_queue"),
        ),
        "QueueWriterThread": Documented("(*args, **kwargs)", bases=(QUEUE_WRITER_BASE, THREAD)),
        "HDF5Writer": Documented(
            "(obj, mode='a', ds_kwds=None)",
            attributes=some("events", "ds_kwds"),
            methods={
                "get_best_nd_chunks": "(item_shape, feat_dtype=np.float64)",
                "require_feature": (
                    "(feat, item_shape, feat_dtype, ds_kwds=None, group_name='events')"
                ),
                "store_basin": (
                    "(name, paths=None, features=None, description=None, mapping=None, "
                    "internal_data=None, identifier=None)"
                ),
            },
            static=("get_best_nd_chunks",),
        ),
    },
}

#: Parameters of the writers, which the pages list though the signature does not.
QUEUE_WRITER = (
    "(event_queue, write_queue_size, feat_nevents, path_out, hdf5_dataset_kwargs=None, "
    "write_threshold=500)"
)

FUNCTIONS = {
    "write": {
        "copy_basins": "(h5_src, h5_dst, internal_basins=True)",
        "copy_features": "(h5_src, h5_dst, features, mapping=None, ds_kwds=None)",
        "copy_metadata": "(h5_src, h5_dst)",
        "create_with_basins": "(path_out, basin_paths)",
    },
    QUEUE_WRITER_BASE: {"__init__": QUEUE_WRITER},
}

MODULE_ATTRIBUTES = {
    "logic.slot_register": ("ndi", "mp_spawn"),
    "segm.segmenter_mpo": ("mp_spawn",),
}

SUBMODULES = (
    "logic",
    "logic.chunk_slot",
    "logic.chunk_slot_data",
    "logic.ctrl",
    "logic.job",
    "logic.json_encoder",
    "logic.slot_register",
    "logic.universal_worker",
    "segm.segmenter_mpo",
    "write",
)

#: What a later version than that of the pages has besides.
LATER: dict[str, dict[str, str]] = {
    "logic.slot_register.SlotRegister": {
        "get_counter_value": "(name)",
        "increment_counter_value": "(name, increment=1, timeout=5.0, lock=None)",
        "task_segment_images": "(logger=None)",
        "task_segment_images_full_chunk": "(logger=None)",
    },
    "logic.universal_worker.UniversalWorker": {
        "__init__": "(slot_register, log_queue=None, dedications=None, log_level=logging.INFO)"
    },
    "write.ChunkWriter": {"abort_loop": "()", "finished_when_queue_empty": "()"},
    "write.EventStash": {
        "add_events": "(index, events)",
        "is_complete": "()",
        "require_feature": "(feat, sample_data)",
    },
    "write.HDF5Writer": {
        "close": "()",
        "store_feature_chunk": "(feat, data, group_name='events')",
        "store_log": "(log, data, override=False)",
    },
}

CLASSES = [(page, name) for page, classes in PAGES.items() for name in classes]


class SegmentNothing(MPOSegmenter):
    @staticmethod
    def segment_algorithm(image, *, level: int = 0):
        return image < level


def find(name: str) -> Any:
    """Return a documented object: of this package, or of Python."""
    for prefix in ("cytovox.", ""):
        place, _, attribute = f"{prefix}{name}".rpartition(".")
        try:
            return getattr(importlib.import_module(place), attribute)
        except ModuleNotFoundError:
            continue
    raise LookupError(name)


def parameters(text: str) -> list[inspect.Parameter]:
    """Return the parameters that a documented signature lists."""
    tree = ast.parse(f"lambda {text[1:-1]}: 0", mode="eval")
    return list(
        inspect.signature(
            eval(compile(tree, "<page>", "eval"), {"logging": logging, "np": np})
        ).parameters.values()
    )


def check_signature(function: Callable[..., Any], text: str, bound: bool) -> None:
    """Compare parameters by position, name, kind and default; others must be optional."""
    found = list(inspect.signature(function).parameters.values())
    if bound:
        found = found[1:]
    wanted = parameters(text)
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    by_name = {p.name: p for p in found}
    for index, parameter in enumerate(wanted):
        ours = by_name[parameter.name]
        assert ours.kind == parameter.kind, parameter
        if parameter.kind in plain:
            assert found[index] is ours, f"{parameter} is at another place"
        assert ours.default == parameter.default or ours.default is parameter.default, parameter
    for extra in found:
        if extra.name not in {p.name for p in wanted}:
            optional = extra.default is not inspect.Parameter.empty
            assert optional or extra.kind in (extra.VAR_KEYWORD, extra.VAR_POSITIONAL), extra


def count() -> int:
    """Return how many names the tables hold."""
    total = len(SUBMODULES) + sum(map(len, MODULE_ATTRIBUTES.values()))
    for classes in PAGES.values():
        for one in classes.values():
            total += 1 + len(one.bases) + len(one.attributes) + len(one.properties)
            total += len(one.methods) + len(parameters(one.signature))
            total += sum(len(parameters(text)) for text in one.methods.values())
    for functions in FUNCTIONS.values():
        total += len(functions) + sum(len(parameters(text)) for text in functions.values())
    return total


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """One instance of each documented class."""
    folder = tmp_path_factory.mktemp("names")
    raw = folder / "raw.rtdc"
    simulate_recording(raw, frames=12)
    job = DCNumPipelineJob(raw, num_procs=1)
    data = HDF5Data(raw)
    register = SlotRegister(job, data, num_slots=1)
    segmenter = SegmentNothing(num_workers=1)
    writing = (mp_spawn.RawValue("q", 0), [1] * 12, folder / "out.rtdc")
    runner = DCNumJobRunner(job)
    writer = HDF5Writer(folder / "written.rtdc")
    chunks = ChunkWriter(folder / "chunks.rtdc", collections.deque(), None)
    yield {
        "ChunkSlot": ChunkSlot(job, data),
        "DCNumJobRunner": runner,
        "DCNumPipelineJob": job,
        "ExtendedJSONEncoder": ExtendedJSONEncoder(),
        "SlotRegister": register,
        "UniversalWorkerProcess": UniversalWorkerProcess(register, None),
        "UniversalWorkerThread": UniversalWorkerThread(register, None),
        "count_time": count_time(),
        "StateWarden": StateWarden(register[0], "i", "s"),
        "MPOSegmenter": segmenter,
        "MPOSegmenterWorker": MPOSegmenterWorker(segmenter, 0, 1),
        "MPOSegmenterWorkerProcess": MPOSegmenterWorkerProcess(segmenter, 0, 1),
        "MPOSegmenterWorkerThread": MPOSegmenterWorkerThread(segmenter, 0, 1),
        "ChunkWriter": chunks,
        "EventStash": EventStash(0, [1, 2]),
        "QueueWriterProcess": QueueWriterProcess(None, mp_spawn.Queue(), *writing),
        "QueueWriterThread": QueueWriterThread(SimpleNamespace(), *writing),
        "HDF5Writer": writer,
    }
    runner.close()
    writer.close()
    chunks.writer.close()
    data.close()


@pytest.mark.parametrize("name", SUBMODULES)
def test_module_is_here(name: str) -> None:
    importlib.import_module(f"cytovox.{name}")
    assert f"dcnum.{name}" in TABLE


@pytest.mark.parametrize(("page", "name"), CLASSES)
def test_class(page: str, name: str, examples: dict[str, Any]) -> None:
    documented = PAGES[page][name]
    cls = find(f"{page}.{name}")
    assert name in importlib.import_module(f"cytovox.{page}").__all__
    played = TABLE[f"dcnum.{page}"][name].removeprefix("cytovox.").replace(":", ".")
    assert issubclass(find(played), cls)
    check_signature(cls, documented.signature, bound=False)
    for base in documented.bases:
        assert issubclass(cls, find(base)), base
    for method, text in documented.methods.items():
        static = method in documented.static
        assert isinstance(inspect.getattr_static(cls, method), staticmethod) == static
        own = getattr(cls, method)
        assert own is not getattr(object, method, None), f"{method} is not defined"
        check_signature(own, text, bound=not static)
    for prop in documented.properties:
        kind = type(inspect.getattr_static(cls, prop))
        assert kind in (property, functools.cached_property), prop
    instance = examples[name]
    assert isinstance(instance, cls)
    for attribute, value in documented.attributes.items():
        found = getattr(instance, attribute)
        assert value is SOME or found == value, attribute


@pytest.mark.parametrize(
    ("place", "name"), [(place, name) for place, names in FUNCTIONS.items() for name in names]
)
def test_function(place: str, name: str) -> None:
    function = find(f"{place}.{name}") if place in PAGES else getattr(find(place), name)
    check_signature(function, FUNCTIONS[place][name], bound=name == "__init__")


@pytest.mark.parametrize(
    ("page", "name"), [(page, name) for page, names in MODULE_ATTRIBUTES.items() for name in names]
)
def test_module_attribute(page: str, name: str) -> None:
    if name == "ndi":
        pytest.importorskip("scipy")
    assert find(f"{page}.{name}") is not None
    assert name in TABLE[f"dcnum.{page}"]


@pytest.mark.parametrize(
    ("place", "name"), [(place, name) for place, names in LATER.items() for name in names]
)
def test_what_a_later_version_has(place: str, name: str) -> None:
    check_signature(getattr(find(place), name), LATER[place][name], bound=True)


def test_states_and_letters_are_those_of_the_pages(examples: dict[str, Any]) -> None:
    register = examples["SlotRegister"]
    assert register.state == "w"
    for letter in "wpqw":
        register.state = letter
        assert register.state == letter
    with pytest.raises(KeyError):
        register.get_counter_lock("nothing")


def test_ndi_is_all_that_comes_from_elsewhere() -> None:
    module = importlib.import_module("cytovox.logic.slot_register")
    with pytest.raises(AttributeError):
        _ = module.anything_else


def test_defaults_of_attributes_of_a_fresh_slot(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.rtdc", "w") as h5:
        h5["events/image"] = np.zeros((3, 20, 20), np.uint8)
        h5.attrs["experiment:event count"] = 3
        h5.attrs["imaging:pixel size"] = 0.3
    before = ChunkSlot._instance_counter
    with HDF5Data(tmp_path / "a.rtdc") as data:
        slot = ChunkSlot(DCNumPipelineJob(tmp_path / "a.rtdc"), data)
    assert slot.index == before
    assert ChunkSlot._instance_counter == before + 1
    assert slot.chunk == -1
    assert slot.state == "i"


def test_the_tables_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{count()} documented names checked", end=" ")
    assert count() == 383
