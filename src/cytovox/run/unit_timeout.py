"""How long a worker may take for one piece of work."""

from __future__ import annotations

import os

from ..errors import UsageError

__all__ = ["unit_timeout"]

#: Seconds, unless the variable is set.
_TIMEOUT = 1800.0
#: Environment variable that sets another limit.
_VARIABLE = "CYTOVOX_UNIT_TIMEOUT"


def unit_timeout() -> float | None:
    """Return how many seconds a worker may take for one piece of work.

    It is a matter of the machine, not of the result, so no recipe contains it:
    the environment variable ``CYTOVOX_UNIT_TIMEOUT`` sets it, 0 for no limit.
    """
    text = os.environ.get(_VARIABLE, "").strip() or str(_TIMEOUT)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(
            f"{_VARIABLE}={text} is not a number of seconds",
            hint="give seconds, or 0 for no limit",
        )
    return seconds or None
