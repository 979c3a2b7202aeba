"""Which recordings a command measures by which recipes, and what it leaves out or refuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import CytovoxError
from .inputs import find_inputs, output_paths, refuse_clashes
from .one_recording import Measuring, Outcome, Recording
from .run_options import Work

__all__ = ["WorkList", "list_work"]


@dataclass(slots=True)
class WorkList:
    """What the words of a command and its recipes stand for."""

    #: Each recording once for each recipe, recipe by recipe.
    recordings: list[Recording] = field(default_factory=list)
    #: What is wrong with words that stand for nothing and with outputs that meet.
    errors: list[CytovoxError] = field(default_factory=list)
    left_out: list[Outcome] = field(default_factory=list)

    def refused(self) -> list[Outcome]:
        """Return an outcome for each error."""
        outcomes = []
        for error in self.errors:
            outcomes.append(Outcome(str(error.path)))
            outcomes[-1].fail(error)
        return outcomes


def list_work(
    words: Sequence[str],
    work: Work,
    how: Mapping[str, Measuring],
    wanted: Callable[[Path], bool] | None = None,
) -> WorkList:
    """Find the recordings that the words of a command stand for, and where results go.

    Of what is in folders, only what is `wanted`, if that is given.
    """
    found = find_inputs(words, recurse=work.recurse, out=work.out, wanted=wanted)
    todo = WorkList(errors=list(found.errors))
    for name in how:
        outputs = output_paths(
            found.inputs,
            work.out,
            found.below if work.recurse else None,
            name if len(how) > 1 else "",
        )
        pairs, clashes = refuse_clashes(found.inputs, outputs)
        todo.recordings += [Recording(str(path), str(out), recipe=name) for path, out in pairs]
        todo.errors += clashes
    todo.left_out = [
        Outcome(str(path), state="left out", reason=why) for path, why in found.left_out
    ]
    return todo
