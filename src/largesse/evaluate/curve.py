"""The outcome curve: value and cost of a policy at every price and every budget, from randomised rows.

A menu and a price decide each unit: argmax_j value_ij - price * cost_ij. Row i of a trial shows the outcome of that
decision if and only if the price lies in the interval [lo_i, hi_i) of the treatment it was given. With w_i = weight_i / p_i

    value(price) = 1/W Σ_i w_i r_i 1[lo_i <= price < hi_i],      cost(price) likewise,      W = Σ_i weight_i

is unbiased for the value and the cost per unit of the policy (the "expected outcome metric"). Both are step
functions of the price whose steps are the interval ends: sort them once and every price is known exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.allocate.budget_frontier import steps
from largesse.allocate.price_intervals import taken_interval
from largesse.evaluate import kernels
from largesse.evaluate.paths import DecisionPath
from largesse.evaluate.ties import differ
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.result import Tabular

__all__ = ["Estimator", "Events", "OutcomeCurve", "interval_curve", "outcome_curve", "split"]

Estimator = Literal["ht", "sn", "dr"]


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """Changes of the sums as the price rises, when rows enter and leave.

    Attributes:
        price: Price of each event (E,), in the order of `row`.
        row: Row of the log it belongs to (E,).
        step: Change of Σ w r, Σ w c and Σ w, (E, 3).
    """

    price: NDArray[np.float64]
    row: NDArray[np.int64]
    step: NDArray[np.float64]


@checked
@dataclass(frozen=True, eq=False, repr=False)
class OutcomeCurve(Tabular):
    """Value and cost per unit of one policy at every price.

    Attributes:
        price: Prices at which a decision changes, rising, from 0, (K,). Entry k holds on [price[k], price[k + 1]).
        value: Value per unit, (K,).
        cost: Cost per unit, (K,).
        share: Σ w 1[..] / W, (K,); 1 in expectation, so that its distance from 1 shows the noise.
        estimator: ``"ht"``, ``"sn"`` or ``"dr"``.
        logs: The rows it was computed from.
        events: The events of its sums, for the bootstrap.
        by_price: Whether the decisions follow from the price; not where they are given at budgets (`DecisionPath`).
    """

    price: NDArray[np.float64]
    value: NDArray[np.float64]
    cost: NDArray[np.float64]
    share: NDArray[np.float64]
    estimator: Estimator
    logs: Logs
    events: Events
    by_price: bool = True
    _hidden: ClassVar[tuple[str, ...]] = ("logs", "events", "by_price")
    _pictured: ClassVar[bool] = True

    def _columns(self) -> dict[str, NDArray[np.float64]]:
        return {"price": self.price, "value": self.value, "cost": self.cost, "share": self.share}

    @cached_property
    def _pools(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        return kernels.pool(self.cost, self.value)

    def at_price(self, price: _check.Numbers) -> tuple[Any, Any]:
        """Returns the value and the cost per unit at each price, exactly."""
        prices = _check.numbers("price", price)
        if not np.all(prices >= 0):  # also refuses NaN
            raise _check.refuse("price", price, "must be >= 0", "At a price of 0 costs do not count.")
        k = np.searchsorted(self.price, prices, side="right") - 1
        return self.value[k], self.cost[k]

    def price_at(self, budget: _check.Numbers) -> Any:
        """Returns the lowest price at which the monotone spend is within each budget per unit."""
        first, cost, _ = self._pools
        k = np.searchsorted(-cost, -_check.budgets("budget", budget), side="left")
        return np.append(self.price[first], np.nan)[k]

    def value_at(self, budget: _check.Numbers) -> Any:
        """Returns the value per unit when the policy spends each budget per unit.

        Spend is made monotone first: where noise makes the cost rise with the price, neighbouring prices are pooled,
        and so is their value (taking the first crossing instead is biased low). Between two prices the value is
        interpolated, as if a random share of the units that change there were treated. Above the largest spend the
        value is that of a price of 0; a budget below the smallest spend is out of reach and gives NaN.
        """
        _, cost, value = self._pools
        budgets = _check.budgets("budget", budget)
        return np.where(budgets >= cost[-1], np.interp(budgets, cost[::-1], value[::-1]), np.nan)[()]

    def split_at(self, budget: _check.Numbers) -> tuple[Any, Any, Any]:
        """Returns the two prices between which each budget is spent, and the share of units decided at the second.

        Each (B,): low price, high price, share in [0, 1]. Outside the range of the spend both prices are its end.
        """
        first, cost, _ = self._pools
        k, after, part = split(cost, _check.budgets("budget", budget))
        return self.price[first[k]], self.price[first[after]], part

    def matched(self, budget: _check.Numbers) -> NDArray[np.float64]:
        """Returns how far each row counts in the value at each budget, (B, N), in [0, 1].

        It is the share of the prices behind that value at which the policy gives the row the treatment that it got: 0 or 1,
        but for rows whose decision changes there. With w = weight / propensity of the treatment that a row got,
        `value_at(budget)` is Σ w · matched · value / Σ weight, and the spend likewise. NaN where the budget is out of reach.

        Raises:
            DataError: The estimator is not ``"ht"``, so the value is no such sum.

        >>> logs = Logs(x=[[0.0]] * 4, treatment=[0, 1, 0, 1], value=[0, 1, 1, 1], cost=[0, 2, 0, 2])
        >>> menu = Menu(value=[[0.0, 1.0]] * 4, cost=[[0.0, 1.0]] * 4)
        >>> outcome_curve(logs, menu).matched(1.0).tolist()
        [[0.5, 0.5, 0.5, 0.5]]
        """
        if self.estimator != "ht":
            raise _check.refuse("estimator", self.estimator, "only sums of rows ('ht') have such shares", "Use 'ht'.")
        budgets = np.atleast_1d(np.asarray(_check.budgets("budget", budget), np.float64))
        first, cost, _ = self._pools
        last = np.append(first[1:], len(self.price))
        enters = np.sign(
            self.events.step[:, 2]
        )  # a row matches from the entry of the curve at which it enters, until it leaves
        entry = np.searchsorted(self.price, self.events.price, side="left")
        out = np.full((len(budgets), self.logs.n), np.nan)
        for b in np.flatnonzero(budgets >= cost[-1]):
            k, after, part = split(cost, budgets[b])
            within = sum(
                share * np.clip(last[p] - np.maximum(entry, first[p]), 0, None) / (last[p] - first[p])
                for p, share in ((k, 1 - part), (after, part))
            )
            out[b] = np.bincount(self.events.row, enters * within, self.logs.n)
        return np.clip(out, 0.0, 1.0)  # sums of shares that cancel leave rounding errors

    @property
    def reach(self) -> tuple[float, float]:
        """The smallest and the largest spend per unit over all prices."""
        cost = self._pools[1]
        return float(cost[-1]), float(cost[0])


@checked
def outcome_curve(
    logs: Logs, menu: Menu | DecisionPath, *, estimator: Estimator = "ht", outcomes: Menu | None = None
) -> OutcomeCurve:
    """Returns the unbiased value and cost per unit of a menu's policy at every price.

    Args:
        logs: Rows with known propensities that the model was not trained on.
        menu: The policy's predictions for these rows, (N, M), or its decisions at rising budgets.
        estimator: ``"ht"`` Horvitz-Thompson; ``"sn"`` self-normalised (divides by the share of matching rows);
            ``"dr"`` doubly robust, needs `outcomes`.
        outcomes: Predicted value and cost of every treatment for these rows, from models fitted on other rows.

    Raises:
        DataError: Unknown propensities, or a menu of other units or treatments.

    Reference:
        Horvitz and Thompson 1952; Dudík, Langford and Li 2011 (doubly robust); Zhou et al. 2024 (EOM).

    >>> logs = Logs(x=[[0.0]] * 4, treatment=[0, 1, 0, 1], value=[0, 1, 1, 1], cost=[0, 2, 0, 2])
    >>> menu = Menu(value=[[0.0, 1.0]] * 4, cost=[[0.0, 1.0]] * 4)
    >>> curve = outcome_curve(logs, menu)
    >>> value, cost = curve.at_price([0.5, 1.0])
    >>> value.tolist(), cost.tolist(), float(curve.value_at(1.0))
    ([1.0, 0.5], [2.0, 0.0], 0.75)
    """
    _check.choice("estimator", estimator, ("ht", "sn", "dr"))
    for name, table in (("menu", menu), ("outcomes", outcomes)):
        if table is not None and (table.n, table.treatments) != (logs.n, logs.treatments):
            raise _check.refuse(
                name, (table.n, table.treatments),
                f"must have the {logs.n} rows and treatments {logs.treatments} of the logs", "Predict for these rows.",
            )  # fmt: skip
    if (estimator == "dr") != (outcomes is not None):
        got = None if outcomes is None else f"a menu of {outcomes.n} units"
        raise _check.refuse("outcomes", got, "goes with estimator='dr', and only with it", "Give both or neither.")
    if isinstance(menu, DecisionPath):
        if estimator == "dr":
            raise _check.refuse("estimator", "dr", "needs a menu, not decisions at budgets", "Use 'ht' or 'sn'.")
        return replace(_curve_of(logs, estimator, _events_along(logs, menu)), by_price=False)
    lo, hi = taken_interval(menu, logs.treatment)
    return _curve_of(logs, estimator, _events(logs, lo, hi, menu, outcomes))


def interval_curve(logs: Logs, lo: NDArray[np.float64], hi: NDArray[np.float64]) -> OutcomeCurve:
    """Returns the curve for given intervals: the prices at which a policy gives each row the treatment that it got.

    Args:
        logs: Rows with known propensities.
        lo: Lower ends, (N,); infinite where the policy never gives that treatment.
        hi: Upper ends, (N,).
    """
    _check.lengths(logs=logs.treatment, lo=lo, hi=hi)
    return _curve_of(logs, "ht", _events(logs, lo, hi, None, None))


def _curve_of(logs: Logs, estimator: Estimator, events: Events) -> OutcomeCurve:
    """Returns the curve with these events."""
    logs.check_support()
    order = np.argsort(events.price, kind="stable")
    sums = kernels.cumulate(events.step[order]) / logs.total_weight
    sums[np.abs(sums) < 1e-14 * np.abs(sums).max(axis=0)] = 0.0  # rounding errors of sums that cancel
    prices = events.price[order]
    last = np.append(differ(prices), True)
    price, sums = prices[last], sums[last]
    scale = sums[:, 2] if estimator == "sn" else np.ones(len(sums))
    scale = np.where(scale > 0, scale, np.inf)  # no row matches at this price: the estimate is 0
    return OutcomeCurve(price, sums[:, 0] / scale, sums[:, 1] / scale, sums[:, 2], estimator, logs, events)


def split(cost: NDArray[np.float64], budgets: Any) -> tuple[Any, Any, Any]:
    """Returns the two entries of a falling cost between which each budget lies, and its position between them, in [0, 1]."""
    place = np.interp(budgets, cost[::-1], np.arange(len(cost))[::-1])
    k = np.floor(place).astype(np.int64)
    return k, np.minimum(k + 1, len(cost) - 1), place - k


def _events(
    logs: Logs, lo: NDArray[np.float64], hi: NDArray[np.float64], menu: Menu | None, outcomes: Menu | None
) -> Events:
    w = logs.inverse_propensity
    rows = np.arange(logs.n)
    value, cost = logs.value, logs.cost
    parts = [(np.zeros(1), np.zeros(1, np.int64), np.zeros((1, 3)))]  # so that every curve starts at price 0
    if menu is not None and outcomes is not None:
        value = value - outcomes.value[rows, logs.treatment]
        cost = cost - outcomes.cost[rows, logs.treatment]
        parts.extend(_predicted(logs, menu, outcomes))
    enter = np.column_stack([w * value, w * cost, w])
    for at, sign in ((lo, 1.0), (hi, -1.0)):
        reached = np.isfinite(at)
        parts.append((at[reached], rows[reached], sign * enter[reached]))
    price, row, step = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Events(price, row, step)


def _events_along(logs: Logs, path: DecisionPath) -> Events:
    """Returns the events of a path: a row enters where the decision becomes the treatment that it got, and leaves after."""
    w = logs.inverse_propensity
    enter = np.column_stack([w * logs.value, w * logs.cost, w])
    parts = [(np.zeros(1), np.zeros(1, np.int64), np.zeros((1, 3)))]
    before = np.zeros(logs.n)  # at a price of 0 every matching row enters
    for price, decided in zip(path.price[::-1], path.decided[::-1], strict=True):
        now = (decided == logs.treatment).astype(np.float64)
        change = now - before
        rows = np.flatnonzero(change)
        parts.append((np.full(len(rows), price), rows, change[rows, None] * enter[rows]))
        before = now
    price_, row, step = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Events(price_, row, step)


def _predicted(logs: Logs, menu: Menu, outcomes: Menu) -> list[tuple[Any, Any, Any]]:
    """Returns the events of Σ_i q_i(decision): as the price rises above a slope, the unit moves down its hull."""
    increments = steps(menu)
    weights, unit = logs.weights, increments.unit.astype(np.int64)
    down = np.column_stack([-increments.change(outcomes.value), -increments.change(outcomes.cost), np.zeros(len(unit))])
    top = increments.start.copy()
    top[increments.unit] = increments.target  # increments are sorted by falling slope: the last one written is the top
    rows = np.arange(logs.n)
    first = np.column_stack([outcomes.value[rows, top], outcomes.cost[rows, top], np.zeros(logs.n)])
    return [
        (np.zeros(logs.n), rows, weights[:, None] * first),
        (increments.slope, unit, weights[unit, None] * down),
    ]
