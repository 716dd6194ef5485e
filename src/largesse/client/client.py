"""`Client` and `AsyncClient`: the calls of the decision service over httpx, from threads or from an event loop."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import httpx

from largesse.client.calls import Calls
from largesse.client.exchange import Attempt, Call, Failure, Reply, exchange
from largesse.client.terms import Ask, CampaignStatus, Decision, Outcome, Receipt
from largesse.errors import RefusedByService, ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["AsyncClient", "Client"]

_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=20.0)
_LATE = "no answer in time"


class _Left(dict[str, float]):
    """Timeouts of an attempt: whatever step asks, it has the time that is left of the whole attempt."""

    def __init__(self, until: float, clock: Callable[[], float]) -> None:
        super().__init__()
        self.until, self.clock = until, clock

    def get(self, key: str, default: Any = None) -> float:
        return max(1e-3, self.until - self.clock())


class _Base(ABC):
    """What the two clients share."""

    def __init__(
        self, url: str, *, key: str | None = None, timeout: float = 0.2, retries: int = 2, deadline: float = 1.0,
        patience: float = 30.0, fallback: Mapping[str, str] | None = None, transport: Any = None,
    ) -> None:  # fmt: skip
        self._calls = Calls(url, key, timeout, retries, deadline, patience, fallback)
        self._clock = time.monotonic
        self._open(transport)

    @abstractmethod
    def _open(self, transport: Any) -> None:
        """Makes the connections."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._calls.url!r})"

    def _exchange(self, call: Call) -> Any:
        return exchange(call, self._calls.url, self._calls.retries, self._clock)

    def _request(self, call: Call, until: float) -> dict[str, Any]:
        return {
            "method": call.method, "url": self._calls.url + call.path, "content": call.body,
            "extensions": {"timeout": _Left(until, self._clock)},
        }  # fmt: skip


