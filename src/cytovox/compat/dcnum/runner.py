"""A runner whose files stay as long as programs for dcnum expect them."""

from __future__ import annotations

import weakref
from typing import ClassVar

from ... import logic

__all__ = ["DCNumJobRunner"]


class DCNumJobRunner(logic.DCNumJobRunner):
    """Run a job, and keep the temporary input, which `dtin` reads, until it is closed.

    If an error leaves the context of the runner, the log of the run stays as well.
    See `cytovox.logic.DCNumJobRunner`.
    """

    _until_close: ClassVar[tuple[str, ...]] = ("input",)
    _keeps_log: ClassVar[bool] = True

    def run_pipeline(self) -> None:
        """Execute the pipeline job."""
        super().run_pipeline()
        # of those who never close it
        weakref.finalize(self, self._folder.discard, "input")
