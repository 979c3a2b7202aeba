"""Take the background that the recording already has."""

from __future__ import annotations

from ..errors import InputError
from .base import Background, BackgroundKind, BackgroundResult, place_of

__all__ = ["BackgroundCopy"]


class BackgroundCopy(Background):
    """Copy the background images (and offsets) of the input."""

    @staticmethod
    def check_user_kwargs() -> None:
        """There is nothing to choose."""

    def compute(self, *, defer_offset: bool = False) -> BackgroundResult:
        """Check that there is something to copy and say so.

        Returns
        -------
        BackgroundResult
            Of kind ``COPY``; the writer copies ``image_bg`` and, if present,
            ``bg_off`` with their maps.

        Raises
        ------
        InputError
            If the recording has no background.
        """
        number = self._checked_length()
        if "image_bg" not in self.data:
            raise InputError(
                "the recording has no background to copy (feature 'image_bg')",
                path=place_of(self.data),
                hint="choose background 'sparsemed' to compute one",
            )
        self._report(1.0)
        return BackgroundResult(BackgroundKind.COPY, number)
