"""Where the workers of a run report: one address that listens.

Whoever wants in must know the key of the run, and the desk proves to know it
as well, before anything is unpickled on either side. The desk listens on the
loopback address unless it is told a name under which others can reach it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import selectors
import socket
import threading
from collections import deque
from multiprocessing import AuthenticationError, connection
from multiprocessing.connection import Connection, Listener
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from ..errors import UsageError

__all__ = ["LOOPBACK", "Desk", "Link", "Message", "connect", "is_loopback"]

LOOPBACK = "127.0.0.1"
#: Seconds that a caller has to prove that it knows the key.
_PATIENCE = 10.0
#: After how many seconds of silence the system asks whether the other machine is
#: there, how often, and for how many milliseconds what was sent may be unanswered.
_ASK = {
    "TCP_KEEPIDLE": 30,
    "TCP_KEEPALIVE": 30,  # the same on macOS
    "TCP_KEEPINTVL": 10,
    "TCP_KEEPCNT": 6,
    "TCP_USER_TIMEOUT": 90_000,
}


class Message(NamedTuple):
    """Something that has happened at the desk."""

    kind: Literal["joined", "said", "left", "ended"]
    """A worker has come, says something, or is gone; or its place has ended."""
    sender: Any
    content: Any = None


class Link:
    """The desk's end of the line to one worker."""

    def __init__(self, line: Connection, hello: dict[str, Any]) -> None:
        self.hello = hello
        self.line = line
        self._lock = threading.Lock()

    def send(self, content: Any) -> bool:
        """Tell the worker something; return whether the line was still open."""
        try:
            with self._lock:
                self.line.send(content)
        except OSError:
            return False
        return True

    def hang_up(self) -> None:
        """End the line; a worker that notices stops at once."""
        _cut(self.line)


class Desk:
    """Listens for workers; all they do is told by `next`, one thing at a time."""

    def __init__(self, host: str = LOOPBACK) -> None:
        self.host = host
        self.key = secrets.token_hex(32)
        self.address = (host, 0)
        self._listener: Listener | None = None
        self._news: deque[Message] = deque()
        self._selector = selectors.DefaultSelector()
        self._closed = False

    def __enter__(self) -> Self:
        """Begin to listen."""
        try:
            self._listener = Listener((self.host, 0), backlog=128)
        except OSError as err:
            raise UsageError(
                f"cannot listen on '{self.host}': {err.strerror or err}",
                hint="give a name or address that this machine has",
            ) from err
        self.address = (self.host, int(self._listener.address[1]))
        self._bell, self._ear = socket.socketpair()
        self._ear.setblocking(False)
        self._selector.register(self._ear, selectors.EVENT_READ, None)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closed = True
        # An accepting thread is woken by a call, not by closing under it.
        with contextlib.suppress(OSError):
            socket.create_connection(self.address, timeout=1).close()
        if self._listener is not None:
            self._listener.close()
        for key in list(self._selector.get_map().values()):
            if key.data is not None:
                key.data.line.close()
        self._selector.close()
        self._bell.close()
        self._ear.close()

    def post(self, message: Message) -> None:
        """Let `next` return this; from any thread."""
        self._news.append(message)
        with contextlib.suppress(OSError):  # closed meanwhile
            self._bell.send(b".")

    def next(self, timeout: float | None = None) -> Message | None:
        """Wait for something to happen."""
        if not self._news:
            for key, _ in self._selector.select(timeout):
                if key.data is None:
                    with contextlib.suppress(BlockingIOError):
                        self._ear.recv(4096)
                else:
                    self._news.append(self._hear(key.data))
        if not self._news:
            return None
        message = self._news.popleft()
        if message.kind == "joined":
            self._selector.register(message.sender.line, selectors.EVENT_READ, message.sender)
        return message

    def _hear(self, link: Link) -> Message:
        try:
            return Message("said", link, link.line.recv())
        except (EOFError, OSError):
            self._selector.unregister(link.line)
            link.line.close()
            return Message("left", link)

    def _accept(self) -> None:
        while not self._closed and self._listener is not None:
            try:
                line = self._listener.accept()
            except (OSError, EOFError):
                continue
            if self._closed:
                line.close()
                return
            threading.Thread(target=self._attend, args=(line,), daemon=True).start()

    def _attend(self, line: Connection) -> None:
        hello = _challenged(line, self.key.encode(), first=True)
        if hello is None:
            line.close()
        else:
            self.post(Message("joined", Link(line, hello)))


def connect(host: str, port: int, key: str, hello: dict[str, Any]) -> Connection:
    """Call a desk, prove to know its key, and say hello."""
    line = connection.Client((host, port))
    _settle(line)
    if _challenged(line, key.encode(), first=False) is None:
        line.close()
        raise ConnectionError(f"{host}:{port} does not know the key of this run")
    line.send(hello)
    return line


def _challenged(line: Connection, key: bytes, *, first: bool) -> dict[str, Any] | None:
    """Let both ends prove that they know the key; return the hello."""
    late = threading.Timer(_PATIENCE, _cut, (line,))
    late.daemon = True
    late.start()
    try:
        if first:
            _settle(line)
            connection.deliver_challenge(line, key)
            connection.answer_challenge(line, key)
            hello = line.recv()
        else:
            connection.answer_challenge(line, key)
            connection.deliver_challenge(line, key)
            hello = {}
    except (AuthenticationError, OSError, EOFError, ValueError):
        return None
    finally:
        late.cancel()
    return hello if isinstance(hello, dict) else None


def _cut(line: Connection) -> None:
    # Closing alone would not wake who reads from it.
    with contextlib.suppress(OSError):
        end = socket.socket(fileno=line.fileno())
        try:
            end.shutdown(socket.SHUT_RDWR)
        finally:
            end.detach()


def _settle(line: Connection) -> None:
    """Send small messages at once, and notice if the other machine is gone.

    A machine without power or network says no farewell. Unless the system asks
    from time to time whether it is there, a line to it stays open for ever.
    """
    with contextlib.suppress(OSError):
        end = socket.socket(fileno=line.fileno())
        try:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _ASK.items():
                if hasattr(socket, name):  # each system has some of them
                    end.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        finally:
            end.detach()


def is_loopback(host: str) -> bool:
    """Return whether a name or address means this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
