"""What all segmenters have in common that run a model."""

from __future__ import annotations

import abc
import logging
import pathlib
from typing import Any, ClassVar

from ...errors import OptionError, SegmenterNotApplicableError
from ...recipe.trust import require_trust
from ...run.extras import is_installed, require
from ..segmenter import Segmenter
from .model_file import ModelFile, inspect_model, reasons_against, retrieve_model_file

__all__ = ["TorchSegmenterBase"]


class TorchSegmenterBase(Segmenter, abc.ABC):
    """Segmenter with a trained model, kept in a ``.dcnm`` file.

    Making an instance finds and checks the file and asks whether it is
    trusted, but does not run it; a worker does, when it gets its first images.

    Options of `segment_algorithm` are ``model_file`` (path, or a bare name that is
    searched in the registered folders) and ``model_sha256`` (content of the file
    that may be run). The latter is not needed for a model that is trusted
    otherwise, and is not part of the identifier.
    """

    requires_background_correction = False
    #: Format of the model files that this segmenter takes.
    requires_model_format_version: ClassVar[str] = "0.0"
    mask_postprocessing = True
    mask_default_kwargs: ClassVar[dict[str, Any]] = {
        "clear_border": True,
        "fill_holes": True,
        "closing_disk": 0,
    }

    def __init__(
        self, *, kwargs_mask: dict[str, Any] | None = None, debug: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(kwargs_mask=kwargs_mask, debug=debug, **kwargs)
        path = retrieve_model_file(self.kwargs["model_file"])
        found = inspect_model(path)
        wrong = self._format_reason(found)
        if wrong:
            raise OptionError(f"segmenter {self.get_ppid_code()}: {wrong[0]}", path=path)
        require("torch", "models")
        require_trust(path, found.sha256, self.kwargs["model_sha256"])
        # From here on it is this file and this content, also in other processes.
        self.kwargs["model_file"] = str(path)
        self.kwargs["model_sha256"] = found.sha256

    @classmethod
    def get_ppid_from_ppkw(
        cls, kwargs: dict[str, Any], kwargs_mask: dict[str, Any] | None = None
    ) -> str:
        """Return the identifier for options given as dictionaries.

        Of the options of the algorithm, the name of the model file alone is
        part of it, without the folder; it identifies the content.
        """
        inner = {**(kwargs.get("kwargs_mask") or {}), **(kwargs_mask or {})}
        mask = super().get_ppid_from_ppkw({}, inner).rpartition(":")[2]
        model = kwargs.get("model_file")
        name = None if model is None else pathlib.Path(model).name
        return f"{cls.get_ppid_code()}:m={name}:{mask}"

    @classmethod
    def validate_applicability(
        cls,
        segmenter_kwargs: dict[str, Any],
        meta: dict[str, Any] | None = None,
        logs: dict[str, list[str]] | None = None,
    ) -> bool:
        """Check that the model fits a recording, by what the model file says.

        The model is not run for that.
        """
        found = inspect_model(retrieve_model_file(segmenter_kwargs.get("model_file", "")))
        reasons = cls._format_reason(found) + reasons_against(found.meta, meta, logs)
        if reasons:
            raise SegmenterNotApplicableError(cls, reasons)
        return True

    @staticmethod
    def is_available() -> bool:
        """Return whether torch is installed."""
        return is_installed("torch")

    def log_info(self, logger: logging.Logger) -> None:
        """Write to a log which model is used."""
        logger.info(
            "segmenter %s: model %s, SHA-256 %s",
            self.get_ppid_code(),
            self.kwargs["model_file"],
            self.kwargs["model_sha256"],
        )

    @classmethod
    def _format_reason(cls, found: ModelFile) -> list[str]:
        if found.format_version == cls.requires_model_format_version:
            return []
        others = "torchuni" if found.format_version == "2.0" else "torchmpo or torchsto"
        return [
            f"the model file is of format {found.format_version}, "
            f"not {cls.requires_model_format_version}; {others} can use it"
        ]
