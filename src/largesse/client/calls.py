"""What `Client` and `AsyncClient` share: their settings, the calls of each method, and what units get offline."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from largesse.client.bodies import ask_body, encoded, number, outcome_body, refuse, text, with_keys
from largesse.client.exchange import Call, refusal
from largesse.client.terms import OFFLINE, Ask, CampaignStatus, Challenger, Decision, Outcome, Receipt, Why, taken
from largesse.errors import DataError, RefusedByService, ServiceUnavailable

__all__ = ["Calls", "Part"]

_PART = 1_000  # units or outcomes of one request
_log = logging.getLogger("largesse.client")
Refused = RefusedByService | ServiceUnavailable


class Part(NamedTuple):
    """Asks that go together, and the call that decides them."""

    asks: Sequence[Ask]
    call: Call


class Calls:
    """The settings of a client, checked, and the calls that it makes.

    Args:
        url: Address of the service.
        key: API key; None: none.
        timeout: Seconds of one attempt of a decision.
        retries: Attempts after the first.
        deadline: Seconds of all attempts of a decision.
        patience: Seconds of any other call, all attempts together.
        fallback: Treatment by campaign that a unit gets without the service.

    Raises:
        DataError: A field violates a rule.
    """

    def __init__(
        self, url: str, key: str | None, timeout: float, retries: int, deadline: float, patience: float,
        fallback: Mapping[str, str] | None,
    ) -> None:  # fmt: skip
        self.url, self.headers = _address(url), _headers(key)
        self.timeout = number("timeout", timeout, low=1e-3)
        self.deadline, self.patience = (
            number(name, got, low=1e-3) for name, got in (("deadline", deadline), ("patience", patience))
        )
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise refuse("retries", retries, "must be a whole number >= 0", "Give how often to try again.")
        if fallback is not None and not isinstance(fallback, Mapping):
            raise refuse("fallback", fallback, "must map campaigns to treatments", 'Give e.g. {"spring": "none"}.')
        self.retries = retries
        self.fallback = {text("fallback", name): text("fallback", one) for name, one in (fallback or {}).items()}

    def decision(
        self, unit: str | int, features: Mapping[str, Any], campaign: str | None, allowed: Collection[str] | None,
        key: str | None,
    ) -> Part:  # fmt: skip
        """Returns the part of one ask."""
        (one,) = with_keys([Ask(unit, features, campaign, allowed, key)])
        self._check_fallback(one, "")
        body, read = encoded(ask_body(one)), partial(_decision, one)
        call = Call("POST", "/v1/decisions", body, read, self.timeout, self.deadline, str(one.key))
        return Part([one], call)

    def decisions(self, asks: Iterable[Ask]) -> list[Part]:
        """Returns the parts of many asks; all are checked before the first is sent."""
        every = with_keys(_kinds("asks", asks, Ask))
        bodies = [ask_body(one, f"asks[{k}].") for k, one in enumerate(every)]
        for k, one in enumerate(every):
            self._check_fallback(one, f"asks[{k}].")
        return [
            Part(some, self._other("POST", "/v1/decisions:batch", partial(_decisions, some), bodies[first : first + _PART]))
            for first, some in _parts(every)
        ]  # fmt: skip

    def outcome(self, one: Outcome) -> Call:
        """Returns the call of one outcome."""
        return self._other("POST", "/v1/outcomes", partial(taken, Receipt), outcome_body(one), one.key)

    def outcomes(self, several: Iterable[Outcome]) -> list[Call]:
        """Returns the calls of many outcomes; all are checked before the first is sent."""
        bodies = [outcome_body(one, f"outcomes[{k}].") for k, one in enumerate(_kinds("outcomes", several, Outcome))]
        return [self._other("POST", "/v1/outcomes", partial(_receipts, len(some)), some) for _, some in _parts(bodies)]

    def campaign(self, name: str) -> Call:
        """Returns the call of the status of a campaign."""
        path = f"/v1/campaigns/{quote(text('name', name), safe='')}"
        return self._other("GET", path, _status)

    def erase(self, unit: str | int) -> Call:
        """Returns the call that erases a unit."""
        path = f"/v1/units/{quote(text('unit', unit), safe='')}"
        return self._other("DELETE", path, _erased)

    def offline(self, one: Ask, error: ServiceUnavailable) -> Decision:
        """Returns what a unit gets without the service, or raises the error if that is not declared."""
        treatment = self._fallback(one.campaign)
        if treatment is None:
            raise error
        _log.warning("A unit gets the fallback of campaign %s: %s", one.campaign or "(the only one)", error)
        return Decision(
            unit=text("unit", one.unit), treatment=treatment, key=str(one.key), kind=OFFLINE, offline=True,
            maybe_stored=error.maybe_stored, campaign=one.campaign,
        )  # fmt: skip

    def settled(self, one: Ask, got: Decision | Refused) -> Decision | Refused:
        """Returns the result of an ask within a batch: offline if the service could not decide it."""
        if isinstance(got, ServiceUnavailable) and self._fallback(one.campaign) is not None:
            return self.offline(one, got)
        return got

    def _other(self, method: str, path: str, read: Any, content: Any = None, key: str = "") -> Call:
        body = None if content is None else encoded(content)
        return Call(method, path, body, read, self.patience, self.patience, key)

    def _fallback(self, campaign: str | None) -> str | None:
        if campaign is None and len(self.fallback) == 1:
            return next(iter(self.fallback.values()))
        return self.fallback.get(campaign or "")

    def _check_fallback(self, one: Ask, place: str) -> None:
        treatment = self._fallback(one.campaign)
        if treatment is not None and one.allowed is not None and treatment not in one.allowed:
            rule = f"lacks {treatment!r}, which the unit gets if the service does not answer"
            raise refuse(f"{place}allowed", one.allowed, rule, "Allow it, or declare another fallback.")


def _address(url: str) -> str:
    remedy = "Give e.g. http://127.0.0.1:8000."
    try:
        parts = urlsplit(url)
        port = parts.port
    except (ValueError, TypeError, AttributeError):
        raise refuse("url", url, "is no address", remedy) from None
    if parts.username is not None or parts.password is not None:
        raise DataError.at("url", ": must not have a user or password. Give the key of the service as `key`.")
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or parts.query or parts.fragment:
        raise refuse("url", url, "must be http:// or https:// and a host, without a query", remedy)
    return url.rstrip("/")


def _headers(key: str | None) -> dict[str, str]:
    out = {"content-type": "application/json", "accept": "application/json"}
    if key is None:
        return out
    if not isinstance(key, str) or not key or not key.isascii() or not key.isprintable() or " " in key:
        rule = "must be text without spaces, as `largesse keys create` prints it"  # its value stays out of messages
        raise DataError.at("key", f": {rule}. Copy it again.")
    return out | {"authorization": f"Bearer {key}"}


def _kinds(field: str, given: Iterable[Any], kind: type) -> list[Any]:
    several = [given] if isinstance(given, kind) else list(given)
    for k, one in enumerate(several):
        if not isinstance(one, kind):
            name = kind.__name__
            raise refuse(f"{field}[{k}]", one, f"must be of the kind {name}", f"Give largesse.client.{name} objects.")
    return several


def _parts(several: Sequence[Any]) -> Iterator[tuple[int, Sequence[Any]]]:
    for first in range(0, len(several), _PART):
        yield first, several[first : first + _PART]


def _status(content: Any) -> CampaignStatus:
    tried = content.get("challenger") if isinstance(content, dict) else None
    return taken(CampaignStatus, content, challenger=None if tried is None else taken(Challenger, tried))


def _decision(one: Ask, content: Any) -> Decision:
    why = content.get("why") if isinstance(content, dict) else None
    got = taken(Decision, content, key=one.key, offline=False, why=None if why is None else taken(Why, why))
    if got.id is None or got.propensity is None:
        raise ValueError("it has no id or no propensity")
    return got


def _problem(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("status"), int) and "detail" in item


def _list(content: Any, n: int) -> list[Any]:
    if not isinstance(content, list) or len(content) != n:
        raise ValueError(f"it is no list of {n} results")
    return content


def _decisions(asks: Sequence[Ask], content: Any) -> list[Decision | Refused]:
    rows = zip(asks, _list(content, len(asks)), strict=True)
    return [refusal(item["status"], item) if _problem(item) else _decision(one, item) for one, item in rows]


def _receipts(n: int, content: Any) -> list[Receipt | Refused]:
    return [refusal(item["status"], item) if _problem(item) else taken(Receipt, item) for item in _list(content, n)]


def _erased(content: Any) -> int:
    if not isinstance(content, dict) or not isinstance(content.get("decisions"), int):
        raise ValueError("it has no number of decisions")
    return int(content["decisions"])
