"""Threads that share an image by bands of pixels."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["BandPool"]

#: fewer pixels than this are not worth another thread
_LEAST_PIXELS = 4096


class BandPool(ThreadPoolExecutor):
    """A pool of threads; each job is a function of a range of pixels."""

    def __init__(self, num_workers: int) -> None:
        super().__init__(num_workers, thread_name_prefix="background")
        self.num_workers = num_workers

    def start(self, pixels: int, job: Callable[[int, int], None]) -> list[Future[None]]:
        """Begin a job on all pixels and return at once."""
        bands = max(1, min(self.num_workers, pixels // _LEAST_PIXELS))
        edges = [pixels * i // bands for i in range(bands + 1)]
        return [self.submit(job, a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]

    @staticmethod
    def wait(futures: list[Future[None]]) -> None:
        """Wait for all bands; raise what one of them raised."""
        for future in futures:
            future.result()
