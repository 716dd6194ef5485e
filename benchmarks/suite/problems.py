"""Problems to learn on: a trial, a log of a past policy, and what tells how good a menu is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import _check, datasets, frames, simulate
from largesse.allocate.price_intervals import assign
from largesse.evaluate.bootstrap import arm_means
from largesse.evaluate.curve import outcome_curve
from largesse.evaluate.ranking_metrics import aucc, roi_score
from largesse.evaluate.truth import Room, true_aucc, true_value
from largesse.logs import Logs
from largesse.menu import BUDGET_SHARES, Menu
from largesse.roles import Roles
from largesse.simulate import World

__all__ = ["FEATURES", "MAIN", "REAL", "SCALES", "SHARES", "WORLDS", "Problem", "Scale", "Score", "problem"]

Floats = NDArray[np.float64]

SHARES = (0.05, 0.10, 0.15, 0.20, 0.25, 0.35, 0.50, 0.65, 0.75, 0.90)
"""Budgets, as shares of the way from the cheapest arm for everyone to the dearest."""
MAIN = tuple(SHARES.index(share) for share in BUDGET_SHARES)
"""Which of them the mean of a table is over."""
FEATURES = 40
"""Of the worlds with coupons, as on the map of decision losses; responses depend on 32 of them at any number."""
_SIMULATED: dict[str, tuple[Callable[..., World], dict[str, float]]] = {
    "discount": (simulate.discount, {"n_features": FEATURES}),
    "money_off": (simulate.money_off, {"n_features": FEATURES}),
    "criteo_twin": (simulate.criteo_twin, {}),
    "discount_confounded": (simulate.discount, {"n_features": FEATURES, "confounding": 2.0}),
}
REAL = ("hillstrom", "ecoupon")
"""Real trials."""
WORLDS = (*_SIMULATED, *REAL)
"""Simulated worlds, whose exact means are known (a confounded one has four times the usual confounding), then real trials."""
_TEST = 100_000  # fresh units with exact means


class Scale(NamedTuple):
    """Rows of the trial to learn from, of the log, and of the trial that the CRITEO twin is cut from (0: it gives others)."""

    rct: int
    obs: int
    cut: int


SCALES = {
    "tiny": Scale(2_000, 4_000, 60_000),
    "small": Scale(40_000, 200_000, 800_000),
    "more_rct": Scale(200_000, 200_000, 0),
    "more_obs": Scale(40_000, 1_000_000, 0),
    "main": Scale(200_000, 1_000_000, 4_000_000),
    "published": Scale(700_000, 3_500_000, 13_979_592),
    "log": Scale(0, 0, 0),  # of real trials: as many rows as they have
}


@dataclass(frozen=True, slots=True)
class Score:
    """How good a menu is.

    Attributes:
        gain: Attainable gain at each budget of a simulated world, (B,); of a real trial the value per head there, by the
            outcome curve of held-out rows.
        thinned: How many budgets the menu cannot meet at any price: there its cheapest plan is given to a random share of
            the units that the budget allows, and control to the others.
        aucc: With one treatment the area under the cost curve: exact, or the published form on held-out rows of a real trial.
    """

    gain: Floats
    thinned: int
    aucc: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Rows to learn from, and the judge of a menu.

    Attributes:
        rct: The trial.
        obs: The log.
        x: Features of the units that menus are made for, (N, d).
        judge: Menu of those units -> its score.
    """

    rct: Logs
    obs: Logs
    x: NDArray[np.float32]
    judge: Callable[[Menu], Score]


def problem(world: str, scale: str, seed: int) -> Problem:
    """Returns a problem; of a simulated world each seed is another world, of a real trial another cut of it.

    Raises:
        DataError: The data of a real trial are not found, or the CRITEO twin has no such scale.
    """
    if world in REAL:
        return _real(world, seed)
    size = SCALES[scale]
    make, knobs = _SIMULATED[world]
    drawn = make(seed=seed, **knobs)
    if world == "criteo_twin":
        if not size.cut:
            few = [name for name, rows in SCALES.items() if rows.cut]
            raise _check.refuse(
                "scale", scale, "the CRITEO twin is cut from one trial", f"Give one of {', '.join(few)}."
            )
        parts = simulate.hybrid(drawn, size.cut, seed=seed)
        rct, obs = parts.rct, parts.obs
    else:
        rct, obs = drawn.rct(size.rct, seed=1), drawn.obs(size.obs, seed=2)
    x = drawn.rct(_TEST, seed=3).x
    truth = drawn.truth(x)
    budgets = _budgets(truth.cost.mean(0))
    room = Room.of(truth, budgets)

    def judge(menu: Menu) -> Score:
        value = true_value(menu, truth, budgets)
        lost = np.isnan(value)
        value[lost] = _thinned(menu, truth, budgets[lost])
        area = true_aucc(roi_score(menu), truth) if truth.n_treatments == 2 else None
        return Score(room.gain(value), int(lost.sum()), area)

    return Problem(rct, obs, x, judge)


def _real(world: str, seed: int) -> Problem:
    found = getattr(datasets, world)()
    roles = Roles(
        treatment=found.treatment, value=found.value, cost=found.cost, features=found.features, treatments=found.treatments
    )  # fmt: skip
    logs, _ = frames.logs(found.table, roles, control_cost=found.control_cost)
    parts = simulate.hybrid(logs, seed=seed)
    rows = parts.test
    budgets = _budgets(arm_means(rows)[1])

    def judge(menu: Menu) -> Score:
        value = outcome_curve(rows, menu).value_at(budgets)
        return Score(value, 0, aucc(rows, roi_score(menu), form="published") if rows.n_treatments == 2 else None)

    return Problem(parts.rct, parts.obs, rows.x, judge)


def _thinned(menu: Menu, truth: Menu, budgets: Floats) -> Floats:
    """Returns the true value per head where a random share of the units gets the menu's cheapest plan, the others control."""
    cheapest, rows = assign(menu, float("inf")), np.arange(truth.n)
    low = [float(table[:, 0].mean()) for table in (truth.cost, truth.value)]
    cost, value = (float(table[rows, cheapest].mean()) for table in (truth.cost, truth.value))
    return low[1] + (budgets - low[0]) / (cost - low[0]) * (value - low[1])


def _budgets(paid: NDArray[np.floating]) -> Floats:
    """Returns budgets in money per head from the mean cost of each arm, (B,)."""
    low, high = float(paid.min()), float(paid.max())
    return low + np.array(SHARES) * (high - low)
