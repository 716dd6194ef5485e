"""How much can this trial tell? Said before anything is learned, from the arms alone.

**Noise.** At a budget a policy's value is its estimate less price · (its spend - budget), to first order, so what counts in a
row is the value net of the price of money, y = r - price · c; the price is the slope of the frontier of the arms' means
at the budget (0 where it does not bind). A policy π has the value 1/W Σ w y 1[t = π(x)], with w = weight / p. Before
training no policy is known, so the one that is judged picks at random with the mix q of arms that is best at that
budget. The rows are independent, their weights fixed, and a row counts with probability q_t, so

    error² = 1/W² Σ (w² y² q_t - 2 w y q_t k + k²),

where k is what centres the row: weight · Σ_j q_j ȳ_j for planned propensities, w q_t ȳ_t where they are the arms' own shares
(then each arm's rows have their own mean, and chance in the arms' sizes does not count).

**Two policies** that differ on a share d of the units are told apart by those units alone. They differ where the choice is
closest, between the two arms a, b of highest net mean (the ends of the frontier at the budget), as often one way as the
other, since they spend the same. Such a row counts + or - if its arm is a or b, and the mean is about zero:

    error_difference² = d/W² Σ w² y² 1[t in {a, b}].

It grows with √d. A difference is found with probability 0.8 by a two-sided test at 5 % if it is (1.96 + 0.84) errors.
Whatever learns from the same rows by an inverse-propensity-weighted loss has this noise too, and cannot see less.

**Weights.** A row of weight 2 stands for two units in every mean, but it is one draw: noise goes with Σ weight², as in
the bootstrap. Doubling all weights changes nothing; doubling the rows divides every error by √2.

Reference:
    Horvitz and Thompson 1952, A generalization of sampling without replacement from a finite universe, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri

from largesse import _check
from largesse.checks.finding import Finding, Floats, Grade
from largesse.evaluate.bootstrap import BestMix, arm_means
from largesse.logs import Logs
from largesse.result import Tabular, columns_of, plain

__all__ = ["PROOF", "Power", "PowerRow", "TuningAdvice", "power"]


class TuningAdvice(StrEnum):
    """Whether the gain of a decision loss could be seen on a trial of this size."""

    CAN_PAY = "can pay"
    MAY_PAY = "may pay"
    CANNOT_BE_SEEN = "cannot be seen"


PROOF = 0.3  # rows of the proof, as a share of the trial
_FACTOR = float(ndtri(0.975) + ndtri(0.8))
_WORDS: dict[TuningAdvice, str] = {
    TuningAdvice.CAN_PAY: "Decision-focused tuning can pay.",
    TuningAdvice.MAY_PAY: "Decision-focused tuning may pay: only large gains would show.",
    TuningAdvice.CANNOT_BE_SEEN: "Gains of decision-focused tuning cannot be seen at this size: rely on the likelihood models.",
}


class PowerRow(NamedTuple):
    """One budget; money and value per head, see `Power`. `proof_...`: the same on the rows of the proof."""

    budget: float
    price: float
    bought: float
    differing: float
    standard_error: float
    standard_error_difference: float
    detectable: float
    relative: float
    proof_standard_error: float
    proof_standard_error_difference: float
    proof_detectable: float
    proof_relative: float
    rows_needed: float


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Power(Finding, Tabular):
    """What can be told apart on the rows of a trial, at budgets per head (B of them).

    Attributes:
        rows: Rows of the trial.
        proof_share: Rows of the proof, as a share of them.
        budgets: Money per head, float64 (B,).
        mix: Share of each arm in the best mix of arms, (B, M).
        price: Value per money at the budget, (B,); 0 where it does not bind.
        bought: Value per head of that mix less that of control: what the money buys without looking at units, (B,).
        differing: Share of the units on which two policies differ, (B,): as asked, or what the budget leaves room for.
        standard_error: Standard error of a policy's value per head, (B,).
        standard_error_difference: Standard error of the paired difference of two policies, (B,).
        detectable: Smallest difference found with 80 % power by a two-sided test at 5 %, (B,).
        gains: Shares of `bought`: a usual and a large gain of targeting.
        advice: Whether learning by a decision loss can pay, at the budget in the middle of the list.
    """

    rows: int
    proof_share: float
    budgets: Floats
    mix: Floats
    price: Floats
    bought: Floats
    differing: Floats
    standard_error: Floats
    standard_error_difference: Floats
    detectable: Floats
    gains: tuple[float, float]
    advice: TuningAdvice

    @property
    def relative(self) -> Floats:
        """`detectable` as a share of `bought`, (B,); NaN where nothing is bought, or nothing is left to choose."""
        known = (self.bought > 0) & (self.differing > 0)
        return np.divide(self.detectable, self.bought, out=np.full_like(self.bought, np.nan), where=known)

    @property
    def rows_needed(self) -> Floats:
        """Rows of such a trial at which a usual gain is detectable, (B,); NaN as `relative`."""
        # detectable goes with 1 / √rows
        return self.rows * (self.relative / self.gains[0]) ** 2

    def table(self) -> list[PowerRow]:
        """Returns one row for each budget."""
        errors = [self.standard_error, self.standard_error_difference, self.detectable, self.relative]
        proof = [e / np.sqrt(self.proof_share) for e in errors]
        columns = [self.budgets, self.price, self.bought, self.differing, *errors, *proof, self.rows_needed]
        return [PowerRow._make(map(float, cells)) for cells in zip(*columns, strict=True)]

    def _columns(self) -> dict[str, list[Any]]:
        return columns_of(self.table(), PowerRow._fields)

    def to_dict(self) -> dict[str, Any]:
        """Returns all numbers as plain JSON values; what is unknown is None."""
        return {
            "advice": self.advice.value, "rows": self.rows, "proof_rows": round(self.rows * self.proof_share),
            "gains": list(self.gains), "budgets": plain(self.table()),
        }  # fmt: skip


def power(
    rct: Logs,
    budgets: _check.Numbers | None = None,
    proof_share: float = PROOF,
    *,
    disagreement: float = 0.2,
    gains: tuple[float, float] = (0.05, 0.3),
) -> Power:
    """Returns how small a difference between policies a trial can show, and whether a decision loss can pay on it.

    The advice compares `detectable` with what targeting could gain at all, as a share of what the money buys through
    the best mix of arms: at most the usual gain, `"can pay"`; at most the large one, `"may pay"`; else, or where the
    money buys nothing, `"cannot be seen"` (status ``"warn"``). The default gains are choices, not estimates. The arms'
    means are noisy in a small trial: `bought`, their best mix, is then a little too large, and so are the errors, by the
    noise of the price, where outcomes are rare.

    Args:
        rct: Rows with known propensities.
        budgets: Money per head, (B,), >= 0; None: half-way from the cheapest arm for everyone to the dearest. Below
            the cheapest arm counts as the cheapest arm.
        proof_share: Rows that will judge the policies, as a share of these, > 0; above 1 for more rows than these.
        disagreement: Share of the units on which two policies differ, in (0, 1].
        gains: A usual and a large gain of targeting, as shares of `bought`, > 0.

    Raises:
        DataError: The propensities are unknown, or an argument is out of its range.

    >>> rng = np.random.default_rng(0)
    >>> t = np.arange(4000) % 2
    >>> value = (rng.random(4000) < 0.1 + 0.1 * t) * 1.0
    >>> found = power(Logs(x=rng.random((4000, 1)), treatment=t, value=value, cost=2.0 * t, propensity="uniform"))
    >>> found.budgets.tolist(), found.standard_error.round(4).tolist(), found.detectable.round(4).tolist(), found.advice.value
    ([1.0], [0.0083], [0.015], 'cannot be seen')
    """
    value, cost = arm_means(rct)
    money = _budgets(budgets, cost)
    _check.number("proof_share", proof_share, low=1e-9)
    _check.number("disagreement", disagreement, low=1e-9, high=1)
    usual = _check.number("gains[0]", gains[0], low=1e-9)
    large = _check.number("gains[1]", gains[1], low=usual)
    best = BestMix.of(value, cost, money)
    room = _room(best, cost, disagreement)
    net = value - best.price[:, None] * cost  # (B, M)
    errors = np.array([_errors(rct, p, q, y) for p, q, y in zip(best.price, best.share, net, strict=True)])
    paired = np.sqrt(room) * errors[:, 1]
    found = Power(
        name="power", status=Grade.OK, sentence="", rows=rct.n, proof_share=float(proof_share), budgets=money, mix=best.share,
        price=best.price, bought=best.share @ value - value[0], differing=room, standard_error=errors[:, 0],
        standard_error_difference=paired, detectable=_FACTOR * paired, gains=(usual, large), advice=TuningAdvice.CANNOT_BE_SEEN,
    )  # fmt: skip
    k = len(money) // 2
    share = found.relative[k]
    advice = (
        TuningAdvice.CAN_PAY
        if share <= usual
        else TuningAdvice.MAY_PAY
        if share <= large
        else TuningAdvice.CANNOT_BE_SEEN
    )
    found = replace(found, advice=advice, status=Grade.WARN if advice is TuningAdvice.CANNOT_BE_SEEN else Grade.OK)
    return replace(found, sentence=_sentence(found, k))


def _budgets(budgets: Any, cost: Floats) -> Floats:
    if budgets is None:
        return np.array([(cost.min() + cost.max()) / 2])
    money = _check.array("budgets", np.atleast_1d(budgets), ndim=1, dtype=np.float64)
    _check.finite("budgets", money, "Give money per head.")
    _check.nonnegative("budgets", money, "Give money per head.")
    return money


def _room(best: BestMix, cost: Floats, disagreement: float) -> Floats:
    """Share of the units on which two policies of a budget can differ, (B,): each moves so many off the cheapest arm."""
    moved = 1 - best.share[:, cost == cost.min()].sum(axis=1)
    binds = best.price > 0
    return np.where(binds, np.minimum(disagreement, 2 * moved), disagreement)


def _errors(rct: Logs, price: float, mix: Floats, net: Floats) -> tuple[float, float]:
    """Standard errors of a random policy's value, and of the difference of two that differ on all units."""
    w, weight, arm, total = rct.inverse_propensity, rct.weights, rct.treatment, rct.total_weight
    wy, q = w * (rct.value - price * rct.cost), mix[arm]
    # k = w q_t ȳ_t, or weight · Σ_j q_j ȳ_j
    centre = w * (mix * net)[arm] if rct.assignment == "observed" else weight * (mix @ net)
    # error² = 1/W² Σ (w² y² q - 2 w y q k + k²)
    single = float(q @ wy**2 - 2 * (q * wy) @ centre + centre @ centre)
    pair = np.argsort(-net, kind="stable")[:2]
    # error_difference² = d/W² Σ w² y² 1[t in {a, b}]
    double = float((wy**2) @ np.isin(arm, pair))
    return float(np.sqrt(max(single, 0.0))) / total, float(np.sqrt(double)) / total


