"""Reading ahead and writing behind, a thread each: files are packed and unpacked while the numbers are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["ahead", "behind"]

Item = TypeVar("Item")


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yields the items; each is made while the one before it is used.

    >>> list(ahead(iter([1, 2, 3])))
    [1, 2, 3]
    """
    source, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        coming: Future[Any] = pool.submit(next, source, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, source, end)
            yield item


@contextmanager
def behind(write: Callable[[Item], None]) -> Iterator[Callable[[Item], None]]:
    """Yields what writes an item while the caller goes on, one at a time and in order; an error is raised at the next call.

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
