"""Between two models: how far to go from the one that is trusted towards the one that promises more.

A decision loss on a small trial is mostly noise, so what it learns is taken in part: s = 0 keeps the trusted menu, 1
takes the other. s is chosen on rows that neither model has seen, in turns over the trial, and only a gain of more than
one paired standard error moves it away from 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from largesse import _check
from largesse.evaluate.bootstrap import arm_means
from largesse.evaluate.comparison import Bootstrap, compare
from largesse.logs import Logs
from largesse.menu import BUDGET_SHARES, Menu
from largesse.models.outcome import Response
from largesse.models.selection import Choice, choose

__all__ = ["SHRINKAGE_WEIGHTS", "between", "choose_shrinkage", "may_shrink", "target_budgets"]

SHRINKAGE_WEIGHTS = (0.0, 0.25, 0.5, 1.0)
_DRAWS = 200


def may_shrink(shrinkage_weight: float | str, folds: int) -> None:
    """Refuses a shrinkage_weight outside [0, 1] that is not ``"cross-fit"``, and fewer than two folds."""
    if shrinkage_weight != "cross-fit":
        _check.number("shrinkage_weight", shrinkage_weight, low=0, high=1, remedy="Or give 'cross-fit'.")
    _check.integers("folds", [folds], low=2, high=1000, rule="must be a whole number >= 2", remedy="Rows take turns.")


def between(trusted: Response, other: Response, shrinkage_weight: float) -> Response:
    """Returns trusted + shrinkage_weight (other - trusted), table by table; the trusted one, untouched, at 0."""
    if shrinkage_weight == 0:
        return trusted
    tables: list[NDArray[Any] | None] = []
    for name in ("value", "conversion", "cost"):
        a, b = getattr(trusted, name), getattr(other, name)
        tables.append(None if a is None or b is None else a + shrinkage_weight * (b - a))
    assert tables[0] is not None
    return Response(tables[0], tables[1], tables[2])


def target_budgets(
    rct: Logs, given: Sequence[float] = (), shares: Sequence[float] = BUDGET_SHARES
) -> tuple[float, ...]:
    """Returns budgets in money per head: those given, or shares of the way from the cheapest arm for everyone to the dearest."""
    cost = arm_means(rct)[1]
    low, high = float(cost.min()), float(cost.max())
    return tuple(float(b) for b in given) or tuple(low + share * (high - low) for share in shares)


def choose_shrinkage(
    rct: Logs, pair: tuple[Response, ...], menu: Callable[[Response], Menu], budgets: Sequence[float], seed: int
) -> tuple[float, Choice]:
    """Returns the smallest shrinkage_weight within one paired standard error of the best, and why.

    Args:
        rct: The trial.
        pair: The trusted and the other response to its rows, from models that have not seen them.
        menu: What makes a menu of a response.
        budgets: Money per head, (B,).
        seed: Bootstrap draws.
    """
    names = tuple(f"{s:g}" for s in SHRINKAGE_WEIGHTS)
    trusted, other = pair
    menus = {name: menu(between(trusted, other, s)) for name, s in zip(names, SHRINKAGE_WEIGHTS, strict=True)}
    table = compare(rct, menus, budgets, bootstrap=Bootstrap(draws=_DRAWS, seed=seed))
    choice = choose(names, table.value[: len(names)], table.draws[:, : len(names)])
    return float(choice.name), choice
