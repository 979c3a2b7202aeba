"""The server of the page: routes, errors, and its way to begin and end."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from jinja2 import Environment, PackageLoader
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from .. import __version__
from ..errors import CytovoxError, UsageError, escaped
from .body import Body
from .files import Files
from .folder import Folder
from .guard import Guard
from .look_screen import Look
from .page_runs import Runs
from .queue_screen import Queue
from .recordings import Recordings
from .results_screen import Results
from .tune_screen import Tune
from .volume_screen import Volumes

__all__ = ["Page", "serve"]

logger = logging.getLogger(__name__)
_HERE = Path(__file__).parent
#: Seconds that requests under way get when the server ends.
_GRACE = 1
#: What a report may do: show what it holds, as a page of nobody.
_OF_REPORTS = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts"
)


class Page:
    """The page of a folder, as an application of ASGI."""

    def __init__(self, folder: Path, token: str, port: int, once: str | None = None) -> None:
        self.folder = Folder(folder)
        self._recordings = Recordings()
        files = Files(self.folder)
        queue, self._results = Queue(self.folder, Runs()), Results(self.folder)
        volumes = Volumes(self.folder)
        look, tune = Look(self.folder, self._recordings), Tune(self.folder, self._recordings)
        #: What the page may ask for, by name.
        self.calls: dict[str, Callable[[Body], Any]] = {
            "begin": files.begin,
            "look/frame": look.frame,
            "tune/frames": tune.frames,
            "tune/fates": tune.fates,
            "volume/begin": volumes.begin,
            "volume/blocks": volumes.blocks,
            "queue/known": queue.known,
            "queue/plan": queue.plan,
            "queue/run": queue.run,
            "queue/again": queue.again,
            "queue/stop": queue.stop,
            "queue/state": queue.state,
            "results/list": self._results.list,
            "results/verify": self._results.verify,
            "results/report": self._results.report,
            "results/explain": self._results.explain,
            "results/open": self._results.open,
        }
        self._templates = Environment(loader=PackageLoader("cytovox.app"), autoescape=True)
        routes = [
            Route("/", self._show),
            Route("/report/{key}", self._report),
            Route("/api/{name:path}", self._answer, methods=["POST"]),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
        ]
        self.asgi = Guard(Starlette(routes=routes), token, port, once)

    def close(self) -> None:
        """Close what is open."""
        self._recordings.close()

    async def _show(self, request: Request) -> Response:
        text = self._templates.get_template("page.html").render(
            folder=escaped(self.folder.path), version=__version__
        )
        return HTMLResponse(text)

    async def _report(self, request: Request) -> Response:
        """Show a report, which may hold scripts and pictures of its own and nothing else."""
        path = self._results.reports.get(request.path_params["key"])
        if path is None or not path.is_file():
            return HTMLResponse("this report is no longer known: make it again", 404)
        return FileResponse(path, headers={"content-security-policy": _OF_REPORTS})

    async def _answer(self, request: Request) -> Response:
        call = self.calls.get(request.path_params["name"])
        if call is None:
            return _as_json({"error": "there is no such call (reload the page)"}, 404)
        try:
            answer = await run_in_threadpool(call, Body.read(await request.body()))
            if isinstance(answer, bytes):
                return Response(answer, media_type="image/png")
            return _as_json(answer)
        except asyncio.CancelledError:  # the server ends, and this has taken too long
            return _as_json({"error": "cytovox app was stopped (start it again)"}, 503)
        except CytovoxError as error:
            return _as_json({"error": str(error)}, 400)
        except OSError as error:  # the file is gone or was replaced meanwhile, or is not for us
            return _as_json({"error": f"{escaped(error.filename)}: {error.strerror}"}, 400)
        except Exception as error:
            logger.exception("the page asked for %s", request.path_params["name"])
            return _as_json({"error": f"{type(error).__name__}: {error}"}, 500)


def _as_json(value: Mapping[str, Any], status: int = 200) -> Response:
    """Return an answer in ASCII, since names of files need not be text."""
    content = json.dumps(value, allow_nan=False, separators=(",", ":"), default=_plain)
    return Response(content, status, media_type="application/json")


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else list(value)


class _Server(uvicorn.Server):
    """Leaves signals to its caller: the library's own way sends each one a second time."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        self.should_exit = True


def serve(
    folder: Path,
    port: int,
    on_ready: Callable[[str, str], None],
    until_stopped: Callable[[Callable[[], None]], AbstractContextManager[None]],
) -> None:
    """Serve the page of a folder on this machine until it is stopped.

    `on_ready` gets the address when it can be opened, and another one that can be opened
    once: other users see with what a browser is started. Port 0 stands for any.
    `until_stopped` gets what stops the server, and is around its time.
    """
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except (OSError, OverflowError) as err:
        hint = "give another --port, or none for any that is free"
        raise UsageError(f"port {port} cannot be used: {err}", hint=hint) from err
    with listener:
        port = listener.getsockname()[1]
        token, once = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        page = Page(folder, token, port, once)
        config = uvicorn.Config(
            page.asgi,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE,
        )
        address = f"http://127.0.0.1:{port}/?token="
        on_ready(address + token, address + once)
        server = _Server(config)
        try:
            with until_stopped(server.stop):
                server.run(sockets=[listener])
        finally:
            page.close()
