"""Independent tasks on several processor cores: in this process and, beside it, in processes that are kept for the next call.

Each task uses one thread, wherever it runs, so the results are the same for any number of processes.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

import joblib
import loky
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from largesse.errors import LargesseError

__all__ = ["Workers", "cores", "one_thread"]

S = TypeVar("S")  # what all tasks share
K = TypeVar("K")  # a task
R = TypeVar("R")  # its result

_MOST = 8  # processes, unless run.threads sets more: each has its own copy of its training rows
_IDLE = 60  # seconds after which a process without work ends
_END: Any = object()
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


def cores() -> int:
    """Returns the number of processor cores that this process may use, at most 8."""
    return min(int(loky.cpu_count()), _MOST)


class Workers:
    """Processes that share the tasks of a call with this one.

    Args:
        n: Processor cores to use, this process included; 1: everything is done in this process.
        imports: Modules that the tasks need; the processes begin to import them at once.

    Leaving the context after an error ends the processes; otherwise they are kept for a minute, for the next call.
    """

    def __init__(self, n: int, imports: tuple[str, ...] = ()) -> None:
        self.n = n
        self.pool: Any = None
        self.ready: list[Future[None]] = []
        if n > 1:
            self.pool = loky.get_reusable_executor(max_workers=n - 1, timeout=_IDLE, env=_ONE_THREAD)
            self.ready = [self.pool.submit(_prepare, imports, os.getpid()) for _ in range(n - 1)]

    def prepare(self, *modules: str) -> None:
        """Has the processes import what their next tasks need, while this one does something else."""
        for _ in range(self.n - 1):
            self.pool.submit(_import, modules)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self.pool is not None:
            self.pool.shutdown(kill_workers=True)

    def run(self, function: Callable[[S, K], R], shared: S, tasks: Iterable[K]) -> Iterator[tuple[K, R]]:
        """Yields each task with `function(shared, task)`, in the order in which they end.

        Args:
            function: A function of a module.
            shared: Whatever all tasks need; the processes map its arrays into memory, they do not copy them.
            tasks: Taken one by one, as a process becomes free.

        Raises:
            LargesseError: A process was ended from outside, by want of memory perhaps; or what a task raises.
        """
        if self.pool is None:
            for task in tasks:
                yield task, _alone(function, shared, task)
            return
        with _file(shared) as path:
            yield from _Run(self.pool, function, shared, path, iter(tasks)).results(self.ready)

    def beside(self, function: Callable[[S], R], shared: S) -> Callable[[], R]:
        """Returns a function that returns `function(shared)`: a process computes it meanwhile, if one is ready and free.

        Args:
            function: A function of a module.
            shared: Its argument; a process maps its arrays into memory, it does not copy them.
        """
        if not any(one.done() for one in self.ready):
            return lambda: _alone(_applied, shared, function)
        file = ExitStack()
        future = self.pool.submit(_in_process, file.enter_context(_file(shared)), _applied, function)

        def result() -> R:
            with file:
                if future.cancel():
                    return _alone(_applied, shared, function)
                try:
                    return cast(R, future.result())
                except BrokenProcessPool as error:
                    raise _explained(error) from error

        return result


class _Run(Generic[S, K, R]):
    """One call of `Workers.run`: the tasks that are left, and those that end."""

    def __init__(self, pool: Any, function: Callable[[S, K], R], shared: S, path: str, tasks: Iterator[K]) -> None:
        self.pool, self.function, self.shared, self.path, self.tasks = pool, function, shared, path, tasks
        self.lock, self.ended, self.away = threading.Lock(), SimpleQueue[tuple[K, Future[R]]](), 0
        self.failed: BaseException | None = None

    def results(self, ready: Iterable[Future[None]]) -> Iterator[tuple[K, R]]:
        """Yields each task with its result; a process that is not ready yet gets its first task when it is."""
        for one in ready:
            one.add_done_callback(lambda _: self._send())
        try:
            while True:
                while not self.ended.empty():
                    yield self._received()
                if self.failed is not None:
                    raise _explained(self.failed)
                task = self._next()
                if task is not _END:
                    yield task, _alone(self.function, self.shared, task)
                elif self.away:
                    yield self._received()
                else:
                    return
        finally:
            self.tasks = iter(())  # nothing is sent after the end

    def _next(self, *, away: bool = False) -> K:
        """Returns the next task, or `_END`. Called in this thread and in the one that hears of ended tasks."""
        with self.lock:
            task = next(self.tasks, _END)
            self.away += away and task is not _END
            return task

    def _send(self) -> None:
        """Sends the next task to a process; as it ends, the next one."""
        try:
            task = self._next(away=True)
            if task is not _END:
                future = self.pool.submit(_in_process, self.path, self.function, task)
                future.add_done_callback(lambda future: self._end(task, future))
        except BaseException as error:  # would be lost in another thread
            self.failed = error

    def _end(self, task: K, future: Future[R]) -> None:
        if future.exception() is None:
            self._send()
        self.ended.put((task, future))

    def _received(self) -> tuple[K, R]:
        task, future = self.ended.get()
        with self.lock:
            self.away -= 1
        try:
            return task, future.result()
        except BrokenProcessPool as error:
            raise _explained(error) from error


def _explained(error: BaseException) -> BaseException:
    """Returns an error with what to do, where a process ended."""
    if not isinstance(error, BrokenProcessPool):
        return error
    return LargesseError(
        "A process that trained a model was ended from outside, most often because the memory was not enough. Set "
        "run.threads = 1 (it then takes less memory), or free some, and start again."
    )


def _alone(function: Callable[[S, K], R], shared: S, task: K) -> R:
    with one_thread():
        return function(shared, task)


def _applied(shared: S, function: Callable[[S], R]) -> R:
    return function(shared)


def one_thread() -> AbstractContextManager[object]:
    """Limits BLAS and OpenMP to one thread, until the context is left."""
    return _pools(len(sys.modules)).limit(limits=1)


@lru_cache(maxsize=1)
def _pools(modules: int) -> ThreadpoolController:
    """Returns the thread pools of the libraries that are loaded; looked for again when a module was imported since."""
    return ThreadpoolController()


def _in_process(path: str, function: Callable[[Any, K], R], task: K) -> R:
    return _alone(function, _shared(path), task)


@lru_cache(maxsize=1)
def _shared(path: str) -> Any:
    return joblib.load(path, mmap_mode="r")


@contextmanager
def _file(shared: Any) -> Iterator[str]:
    """Yields the path of a file that contains an object."""
    with tempfile.TemporaryDirectory(prefix="largesse-", ignore_cleanup_errors=True) as folder:
        path = str(Path(folder) / "shared")
        joblib.dump(shared, path)
        yield path


def _prepare(imports: tuple[str, ...], parent: int) -> None:
    """Imports modules, and from now on ends this process when its parent has ended, even by kill -9."""
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    _import(imports)


def _import(modules: tuple[str, ...]) -> None:
    for name in modules:
        with suppress(ImportError):  # an extra that is not installed
            importlib.import_module(name)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
