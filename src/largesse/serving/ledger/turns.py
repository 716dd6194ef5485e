"""Whose turn it is to write, among the threads of a process: SQLite has one writer at a time, and wakes nobody that waits."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Late", "Turns"]

_LOOK = 0.001  # seconds between two looks whether another process has ended its transaction
_GAP = 1.5 * _LOOK  # seconds that a long transaction leaves to other processes after the one before it


class Late(Exception):  # noqa: N818  (the name is the condition)
    """The turn did not come in time."""


class Turns:
    """Turns of threads: first come, first served, and those that are patient after all others.

    Args:
        patience: Seconds for which a thread waits at most.

    >>> turns = Turns(1.0)
    >>> with turns.mine():
    ...     print("writes alone")
    writes alone
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self._lock, self._owner, self._ended, self._patient = threading.Lock(), 0, -_GAP, False
        self._waiting: dict[bool, deque[_Waiting]] = {False: deque(), True: deque()}

    @contextmanager
    def mine(self, *, patient: bool = False) -> Iterator[None]:
        """The turn of this thread.

        Args:
            patient: Whether others go first.

        Raises:
            Late: It did not come in time.
        """
        self._take(patient)
        try:
            if patient and (gap := self._ended + _GAP - time.monotonic()) > 0:
                time.sleep(gap)
            yield
        finally:
            if self._owner == threading.get_ident():
                self._ended = time.monotonic()
                self._pass_on()

    def pause(self) -> None:
        """Waits, within a turn, for another process; a thread that is patient lets those of its own process go first.

        Raises:
            Late: The turn did not come back in time.
        """
        if self._owner == threading.get_ident() and self._patient and self._waiting[False]:
            self._pass_on()
            self._take(True, again=True)
        else:
            time.sleep(_LOOK)

    def _take(self, patient: bool, *, again: bool = False) -> None:
        mine = _Waiting(patient)
        with self._lock:
            if not self._owner:
                self._owner, self._patient = mine.thread, patient
                return
            (self._waiting[patient].appendleft if again else self._waiting[patient].append)(mine)
        got = False
        try:
            got = mine.turn.wait(self.patience)
        finally:
            if not got:
                self._leave(mine)
        if not got:
            raise Late("another transaction of this process has not ended")

    def _leave(self, mine: _Waiting) -> None:
        """Takes a thread out of those that wait; a turn that came meanwhile is the next one's."""
        with self._lock:
            if mine in self._waiting[mine.patient]:
                self._waiting[mine.patient].remove(mine)
                return
        self._pass_on()

    def _pass_on(self) -> None:
        with self._lock:
            several = self._waiting[False] or self._waiting[True]
            if not several:
                self._owner = 0
                return
            one = several.popleft()
            self._owner, self._patient = one.thread, one.patient
        one.turn.set()


class _Waiting:
    """A thread that waits."""

    def __init__(self, patient: bool) -> None:
        self.patient, self.thread, self.turn = patient, threading.get_ident(), threading.Event()
