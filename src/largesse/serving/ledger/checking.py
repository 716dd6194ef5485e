"""Brings asks into the form that is decided, and refuses those that violate a rule."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from largesse import _check
from largesse.errors import DataError, SchemaError
from largesse.roles import nearest
from largesse.serving.ledger.accounts import Account, Terms
from largesse.serving.ledger.rows import packed_menu, who_of, who_prefix
from largesse.serving.ledger.terms import Ask, Written, text

__all__ = ["Checked", "Checks", "body_of", "codes_of", "json_of", "period_of", "unknown"]


class Checked(NamedTuple):
    """An ask that can be decided."""

    ask: Ask
    account: Account
    unit: str
    value: list[float]
    cost: list[float]
    codes: Sequence[int] | None  # None: all
    period: int
    who: bytes
    key: str | None
    body: str
    features: str | None
    weights: list[float] | None


def unknown(campaign: object, names: Collection[str]) -> DataError:
    """Returns the error for a campaign that is not in the ledger; the caller raises it."""
    hint = nearest(str(campaign), list(names))
    return _check.refuse("campaign", campaign, "is not in this ledger", f"{hint}Start it first.")


def period_of(account: Account, now: float) -> int:
    """Returns the number of the period of a campaign, from 0."""
    period = account.terms.campaign.period
    return 0 if period is None else max(0, math.floor((now - account.row.started) / period))


class Checks:
    """Brings asks into the form that is decided, or raises DataError."""

    def __init__(self, accounts: Mapping[str, Account], now: float) -> None:
        self.accounts = accounts
        self.periods = {name: period_of(account, now) for name, account in accounts.items()}
        self.prefixes = {name: who_prefix(one.terms, self.periods[name]) for name, one in accounts.items()}

    def __call__(self, ask: Ask) -> Checked:
        """Returns an ask in the form that is decided, or raises DataError."""
        name = text("campaign", ask.campaign)
        if (account := self.accounts.get(name)) is None:
            raise unknown(ask.campaign, self.accounts)
        terms, unit = account.terms, text("unit", ask.unit)
        treatments = terms.campaign.treatments
        value, cost = _menu("value", ask.value, treatments), _menu("cost", ask.cost, treatments)
        if min(cost) < 0:
            raise _check.refuse("cost", cost, "must be >= 0", "Income belongs to value.")
        key = None if ask.key is None else text("key", ask.key)
        if ask.version != "":
            text("version", ask.version)
        features = None if ask.features is None else json_of("features", ask.features)
        codes = codes_of(ask.allowed, terms)
        weights = None if ask.weights is None else weights_of(ask.weights, terms)
        if not isinstance(ask.body, str):
            remedy = "Give the body of the request, or its hash."
            raise _check.refuse("body", ask.body, "must be text", remedy, SchemaError)
        body = ""
        if key is not None:
            body = body_of(ask.body, unit, packed_menu(value, cost, codes), features, codes)
        who = who_of(self.prefixes[name], unit)
        return Checked(ask, account, unit, value, cost, codes, self.periods[name], who, key, body, features, weights)


def _menu(field: str, row: Sequence[float], treatments: Sequence[str]) -> list[float]:
    try:
        out = [float(x) for x in row]
    except (TypeError, ValueError, OverflowError):
        raise _check.refuse(
            field, row, "must be numbers", f"Give one for each of {len(treatments)} treatments."
        ) from None
    if len(out) != len(treatments):
        rule = f"must be {len(treatments)}, one for each of {', '.join(map(repr, treatments))}"
        raise _check.refuse(f"len({field})", len(out), rule, "Give the menu of all treatments.")
    total = sum(map(abs, out))  # NaN stays NaN
    if not total <= _check.LARGEST and not all(abs(x) <= _check.LARGEST for x in out):
        rule = f"must be finite numbers, at most {_check.LARGEST:,.0f}"
        raise _check.refuse(field, out, rule, "Check what the model predicts.")
    return out


def codes_of(allowed: object, terms: Terms) -> list[int] | None:
    """Returns the numbers of the allowed treatments, control among them; None: all."""
    if allowed is None:
        return None
    if isinstance(allowed, str) or not isinstance(allowed, Collection):
        raise _check.refuse("allowed", allowed, "must be several names of treatments", "Give a list; None allows all.")
    names = list(allowed)
    for name in names:
        if not isinstance(name, str) or name not in terms.codes:
            hint = nearest(str(name), list(terms.codes))
            rule = f"must be among {', '.join(map(repr, terms.codes))}"
            raise _check.refuse("allowed", name, rule, f"{hint}Choose from these.")
    control = terms.campaign.treatments[0]
    if control not in names:
        rule = f"must have control, {control!r}, since the holdout gets it"
        raise _check.refuse("allowed", names, rule, "Add it to the allowed treatments.")
    codes = sorted({terms.codes[name] for name in names})
    return codes if len(codes) < len(terms.codes) else None


def weights_of(given: Sequence[float], terms: Terms) -> list[float]:
    """Returns the weights of a unit in exploration, or raises DataError."""
    treatments, way = terms.campaign.treatments, terms.campaign.exploration
    if way != "thompson":
        rule = f'is given, but campaign {terms.campaign.name!r} explores by "{way}"'
        raise _check.refuse("weights", given, rule, 'Leave them out, or start the campaign with "thompson".')
    out = _menu("weights", given, treatments)
    if min(out) < 0:
        raise _check.refuse("weights", out, "must be >= 0", "Give e.g. the votes of an ensemble.")
    return out


def json_of(field: str, got: Mapping[str, Any] | Written) -> str:
    """Returns features as JSON, the same for the same features."""
    if type(got) is Written:
        return str(got)
    try:
        return json.dumps(got, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        rest = f": must be JSON ({error}). Give text, numbers and true or false; None where a cell is missing."
        raise SchemaError.at(field, rest) from None


def body_of(body: str, unit: str, menu: bytes, features: str | None, codes: Sequence[int] | None) -> str:
    """Returns the hash of what a key stands for: the body, or unit, allowed treatments and features (else the menu)."""
    if body:
        content = body.encode(errors="surrogatepass")
    elif features is None:
        content = unit.encode() + b"\0" + menu
    else:
        content = f"{unit}\0{features}\0{codes}".encode()
    return blake2b(content, digest_size=16).hexdigest()
