"""The screen Queue: what a run of a folder would do; run it, stop it, go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..recipe.recording_recipe import RecordingRecipe
from .body import Body
from .command_words import call, in_words, quoted, words_of_recipe
from .folder import Folder
from .page_runs import NOTES, Runs

__all__ = ["Queue"]


class Queue:
    """Answers what the screen asks."""

    def __init__(self, folder: Folder, runs: Runs) -> None:
        self._folder = folder
        self._runs = runs

    def plan(self, body: Body) -> dict[str, Any]:
        """Return what a run would do with each recording of a folder, and why not with others."""
        place, out, recipe = self._asked(body)
        end = ["-o", str(out), *words_of_recipe(recipe)]
        code, printed, said = call(["plan", str(place), *end, "--json"])
        try:
            found = json.loads(printed)
            files = [self._planned(one) for one in found["plan"]]
        except (ValueError, LookupError, TypeError):
            raise UsageError(said or f"the plan ended with code {code}") from None
        return {
            "files": [one for one in files if one["is_input"]],
            "left_out": [one for one in files if not one["is_input"]],
            "minutes": found["minutes"],
            "disks": found["disks"],
            # The page puts files between begin and end, in their order.
            "command": {
                "begin": in_words(["run"]),
                "folder": quoted([str(place)]),
                "end": quoted(end),
            },
            "state": self._runs.state(out),
        }

    def _planned(self, one: dict[str, Any]) -> dict[str, Any]:
        path = Path(one["input"])
        wanted = ("state", "frames", "events", "minutes", "result_bytes", "resumed")
        return {
            **{name: one[name] for name in wanted},
            "reason": one["error"] or one["reason"],
            "is_input": one["state"] != "left out" and one["output"] is not None,
            "name": self._folder.name(path),
            "word": quoted([str(path)]),
        }

    def state(self, body: Body) -> dict[str, Any]:
        """Return how far the run of a folder of results is."""
        return self._runs.state(self._folder.place(body.text("out")))

    def known(self, body: Body) -> dict[str, Any]:
        """Return the folders of results to which the page has started runs."""
        places = [self._folder.place(name) for name in self._folder.folders()]
        runs = [place for place in places if (place / NOTES / "command.json").is_file()]
        return {"outs": [self._folder.name(place) for place in runs]}

    def run(self, body: Body) -> dict[str, Any]:
        """Start a run of files in their order, or of a folder if none are named."""
        place, out, recipe = self._asked(body)
        files = [self._folder.file(name) for name in body.texts("files")]
        inputs = [str(path) for path in files or [place]]
        words = ["run", *inputs, "-o", str(out), *words_of_recipe(recipe)]
        self._runs.start(out, words, body.values)
        return self._runs.state(out)

    def again(self, body: Body) -> dict[str, Any]:
        """Go on with the last run of a folder of results; what is finished is skipped."""
        out = body.text("out")
        return self.run(Body(self._runs.request(self._folder.place(out)) | {"out": out}))

    def stop(self, body: Body) -> dict[str, Any]:
        """Stop the run of a folder of results."""
        out = self._folder.place(body.text("out"))
        self._runs.stop(out)
        return self._runs.state(out)

    def _asked(self, body: Body) -> tuple[Path, Path, RecordingRecipe]:
        place = self._folder.place(body.text("folder"))
        out = self._folder.place(body.text("out"))
        if not place.is_dir():
            raise UsageError("there is no such folder", path=place, hint="reload the page")
        if out.exists() and not out.is_dir():
            raise UsageError("this is not a folder", path=out, hint="name a folder for results")
        return place, out, body.recipe()
