"""`POST /v1/decisions`, read and written without a framework between: the body by msgspec, the decision by `Decisions`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from largesse.serving.http.answers import DecisionAnswer
from largesse.serving.http.decisions import Decided, Question
from largesse.serving.http.groups import Full
from largesse.serving.http.menus import Why, why
from largesse.serving.http.problems import Refused, busy, of_msgspec, refused
from largesse.serving.http.requests import Headers, parsed
from largesse.serving.http.service import Service

__all__ = ["DecisionBody", "body_of", "decide_one", "document", "key_body", "question"]

Cell = bool | int | float | str | None


class DecisionBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a decision."""

    unit: int | str
    features: dict[str, Cell]
    campaign: str | msgspec.UnsetType | None = msgspec.UNSET
    allowed: list[str] | msgspec.UnsetType | None = msgspec.UNSET
    key: str | msgspec.UnsetType | None = msgspec.UNSET


_decoder = msgspec.json.Decoder(DecisionBody)
_sorted = msgspec.json.Encoder(order="sorted")
_encoder = msgspec.json.Encoder()
_UNSET = msgspec.UNSET


async def decide_one(service: Service, headers: Headers, body: bytes) -> tuple[str, bytes]:
    """Returns the campaign and the answer to the body of a decision.

    Raises:
        Refused: The request ends with a problem.
        LargesseError: The ledger refuses it.
    """
    if headers.media not in ("application/json", ""):
        raise refused(415, f"Content-Type is {headers.media[:60]!r}. Send application/json.")
    one = question(service, body_of(body), headers.key)
    try:
        got = await service.decisions.submit(one)
    except Full:
        raise Refused(busy("Too many decisions wait in this worker")) from None
    if isinstance(got, DecisionAnswer):
        return one.served.name, _encoder.encode(got)
    if isinstance(got, BaseException):
        raise got
    service.metrics.decided((got.answer,))
    service.shadows.offer(one, got)
    return one.served.name, _encoder.encode(document(one, got))


def body_of(body: bytes) -> DecisionBody:
    """Returns the body of a decision.

    Raises:
        Refused: It is not such JSON, or a field is of another kind.
    """
    try:
        got = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(of_msgspec(error)) from None
    # msgspec takes the last of two fields of one name. As many colons as fields: no name stands twice.
    fields = (
        2 + len(got.features) + (got.campaign is not _UNSET) + (got.key is not _UNSET) + (got.allowed is not _UNSET)
    )
    if body.count(b":") != fields:
        parsed(body)
    return got


def question(service: Service, got: DecisionBody, key: str | None = None) -> Question:
    """Returns the question of a body.

    Args:
        service: The service.
        got: The body.
        key: The header Idempotency-Key.

    Raises:
        Refused: The campaign is not served, or there are two keys.
        SchemaError: The features are not those that the policy reads.
    """
    campaign = None if got.campaign is msgspec.UNSET else got.campaign
    own = None if got.key is msgspec.UNSET else got.key
    allowed = None if got.allowed is msgspec.UNSET else got.allowed
    served = service.served(campaign)
    if key is not None and own is not None and key != own:
        raise refused(422, "key: differs from the header Idempotency-Key. Give one of the two.", "key", own[:100])
    if allowed == []:
        raise refused(
            422, "allowed: has no treatment. Name control and others; leave it out to allow all.", "allowed", "[]"
        )
    decider = served.deciding(got.unit)
    row, columns = decider.loaded.row(got.features), served.loaded.policy.columns
    named = key if own is None else own
    stored, body = "", ""
    if served.features or named is not None:
        stored = written = _sorted.encode(got.features).decode()
        if len(got.features) > len(columns):  # what the policy does not read is not stored
            stored = _sorted.encode({column.name: got.features[column.name] for column in columns}).decode()
        if named is not None:
            body = key_body(got.unit, allowed or (), written)
    return Question(decider, got.unit, row, stored, body, allowed, named, service.now(), got.features)


def key_body(unit: int | str, allowed: Sequence[str], features: str) -> str:
    """Returns what a key stands for: unit, allowed treatments and all features as JSON."""
    return f"[{_sorted.encode(str(unit)).decode()},{_sorted.encode(sorted(allowed)).decode()},{features}]"


def document(one: Question, got: Decided) -> DecisionAnswer:
    """Returns the answer to a question."""
    a = got.answer
    return DecisionAnswer(
        a.id, a.campaign, a.unit, a.period, a.treatment, a.kind, a.propensity, a.propensities, a.value, a.cost, a.price,
        a.version, a.limited, a.repeated, _why(one, got),
    )  # fmt: skip


def _why(one: Question, got: Decided) -> Why | None:
    """Returns why; None without a model, or where an earlier decision rests on another menu."""
    a, names = got.answer, one.served.treatments
    if got.menu is None or a.version != one.served.loaded.version:
        return None
    value, cost = got.menu
    j = names.index(a.treatment)
    if a.value != value[j] or a.cost != cost[j]:
        return None
    codes = range(len(names)) if one.allowed is None else sorted({names.index(name) for name in one.allowed})
    return why(value, cost, a.price, codes, names)