def _sentence(found: Power, k: int) -> str:
    row, bought = found.table()[k], bool(found.bought[k] > 0)
    start = f"At {_number(row.budget)} per head"
    if row.differing == 0:
        return f"{start} everyone gets the cheapest arm. Two policies cannot differ there: look at a larger budget."
    if row.detectable == 0 and not bought:
        return f"{start} no row has a value, so nothing can be told apart. Use another outcome, or more rows."
    loose = ", where money no longer binds" if bought and row.price == 0 else ""
    shares = f", {_percent(row.relative)} of what the money buys without targeting" if bought else ""
    size = (
        f"{start}{loose}, {found.rows:,} rows give a policy's value to ±{_number(row.standard_error)} (one standard error); the "
        f"smallest difference they show between two policies that decide {_percent(row.differing)} of the units differently "
        f"is {_number(row.detectable)} (80 % power){shares}."
    )
    less = f" ({_percent(row.proof_relative)})" if bought else ""
    proof = f" On the {round(found.rows * found.proof_share):,} rows of the proof it is {_number(row.proof_detectable)}{less}."
    none = "" if bought else " No mix of arms brings more than control, so it is no share of what the money buys."
    return size + ("" if found.proof_share == 1 else proof) + none + f" {_WORDS[found.advice]}" + _more(row, found)


def _more(row: PowerRow, found: Power) -> str:
    """How many rows would show a usual gain, in words."""
    if found.advice is TuningAdvice.CAN_PAY or not np.isfinite(row.rows_needed):
        return ""
    rows = float(f"{row.rows_needed:.1e}")
    return f" About {rows:,.0f} rows would show a gain of {_percent(found.gains[0])}."


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:,.0f} %"


def _number(value: float) -> str:
    return f"{value:.2g}" if abs(value) < 100 else f"{value:,.0f}"
