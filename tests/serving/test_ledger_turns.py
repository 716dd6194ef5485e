"""Turns of the threads that write: one at a time, in order, and nobody waits for ever."""

from __future__ import annotations

import threading
import time

import pytest

from largesse.serving.ledger.turns import Late, Turns


class Threads:
    """Threads that take turns and note when they have one."""

    def __init__(self, turns: Turns) -> None:
        self.turns, self.order, self.inside = turns, list[str](), 0
        self._all = list[threading.Thread]()

    def start(self, name: str, *, patient: bool = False) -> None:
        before = self.waiting()
        one = threading.Thread(target=self._run, args=(name, patient))
        one.start()
        self._all.append(one)
        while self.waiting() == before:
            time.sleep(0.001)

    def waiting(self) -> int:
        return sum(map(len, self.turns._waiting.values()))

    def end(self) -> None:
        for one in self._all:
            one.join(10)
        assert not any(one.is_alive() for one in self._all)

    def _run(self, name: str, patient: bool) -> None:
        with self.turns.mine(patient=patient):
            self.inside += 1
            assert self.inside == 1
            self.order.append(name)
            time.sleep(0.002)
            self.inside -= 1


@pytest.fixture
def turns() -> Turns:
    return Turns(10.0)


def test_those_that_are_patient_go_last(turns: Turns):
    threads = Threads(turns)
    with turns.mine():
        for name in ("long 1", "short 1", "long 2", "short 2"):
            threads.start(name, patient=name.startswith("long"))
        assert threads.order == []
    threads.end()
    assert threads.order == ["short 1", "short 2", "long 1", "long 2"]


def test_a_patient_one_that_waits_for_another_process_lets_others_go_first(turns: Turns):
    threads = Threads(turns)
    with turns.mine(patient=True):
        threads.start("short")
        threads.start("long", patient=True)
        turns.pause()
        assert threads.order == ["short"]
        turns.pause()  # nobody else is in a hurry
        assert threads.order == ["short"]
    threads.end()
    assert threads.order == ["short", "long"]


def test_one_in_a_hurry_keeps_its_turn(turns: Turns):
    threads = Threads(turns)
    with turns.mine():
        threads.start("short")
        turns.pause()
        assert threads.order == []
    threads.end()


def test_a_turn_that_does_not_come_in_time_is_given_up():
    turns, late = Turns(0.05), list[Exception]()

    def wait() -> None:
        try:
            with turns.mine():
                raise AssertionError("it has the turn")
        except Late as error:
            late.append(error)

    with turns.mine():
        one = threading.Thread(target=wait)
        one.start()
        one.join(10)
    assert len(late) == 1
    with turns.mine():  # nobody waits for one that has gone
        pass


def test_an_error_ends_a_turn(turns: Turns):
    with pytest.raises(ValueError, match="x"), turns.mine():
        raise ValueError("x")
    threads = Threads(turns)
    with turns.mine():
        threads.start("short")
    threads.end()


def test_one_that_lost_its_turn_does_not_end_that_of_another():
    turns, going, got = Turns(0.05), threading.Event(), list[bool]()

    def hold() -> None:
        with turns.mine():
            going.wait(10)

    def pause() -> None:
        with turns.mine(patient=True):
            one.start()
            while not turns._waiting[False]:
                time.sleep(0.001)
            turns.pause()  # the other one goes first, and does not end

    one = threading.Thread(target=hold)
    with pytest.raises(Late):
        pause()
    try:
        with turns.mine():
            got.append(True)
    except Late:
        got.append(False)
    going.set()
    one.join(10)
    assert got == [False]
