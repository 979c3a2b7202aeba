"""The one table: what it says is so, and nothing is left out of it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import warnings

import pytest

from cytovox.compat.dcnum.table import TABLE, VERSION, is_package

NAMES = [(module, name) for module, names in TABLE.items() for name in names]

#: Modules and names that clients use, as their documentation and tests say.
USED = {
    "dcnum": ["__version__"],
    "dcnum.common": ["DCNUMHaltInterrupt", "cpu_count", "h5py", "join_worker"],
    "dcnum.feat": ["Gate", "QueueEventExtractor"],
    "dcnum.feat.feat_background": ["BackgroundSparseMed", "get_available_background_methods"],
    "dcnum.feat.feat_background.bg_copy": ["BackgroundCopy"],
    "dcnum.feat.feat_background.bg_roll_median": ["BackgroundRollMed"],
    "dcnum.feat.feat_background.bg_sparse_median": ["BackgroundSparseMed"],
    "dcnum.feat.feat_brightness": ["brightness_features", "brightness_names"],
    "dcnum.feat.feat_contour": ["moments_based_features", "volume_from_contours"],
    "dcnum.feat.feat_contour.volume": ["vol_revolve", "volume_from_contours"],
    "dcnum.feat.feat_texture": ["haralick_names", "haralick_texture_features"],
    "dcnum.feat.gate": ["Gate"],
    "dcnum.logic": [
        "ChunkSlot",
        "DCNumJobRunner",
        "DCNumPipelineJob",
        "ExtendedJSONEncoder",
        "SlotRegister",
        "UniversalWorkerProcess",
        "UniversalWorkerThread",
    ],
    "dcnum.logic.chunk_slot_data": ["ChunkSlotData"],
    "dcnum.logic.slot_register": ["SlotRegister", "StateWarden", "count_time"],
    "dcnum.meta": [],
    "dcnum.meta.paths": ["find_file", "register_search_path", "search_path_registry"],
    "dcnum.meta.ppid": [
        "DCNUM_PPID_GENERATION",
        "compute_pipeline_hash",
        "convert_to_dtype",
        "get_class_method_info",
        "kwargs_to_ppid",
        "ppid_to_kwargs",
    ],
    "dcnum.os_env_st": ["request_single_threaded"],
    "dcnum.read": [
        "BasinIdentifierMismatchError",
        "HDF5Data",
        "HDF5ImageCache",
        "concatenated_hdf5_data",
        "detect_flickering",
        "get_measurement_identifier",
    ],
    "dcnum.read.cache": ["HDF5ImageCache", "ImageCorrCache", "md5sum"],
    "dcnum.segm": [
        "MPOSegmenter",
        "STOSegmenter",
        "Segmenter",
        "SegmenterNotApplicableError",
        "UNISegmenter",
        "get_available_segmenters",
        "get_segmenters",
    ],
    "dcnum.segm.segm_thresh": ["SegmentThresh"],
    "dcnum.segm.segm_torch": ["SegmentTorchMPO", "SegmentTorchSTO", "SegmentTorchUNI"],
    "dcnum.segm.segm_torch.segm_torch_base": ["TorchSegmenterBase"],
    "dcnum.segm.segm_torch.torch_model": ["get_model_meta"],
    "dcnum.segm.segm_torch.torch_setup": ["torch"],
    "dcnum.write": [
        "ChunkWriter",
        "EventStash",
        "HDF5Writer",
        "QueueWriterProcess",
        "QueueWriterThread",
        "copy_basins",
        "copy_features",
        "copy_metadata",
        "create_with_basins",
    ],
    "dcnum.write.writer": ["CreatingFileWithoutBasinWarning", "IgnoringBasinTypeWarning"],
}

#: What the peer defines and this table leaves out: inner parts of its own.
LEFT_OUT = {
    "dcnum.common": {"setup_h5py"},
    "dcnum.external.skimage_morphology": {"disk"},
    "dcnum.feat.feat_background.bg_roll_median": {"WorkerRollMed", "compute_median_for_slice"},
    "dcnum.feat.feat_background.bg_sparse_median": {"WorkerSparseMed"},
    "dcnum.feat.feat_brightness.bright_all": {
        "compute_avg_sd_masked_int16",
        "compute_avg_sd_masked_uint8",
        "compute_median",
        "compute_percentiles_10_90",
    },
    "dcnum.logic.ctrl": {"get_library_versions_dict"},
    "dcnum.meta.ppid": {"AbrvStr"},
    "dcnum.segm.segm_torch.torch_model": {"load_model_v1_jit", "load_model_v2_pt2"},
    "dcnum.segm.segm_torch.torch_setup": {"setup_openvino"},
    "dcnum.segm.segmenter": {"assert_labels"},
}


@pytest.mark.parametrize(("module", "name"), NAMES, ids=lambda text: text)
def test_name_leads_to_an_object(module: str, name: str) -> None:
    place, _, attribute = TABLE[module][name].partition(":")
    if name == "ndi":
        pytest.importorskip("scipy")
    assert getattr(importlib.import_module(place), attribute) is not None


def test_what_clients_use_is_there() -> None:
    for module, names in USED.items():
        assert set(names) <= set(TABLE[module]), module


def test_each_module_has_its_parents() -> None:
    for module in TABLE:
        parent = module.rpartition(".")[0]
        assert not parent or (parent in TABLE and is_package(parent))
    assert VERSION.startswith("0.31.0+cytovox.")


def test_the_table_names_nothing_else() -> None:
    assert all(
        target.startswith("cytovox.") for names in TABLE.values() for target in names.values()
    )
    assert "dcnum" not in sys.modules or not hasattr(sys.modules["dcnum"], "__getattr__")


@pytest.mark.peer
def test_no_class_or_function_of_the_peer_is_forgotten() -> None:
    peer = pytest.importorskip("dcnum")
    forgotten = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        modules = [info.name for info in pkgutil.walk_packages(peer.__path__, "dcnum.")]
        for name in modules:
            module = importlib.import_module(name)
            own = {
                key
                for key, value in vars(module).items()
                if (inspect.isclass(value) or inspect.isroutine(value))
                and not key.startswith("_")
                and value.__module__ == name
            }
            missing = own - set(TABLE.get(name, ())) - LEFT_OUT.get(name, set())
            if missing:
                forgotten[name] = missing
    assert forgotten == {}
