"""`GroupCommit`: what has piled up goes to one function in a thread of its own, without a tick, and each result to its caller."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

__all__ = ["Full", "GroupCommit"]

T = TypeVar("T")
_MOST = 1_024  # items of one call, about


class Full(Exception):  # noqa: N818  (the name is the condition)
    """As many items wait as may."""


class GroupCommit(Generic[T]):
    """A queue of items, and the thread that works on all that wait.

    Args:
        work: Takes items and returns a result for each; None: somebody else gives it.
        name: Name of the thread.
        most: So many items may wait.
    """

    def __init__(self, work: Callable[[list[T]], Sequence[Any]], name: str, most: int) -> None:
        self.work, self.name, self.most = work, name, most
        self.waiting = 0
        self._since: float | None = None
        self._fresh: list[tuple[T, asyncio.Future[Any]]] = []
        self._queue: SimpleQueue[list[tuple[T, asyncio.Future[Any]]] | None] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts the thread; results come by this event loop."""
        self._loop = loop
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def submit(self, item: T, future: asyncio.Future[Any] | None = None) -> asyncio.Future[Any]:
        """Adds an item, in the event loop; returns the future of its result.

        Raises:
            Full: Too many items wait.
        """
        assert self._loop is not None, "not started"
        if self.waiting >= self.most:
            raise Full
        self.waiting += 1
        made = self._loop.create_future() if future is None else future
        if not self._fresh:  # the thread is woken once for all requests of this turn of the loop
            self._loop.call_soon(self._hand_over)
        self._fresh.append((item, made))
        return made

    def _hand_over(self) -> None:
        fresh, self._fresh = self._fresh, []
        self._queue.put(fresh)

    def busy_for(self) -> float:
        """Returns for how many seconds the thread has worked on its present items."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def stop(self, patience: float = 5.0) -> None:
        """Ends the thread after what waits; one that hangs is left behind."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(patience)

    def _run(self) -> None:
        assert self._loop is not None
        going = True
        while going:
            batch: list[tuple[T, asyncio.Future[Any]]] = []
            going = self._take(batch)
            if not batch:
                continue
            self._since = time.monotonic()
            try:
                results = self.work([item for item, _ in batch])
            except Exception as error:  # every caller learns of it, whatever it is
                results = [error] * len(batch)
            self._since = None
            try:
                self._loop.call_soon_threadsafe(self._deliver, batch, results)
            except RuntimeError:  # the loop was closed: nobody waits any more
                return

    def _take(self, batch: list[tuple[T, asyncio.Future[Any]]]) -> bool:
        """Takes what waits, at least one item; returns False after the last."""
        got = self._queue.get()
        try:
            while got is not None:
                batch += got
                if len(batch) >= _MOST:
                    return True
                got = self._queue.get_nowait()
        except Empty:
            return True
        return False

    def _deliver(self, batch: list[tuple[T, asyncio.Future[Any]]], results: Sequence[Any]) -> None:
        self.waiting -= len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            if result is not None and not future.done():
                future.set_result(result)
