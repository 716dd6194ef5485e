"""Reference implementations: brute force, without the kernels of the package."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq, linprog
from scipy.sparse import csr_matrix
from sklearn.isotonic import IsotonicRegression


class Optimum(NamedTuple):
    """Optimum of the linear programme, and the shadow price λ of the budget."""

    value: float
    price: float


def lp_optimum(value: NDArray[Any], cost: NDArray[Any], budget: float) -> Optimum:
    """max Σ z v  s.t.  Σ z c <= budget, Σ_j z_ij = 1, z >= 0, by HiGHS. Cost and value are rescaled to about 1."""
    n, m = value.shape
    value, cost = value.astype(np.float64), cost.astype(np.float64)
    worth, money = np.abs(value).max() or 1.0, cost.max() or 1.0
    rows = np.repeat(np.arange(n), m)
    done = linprog(
        -value.ravel() / worth,
        A_ub=csr_matrix(cost.ravel()[None, :] / money), b_ub=[budget / money],
        A_eq=csr_matrix((np.ones(n * m), (rows, np.arange(n * m))), shape=(n, n * m)), b_eq=np.ones(n),
        bounds=(0, None), method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )  # fmt: skip
    assert done.status == 0, done.message
    return Optimum(-done.fun * worth, -done.ineqlin.marginals[0] * worth / money)


def dual_optimum(value: NDArray[Any], cost: NDArray[Any], budget: Any) -> Fraction:
    """min over price of price * budget + Σ_i max_j (v_ij - price * c_ij), exactly: every kink is tried."""
    v = [[Fraction(float(a)) for a in row] for row in value]
    c = [[Fraction(float(a)) for a in row] for row in cost]
    kinks = {Fraction(0)}
    for vi, ci in zip(v, c, strict=True):
        for j, k in itertools.combinations(range(len(vi)), 2):
            if ci[j] != ci[k]:
                kinks.add(max(Fraction(0), (vi[j] - vi[k]) / (ci[j] - ci[k])))
    budget = Fraction(float(budget))
    return min(
        price * budget
        + sum(max(a - price * b for a, b in zip(vi, ci, strict=True)) for vi, ci in zip(v, c, strict=True))
        for price in kinks
    )


def best_plan(value: NDArray[Any], cost: NDArray[Any], budget: float) -> float:
    """Value of the best plan of whole units: all M^N plans are tried."""
    n, m = value.shape
    plans = np.array(list(itertools.product(range(m), repeat=n)))
    spend, worth = cost[np.arange(n), plans].sum(axis=1), value[np.arange(n), plans].sum(axis=1)
    return float(worth[spend <= budget].max())


def argmax(value: NDArray[Any], cost: NDArray[Any], price: Any) -> NDArray[np.int64]:
    """argmax_j value - price * cost for each unit, ties to the cheaper; exact for integers and a Fraction price."""
    out = []
    for v, c in zip(value.tolist(), cost.tolist(), strict=True):
        out.append(max(range(len(v)), key=lambda j: (v[j] - price * c[j], -c[j])))
    return np.array(out)


def argmax_floats(value: NDArray[Any], cost: NDArray[Any], price: float) -> NDArray[np.int64]:
    """As `argmax`, vectorised; meant for prices at which no two treatments tie."""
    return np.argmax(value - price * cost, axis=1)


class Rows(NamedTuple):
    """A trial as bare arrays; `propensity` (N,) of the treatment taken, `weight` (N,)."""

    treatment: NDArray[Any]
    value: NDArray[np.float64]
    cost: NDArray[np.float64]
    propensity: NDArray[np.float64]
    weight: NDArray[np.float64]


def eom(
    rows: Rows, decision: NDArray[Any], estimator: str = "ht", outcomes: tuple[NDArray[Any], NDArray[Any]] | None = None
) -> NDArray[np.float64]:
    """Value and cost per unit of a decision for each row, by its definition."""
    w = rows.weight / rows.propensity * (rows.treatment == decision)
    y = np.stack([rows.value, rows.cost])  # (2, N)
    total = rows.weight.sum()
    if estimator == "sn":
        return y @ w / w.sum()
    if estimator == "dr":
        at = np.arange(len(decision))
        taken = np.stack([q[at, rows.treatment] for q in outcomes])
        decided = np.stack([q[at, decision] for q in outcomes])
        return (decided @ rows.weight + (y - taken) @ w) / total
    return y @ w / total


def kinks(value: NDArray[Any], cost: NDArray[Any]) -> NDArray[np.float64]:
    """Every price at which any two treatments of any unit tie, and 0, rising."""
    prices = {0.0}
    for j, k in itertools.combinations(range(value.shape[1]), 2):
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = (value[:, j] - value[:, k]) / (cost[:, j] - cost[:, k])
        prices.update(slope[np.isfinite(slope) & (slope > 0)].tolist())
    return np.array(sorted(prices))


def eom_curve(
    rows: Rows, value: NDArray[Any], cost: NDArray[Any], **kind: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Price, value and cost per unit on every interval of prices on which the same rows count."""
    price = kinks(value, cost)
    middle = np.append((price[1:] + price[:-1]) / 2, price[-1] * 2 + 1)
    decisions = np.array([argmax_floats(value, cost, p) for p in middle])
    counts = decisions if kind.get("outcomes") else decisions == rows.treatment
    changed = np.append(True, (counts[1:] != counts[:-1]).any(axis=1))
    outcomes = np.array([eom(rows, decision, **kind) for decision in decisions[changed]])
    return price[changed], outcomes[:, 0], outcomes[:, 1]


