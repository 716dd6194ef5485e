"""Shrinks a decision-focused model towards its two-stage base; the weight is chosen by cross-fitting.

A decision loss on a small trial is mostly noise. The served response is base + s (other - base): s = 0 is the base, s = 1 the
decision-focused model. s is the smallest of `SHRINKAGE_WEIGHTS` whose policy value, out of fold, is within one paired standard
error of the best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from largesse import _check
from largesse.evaluate.bootstrap import arm_means
from largesse.evaluate.comparison import Bootstrap, compare
from largesse.logs import Logs
from largesse.menu import BUDGET_SHARES, Menu
from largesse.models.outcome import Response
from largesse.models.selection import Choice, choose

__all__ = ["SHRINKAGE_WEIGHTS", "between", "check_shrinkage", "choose_shrinkage", "target_budgets"]

SHRINKAGE_WEIGHTS = (0.0, 0.25, 0.5, 1.0)
_DRAWS = 200


def check_shrinkage(shrinkage_weight: float | str, folds: int) -> None:
    """Refuses a shrinkage weight other than ``"cross-fit"`` or a number in [0, 1], and fewer than two folds."""
    if shrinkage_weight != "cross-fit":
        _check.number("shrinkage_weight", shrinkage_weight, low=0, high=1, remedy="Or give 'cross-fit'.")
    _check.integers(
        "folds", [folds], low=2, high=1000, rule="must be a whole number >= 2", remedy="Cross-fitting needs two."
    )


def between(base: Response, other: Response, shrinkage_weight: float) -> Response:
    """Returns base + shrinkage_weight (other - base), table by table; at 0 the base itself."""
    if shrinkage_weight == 0:
        return base
    return Response.combine(lambda a, b: a + shrinkage_weight * (b - a), base, other)


def target_budgets(
    rct: Logs, given: Sequence[float] = (), shares: Sequence[float] = BUDGET_SHARES
) -> tuple[float, ...]:
    """Returns budgets per unit: the given ones, or shares of the range of the mean cost over the arms."""
    cost = arm_means(rct)[1]
    low, high = float(cost.min()), float(cost.max())
    return tuple(float(b) for b in given) or tuple(low + share * (high - low) for share in shares)


def choose_shrinkage(
    rct: Logs, pair: tuple[Response, ...], menu: Callable[[Response], Menu], budgets: Sequence[float], seed: int
) -> tuple[float, Choice]:
    """Returns the smallest shrinkage weight within one paired standard error of the best, and the choice.

    Args:
        rct: The trial.
        pair: Out-of-fold responses of its rows, of the base and of the other model.
        menu: Makes the menu of a response.
        budgets: Budgets per unit, (B,).
        seed: Of the bootstrap draws.
    """
    weights = {f"{s:g}": s for s in SHRINKAGE_WEIGHTS}
    base, other = pair
    menus = {name: menu(between(base, other, s)) for name, s in weights.items()}
    table = compare(rct, menus, budgets, bootstrap=Bootstrap(draws=_DRAWS, seed=seed))
    choice = choose(tuple(weights), table.value[: len(weights)], table.draws[:, : len(weights)])
    return weights[choice.name], choice
