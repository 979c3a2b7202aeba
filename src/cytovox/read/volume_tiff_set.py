"""A TIFF and the files beside it that belong to its images: their pages, by number."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CytovoxError, InputError
from .volume_folder import check_regular
from .volume_tiff_ome import plain_pages_hint
from .volume_tiff_page import PageKind, opened, scan_pages

if TYPE_CHECKING:
    import tifffile

__all__ = ["TiffSet", "reading"]

# It logs whatever is odd about a file, which is shown where no logging is set up.
# Programs that set it up see it; for the others an error says what matters.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


class TiffSet:
    """A TIFF, and the files beside it that hold planes of its images."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.RLock()
        self._opened: dict[Path, tuple[tifffile.TiffFile, list[tuple[int, PageKind]]]] = {}
        self._keyframes: dict[tuple[Path, PageKind], Any] = {}
        self.file = self._file(path)[0]
        self.description = str(self.file.pages.first.description) if self.file.pages else ""

    def kinds(self, path: Path) -> list[tuple[int, PageKind]]:
        """Return offset and kind of each page of a file."""
        return self._file(path)[1]

    def page(self, path: Path, number: int) -> Any:
        """Return a page of a file."""
        import tifffile

        with self.lock:
            file, kinds = self._file(path)
            if not 0 <= number < len(kinds):
                raise InputError(
                    f"its metadata name page {number} of {path.name}, which has {len(kinds)}",
                    path=self.path,
                    hint=plain_pages_hint(self.path),
                )
            offset, kind = kinds[number]
            with opened(file.filehandle):
                keyframe = self._keyframes.get((path, kind))
                if keyframe is not None:
                    return tifffile.TiffFrame(file, number, offset=offset, keyframe=keyframe)
                file.filehandle.seek(offset)
                page = tifffile.TiffPage(file, number)
            self._keyframes[path, kind] = page
            return page

    def subpage(self, path: Path, number: int, level: int) -> Any:
        """Return a coarser form of a page."""
        with self.lock:
            page = self.page(path, number)
            with opened(page.parent.filehandle):
                return page.aspage().pages[level]

    def close(self) -> None:
        """Close the first file; the others are closed."""
        for file, _ in self._opened.values():
            file.close()

    def _file(self, path: Path) -> tuple[tifffile.TiffFile, list[tuple[int, PageKind]]]:
        with self.lock:
            if path not in self._opened:
                self._opened[path] = self._open(path)
            return self._opened[path]

    def _open(self, path: Path) -> tuple[tifffile.TiffFile, list[tuple[int, PageKind]]]:
        import tifffile

        check_regular(path)
        with reading(path):
            kinds = list(scan_pages(path).items())
            uniform = None if len({kind for _, kind in kinds}) == 1 else False
            # images of OME-TIFF are put together here, where no plane may be missing
            file = tifffile.TiffFile(path, is_ome=False, is_uniform=uniform)
            file.filehandle.set_lock(True)
            if path != self.path:
                file.filehandle.close()
        return file, kinds


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Let errors name the file: damaged tags make any kind of error."""
    try:
        yield
    except (CytovoxError, Warning):
        raise
    except Exception as err:
        raise InputError(
            f"this is not a TIFF that can be read: {str(err)[:200]}",
            path=path,
            hint="copy it again",
        ) from err