def eom_at_budgets(value: NDArray[Any], cost: NDArray[Any], budgets: NDArray[Any]) -> NDArray[np.float64]:
    """Value where the monotone spend meets each budget, by bisection over the intervals of prices."""
    even = np.round(cost, 12)  # equal spends must be equal numbers, however they were added up
    spend = IsotonicRegression(increasing=False).fit_transform(np.arange(len(cost)), even)
    blocks = np.split(np.arange(len(cost)), np.flatnonzero(np.diff(spend) < -1e-11) + 1)
    level = np.array([cost[b].mean() for b in blocks])
    worth = np.array([value[b].mean() for b in blocks])
    out = []
    for budget in budgets:
        if budget < level[-1]:
            out.append(np.nan)
            continue
        low, high = 0, len(level) - 1  # the spend at `high` is within the budget
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if level[middle] <= budget else (middle + 1, high)
        if high == 0:
            out.append(worth[0])
        else:
            part = (level[high - 1] - budget) / (level[high - 1] - level[high])
            out.append((1 - part) * worth[high - 1] + part * worth[high])
    return np.array(out)


def skewed_quantiles(level: float, freedom: float, g: float) -> tuple[float, float]:
    """The quantiles of a t-statistic with skewness g, by searching for the roots of Hall's transformation."""
    t = stats.t.ppf((1 + level) / 2, freedom)

    def excess(u: float, of: float) -> float:
        return u + g * u**2 / 3 + g**2 * u**3 / 27 + g / 6 - of

    return tuple(brentq(excess, -1e4, 1e4, args=(of,), xtol=1e-13, rtol=1e-15) for of in (-t, t))


def skewness_of_difference(control: NDArray[Any], treated: NDArray[Any]) -> float:
    """Skewness of mean(treated) - mean(control), both with the skewness of one unit that is pooled over the arms."""
    a, b = (np.asarray(x, np.float64) - np.mean(x) for x in (control, treated))
    both = np.r_[a, b]
    unit = np.mean(both**3) / (np.sum(both**2) / (len(both) - 2)) ** 1.5
    n, m = len(a), len(b)
    return float(unit * (m**-2 - n**-2) / (1 / m + 1 / n) ** 1.5)


def fieller_ends(
    effect: float, control: float, cov: NDArray[Any], quantiles: tuple[float, float]
) -> tuple[float, float]:
    """The ratios r at which (effect - r control) / its standard error is at a quantile, by search; cov of effect and control."""

    def statistic(r: float, q: float) -> float:
        return effect - r * control - q * np.sqrt(cov[0, 0] - 2 * r * cov[0, 1] + r**2 * cov[1, 1])

    found = sorted(brentq(statistic, -1e6, 1e6, args=(q,), xtol=1e-13, rtol=1e-14) for q in quantiles)
    return found[0], found[1]
