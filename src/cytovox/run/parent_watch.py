"""A command and all that it starts, tied to the process that has started it.

A command that starts workers, such as ``srun``, knows nothing of us, and what
it starts may be anything. This small program stands in between: it leads a
group of processes in which the command runs, and holds one end of a pipe. When
the other end is closed, which no end of our process can prevent, it ends the
group: by SIGTERM, at which ``srun`` gives its job back to the queue, then by
SIGKILL. It runs by its path, without the packages around it, so it costs little.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

__all__ = ["GRACE", "ending_with_parent", "ending_with_stdin"]

#: Seconds between SIGTERM and SIGKILL; ``srun`` takes up to 32 to end what it has started.
GRACE = 40.0
#: First word that asks to become the command in place of watching it.
_BECOME = "--become"


def ending_with_stdin(words: Sequence[str]) -> list[str]:
    """Return the command line that runs a command tied to its standard input.

    It must lead a session of its own. It ends as the command does. Windows
    knows no groups that could be killed; there the command stays as it is.
    """
    if os.name == "nt":
        return list(words)
    return [sys.executable, "-I", "-S", __file__, *words]


def ending_with_parent(words: Sequence[str]) -> list[str]:
    """Return the command line that runs a command which Linux kills with this process.

    The command keeps its standard input and its group of processes, and thus
    receives Ctrl-C itself. Elsewhere it stays as it is.
    """
    if sys.platform != "linux":
        return list(words)
    return [sys.executable, "-I", "-S", __file__, _BECOME, str(os.getpid()), *words]


def _become(parent: int, words: Sequence[str]) -> int:
    """Ask Linux to be killed with the parent, then run the command in our place."""
    import ctypes

    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it has died before we could ask
        return 1
    try:
        os.execv(words[0], list(words))
    except OSError as err:
        sys.stderr.write(f"error: {words[0]}: cannot be started: {err.strerror}\n")
        return 74


def _run(words: Sequence[str]) -> int:
    """Run a command in this group of processes; return its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # that of the group is for the command
    command = subprocess.Popen(words, stdin=subprocess.DEVNULL)
    threading.Thread(target=_watch, args=(command,), daemon=True).start()
    code = command.wait()
    if select.select([0], [], [], 0)[0]:  # our process ended at the same time
        os.killpg(os.getpid(), signal.SIGKILL)
    if code < 0:  # end in the same way
        with contextlib.suppress(OSError):  # some cannot be handled anyway
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _watch(command: subprocess.Popen[bytes]) -> None:
    while os.read(0, 1):
        pass
    os.killpg(os.getpid(), signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        command.wait(GRACE)
    os.killpg(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asked = sys.argv[1:]
    if asked[0] == _BECOME:
        sys.exit(_become(int(asked[1]), asked[2:]))
    sys.exit(_run(asked))
