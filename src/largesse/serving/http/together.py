"""Units that are alike, of a batch or of many requests: one call of the model, the ledger by columns, all answers at once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from largesse.errors import DataError
from largesse.serving.http.answers import DecisionAnswer
from largesse.serving.http.decisions import Question, Served
from largesse.serving.http.menus import whys
from largesse.serving.http.metrics import Metrics
from largesse.serving.ledger.book import Ledger
from largesse.serving.ledger.rows import parts_of
from largesse.serving.ledger.terms import Answers, WrittenColumn

__all__ = ["Alike", "alike_of", "decide_alike", "decide_together", "documents"]

_encoder = msgspec.json.Encoder()
_log = logging.getLogger("largesse.serving")


class Alike(NamedTuple):
    """Units of one campaign that may get every treatment, by columns of n entries.

    Attributes:
        served: The campaign.
        units: Ids of the units.
        keys: The callers' keys; None: none has one.
        bodies: What the keys stand for.
        features: The features as they are stored; None: they are not.
        feed: The inputs of the model, (n, 1) each.
    """

    served: Served
    units: Sequence[str | int]
    keys: Sequence[str | None] | None
    bodies: Sequence[str] | None
    features: WrittenColumn | None
    feed: Mapping[str, NDArray[Any]]


class Decided(NamedTuple):
    """What they got.

    Attributes:
        answers: The answers.
        value: Predicted values, (n, M).
        cost: Predicted costs, (n, M).
    """

    answers: Answers
    value: NDArray[np.float64]
    cost: NDArray[np.float64]


def alike_of(questions: Sequence[Question], *, feed: bool = True) -> Alike | None:
    """Returns questions of one campaign and one run as columns; None where one of them does not allow every treatment.

    Args:
        questions: The questions.
        feed: Whether the inputs of the model are needed.
    """
    served = questions[0].served
    if any(one.allowed is not None for one in questions):
        return None
    keyed = any(one.key is not None for one in questions)
    return Alike(
        served, [one.unit for one in questions], [one.key for one in questions] if keyed else None,
        [one.body for one in questions] if keyed else None,
        WrittenColumn([one.features for one in questions]) if served.features else None,
        served.loaded.feed([one.row for one in questions]) if feed else {},
    )  # fmt: skip


def decide_together(ledger: Ledger, metrics: Metrics, alike: Alike) -> Decided | None:
    """Returns what units get, and counts them; None where the model fails, so that each is to be tried alone.

    Raises:
        StoreError: The store failed.
    """
    try:
        value, cost, votes = alike.served.predicted(alike.feed)
    except Exception as error:  # one damaged row must not fail the others
        _log.error("The model of campaign %s failed for a batch: %s", alike.served.name, error)
        return None
    return decide_alike(ledger, metrics, alike, value, cost, votes)


def decide_alike(
    ledger: Ledger, metrics: Metrics, alike: Alike, value: NDArray[np.float64], cost: NDArray[np.float64],
    votes: NDArray[np.float64] | None,
) -> Decided:  # fmt: skip
    """Returns what units with these menus and weights of exploration get, and counts them.

    Raises:
        StoreError: The store failed.
    """
    loaded = alike.served.loaded
    answers = ledger.decide_many(
        alike.served.name, alike.units, value, cost, keys=alike.keys, version=loaded.version, features=alike.features,
        bodies=alike.bodies, weights=votes,
    )  # fmt: skip
    metrics.decided_together(alike.served.name, answers)
    return Decided(answers, value, cost)


def documents(alike: Alike, got: Decided) -> list[DecisionAnswer | DataError]:
    """Returns the answer to each unit, or why it is refused."""
    a, name, names = got.answers, alike.served.name, alike.served.treatments
    reasons = whys(got.value, got.cost, np.where(np.isnan(a.price), 0.0, a.price), names)
    number = {treatment: j for j, treatment in enumerate(names)}
    codes, rows = np.array([number.get(treatment, 0) for treatment in a.treatment]), np.arange(len(a.id))
    same = (a.value == got.value[rows, codes]) & (a.cost == got.cost[rows, codes])
    version = alike.served.loaded.version
    contents = parts_of(a.propensities.tobytes(), 8 * len(names))
    written = {  # few differ
        content: msgspec.Raw(_encoder.encode(dict(zip(names, np.frombuffer(content).tolist(), strict=True))))
        for content in set(contents)
    }
    out: list[DecisionAnswer | DataError] = [
        DecisionAnswer(
            identity, name, str(unit), period, treatment, kind, given, written[every], value, cost, price,
            made_by, limited, repeated, why if unchanged and made_by == version else None,
        )
        for identity, unit, period, treatment, kind, given, every, value, cost, price, made_by, limited, repeated, unchanged, why
        in zip(
            a.id, alike.units, a.period.tolist(), a.treatment, a.kind, a.propensity.tolist(), contents,
            a.value.tolist(), a.cost.tolist(), a.price.tolist(), a.version, a.limited.tolist(), a.repeated.tolist(),
            same.tolist(), reasons, strict=True,
        )
    ]  # fmt: skip
    for i, error in a.errors.items():
        out[i] = error
    return out
