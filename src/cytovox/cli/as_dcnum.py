"""``cytovox as-dcnum``: run a program that was written for dcnum."""

from __future__ import annotations

from typing import Annotated

from .command_options import argument

__all__ = ["as_dcnum"]


def as_dcnum(
    command: Annotated[
        tuple[str, ...],
        argument(
            "COMMAND...",
            "Program and its arguments, e.g. chipstream-cli in.rtdc out.rtdc.",
        ),
    ],
) -> int:
    """Run a program that imports dcnum, with cytovox in place of dcnum.

    For example:  cytovox as-dcnum -- chipstream-cli in.rtdc out.rtdc

    The program must be installed in the same environment as cytovox; dcnum
    need not be. Its exit code is passed on.
    """
    from ..compat.dcnum import run_as_dcnum

    return run_as_dcnum(command)