class Client(_Base):
    """The decision service of `largesse serve`, from Python. One client serves many threads; make one in every process.

    Every ask has a key, which all its attempts share, so an ask that is sent again is decided once. Attempts follow where there
    was no connection, no answer in time, or the status 429, 502, 503 or 504: at growing intervals, and not before Retry-After
    has passed. Nothing else is sent again. A unit for which no attempt has an answer gets the treatment of `fallback`.

    Args:
        url: Address of the service, e.g. "https://decisions.example.org".
        key: API key, made by `largesse keys create`; None: the service needs none.
        timeout: Seconds that one attempt of a decision may take.
        retries: Attempts after the first.
        deadline: Seconds that all attempts of a decision may take, with the time between them.
        patience: Seconds that any other call may take: a batch, outcomes, the status of a campaign.
        fallback: Treatment, by campaign, that a unit gets if the service does not answer; None: `ServiceUnavailable` is raised.
        transport: An httpx transport, e.g. for certificates of your own; None: httpx's.

    Raises:
        DataError: An argument violates a rule.
        MissingDependency: httpx is not installed.

    >>> import json
    >>> answer = {
    ...     "id": "d1", "campaign": "spring", "unit": "customer 81", "period": 0, "treatment": "coupon", "kind": "policy",
    ...     "propensity": 0.9555, "propensities": {"none": 0.0445, "coupon": 0.9555}, "value": 1.2, "cost": 2.0, "price": 0.4,
    ...     "version": "run-1a2b", "limited": False, "repeated": False, "why": None}
    >>> service = httpx.MockTransport(lambda request: httpx.Response(200, json=answer))  # stands for a service here
    >>> with Client("http://127.0.0.1:8000", fallback={"spring": "none"}, transport=service) as client:
    ...     decision = client.decide("customer 81", {"age": 34, "city": "north"}, campaign="spring")
    >>> decision.treatment, decision.propensity, decision.offline
    ('coupon', 0.9555, False)
    """

    def _open(self, transport: Any) -> None:
        self._http = httpx.Client(transport=transport, headers=self._calls.headers, limits=_LIMITS)

    def decide(
        self, unit: str | int, features: Mapping[str, Any], campaign: str | None = None,
        allowed: Collection[str] | None = None, key: str | None = None,
    ) -> Decision:  # fmt: skip
        """Returns what a unit gets.

        Args:
            unit: Id of the unit; 7 and "7" are the same unit.
            features: A cell for each column that the policy reads: number, text, bool, date or time; None and NaN are missing.
            campaign: Name of the campaign; None: the only one of the service.
            allowed: Names of the treatments that the unit may get, control among them; None: all.
            key: Name of this ask: the same key gets the same answer, also in another process; None: the client makes one.

        Raises:
            DataError: An argument violates a rule; nothing was sent.
            RefusedByService: The service refuses the ask.
            ServiceUnavailable: There was no answer in time, and the campaign has no fallback.
        """
        part = self._calls.decision(unit, features, campaign, allowed, key)
        try:
            decision: Decision = self._run(part.call)
        except ServiceUnavailable as error:
            return self._calls.offline(part.asks[0], error)
        return decision

    def decide_many(self, asks: Iterable[Ask]) -> list[Decision | RefusedByService | ServiceUnavailable]:
        """Returns what many units get, in their order; in place of a decision, why the service refuses that ask.

        Args:
            asks: The asks; they are sent in requests of 1,000.

        Raises:
            DataError: A field of an ask violates a rule; nothing was sent.
            RefusedByService: The service refuses a whole request.
            ServiceUnavailable: There was no answer in time, and a campaign has no fallback. What was decided before is stored:
                its units get it again when they come again.
        """
        out: list[Decision | RefusedByService | ServiceUnavailable] = []
        for part in self._calls.decisions(asks):
            try:
                got = self._run(part.call)
            except ServiceUnavailable as error:
                got = [self._calls.offline(one, error) for one in part.asks]
            out += map(self._calls.settled, part.asks, got)
        return out

    def outcome(
        self, decision: str, key: str, cost: float = 0.0, value: float = 0.0, final: bool = True, void: bool = False
    ) -> Receipt:
        """Reports what a decision brought and cost, or a part of it; returns the state of the decision.

        Args:
            decision: Id of the decision.
            key: Your name of this outcome within the campaign, e.g. the number of the order; it counts once.
            cost: Money paid since the last outcome; negative for a refund.
            value: Value since the last outcome, e.g. orders.
            final: True releases what is still reserved; False: more may follow.
            void: True if the treatment never reached the unit; cost and value must then be 0.

        Raises:
            DataError: An argument violates a rule; nothing was sent.
            RefusedByService: The service refuses the outcome.
            ServiceUnavailable: There was no answer in time. Report it again with the same key.
        """
        receipt: Receipt = self._run(self._calls.outcome(Outcome(decision, key, cost, value, final, void)))
        return receipt

    def outcomes(self, several: Iterable[Outcome]) -> list[Receipt | RefusedByService | ServiceUnavailable]:
        """Reports many outcomes; returns for each, in their order, its receipt, or why the service refuses it.

        Args:
            several: The outcomes; they are sent in requests of 1,000.

        Raises:
            DataError: A field of an outcome violates a rule; nothing was sent.
            RefusedByService: The service refuses a whole request.
            ServiceUnavailable: There was no answer in time. Report all of them again with the same keys.
        """
        return [one for call in self._calls.outcomes(several) for one in self._run(call)]

    def campaign(self, name: str) -> CampaignStatus:
        """Returns the money, the counts and the policy of a campaign; needs a key with the role `report`.

        Args:
            name: Name of the campaign.

        Raises:
            RefusedByService: The service refuses it.
            ServiceUnavailable: There was no answer in time.
        """
        status: CampaignStatus = self._run(self._calls.campaign(name))
        return status

    def erase(self, unit: str | int) -> int:
        """Erases a unit from every campaign; needs a key with the role `admin`.

        Args:
            unit: Id of the unit.

        Returns:
            How many decisions it had.

        Raises:
            DataError: The id is no id.
            RefusedByService: The service refuses it.
            ServiceUnavailable: There was no answer in time.
        """
        return int(self._run(self._calls.erase(unit)))

    def close(self) -> None:
        """Closes the connections; the client is not used afterwards."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, call: Call) -> Any:
        steps, got = self._exchange(call), None
        try:
            while True:
                step: Attempt = steps.send(got)
                if step.wait:
                    time.sleep(step.wait)
                got = self._attempt(call, step.until)
        except StopIteration as done:
            return done.value

    def _attempt(self, call: Call, until: float) -> Reply | Failure:
        with _failing() as failures, self._http.stream(**self._request(call, until)) as got:
            parts = list[bytes]()
            for part in got.iter_bytes():
                parts.append(part)
                if self._clock() > until:
                    return Failure(_LATE, False)
            return Reply(got.status_code, got.headers, b"".join(parts))
        return failures[0]


class AsyncClient(_Base):
    """`Client` for an event loop of asyncio: the same arguments, methods, results and errors, to be awaited.

    Args:
        url: Address of the service.
        key: API key; None: the service needs none.
        timeout: Seconds that one attempt of a decision may take.
        retries: Attempts after the first.
        deadline: Seconds that all attempts of a decision may take.
        patience: Seconds that any other call may take.
        fallback: Treatment, by campaign, that a unit gets if the service does not answer.
        transport: An asynchronous httpx transport; None: httpx's.

    Raises:
        DataError: An argument violates a rule.

    >>> AsyncClient("http://127.0.0.1:8000")
    AsyncClient('http://127.0.0.1:8000')
    """

    def _open(self, transport: Any) -> None:
        self._http = httpx.AsyncClient(transport=transport, headers=self._calls.headers, limits=_LIMITS)

    async def decide(
        self, unit: str | int, features: Mapping[str, Any], campaign: str | None = None,
        allowed: Collection[str] | None = None, key: str | None = None,
    ) -> Decision:  # fmt: skip
        """Returns what a unit gets; see `Client.decide`."""
        part = self._calls.decision(unit, features, campaign, allowed, key)
        try:
            decision: Decision = await self._run(part.call)
        except ServiceUnavailable as error:
            return self._calls.offline(part.asks[0], error)
        return decision

    async def decide_many(self, asks: Iterable[Ask]) -> list[Decision | RefusedByService | ServiceUnavailable]:
        """Returns what many units get; see `Client.decide_many`."""
        out: list[Decision | RefusedByService | ServiceUnavailable] = []
        for part in self._calls.decisions(asks):
            try:
                got = await self._run(part.call)
            except ServiceUnavailable as error:
                got = [self._calls.offline(one, error) for one in part.asks]
            out += map(self._calls.settled, part.asks, got)
        return out

    async def outcome(
        self, decision: str, key: str, cost: float = 0.0, value: float = 0.0, final: bool = True, void: bool = False
    ) -> Receipt:
        """Reports what a decision brought and cost; see `Client.outcome`."""
        receipt: Receipt = await self._run(self._calls.outcome(Outcome(decision, key, cost, value, final, void)))
        return receipt

    async def outcomes(self, several: Iterable[Outcome]) -> list[Receipt | RefusedByService | ServiceUnavailable]:
        """Reports many outcomes; see `Client.outcomes`."""
        return [one for call in self._calls.outcomes(several) for one in await self._run(call)]

    async def campaign(self, name: str) -> CampaignStatus:
        """Returns the status of a campaign; see `Client.campaign`."""
        status: CampaignStatus = await self._run(self._calls.campaign(name))
        return status

    async def erase(self, unit: str | int) -> int:
        """Erases a unit; see `Client.erase`."""
        return int(await self._run(self._calls.erase(unit)))

    async def close(self) -> None:
        """Closes the connections; the client is not used afterwards."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, call: Call) -> Any:
        steps, got = self._exchange(call), None
        try:
            while True:
                step: Attempt = steps.send(got)
                if step.wait:
                    await asyncio.sleep(step.wait)
                got = await self._attempt(call, step.until)
        except StopIteration as done:
            return done.value

    async def _attempt(self, call: Call, until: float) -> Reply | Failure:
        with _failing() as failures:
            async with self._http.stream(**self._request(call, until)) as got:
                parts = list[bytes]()
                async for part in got.aiter_bytes():
                    parts.append(part)
                    if self._clock() > until:
                        return Failure(_LATE, False)
                return Reply(got.status_code, got.headers, b"".join(parts))
        return failures[0]


@contextmanager
def _failing() -> Iterator[list[Failure]]:
    """Enters into the list why an attempt had no answer."""
    failures: list[Failure] = []
    try:
        yield failures
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        failures.append(Failure(f"no connection: {error}" if str(error) else "no connection in time", True))
    except httpx.TimeoutException:
        failures.append(Failure(_LATE, False))
    except httpx.RequestError as error:
        failures.append(Failure(str(error) or "the connection broke", False))
