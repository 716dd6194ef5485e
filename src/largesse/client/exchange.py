"""One call of the service as a sequence of attempts: what is sent again and when, and what its answer or its end means.

No input or output here: `exchange` yields each attempt, and is sent what came of it. `Client` and `AsyncClient` do the rest.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NamedTuple

from largesse.errors import RefusedByService, ServiceUnavailable

__all__ = ["Attempt", "Call", "Failure", "Reply", "exchange", "refusal"]

_AGAIN = (429, 502, 503, 504)
_FIRST, _LONGEST = 0.05, 2.0  # seconds of the first wait, which doubles, and of the longest
_TEXT = 1_000  # characters of a detail


class Call(NamedTuple):
    """A request, and how to read its answer.

    Attributes:
        method: Method.
        path: Address below that of the service.
        body: Body; None: none.
        read: Makes the result from the JSON answer, or raises ValueError.
        timeout: Seconds of one attempt.
        deadline: Seconds of all attempts.
        key: Key of the ask or outcome, for messages; "": none, or several.
    """

    method: str
    path: str
    body: bytes | None
    read: Callable[[Any], Any]
    timeout: float
    deadline: float
    key: str = ""


class Attempt(NamedTuple):
    """What to do next.

    Attributes:
        wait: Seconds to wait before.
        until: When the attempt must have an answer, on the clock of the exchange.
    """

    wait: float
    until: float


class Reply(NamedTuple):
    """An answer of whatever answers at the address: status, headers (lower case) and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Failure(NamedTuple):
    """An attempt without an answer.

    Attributes:
        reason: Why.
        unsent: True if nothing was sent: there was no connection.
    """

    reason: str
    unsent: bool


def exchange(
    call: Call, url: str, retries: int, clock: Callable[[], float], chance: Callable[[], float] = random.random
) -> Generator[Attempt, Reply | Failure, Any]:
    """Yields the attempts of a call, is sent what came of each, and returns the result.

    Args:
        call: The call.
        url: Address of the service, for messages.
        retries: Attempts after the first.
        clock: Returns seconds.
        chance: Returns a random number in [0, 1); waits are spread by it, so that callers do not come back together.

    Raises:
        RefusedByService: The service refuses the request; another attempt would not help.
        ServiceUnavailable: No attempt had an answer.
    """
    start = clock()
    end, wait, unsent, tries = start + call.deadline, 0.0, True, 0
    while True:
        tries += 1
        got = yield Attempt(wait, min(clock() + wait + call.timeout, end))
        unsent = unsent and isinstance(got, Failure) and got.unsent
        if isinstance(got, Reply) and got.status not in _AGAIN:
            try:
                return _result(call, got)
            except ValueError as error:
                raise _unavailable(call, url, tries, clock() - start, str(error), unsent) from None
        reason = got.reason if isinstance(got, Failure) else _reason(got)
        wait = max(_pause(tries, chance), _retry_after(got))
        if tries > retries or clock() + wait >= end:
            raise _unavailable(call, url, tries, clock() - start, reason, unsent)


def refusal(status: int, problem: Any) -> RefusedByService | ServiceUnavailable:
    """Returns the error of a problem document: refused with a status below 500, else unavailable."""
    content = problem if isinstance(problem, dict) else {}
    title = str(content.get("title") or _phrase(status))
    detail = str(content.get("detail") or f"{title} (status {status}).")[:_TEXT]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ServiceUnavailable(detail, maybe_stored=True)
    field, value = (str(content.get(name, "")) for name in ("field", "value"))
    request = str(content.get("instance", "")).removeprefix("urn:largesse:request:")
    return RefusedByService(detail, status=status, title=title, field=field, value=value, request=request)


def _result(call: Call, got: Reply) -> Any:
    content: Any = None
    try:
        content = json.loads(got.body) if got.body else None
    except (ValueError, RecursionError):
        if got.status < HTTPStatus.MULTIPLE_CHOICES:
            raise ValueError("the answer is not JSON") from None
    if got.status < HTTPStatus.MULTIPLE_CHOICES:
        try:
            return call.read(content)
        except (ValueError, TypeError) as error:
            raise ValueError(f"the answer is not one of this service: {error}") from None
    if got.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise ValueError(_reason(got))
    if HTTPStatus.MULTIPLE_CHOICES <= got.status < HTTPStatus.BAD_REQUEST:
        place = got.headers.get("location", "another address")[:_TEXT]
        content = {"detail": f"url: the service is not there; the answer points to {place}. Give that address."}
    raise refusal(got.status, content)


def _unavailable(call: Call, url: str, tries: int, seconds: float, reason: str, unsent: bool) -> ServiceUnavailable:
    many = "one attempt" if tries == 1 else f"{tries} attempts"
    again = " Send it again with the same key." if call.key else " Try again."
    detail = f"{call.method} {url}{call.path}: no answer after {many} in {seconds:.1f} seconds ({reason[:_TEXT]})."
    return ServiceUnavailable(detail + again, attempts=tries, key=call.key, maybe_stored=not unsent)


def _reason(got: Reply) -> str:
    try:
        detail = json.loads(got.body)["detail"]
    except (ValueError, RecursionError, KeyError, TypeError):
        detail = _phrase(got.status)
    return f"status {got.status}, {str(detail).rstrip('.')}"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "an unknown status"


def _pause(tries: int, chance: Callable[[], float]) -> float:
    """Returns a wait between one half and all of a time that doubles with every attempt."""
    return float(min(_FIRST * math.ldexp(1.0, min(tries - 1, 30)), _LONGEST) * (1 + chance()) / 2)


def _retry_after(got: Reply | Failure) -> float:
    """Returns the seconds of Retry-After: a number or a date; 0 without it."""
    given = "" if isinstance(got, Failure) else got.headers.get("retry-after", "").strip()
    if given.isascii() and given.isdigit():
        return float(given[:9])
    try:
        when = parsedate_to_datetime(given)
    except (ValueError, TypeError):
        return 0.0
    return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp())
