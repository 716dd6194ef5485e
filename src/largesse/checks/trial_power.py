"""Power: the smallest difference between policies that a trial can show, computed from its arms before any model is fitted.

**Noise.** To first order, the value of a policy at a budget is its estimate less λ · (its spend - budget), so each row
counts with its net value y = r - λ · c. The shadow price λ is the slope of the frontier of the arms' means at the budget
(0 where the budget does not bind). A policy π has the value 1/W Σ w y 1[t = π(x)], with w = weight / p. Before
training no policy is known, so the computation takes a random policy with the best mix q of arms at that budget. Rows
are independent, their weights fixed, and a row counts with probability q_t, so

    standard_error² = 1/W² Σ (w² y² q_t - 2 w y q_t k + k²),

where k centres the row: weight · Σ_j q_j ȳ_j for planned propensities, w q_t ȳ_t where the propensities are the observed
shares of the arms (then each arm has its own mean, and chance in the sizes of the arms does not count).

**Two policies** that differ on a share d of the units are compared on those units alone. They differ where the choice is
closest, between the two arms a, b of highest net mean (the ends of the frontier at the budget), as often one way as the
other, since they spend the same. Such a row counts + or - if its arm is a or b, and the mean is about zero:

    standard_error_difference² = d/W² Σ w² y² 1[t in {a, b}].

It grows with √d. A two-sided test at 5 % has 80 % power for a difference of (1.96 + 0.84) standard errors. A model that
is trained on the same rows by such a weighted loss has the same noise.

**Weights.** A row of weight 2 stands for two units in every mean, but it is one observation: the noise goes with Σ weight², as in
the bootstrap. Doubling all weights changes nothing; doubling the rows divides every standard error by √2.

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
from largesse._arguments import checked
from largesse.checks.finding import Finding, Floats, Grade
from largesse.evaluate.bootstrap import arm_means
from largesse.evaluate.untargeted import BestMix
from largesse.logs import Logs
from largesse.result import Tabular, columns_of, plain

__all__ = ["PROOF", "Power", "PowerRow", "TuningAdvice", "power"]


class TuningAdvice(StrEnum):
    """Whether a trial of this size could show the gain of a decision loss."""

    CAN_PAY = "can pay"
    MAY_PAY = "may pay"
    CANNOT_BE_SEEN = "cannot be seen"


PROOF = 0.3  # held-out rows, as a share of the trial
_FACTOR = float(ndtri(0.975) + ndtri(0.8))
_WORDS: dict[TuningAdvice, str] = {
    TuningAdvice.CAN_PAY: "Decision-focused tuning can pay.",
    TuningAdvice.MAY_PAY: "Decision-focused tuning may pay: only large gains would show.",
    TuningAdvice.CANNOT_BE_SEEN: "This trial cannot show gains of decision-focused tuning: rely on the likelihood models.",
}


class PowerRow(NamedTuple):
    """One budget; spend and value per unit, see `Power`. `proof_...`: the same on the held-out rows."""

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


@checked
@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Power(Finding, Tabular):
    """Power of a trial at budgets per unit (B of them).

    Attributes:
        rows: Rows of the trial.
        proof_share: Held-out rows, as a share of them.
        budgets: Budget per unit, float64 (B,).
        mix: Share of each arm in the best mix of arms, (B, M).
        price: Shadow price λ of the budget, (B,); 0 where it does not bind.
        bought: Value per unit of that mix less that of control, (B,): the gain without targeting.
        differing: Share of the units on which two policies differ, (B,): as given, or as much as the budget allows.
        standard_error: Standard error of a policy's value per unit, (B,).
        standard_error_difference: Standard error of the paired difference of two policies, (B,).
        detectable: Minimum detectable difference, with 80 % power by a two-sided test at 5 %, (B,).
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
        """`detectable` as a share of `bought`, (B,); NaN where `bought` or `differing` is 0."""
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


@checked
def power(
    rct: Logs,
    budgets: _check.Numbers | None = None,
    proof_share: float = PROOF,
    *,
    disagreement: float = 0.2,
    gains: tuple[float, float] = (0.05, 0.3),
) -> Power:
    """Returns the minimum detectable difference between policies on a trial, and whether a decision loss can pay on it.

    The advice compares `detectable` with the possible gain of targeting, both as shares of `bought`: at most the usual
    gain, `"can pay"`; at most the large one, `"may pay"`; else, or where `bought` is 0, `"cannot be seen"` (status
    ``"warn"``). The default gains are choices, not estimates. In a small trial the means of the arms are noisy, so `bought`
    is a little too large, and where outcomes are rare the standard errors are too.

    Args:
        rct: Rows with known propensities.
        budgets: Budget per unit, (B,), >= 0; None: half-way from the cheapest arm for everyone to the most expensive. A
            budget below the cheapest arm counts as that of the cheapest arm.
        proof_share: Held-out rows, as a share of these rows, > 0; above 1 for more rows than these.
        disagreement: Share of the units on which two policies differ, in (0, 1].
        gains: A usual and a large gain of targeting, as shares of `bought`, > 0.

    Raises:
        DataError: The propensities are unknown, or an argument is out of its range.

    >>> rng = np.random.default_rng(0)
    >>> t = np.arange(4000) % 2
    >>> value = (rng.random(4000) < 0.1 + 0.1 * t) * 1.0
    >>> trial = power(Logs(x=rng.random((4000, 1)), treatment=t, value=value, cost=2.0 * t, propensity="uniform"))
    >>> trial.budgets.tolist(), trial.standard_error.round(4).tolist(), trial.detectable.round(4).tolist(), trial.advice.value
    ([1.0], [0.0083], [0.015], 'cannot be seen')
    """
    value, cost = arm_means(rct)
    per_unit = _budgets(budgets, cost)
    _check.number("proof_share", proof_share, low=1e-9)
    _check.number("disagreement", disagreement, low=1e-9, high=1)
    usual = _check.number("gains[0]", gains[0], low=1e-9)
    large = _check.number("gains[1]", gains[1], low=usual)
    best = BestMix.of(value, cost, per_unit)
    room = _room(best, cost, disagreement)
    net = value - best.price[:, None] * cost  # (B, M)
    errors = np.array([_errors(rct, p, q, y) for p, q, y in zip(best.price, best.share, net, strict=True)])
    paired = np.sqrt(room) * errors[:, 1]
    trial = Power(
        name="power", status=Grade.OK, sentence="", rows=rct.n, proof_share=float(proof_share), budgets=per_unit, mix=best.share,
        price=best.price, bought=best.share @ value - value[0], differing=room, standard_error=errors[:, 0],
        standard_error_difference=paired, detectable=_FACTOR * paired, gains=(usual, large), advice=TuningAdvice.CANNOT_BE_SEEN,
    )  # fmt: skip
    k = len(per_unit) // 2
    share = trial.relative[k]
    advice = (
        TuningAdvice.CAN_PAY
        if share <= usual
        else TuningAdvice.MAY_PAY
        if share <= large
        else TuningAdvice.CANNOT_BE_SEEN
    )
    trial = replace(trial, advice=advice, status=Grade.WARN if advice is TuningAdvice.CANNOT_BE_SEEN else Grade.OK)
    return replace(trial, sentence=_sentence(trial, k))


