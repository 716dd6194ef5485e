"""Values of policies and baselines at budgets, and what they are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse.allocate.budget_frontier import frontier
from largesse.evaluate.bootstrap import Arms, FixedPrices, Grid, around, row_weights
from largesse.evaluate.contributions import Contributions, RandomMix
from largesse.evaluate.curve import OutcomeCurve
from largesse.evaluate.paths import DecisionPath
from largesse.evaluate.untargeted import CoupledMix
from largesse.logs import Logs
from largesse.menu import Menu

__all__ = ["Parts", "Shares", "draws_of", "estimates"]

Floats = NDArray[np.float64]


Shares = Callable[[Floats], Floats]
"""Returns the share of each treatment in a policy's decisions at rising prices, (P, M)."""


class Parts(NamedTuple):
    """What the estimates are made of: contributions, best mix of arms, random mix (B, M), where it costs too much, its policy."""

    made: Contributions
    coupled: CoupledMix
    mix: Floats
    short: NDArray[np.bool_]
    home: Menu | DecisionPath


def estimates(
    logs: Logs,
    menus: Mapping[str, Menu | DecisionPath],
    fixed: dict[str, FixedPrices],
    money: Floats,
    home: str,
    arms: Arms,
    shares: Shares,
) -> tuple[Floats, Floats, Floats, Parts]:
    """Returns value, spend and price of every policy and baseline, each (P, B), with what they are made of."""
    mean, cost = arms.means()
    curves = {name: own.curve for name, own in fixed.items()}
    least, most = np.array([curve.reach for curve in curves.values()]).T[:, :, None]
    spend = np.where(money >= least, np.minimum(money, most), np.nan)
    mix = _shares(shares, fixed[home].curve, money)
    mix[np.isnan(spend[list(curves).index(home)])] = np.nan
    known = money >= cost.min()
    coupled = CoupledMix.of([mean, cost], arms.covariance(), money)
    best = np.where(known, coupled.value(), np.nan)
    dearest = frontier(Menu(value=mean[None, :], cost=np.maximum(cost, 0)[None, :])).spend[-1]
    nothing = np.ones_like(money)
    random = RandomMix.of(mix, mean, cost, money)
    value = [*(own.value for own in fixed.values()), mean[0] * nothing, best, random.value]
    spent = [*spend, cost[0] * nothing, np.where(known, np.minimum(money, dearest), np.nan), random.spend]
    price = [*(curve.price_at(money) for curve in curves.values()), *(np.full((3, len(money)), np.nan))]
    of_best, left = coupled.linear()
    of_none = np.zeros_like(of_best)
    of_none[:, 0, 0] = 1.0
    more = np.zeros((len(value), len(money)))
    more[-2] = left
    slope = around(
        curves[home],
        money,
        lambda b: RandomMix.of(_shares(shares, curves[home], b), mean, cost, money, random.short).value,
    )
    coefficients = np.array([of_none, of_best, np.nan_to_num(random.coefficients)])
    made = Contributions(tuple(fixed.values()), arms, coefficients, list(curves).index(home), slope, more)
    return np.array(value), np.array(spent), np.array(price), Parts(made, coupled, mix, random.short, menus[home])


def _shares(shares: Shares, curve: OutcomeCurve, money: Floats) -> Floats:
    """Returns the share of each treatment in the decisions at the prices of each budget, (B, M)."""
    low, high, part = curve.split_at(money)
    ends = np.unique(np.concatenate([low, high]))
    table = shares(ends)
    first, second = (table[np.searchsorted(ends, price)] for price in (low, high))
    return np.asarray((1 - part)[:, None] * first + part[:, None] * second)


def draws_of(parts: Parts, money: Floats, draws: int, seed: int) -> Floats:
    """Returns the value of every policy and baseline in every bootstrap draw, (D, P, B)."""
    made, arms = parts.made, parts.made.arms
    rows = [(own, Grid.of(own.curve)) for own in made.policies]
    ones = np.ones(arms.logs.n)
    centre = [own.at(grid, ones) for own, grid in rows]
    drawn, means = [], []
    for weight in row_weights(arms.logs, draws, seed):
        mean, cost = arms.means(weight)
        off = [own.at(grid, weight) - middle for (own, grid), middle in zip(rows, centre, strict=True)]
        values = [own.value + v - own.slope * c for own, (v, c) in zip(made.policies, off, strict=True)]
        random = RandomMix.of(parts.mix, mean, cost, money, parts.short).value - made.slope * off[made.follows][1]
        drawn.append([*values, np.full(len(money), mean[0]), random])
        means.append([mean, cost])
    return np.insert(np.array(drawn), -1, parts.coupled.draws(np.array(means)), axis=1)
