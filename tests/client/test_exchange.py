"""The rules of attempts, on a clock of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from largesse.client.exchange import Attempt, Call, Failure, Reply, exchange, refusal
from largesse.errors import RefusedByService, ServiceUnavailable

BROKEN, UNSENT = Failure("the connection broke", False), Failure("no connection", True)
OK = Reply(200, {}, b"7")


def reply(status: int, **headers: str) -> Reply:
    body = json.dumps({"title": "T", "status": status, "detail": f"it is {status}."})
    return Reply(status, {name.replace("_", "-"): got for name, got in headers.items()}, body.encode())


class Run:
    """An exchange in which each attempt takes `seconds`, with its waits and its result."""

    def __init__(
        self, *got: Reply | Failure, retries: int = 2, deadline: float = 100.0, timeout: float = 10.0,
        seconds: float = 1.0, chance: float = 0.0, read: Callable[[Any], Any] = int, key: str = "k",
    ) -> None:  # fmt: skip
        self.now, self.attempts = 50.0, list[Attempt]()
        call = Call("POST", "/v1/decisions", b"{}", read, timeout, deadline, key)
        steps = exchange(call, "http://service", retries, lambda: self.now, lambda: chance)
        self.result: Any = None
        self.error: Exception | None = None
        try:
            step = next(steps)
            for one in got:
                self.attempts.append(step)
                self.now += step.wait + seconds
                step = steps.send(one)
            self.attempts.append(step)
        except StopIteration as done:
            self.result = done.value
        except (RefusedByService, ServiceUnavailable) as error:
            self.error = error


@pytest.mark.parametrize("first", [BROKEN, UNSENT, *(reply(status) for status in (429, 502, 503, 504))])
def test_what_is_sent_again(first: Reply | Failure):
    run = Run(first, OK)
    assert run.result == 7
    assert len(run.attempts) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 409, 413, 415, 418, 422, 451, 499])
def test_a_refusal_is_not_sent_again(status: int):
    run = Run(reply(status))
    assert isinstance(run.error, RefusedByService)
    assert (run.error.status, run.error.title, run.error.detail) == (status, "T", f"it is {status}.")
    assert str(run.error) == f"it is {status}."
    assert len(run.attempts) == 1


@pytest.mark.parametrize(
    ("got", "words"),
    [
        (reply(500), "status 500, it is 500"),
        (Reply(501, {}, b"<html>"), "status 501, Not Implemented"),
        (Reply(200, {}, b"<html>"), "the answer is not JSON"),
        (Reply(200, {}, b'{"a": 1}'), "the answer is not one of this service"),
        (Reply(200, {}, b""), "the answer is not one of this service"),
        (Reply(200, {}, b"[" * 100_000), "the answer is not JSON"),
    ],
)
def test_a_fault_is_unavailable_at_once(got: Reply, words: str):
    run = Run(got)
    assert isinstance(run.error, ServiceUnavailable)
    assert words in str(run.error)
    assert run.error.maybe_stored
    assert len(run.attempts) == 1


def test_a_refusal_that_is_no_problem_document():
    error = Run(Reply(404, {}, b"<html>not here</html>")).error
    assert isinstance(error, RefusedByService)
    assert (error.status, str(error)) == (404, "Not Found (status 404).")
    assert str(refusal(499, None)) == "an unknown status (status 499)."


def test_a_redirect_names_the_address():
    error = Run(Reply(308, {"location": "https://service/"}, b"")).error
    assert isinstance(error, RefusedByService)
    assert "points to https://service/" in str(error)


@pytest.mark.parametrize("retries", [0, 1, 5])
def test_as_many_attempts_as_declared(retries: int):
    run = Run(*[BROKEN] * (retries + 1), retries=retries)
    assert isinstance(run.error, ServiceUnavailable)
    assert run.error.attempts == len(run.attempts) == retries + 1
    words = "one attempt" if retries == 0 else f"{retries + 1} attempts"
    assert str(run.error).startswith(f"POST http://service/v1/decisions: no answer after {words} in ")
    assert "(the connection broke). Send it again with the same key." in str(run.error)
    assert run.error.key == "k"


@pytest.mark.parametrize(("chance", "share"), [(0.0, 0.5), (0.5, 0.75), (0.999, 0.9995)])
def test_waits_double_up_to_two_seconds_and_are_spread(chance: float, share: float):
    run = Run(*[BROKEN] * 9, retries=8, chance=chance)
    full = [0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2, 2]
    assert [step.wait for step in run.attempts] == pytest.approx([share * wait for wait in full])


def test_nothing_after_the_deadline():
    """Attempts of 3 seconds at 0, 3.025, 6.075; the last has what is left of 7 seconds."""
    run = Run(*[BROKEN] * 5, retries=9, timeout=3.0, seconds=3.0, deadline=7.0)
    assert [step.until - 50 for step in run.attempts] == pytest.approx([3, 6.025, 7])
    assert isinstance(run.error, ServiceUnavailable)
    assert run.error.attempts == 3


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_retry_after_is_waited_for(status: int):
    assert Run(reply(status, retry_after="4"), OK).attempts[1].wait == 4
    assert Run(reply(status, retry_after="0"), OK).attempts[1].wait == pytest.approx(0.025)


def test_retry_after_as_a_date():
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    assert 37 < Run(reply(503, retry_after=later), OK).attempts[1].wait <= 40
    assert Run(reply(503, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"), OK).attempts[1].wait < 1
    for wrong in ("soon", "-5", "1.5", "٣", "9" * 30 + "x", ""):
        assert Run(reply(503, retry_after=wrong), OK).attempts[1].wait < 1


@pytest.mark.parametrize("given", ["100", "9" * 400])
def test_retry_after_beyond_the_deadline_ends_it_at_once(given: str):
    run = Run(reply(503, retry_after=given))
    assert isinstance(run.error, ServiceUnavailable)
    assert run.error.attempts == 1
    assert "status 503, it is 503" in str(run.error)


@pytest.mark.parametrize(
    ("got", "maybe"), [((UNSENT, UNSENT), False), ((UNSENT, BROKEN), True), ((reply(503), UNSENT), True)]
)
def test_whether_something_may_be_stored(got: tuple[Reply | Failure, ...], maybe: bool):
    error = Run(*got, retries=1).error
    assert isinstance(error, ServiceUnavailable)
    assert error.maybe_stored is maybe


def test_a_problem_document_becomes_an_error_with_its_fields():
    problem = {
        "type": "urn:largesse:problem:conflict", "title": "What is stored contradicts the request", "status": 409,
        "detail": "key == 'a': it was given with another ask. Give every ask its own key.", "field": "key", "value": "'a'",
        "instance": "urn:largesse:request:4d2-1f",
    }  # fmt: skip
    error = refusal(409, problem)
    assert isinstance(error, RefusedByService)
    assert (error.field, error.value, error.request) == ("key", "'a'", "4d2-1f")
    assert str(error) == problem["detail"]
    long = refusal(422, {"detail": "x" * 10_000})
    assert len(str(long)) == 1000