def _budgets(budgets: Any, cost: Floats) -> Floats:
    if budgets is None:
        return np.array([(cost.min() + cost.max()) / 2])
    per_unit = _check.array("budgets", np.atleast_1d(budgets), ndim=1, dtype=np.float64)
    _check.finite("budgets", per_unit, "Give the budget per unit.")
    _check.nonnegative("budgets", per_unit, "Give the budget per unit.")
    return per_unit


def _room(best: BestMix, cost: Floats, disagreement: float) -> Floats:
    """Returns the share of units on which two policies of a budget can differ, (B,): those that do not get the cheapest arm."""
    moved = 1 - best.share[:, cost == cost.min()].sum(axis=1)
    binds = best.price > 0
    return np.where(binds, np.minimum(disagreement, 2 * moved), disagreement)


def _errors(rct: Logs, price: float, mix: Floats, net: Floats) -> tuple[float, float]:
    """Standard errors of a random policy's value, and of the difference of two that differ on all units."""
    w, weight, arm, total = rct.inverse_propensity, rct.weights, rct.treatment, rct.total_weight
    wy, q = w * (rct.value - price * rct.cost), mix[arm]
    # k = w q_t ȳ_t, or weight · Σ_j q_j ȳ_j
    centre = w * (mix * net)[arm] if rct.assignment == "observed" else weight * (mix @ net)
    # error² = 1/W² Σ w² y² q (1 - q) + 1/W² Σ_g (Σ_i w y q - k)²: over rows, and over groups of dependent rows
    together = rct.by_group(q * wy - centre)
    single = float((q * (1 - q)) @ wy**2 + together @ together)
    a, b = np.argsort(-net, kind="stable")[:2]
    # error_difference² = d/W² Σ_g (Σ_i ± w y 1[t in {a, b}])²: dependent rows are decided alike
    paired = rct.by_group(wy * ((arm == a) * 1.0 - (arm == b)))
    double = float(paired @ paired)
    return float(np.sqrt(max(single, 0.0))) / total, float(np.sqrt(double)) / total


def _sentence(trial: Power, k: int) -> str:
    row, bought = trial.table()[k], bool(trial.bought[k] > 0)
    start = f"At a budget of {_number(row.budget)} per unit"
    if row.differing == 0:
        return f"{start}, everyone gets the cheapest arm, so two policies cannot differ: look at a larger budget."
    if row.detectable == 0 and not bought:
        return f"{start}, no row has a value, so policies cannot be compared. Use another outcome, or more rows."
    loose = ", where the budget does not bind" if bought and row.price == 0 else ""
    shares = f", which is {_percent(row.relative)} of the gain without targeting" if bought else ""
    size = (
        f"{start}{loose}, {trial.rows:,} rows estimate a policy's value with a standard error of {_number(row.standard_error)}. "
        f"Two policies that differ on {_percent(row.differing)} of the units must differ by {_number(row.detectable)} to be "
        f"distinguished (80 % power){shares}."
    )
    less = f" ({_percent(row.proof_relative)})" if bought else ""
    proof = (
        f" On the {round(trial.rows * trial.proof_share):,} held-out rows it is {_number(row.proof_detectable)}{less}."
    )
    none = "" if bought else " No mix of arms brings more than control."
    return size + ("" if trial.proof_share == 1 else proof) + none + f" {_WORDS[trial.advice]}" + _more(row, trial)


def _more(row: PowerRow, trial: Power) -> str:
    """Returns a sentence with the number of rows that would show a usual gain."""
    if trial.advice is TuningAdvice.CAN_PAY or not np.isfinite(row.rows_needed):
        return ""
    rows = float(f"{row.rows_needed:.1e}")
    return f" About {rows:,.0f} rows would show a gain of {_percent(trial.gains[0])}."


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:,.0f} %"


def _number(value: float) -> str:
    return _check.written(value, 2) if abs(value) < 100 else f"{value:,.0f}"
