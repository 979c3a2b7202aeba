"""Faults that are injected, and what became of the work."""

import sys
from pathlib import Path

# Where "support" is, for programs that are started without pytest.
_TESTS = str(Path(__file__).resolve().parents[2])
if _TESTS not in sys.path:
    sys.path.append(_TESTS)
