"""Reading ahead and writing behind, in one thread each: files are read and written while the next block is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["ahead", "behind"]

Item = TypeVar("Item")


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yields the items; each is computed in a thread while the one before is used.

    >>> list(ahead(iter([1, 2, 3])))
    [1, 2, 3]
    """
    source, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        upcoming: Future[Any] = pool.submit(next, source, end)
        while (item := upcoming.result()) is not end:
            upcoming = pool.submit(next, source, end)
            yield item


@contextmanager
def behind(write: Callable[[Item], None]) -> Iterator[Callable[[Item], None]]:
    """Yields a function that writes items in a thread, in order, one at a time; an error is raised at the next call.

    >>> out = []
    >>> with behind(out.append) as write:
    ...     for number in range(3):
    ...         write(number)
    >>> out
    [0, 1, 2]
    """
    with ThreadPoolExecutor(1) as pool:
        last: list[Future[None]] = []

        def put(item: Item) -> None:
            if last:
                last.pop().result()
            last.append(pool.submit(write, item))

        yield put
        if last:
            last.pop().result()
