"""Where a volume is: a path, a place inside of a file, or a URL."""

from __future__ import annotations

import os
import re
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import InputError, UsageError
from .permissions import Permissions

__all__ = ["REMOTE_SCHEMES", "Address", "parse_address", "safe_join"]

#: What is read over a network.
REMOTE_SCHEMES = ("s3", "gs", "http", "https")

_SEVERAL = "h5|hdf5|hdf|ims|nxs|zip|ozx|tiff?|btf|tf8|tf2|lsm|stk|svs|scn|ndpi|qptiff|flex"
_INSIDE = re.compile(rf"(?P<file>.+\.(?:{_SEVERAL})):(?P<inner>.*)", re.I)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a volume is."""

    #: Path or URL, without a slash at its end.
    url: str
    #: Whether it is reached over a network.
    remote: bool = False
    #: Place inside of a file (HDF5, TIFF, zip), or empty.
    inner: str = ""
    #: The opened zip file, if it is inside of one.
    archive: zipfile.ZipFile | None = field(default=None, compare=False, repr=False)
    #: What may be read there.
    permissions: Permissions = field(default=Permissions(), compare=False, repr=False)

    @property
    def path(self) -> Path:
        """Path on this computer."""
        return Path(self.url)

    @property
    def name(self) -> str:
        """Last part of the path."""
        return re.split(r"[/\\]", self.url if self.archive is None else self.inner)[-1]

    def __str__(self) -> str:
        return f"{self.url}:{self.inner}" if self.inner else self.url

    def parent(self) -> Address | None:
        """Return the folder that this is in, or None at the top."""
        if self.remote:
            above = self.url.rpartition("/")[0]
            return replace(self, url=above) if urlsplit(above).netloc else None
        if self.archive is not None:
            inside = self.inner.rpartition("/")[0]
            return replace(self, inner=inside) if self.inner.strip("/") else None
        above_path = self.path.parent
        return None if above_path == self.path else replace(self, url=str(above_path), inner="")


def parse_address(url: str | os.PathLike[str]) -> Address:
    """Take apart a path, ``file.h5:/path/inside``, ``file.tif:/1`` or a URL."""
    text = os.fspath(url)
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise UsageError("this is not a path or URL", hint="give the place of a volume")
    try:
        urlsplit(text)
    except ValueError as err:
        if "://" in text:
            what = f"this is not a URL: {err}"
            raise UsageError(what, path=text, hint="give the place of a volume") from err
    scheme, found, _ = text.partition("://")
    if not found or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.|-]+", scheme):
        return _local(text)
    scheme = scheme.lower()
    if scheme == "file":
        from urllib.request import url2pathname

        return _local(url2pathname(urlsplit(text).path))
    if scheme not in REMOTE_SCHEMES:
        raise UsageError(
            f"'{scheme}://' is not read",
            path=text,
            hint=f"give a path, or one of {', '.join(s + '://' for s in REMOTE_SCHEMES)}",
        )
    parts = urlsplit(text)
    if "@" in parts.netloc:
        raise UsageError(
            "a URL must not hold a name or password",
            path=f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}",
            hint="set credentials in the environment",
        )
    if not parts.netloc or parts.query or parts.fragment:
        raise UsageError("a URL is a host or bucket and a path, and nothing else", path=text)
    return Address(f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}", remote=True)


def _local(text: str) -> Address:
    """Return an absolute path, so that another process finds the same file."""
    if not os.path.exists(text):
        # whatever the file is called, if there is one
        for colon in re.finditer(":", text):
            if os.path.isfile(text[: colon.start()]):
                path, inner = text[: colon.start()], text[colon.end() :]
                return Address(os.path.abspath(path), inner=inner or "/")
        inside = _INSIDE.fullmatch(text)
        if inside is not None:
            return Address(os.path.abspath(inside["file"]), inner=inside["inner"] or "/")
    return Address(os.path.abspath(text))


def safe_join(address: Address, relative: object) -> Address:
    """Return a place inside of a folder; metadata name such places."""
    parts = relative.split("/") if isinstance(relative, str) else [""]
    bad = any(p in ("", ".", "..") or re.search("[\\\\:\0\ud800-\udfff]", p) for p in parts)
    if bad:
        raise InputError(
            f"the metadata name {str(relative)[:80]!r}, which is not a place inside of it",
            path=str(address),
            hint="names in metadata may not lead out of the volume; get it again",
        )
    if address.archive is not None:
        return replace(address, inner=f"{address.inner.rstrip('/')}/{relative}")
    if address.remote:
        return replace(address, url=f"{address.url}/{relative}")
    return replace(address, url=str(address.path.joinpath(*parts)), inner="")
