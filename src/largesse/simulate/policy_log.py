"""The published recipe that makes an observational log, a small trial and held-out rows out of one large trial."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from largesse import _check
from largesse._random import Seed
from largesse.logs import Logs
from largesse.simulate.worlds import World

__all__ = ["Hybrid", "hybrid"]

F64 = NDArray[np.float64]

_SHARES = (0.05, 0.50, 0.05, 0.10, 0.30)
_LEAST_COST = 1e-6


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Hybrid:
    """The four disjoint parts of a trial.

    Attributes:
        obs: Rows whose logged treatment is what a simulated targeting policy would have given; ``design="obs"``.
        rct: A small randomised sample to learn from.
        validation: Randomised rows to choose by.
        test: Randomised rows to prove by.
    """

    obs: Logs
    rct: Logs
    validation: Logs
    test: Logs


def hybrid(source: World | Logs, n: int | None = None, *, seed: Seed = 0) -> Hybrid:
    """Returns a trial cut into observational, trial, validation and test rows, as published for CRITEO-UPLIFT v2.

    A two-stage model is fitted on 5 % of the rows. On 50 %, its policy treats the half of the units with the best
    predicted return on cost, each with its best treatment at that price; rows whose logged treatment matches are kept,
    as if the policy had acted. Of the rest, 5 % are the trial, 10 % validation, 30 % test. With two arms half the rows
    match whatever the shares of the trial (s/2 + (1-s)/2), so `obs` holds 25 % of all rows, as in the publication
    (3,498,294 of 13,979,592). With M equal arms 1/M match.

    Args:
        source: A trial's logs, or a world to draw one from.
        n: Number of rows to draw; only for a world (default 200,000).
        seed: Seed of the draw and of the cut.

    Raises:
        DataError: The logs are not a trial, `n` is given with logs, or a part lacks an arm.
    """
    if isinstance(source, World):
        logs = source.rct(200_000 if n is None else n, seed)
    elif n is not None:
        raise _check.refuse("n", n, "logs have their own rows", "Give n only with a world, or cut the logs first.")
    else:
        logs = source
    if logs.design != "rct":
        raise _check.refuse(
            "design", logs.design, "the recipe starts from a trial", "Give rows that were assigned at random."
        )
    fit, targeted, rct, validation, test = logs.split(*_SHARES, seed=seed)
    matches = _policy(*_two_stage(fit, targeted.x)) == targeted.treatment
    obs = replace(targeted.take(matches), design="obs", propensity=None)
    return Hybrid(obs=obs, rct=rct, validation=validation, test=test)


def _two_stage(logs: Logs, x: NDArray[np.float32]) -> tuple[F64, F64]:
    """Returns predicted value and cost of every treatment, each (N, M): one boosted model per arm and outcome."""
    value, cost = np.empty((len(x), logs.n_treatments)), np.empty((len(x), logs.n_treatments))
    with threadpool_limits(limits=1):
        for j in range(logs.n_treatments):
            arm = logs.treatment == j
            value[:, j] = _predict(logs.x[arm], logs.value[arm], x)
            cost[:, j] = _predict(logs.x[arm], logs.cost[arm], x)
    return value, cost


def _predict(x: NDArray[np.float32], y: F64, new: NDArray[np.float32]) -> Any:
    settings: dict[str, Any] = {"max_iter": 60, "learning_rate": 0.1, "max_leaf_nodes": 15, "random_state": 0}
    if y.min() == y.max():
        return np.full(len(new), y[0])
    if np.isin(y, (0.0, 1.0)).all():
        return HistGradientBoostingClassifier(**settings).fit(x, y).predict_proba(new)[:, 1]
    return HistGradientBoostingRegressor(**settings).fit(x, y).predict(new)


def _policy(value: F64, cost: F64) -> NDArray[np.int64]:
    """Returns the treatments of a policy that treats the half of the units with the best return on cost."""
    gain = value - value[:, :1]
    spend = np.maximum(cost - cost[:, :1], _LEAST_COST)
    spend[:, 0] = 0.0
    price = np.median((gain[:, 1:] / spend[:, 1:]).max(axis=1))  # control wins wherever every return is below the price
    return (gain - price * spend).argmax(axis=1)
