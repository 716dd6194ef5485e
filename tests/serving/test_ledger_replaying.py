"""Decisions made again by another policy: what changes, and what that brings and costs, against sums made by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'serve' is not installed")

from largesse.errors import DataError
from largesse.serving import Answer, Ask, Ledger, Outcome
from largesse.serving.ledger.replaying import replay
from largesse.serving.ledger.terms import FALLBACK
from tests.common.ledgers import NAMES, Clock, ask, campaign

N = 3000
RNG = np.random.default_rng(4)
X = RNG.normal(size=N)
BEFORE = ([0.0, 1.0, 1.5], [0.0, 1.0, 2.0])


def other(rows: Sequence[Mapping[str, Any]]) -> tuple[list[list[float]], list[list[float]]]:
    """Gives the dearest treatment where x > 0, else none."""
    return [[0.0, 0.1, 9.0 * (row["x"] > 0)] for row in rows], [[0.0, 1.0, 2.0] for _ in rows]


def filled(store: str, clock: Clock, **terms: Any) -> tuple[Ledger, list[Answer]]:
    """A ledger of N units with features whose outcomes are known and which have matured."""
    ledger = Ledger.open(store, clock=clock)
    ledger.start(campaign(budget=1e6, until=4e9, explore=0.6, holdout=0.1, matures=100.0, price=0.4, **terms))
    value, cost = BEFORE
    answers = ledger.decide([
        ask(f"u{i}", features={"x": float(X[i])})._replace(value=value, cost=cost) for i in range(N)
    ])  # fmt: skip
    got = [one for one in answers if isinstance(one, Answer)]
    assert len(got) == N
    ledger.outcomes([
        Outcome(a.id, f"o{i}", cost=float(NAMES.index(a.treatment)), value=outcome(i, a)) for i, a in enumerate(got)
    ])  # fmt: skip
    clock.now += 1000.0
    return ledger, got


def outcome(i: int, answer: Answer) -> float:
    return float(NAMES.index(answer.treatment) * (X[i] > 0) + i % 3)


def test_counts_and_estimates_are_those_by_hand(tmp_path: Path):
    ledger, answers = filled(f"sqlite:///{tmp_path}/a.db", Clock())
    done = replay(ledger, "c", other)
    old = np.full(N, 2)  # slopes 1 and .5 against a price of .4: both increments pay
    new = np.where(X > 0, 2, 0)
    assert (done.decisions, done.left_out, done.judged) == (N, 0, N)
    assert done.before == {NAMES[0]: 0, NAMES[1]: 0, NAMES[2]: N}
    assert done.after == {NAMES[0]: int((X <= 0).sum()), NAMES[1]: 0, NAMES[2]: int((X > 0).sum())}
    assert done.changed == pytest.approx((X <= 0).mean())
    assert (done.cost_before, done.cost_after) == pytest.approx((2.0, 2.0 * (X > 0).mean()))
    given = np.array([NAMES.index(a.treatment) for a in answers])
    weight = ((given == new) * 1.0 - (given == old)) / np.array([a.propensity for a in answers])
    assert done.informative == int((weight != 0).sum())
    for change, y in ((done.value, [outcome(i, a) for i, a in enumerate(answers)]), (done.cost, given)):
        terms = weight * np.array(y)
        error = terms.std(ddof=1) / math.sqrt(N)
        assert change is not None
        assert change.difference == pytest.approx(terms.mean())
        assert (change.low, change.high) == pytest.approx(
            (terms.mean() - 1.959964 * error, terms.mean() + 1.959964 * error)
        )
    assert done.value is not None
    assert done.cost is not None
    assert done.value.low < 0 < done.value.high, "what is no longer given brought nothing"
    assert done.cost.low < -2 * (X <= 0).mean() < done.cost.high
    ledger.close()


def test_a_price_for_the_other_policy_counts_for_it_alone(tmp_path: Path):
    ledger, _ = filled(f"sqlite:///{tmp_path}/a.db", Clock())
    done = replay(ledger, "c", lambda rows: ([BEFORE[0]] * len(rows), [BEFORE[1]] * len(rows)), price=0.7)
    assert (done.before[NAMES[2]], done.after[NAMES[1]], done.changed) == (N, N, 1.0)
    ledger.close()


def test_what_cannot_be_decided_again_is_left_out(tmp_path: Path):
    clock = Clock()
    ledger, _ = filled(f"sqlite:///{tmp_path}/a.db", clock)
    assert ledger.erase("u5") == 1
    ledger.decide([
        ask("without"),
        Ask("c", "late", [0.0] * 3, [0.0] * 3, NAMES[:1], version=FALLBACK, features={"x": 1.0}),
        ask("young", features={"x": 1.0}),
        ask("bound", features={"x": 1.0})._replace(allowed=NAMES[:1]),
    ])  # fmt: skip
    done = replay(ledger, "c", other)
    assert (done.decisions, done.left_out, done.judged) == (N + 1, 3, N - 1)
    assert done.before[NAMES[0]] >= 1, "what a unit may not get, neither policy gives it"
    ledger.close()


def test_a_log_without_features_and_an_unknown_campaign_are_refused(tmp_path: Path):
    with Ledger.open(f"sqlite:///{tmp_path}/a.db", clock=Clock()) as ledger:
        ledger.start(campaign(budget=1e3, until=4e9))
        ledger.decide([ask("u1")])
        with pytest.raises(DataError, match="none of its 1 decisions has stored features"):
            replay(ledger, "c", other)
        with pytest.raises(DataError, match="campaign == 'd': is not in this ledger"):
            replay(ledger, "d", other)
