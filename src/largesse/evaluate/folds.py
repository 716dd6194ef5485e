"""The menus of a cross-fitted policy as one menu that spends the same in every fold at every price.

Each fold is decided by a model that was trained on the other folds. With one price for all folds, a fold whose rows do well by
chance raises what the other models predict, hence the price, hence fewer of its own units are treated: the value of the policy
is underestimated, by about a quarter of its standard error where the treatments do nothing. So the budget is the same per unit
in each fold, and each fold has its own price for it, which depends on the features of its rows alone.

Some of the error stays where a model predicts that nothing pays: its fold spends less, the other folds spend the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse.allocate.budget_frontier import Steps, steps
from largesse.allocate.kernels import cumulate
from largesse.evaluate import kernels
from largesse.menu import Menu

__all__ = ["in_step"]

Floats = NDArray[np.float64]
_TIE = 1e-12  # relative


def in_step(menus: Sequence[Menu], weights: Sequence[Floats] | None = None) -> Menu:
    """Returns the menus of folds as one menu whose decisions spend the same per unit in each fold, by the menus' own costs.

    The decisions of a fold at a price of the result are those of its own menu at the price that spends as much. The price of
    the result is the mean over the folds of the prices that spend as much.

    Args:
        menus: One per fold, of the same treatments.
        weights: Weight of each unit by fold; None: all count alike.

    Raises:
        DataError: There is no menu, or the treatments differ.
    """
    if not menus or len({menu.treatments for menu in menus}) > 1:
        raise _check.refuse("menus", len(menus), "must be menus of the same treatments", "Give one per fold.")
    if len(menus) == 1:
        return menus[0]
    given = weights or [np.ones(menu.n) for menu in menus]
    sizes = np.array([weight.sum() for weight in given])
    falls = [steps(menu) for menu in menus]
    spends = [_spend_before(*parts) for parts in zip(menus, falls, given, strict=True)]

    def price(spend: Floats) -> Floats:
        """Returns the mean of the prices at which the folds spend so much per unit; 0 where a fold never does."""
        total = np.zeros(len(spend))
        for fall, before, size in zip(falls, spends, sizes, strict=True):
            following = np.searchsorted(before[:-1], spend * (1 + _TIE), side="right") - 1  # the increment bought next
            spent = spend * (1 + _TIE) >= before[-1]
            total += size * np.append(fall.slope, 0.0)[np.where(spent, len(fall.slope), following)]
        return total / sizes.sum()

    values = []
    for menu, fall, before in zip(menus, falls, spends, strict=True):
        # What is not on a unit's hull costs no less than its first treatment there, and its value is lower: it is never chosen.
        value = np.repeat(menu.value.min(axis=1, keepdims=True) - 1.0, menu.n_treatments, axis=1).astype(np.float64)
        value[np.arange(menu.n), fall.start] += 1.0
        kernels.climb(value, fall.unit, fall.source, fall.target, price(before[:-1]) * fall.change(menu.cost))
        values.append(value)
    cost = np.concatenate([menu.cost for menu in menus])
    return Menu(value=np.concatenate(values), cost=cost, treatments=menus[0].treatments)


def _spend_before(menu: Menu, fall: Steps, weight: Floats) -> Floats:
    """Returns the spend per unit, above the cheapest plan's, before each increment and after all, (K + 1,).

    Increments of equal slope are bought together: the spend before them is that before the first.
    """
    spend = cumulate(0.0, fall.change(menu.cost) * weight[fall.unit]) / weight.sum()
    k = np.arange(len(fall.slope))
    first = np.ones(len(k), bool)
    first[1:] = fall.slope[1:] < fall.slope[:-1] * (1 - _TIE)
    return np.append(spend[np.maximum.accumulate(np.where(first, k, 0))], spend[-1])
