"""Lets only the page of this server in, and tells the browser what the page may do."""

from __future__ import annotations

import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["MOST_BYTES", "Guard"]

#: Requests are not larger than this [bytes].
MOST_BYTES = 1 << 16
#: What each answer says to the browser, unless it has its own rules.
_HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; object-src 'none'",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Guard:
    """Refuses what does not come from the page that was opened with the token.

    A page elsewhere may send requests here, and let its name stand for this
    machine. It knows no token, cannot read or send the cookie, and names
    itself in the headers Host or Origin.
    """

    def __init__(self, app: ASGIApp, token: str, port: int, once: str | None = None) -> None:
        self._app = app
        self._token = token
        #: A token that is good for one visit.
        self._once = once
        self._cookie = f"cytovox-{port}"
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no web sockets
            return
        connection = HTTPConnection(scope)
        has_token = self._has_token(connection)
        refused = self._refuse(connection, has_token)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if has_token and refused is None:
                    value = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
                    headers.append("set-cookie", value)
            await send(message)

        await (refused or self._app)(scope, receive, send_with_headers)

    def _refuse(self, connection: HTTPConnection, has_token: bool) -> PlainTextResponse | None:
        """Return the answer to what is not let in."""
        headers: Headers = connection.headers
        method = connection.scope["method"]
        if headers.get("host") not in self._hosts:
            return PlainTextResponse("this server has another name", 421)
        origin = headers.get("origin")
        if method not in ("GET", "HEAD") or origin is not None:
            hosts = {f"http://{host}" for host in self._hosts}
            if origin not in hosts:
                return PlainTextResponse("this comes from another page", 403)
        if not has_token and not _equal(connection.cookies.get(self._cookie), self._token):
            text = "open the address that cytovox app has printed: it holds a key to this page"
            return PlainTextResponse(text, 403)
        length = headers.get("content-length", "0")
        is_number = length.isdecimal() and len(length) < 10
        if "transfer-encoding" in headers or not is_number or int(length) > MOST_BYTES:
            return PlainTextResponse("the request is too large", 413)
        return None

    def _has_token(self, connection: HTTPConnection) -> bool:
        given = connection.query_params.get("token")
        if connection.scope["path"] != "/" or given is None:
            return False
        if self._once is not None and _equal(given, self._once):
            self._once = None
            return True
        return _equal(given, self._token)


def _equal(given: str | None, token: str) -> bool:
    return given is not None and secrets.compare_digest(given.encode(), token.encode())
