"""The published procedure that splits one large trial into past campaign data, a small trial and held-out rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from largesse import _check
from largesse._arguments import checked
from largesse._random import Seed
from largesse.logs import Logs
from largesse.simulate.worlds import World

__all__ = ["Hybrid", "hybrid"]

F64 = NDArray[np.float64]

_SHARES = (0.05, 0.50, 0.05, 0.10, 0.30)
_MIN_COST = 1e-6


@checked
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Hybrid:
    """The four disjoint parts of a trial.

    Attributes:
        obs: Rows whose treatment equals that of a simulated targeting policy; ``design="obs"``.
        rct: A small randomised sample for training.
        validation: Randomised rows for model selection.
        test: Randomised rows for the final evaluation.
    """

    obs: Logs
    rct: Logs
    validation: Logs
    test: Logs


@checked
def hybrid(source: World | Logs, n: int | None = None, *, seed: Seed = 0) -> Hybrid:
    """Returns a trial split into observational, trial, validation and test rows, as published for CRITEO-UPLIFT v2.

    A two-stage model is fitted on 5 % of the rows. On 50 %, its policy treats the half of the units with the highest
    predicted return on cost, each with its best treatment at that shadow price λ; rows whose treatment matches the policy's
    are kept. Of the rest, 5 % are the trial, 10 % validation, 30 % test. With two arms half the rows match whatever the
    shares of the trial (s/2 + (1-s)/2), so `obs` has 25 % of all rows, as published (3,498,294 of 13,979,592). With M equal
    arms 1/M match.

    Args:
        source: The logs of a trial, or a world from which a trial is drawn.
        n: Number of rows to draw; only for a world (default 200,000).
        seed: Seed of the draw and of the split.

    Raises:
        DataError: The logs are not a trial, `n` is given with logs, or a part lacks an arm.
    """
    if isinstance(source, World):
        logs = source.rct(200_000 if n is None else n, seed)
    elif n is not None:
        raise _check.refuse("n", n, "the number of rows is that of the logs", "Give n only with a world.")
    else:
        logs = source
    if logs.design != "rct":
        raise _check.refuse("design", logs.design, "the split needs a trial", "Give rows that were assigned at random.")
    fit, targeted, rct, validation, test = logs.split(*_SHARES, seed=seed)
    matches = _policy(*_two_stage(fit, targeted.x)) == targeted.treatment
    obs = replace(targeted.take(matches), design="obs", propensity=None)
    return Hybrid(obs=obs, rct=rct, validation=validation, test=test)


def _two_stage(logs: Logs, x: NDArray[np.float32]) -> tuple[F64, F64]:
    """Returns predicted value and cost of every treatment, each (N, M), by one boosted model per arm and outcome."""
    value, cost = np.empty((len(x), logs.n_treatments)), np.empty((len(x), logs.n_treatments))
    with threadpool_limits(limits=1):
        for j in range(logs.n_treatments):
            arm = logs.treatment == j
            value[:, j], cost[:, j] = (_predict(logs.x[arm], y[arm], x) for y in (logs.value, logs.cost))
    return value, cost


def _predict(x: NDArray[np.float32], y: F64, new: NDArray[np.float32]) -> Any:
    settings: dict[str, Any] = {"max_iter": 60, "learning_rate": 0.1, "max_leaf_nodes": 15, "random_state": 0}
    if y.min() == y.max():
        return np.full(len(new), y[0])
    if np.isin(y, (0.0, 1.0)).all():
        return HistGradientBoostingClassifier(**settings).fit(x, y).predict_proba(new)[:, 1]
    return HistGradientBoostingRegressor(**settings).fit(x, y).predict(new)


def _policy(value: F64, cost: F64) -> NDArray[np.int64]:
    """Returns the treatments (N,) of a policy that treats the half of the units with the highest return on cost."""
    gain = value - value[:, :1]
    spend = np.maximum(cost - cost[:, :1], _MIN_COST)
    spend[:, 0] = 0.0
    price = np.median((gain[:, 1:] / spend[:, 1:]).max(axis=1))  # control is best where every return is below the price
    return (gain - price * spend).argmax(axis=1)
