"""Reading ahead and writing behind, while the networks work on a burst."""

from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any, TypeVar

Item = TypeVar("Item")
Opened = TypeVar("Opened")


def opened_ahead(
    items: Iterable[Item], open_one: Callable[[Item], Opened]
) -> Iterator[tuple[Item, Opened]]:
    """Yields (item, `open_one(item)`); `open_one` is called one item ahead."""
    before = None
    for item in items:
        now = item, open_one(item)
        if before:
            yield before
        before = now
    if before:
        yield before


class Behind:
    """Does one job in the background, in order, while the next one is prepared.

    Used in a `with` statement, whose end waits: a job that was started is done even if an
    exception ends the statement.
    """

    def __init__(self) -> None:
        self._executor = futures.ThreadPoolExecutor(1)
        self._job: futures.Future | None = None

    def __enter__(self) -> "Behind":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self._executor.shutdown()

    def start(self, job: Callable[..., None], *arguments: Any) -> None:
        """Starts a job once the previous one is done; raises the error of the previous one."""
        self.wait()
        self._job = self._executor.submit(job, *arguments)

    def wait(self) -> None:
        """Waits for the job that was started last; raises its error."""
        job, self._job = self._job, None
        if job:
            job.result()
