"""What each public name of dcnum is in cytovox: one table.

Its keys are modules of dcnum 0.31. For each there are its names, and where
the object is that plays them, as ``"module:name"``. Nothing is imported before
it is asked for.
"""

from __future__ import annotations

from ... import __version__ as _own_version

__all__ = ["TABLE", "VERSION", "VERSION_TUPLE", "is_package"]

#: The version whose names these are.
VERSION_TUPLE = (0, 31, 0)
#: What a program sees; the part behind the plus says what it really is.
VERSION = f"{'.'.join(map(str, VERSION_TUPLE))}+cytovox.{_own_version}"


def _in(module: str, names: str) -> dict[str, str]:
    """Return where names are found; one that is called otherwise there is ``name=other``."""
    pairs = [name.partition("=") for name in names.split()]
    return {name: f"{module}:{other or name}" for name, _, other in pairs}


_COMPAT = "cytovox.compat.dcnum"
_BACKGROUND = f"{_COMPAT}.background"
_FEATURES = f"{_COMPAT}.features"

#: Modules of dcnum, and for each of their names where it is found here, as ``module:name``.
TABLE: dict[str, dict[str, str]] = {
    "dcnum": _in(f"{_COMPAT}.table", "__version__=VERSION"),
    "dcnum._version": _in(
        f"{_COMPAT}.table",
        "__version__=VERSION __version_tuple__=VERSION_TUPLE version=VERSION "
        "version_tuple=VERSION_TUPLE",
    ),
    "dcnum.common": _in("cytovox.run.memory", "cpu_count")
    | _in(f"{_COMPAT}.common", "LazyLoader h5py join_worker start_workers_threaded")
    | _in("cytovox.errors", "DCNUMHaltInterrupt=InterruptedRunError"),
    "dcnum.os_env_st": _in(
        f"{_COMPAT}.os_env_st",
        "RequestSingleThreaded confirm_single_threaded os_env_threading request_single_threaded",
    ),
    "dcnum.feat": _in("cytovox.feat", "Gate QueueEventExtractor"),
    "dcnum.feat.gate": _in("cytovox.feat.gate", "Gate"),
    "dcnum.feat.queue_event_extractor": _in("cytovox.feat.event_extractor", "QueueEventExtractor"),
    "dcnum.feat.feat_background": _in(
        _BACKGROUND,
        "Background BackgroundCopy BackgroundRollMed BackgroundSparseMed "
        "get_available_background_methods",
    ),
    "dcnum.feat.feat_background.base": _in(
        _BACKGROUND, "Background get_available_background_methods"
    ),
    "dcnum.feat.feat_background.bg_copy": _in(_BACKGROUND, "BackgroundCopy"),
    "dcnum.feat.feat_background.bg_roll_median": _in(_BACKGROUND, "BackgroundRollMed")
    | _in(f"{_COMPAT}.background_parts", "WorkerRollMed compute_median_for_slice"),
    "dcnum.feat.feat_background.bg_sparse_median": _in(_BACKGROUND, "BackgroundSparseMed")
    | _in(f"{_COMPAT}.background_parts", "WorkerSparseMed"),
    "dcnum.feat.feat_brightness": _in(_FEATURES, "brightness_features brightness_names"),
    "dcnum.feat.feat_brightness.bright_all": _in(
        _FEATURES, "brightness_features brightness_names"
    ),
    "dcnum.feat.feat_brightness.common": _in(_FEATURES, "brightness_names"),
    "dcnum.feat.feat_contour": _in(_FEATURES, "moments_based_features volume_from_contours"),
    "dcnum.feat.feat_contour.contour": _in(_FEATURES, "contour_single_opencv"),
    "dcnum.feat.feat_contour.moments": _in(_FEATURES, "moments_based_features"),
    "dcnum.feat.feat_contour.volume": _in(_FEATURES, "vol_revolve volume_from_contours"),
    "dcnum.feat.feat_texture": _in(_FEATURES, "haralick_names haralick_texture_features"),
    "dcnum.feat.feat_texture.common": _in(_FEATURES, "haralick_names"),
    "dcnum.feat.feat_texture.tex_all": _in(_FEATURES, "haralick_names haralick_texture_features"),
    "dcnum.logic": _in(
        "cytovox.logic",
        "ChunkSlot DCNumPipelineJob ExtendedJSONEncoder SlotRegister "
        "UniversalWorkerProcess UniversalWorkerThread",
    )
    | _in(f"{_COMPAT}.common", "DCNumJobRunner"),
    "dcnum.logic.chunk_slot": _in("cytovox.logic.chunk_slot", "ChunkSlot"),
    "dcnum.logic.chunk_slot_data": _in("cytovox.logic.chunk_slot_data", "ChunkSlotData mp_spawn"),
    "dcnum.logic.ctrl": _in(f"{_COMPAT}.common", "DCNumJobRunner"),
    "dcnum.logic.job": _in("cytovox.logic.job", "DCNumPipelineJob"),
    "dcnum.logic.json_encoder": _in("cytovox.logic.json_encoder", "ExtendedJSONEncoder"),
    "dcnum.logic.slot_register": _in(
        "cytovox.logic.slot_register", "SlotRegister StateWarden count_time is_locked mp_spawn ndi"
    ),
    "dcnum.logic.universal_worker": _in(
        "cytovox.logic.universal_worker",
        "UniversalWorker UniversalWorkerProcess UniversalWorkerThread",
    ),
    "dcnum.meta": {},
    "dcnum.meta.paths": _in(
        "cytovox.recipe.paths", "find_file register_search_path search_path_registry"
    ),
    "dcnum.meta.ppid": _in(
        "cytovox.recipe.identity",
        "DCNUM_PPID_GENERATION compute_pipeline_hash get_unique_prefix ppid_to_kwargs "
        "ClassWithPPIDCapabilities=HasIdentity",
    )
    | _in(
        f"{_COMPAT}.common",
        "convert_to_dtype get_class_method_info kwargs_to_ppid simple_type_eval",
    ),
    "dcnum.read": _in(
        "cytovox.read",
        "BasinIdentifierMismatchError HDF5Data HDF5ImageCache PROTECTED_FEATURES "
        "concatenated_hdf5_data detect_flickering get_mapped_object get_mapping_indices "
        "get_measurement_identifier md5sum",
    ),
    "dcnum.read.cache": _in(
        "cytovox.read.cache",
        "BaseImageChunkCache EmptyDatasetWarning HDF5ImageCache ImageCorrCache",
    )
    | _in("cytovox.read", "md5sum"),
    "dcnum.read.const": _in("cytovox.read.const", "PROTECTED_FEATURES"),
    "dcnum.read.detect_flicker": _in("cytovox.read", "detect_flickering"),
    "dcnum.read.hdf5_concat": _in("cytovox.read", "concatenated_hdf5_data"),
    "dcnum.read.hdf5_data": _in(
        "cytovox.read",
        "BasinIdentifierMismatchError HDF5Data concatenated_hdf5_data get_measurement_identifier",
    ),
    "dcnum.read.mapped": _in(
        "cytovox.read.mapped", "MappedHDF5Dataset get_mapped_object get_mapping_indices"
    ),
    "dcnum.segm": _in(
        "cytovox.segm",
        "MPOSegmenter STOSegmenter Segmenter SegmenterManagerThread "
        "SegmenterNotApplicableError UNISegmenter",
    )
    | _in(f"{_COMPAT}.common", "get_available_segmenters get_segmenters"),
    "dcnum.segm.segm_thresh": _in("cytovox.segm.segm_thresh", "SegmentThresh"),
    "dcnum.segm.segm_torch": _in(
        "cytovox.segm.segm_torch", "SegmentTorchMPO SegmentTorchSTO SegmentTorchUNI"
    ),
    "dcnum.segm.segm_torch.segm_torch_base": _in(
        "cytovox.segm.segm_torch.segm_torch_base", "TorchSegmenterBase"
    )
    | _in("cytovox.segm", "SegmenterNotApplicableError"),
    "dcnum.segm.segm_torch.segm_torch_mpo": _in("cytovox.segm.segm_torch", "SegmentTorchMPO"),
    "dcnum.segm.segm_torch.segm_torch_sto": _in("cytovox.segm.segm_torch", "SegmentTorchSTO"),
    "dcnum.segm.segm_torch.segm_torch_uni": _in("cytovox.segm.segm_torch", "SegmentTorchUNI"),
    "dcnum.segm.segm_torch.torch_model": _in(
        "cytovox.segm.segm_torch.torch_model",
        "check_md5sum get_model_meta load_model retrieve_model_file",
    ),
    "dcnum.segm.segm_torch.torch_postproc": _in(
        "cytovox.segm.segm_torch.inference", "postprocess_masks"
    ),
    "dcnum.segm.segm_torch.torch_preproc": _in(
        "cytovox.segm.segm_torch.inference", "preprocess_images"
    ),
    "dcnum.segm.segm_torch.torch_setup": _in("cytovox.segm.segm_torch.torch_model", "setup_torch")
    | _in(f"{_COMPAT}.common", "openvino torch"),
    "dcnum.segm.segmenter": _in("cytovox.segm", "Segmenter SegmenterNotApplicableError")
    | _in(f"{_COMPAT}.common", "get_available_segmenters get_segmenters"),
    "dcnum.segm.segmenter_manager_thread": _in("cytovox.segm", "SegmenterManagerThread"),
    "dcnum.segm.segmenter_mpo": _in(
        "cytovox.segm.segmenter_mpo",
        "MPOSegmenter MPOSegmenterWorker MPOSegmenterWorkerProcess "
        "MPOSegmenterWorkerThread mp_spawn",
    ),
    "dcnum.segm.segmenter_sto": _in("cytovox.segm", "STOSegmenter"),
    "dcnum.segm.segmenter_uni": _in("cytovox.segm", "UNISegmenter"),
    "dcnum.write": _in(
        "cytovox.write",
        "ChunkWriter EventStash HDF5Writer QueueWriterProcess QueueWriterThread "
        "copy_basins copy_features create_with_basins set_default_filter_kwargs",
    )
    | _in(f"{_COMPAT}.common", "copy_metadata"),
    "dcnum.write.chunk_writer": _in("cytovox.write", "ChunkWriter"),
    "dcnum.write.event_stash": _in("cytovox.write", "EventStash"),
    "dcnum.write.queue_writer_base": _in("cytovox.write", "QueueWriterBase"),
    "dcnum.write.queue_writer_process": _in("cytovox.write", "QueueWriterProcess"),
    "dcnum.write.queue_writer_thread": _in("cytovox.write", "QueueWriterThread"),
    "dcnum.write.writer": _in(
        "cytovox.write",
        "CreatingFileWithoutBasinWarning HDF5Writer IgnoringBasinTypeWarning copy_basins "
        "copy_features create_with_basins set_default_filter_kwargs",
    )
    | _in(f"{_COMPAT}.common", "copy_metadata"),
}


def is_package(module: str) -> bool:
    """Return whether a module has others below it."""
    return any(name.startswith(f"{module}.") for name in TABLE)
