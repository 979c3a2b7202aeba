"""The recipe of one run: what goes in, what shall be done, what comes out."""

from __future__ import annotations

import collections
import copy
import logging
import pathlib
from collections.abc import Collection
from typing import Any, Literal

from ..background import Background, get_available_background_methods
from ..errors import OptionError, UnknownCodeError
from ..feat import Gate, QueueEventExtractor
from ..read import HDF5Data
from ..read.const import ZSTD
from ..recipe.identity import DCNUM_PPID_GENERATION, compute_pipeline_hash
from ..recipe.options import check_options, options_of
from ..recipe.registry import OPTION_METHODS, load_stage
from ..run.memory import cpu_count
from ..segm import MPOSegmenter, Segmenter, get_segmenter
from ..segm.find_segmenters import file_of_segmenter, is_segmenter_file, load_segmenter_file

__all__ = ["DCNumPipelineJob", "extractor_of", "segmenter_of"]

_STAGES = ("data", "background", "segmenter", "feature", "gate")
_COMPRESSIONS = ("none", *(f"zstd-{level}" for level in range(1, 10)))


class DCNumPipelineJob:
    """Pipeline job recipe.

    Parameters
    ----------
    path_in
        Input recording.
    path_out
        Output file; ``<stem>_dcn.rtdc`` beside the input if None.
    data_code, data_kwargs
        Code of the reader, only ``"hdf"``; and its options, e.g. ``pixel_size`` (um)
        or ``index_mapping``.
    background_code, background_kwargs
        Code of the background method, and its options.
    segmenter_code, segmenter_kwargs
        Code of the segmenter, or ``"file.py:Class"`` for one of your own; and its
        options, those of the mask clean-up under ``kwargs_mask``.
    feature_code, feature_kwargs
        Code of the feature extractor, and its options.
    gate_code, gate_kwargs
        Code of the gate, and its options.
    basin_strategy
        ``"drain"`` copies images and other frame data into the output, which
        then stands alone; ``"tap"`` refers to the input for them, which makes
        a small output that needs the input.
    compression
        ``"none"`` or ``"zstd-1"`` to ``"zstd-9"``; archives ask for
        ``"zstd-5"`` at least.
    num_procs
        Number of worker threads, and of processes if the segmenter runs in such
        (`MPOSegmenter`, or a `UNISegmenter` that holds the GIL); that of the
        usable cores if None.
    log_level
        Lowest level that the log records.
    debug
        One worker thread, no processes, one slot and a talkative log.

    Raises
    ------
    InputNotFoundError
        If the input does not exist.
    UsageError
        If `basin_strategy` is neither of the two, or an option has an unknown name
        or a value of another type.

    Examples
    --------
    >>> from cytovox.testing import simulate_recording
    >>> path = getfixture("tmp_path") / "raw.rtdc"
    >>> _ = simulate_recording(path, frames=10)
    >>> job = DCNumPipelineJob(path, segmenter_kwargs={"thresh": -3})
    >>> job.get_ppid().split("|")[3]
    'thresh:t=-3:cle=1^f=1^clo=2'
    """

    #: Options such as ``data.pixel_size`` that were set by a look at the recording.
    automatic: Collection[str] = ()

    def __init__(
        self,
        path_in: pathlib.Path | str,
        path_out: pathlib.Path | str | None = None,
        data_code: str = "hdf",
        data_kwargs: dict[str, Any] | None = None,
        background_code: str = "sparsemed",
        background_kwargs: dict[str, Any] | None = None,
        segmenter_code: str = "thresh",
        segmenter_kwargs: dict[str, Any] | None = None,
        feature_code: str = "legacy",
        feature_kwargs: dict[str, Any] | None = None,
        gate_code: str = "norm",
        gate_kwargs: dict[str, Any] | None = None,
        basin_strategy: Literal["drain", "tap"] = "drain",
        compression: str = "zstd-5",
        num_procs: int | None = None,
        log_level: int = logging.INFO,
        debug: bool = False,
    ) -> None:
        path_in = pathlib.Path(path_in)
        if path_out is None:
            path_out = path_in.with_name(path_in.stem + "_dcn.rtdc")
        if basin_strategy not in ("drain", "tap"):
            raise OptionError(
                f"there is no basin strategy '{basin_strategy}'", hint="choose drain or tap"
            )
        if is_segmenter_file(segmenter_code):
            segmenter_code = load_segmenter_file(segmenter_code).get_ppid_code()
        #: All keyword arguments of this job, with nothing left open.
        self.kwargs: dict[str, Any] = {
            "path_in": path_in,
            "path_out": pathlib.Path(path_out),
            "data_code": data_code,
            "data_kwargs": copy.deepcopy(data_kwargs or {}),
            "background_code": background_code,
            "background_kwargs": copy.deepcopy(background_kwargs or {}),
            "segmenter_code": segmenter_code,
            "segmenter_kwargs": copy.deepcopy(segmenter_kwargs or {}),
            "feature_code": feature_code,
            "feature_kwargs": copy.deepcopy(feature_kwargs or {}),
            "gate_code": gate_code,
            "gate_kwargs": copy.deepcopy(gate_kwargs or {}),
            "basin_strategy": basin_strategy,
            "compression": compression,
            "num_procs": cpu_count() if num_procs is None else num_procs,
            "log_level": logging.DEBUG if debug else log_level,
            "debug": debug,
        }
        segmenter = self.kwargs["segmenter_kwargs"]
        if not segmenter.get("kwargs_mask"):
            segmenter["kwargs_mask"] = {}
        self._settle_pixel_size()
        for stage in OPTION_METHODS:
            self._convert_options(stage)

    def _settle_pixel_size(self) -> None:
        data = self.kwargs["data_kwargs"]
        if data.get("pixel_size") is None:
            with HDF5Data(self.kwargs["path_in"], permissions=data.get("permissions")) as reader:
                data["pixel_size"] = reader.pixel_size
        # The identifier shows eight decimals, so the numbers must use no more.
        data["pixel_size"] = float(f"{data['pixel_size']:.8f}")

    def _convert_options(self, stage: str) -> None:
        """Give options their types, before identity and stages are made from them."""
        try:
            cls = self._stage_class(stage)
        except UnknownCodeError:  # as `assert_pp_codes` says
            return
        where = f"{stage} {self.kwargs[f'{stage}_code']}"
        given = self.kwargs[f"{stage}_kwargs"]
        own, *clean_up = (options_of(getattr(cls, name)) for name in OPTION_METHODS[stage])
        mask = given.pop("kwargs_mask") if clean_up else {}
        given.update(check_options(where, own, given))
        if clean_up:
            if cls.mask_postprocessing:
                mask = check_options(f"mask of {where}", clean_up[0], mask)
            given["kwargs_mask"] = mask

    def __getitem__(self, item: str) -> Any:
        return copy.deepcopy(self.kwargs[item])

    def __getstate__(self) -> dict[str, Any]:
        return copy.deepcopy(self.kwargs)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.kwargs = copy.deepcopy(state)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.kwargs['path_in']} -> {self.kwargs['path_out']}>"

    def _stage_class(self, stage: str) -> Any:
        code = self.kwargs[f"{stage}_code"]
        if stage == "segmenter":
            return get_segmenter(code)
        if stage == "background":
            methods = get_available_background_methods()
            if code in methods:
                return methods[code]
            raise UnknownCodeError(
                f"there is no background '{code}'", hint=f"choose one of {', '.join(methods)}"
            )
        base: Any = {"data": HDF5Data, "feature": QueueEventExtractor, "gate": Gate}[stage]
        if code == base.get_ppid_code():
            return base
        if stage == "data":
            raise UnknownCodeError(f"there is no data '{code}'", hint="choose hdf")
        return load_stage(stage, code, base)

    def assert_pp_codes(self) -> None:
        """Check that a stage is known for each code.

        Raises
        ------
        UnknownCodeError
            If there is none; it is a ValueError.
        """
        for stage in _STAGES:
            self._stage_class(stage)

    def check_options(self) -> None:
        """Check codes and the values of all options, before any work begins.

        Raises
        ------
        OptionError
            If an option has an impossible value.
        UnknownCodeError
            If there is no stage of a code.
        """
        self.assert_pp_codes()
        self.get_hdf5_dataset_kwargs()
        kwargs = self.kwargs
        self.get_segmenter_class()(**kwargs["segmenter_kwargs"]).close()
        self.get_background_class().check_user_kwargs(**kwargs["background_kwargs"])
        num_procs = kwargs["num_procs"]
        if not (isinstance(num_procs, int) and num_procs >= 1):
            raise OptionError(f"{num_procs} is not a number of workers", hint="give 1 or more")

    def get_hdf5_dataset_kwargs(self) -> dict[str, Any]:
        """Return the keyword arguments with which output datasets are made.

        Raises
        ------
        ValueError
            If the compression is not supported.
        """
        compression = self.kwargs["compression"]
        text = "none" if compression is None else str(compression).strip().lower()
        if text not in _COMPRESSIONS:
            raise OptionError(
                f"Unsupported compression '{compression}'", hint="choose none or zstd-1 to zstd-9"
            )
        if text == "none":
            return {"fletcher32": True, "compression": None, "compression_opts": None}
        level = int(text.removeprefix("zstd-"))
        return {"fletcher32": True, "compression": ZSTD, "compression_opts": (level,)}

    def get_ppid(self, ret_hash: bool = False, ret_dict: bool = False) -> Any:
        """Return the pipeline identifier.

        Parameters
        ----------
        ret_hash
            Also return its hash.
        ret_dict
            Also return its parts, ordered, by name.

        Returns
        -------
        str or list
            The identifier; a list if something else was asked for as well.
        """
        self.assert_pp_codes()
        kwargs = self.kwargs
        parts: collections.OrderedDict[str, str] = collections.OrderedDict()
        parts["gen_id"] = DCNUM_PPID_GENERATION
        names = ("dat_id", "bg_id", "seg_id", "feat_id", "gate_id")
        for name, stage in zip(names, _STAGES, strict=True):
            parts[name] = self._stage_class(stage).get_ppid_from_ppkw(kwargs[f"{stage}_kwargs"])
        ppid = "|".join(parts.values())
        returned: list[Any] = [ppid]
        if ret_hash:
            returned.append(compute_pipeline_hash(**parts))
        if ret_dict:
            returned.append(parts)
        return ppid if len(returned) == 1 else returned

    def get_segmenter_class(self) -> type[Segmenter]:
        """Return the class of the segmenter.

        Raises
        ------
        UnknownCodeError
            If there is none of this code.
        """
        cls: type[Segmenter] = get_segmenter(self.kwargs["segmenter_code"])
        return cls

    def get_background_class(self) -> type[Background]:
        """Return the class of the background method.

        Raises
        ------
        UnknownCodeError
            If there is none of this code.
        """
        cls: type[Background] = self._stage_class("background")
        return cls

    def segmenter_source(self) -> dict[str, str] | None:
        """Return file and checksum of a segmenter that is not installed."""
        found = file_of_segmenter(self.get_segmenter_class())
        return None if found is None else {"path": str(found[0]), "sha256 starts": found[1]}

    def validate(self) -> bool:
        """Check that the segmenter fits the input.

        Returns
        -------
        bool
            True; anything else is an error.

        Raises
        ------
        SegmenterNotApplicableError
            If it does not fit.
        """
        permissions = self.kwargs["data_kwargs"].get("permissions")
        with HDF5Data(self.kwargs["path_in"], permissions=permissions) as data:
            self.get_segmenter_class().validate_applicability(
                segmenter_kwargs=self.kwargs["segmenter_kwargs"],
                meta=dict(data.meta),
                logs=dict(data.logs),
            )
        return True


def segmenter_of(job: Any) -> Segmenter:
    """Return the segmenter of a job, with its options."""
    cls: type[Segmenter] = job.get_segmenter_class()
    kwargs = job["segmenter_kwargs"]
    if issubclass(cls, MPOSegmenter):
        kwargs.setdefault("num_workers", job["num_procs"])
    return cls(debug=job["debug"], **kwargs)


def extractor_of(
    job: Any, data: HDF5Data, register: Any = None, event_queue: Any = None
) -> QueueEventExtractor:
    """Return what measures and gates the events of a job, with its options."""
    return QueueEventExtractor(
        slot_register=register,
        pixel_size=data.pixel_size,
        gate=Gate(data, **job["gate_kwargs"]),
        event_queue=event_queue,
        extract_kwargs=job["feature_kwargs"],
    )
