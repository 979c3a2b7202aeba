"""cytovox in the place of dcnum, for programs that import that.

`install_as_dcnum` makes ``import dcnum`` mean cytovox, here and in processes
that are started from here; `run_as_dcnum` starts a program so. What each name
stands for is in one table, ``cytovox.compat.dcnum.table``.
"""

from .finder import install_as_dcnum, run_as_dcnum

__all__ = ["install_as_dcnum", "run_as_dcnum"]
