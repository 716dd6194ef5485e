"""What a policy brings in each segment of the units, from the rows of its proof.

Row i has weight w_i and propensity p_i of the treatment t_i that it got; c_i is the part of it that counts in the value of the
policy (`OutcomeCurve.matched`). Per unit of segment S, and beyond control for everyone, the policy brings

    1 / Σ_S w_i  ·  Σ_S w_i / p_i (c_i - 1[t_i = control]) r_i,        r = value, cost, or m · value - cost,

so the segments of a partition, weighted by their shares, add up to what the policy brings at that budget.

A tree proposes segments on one half of the rows; the other half says what they bring (honest trees).

Reference:
    Athey and Imbens 2016, Recursive partitioning for heterogeneous causal effects.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from largesse import _check
from largesse._arguments import checked
from largesse._random import number
from largesse.evaluate.intervals import centred, effective_events, ends
from largesse.logs import Logs

__all__ = ["Leaves", "SegmentRow", "incremental_terms", "leaves", "segments"]

Floats = NDArray[np.float64]
_LEAVES, _DEPTH = 4, 3
_LEAST_ROWS, _LEAST_SHARE = 50, 0.1  # of a leaf, in the half on which the tree is grown


class SegmentRow(NamedTuple):
    """What the policy gives and brings in one segment, per unit of the segment and beyond control for everyone.

    `share` is the segment's share of all units, `given` that of each treatment in it. `net` is NaN where the value of a unit of
    value is not known.
    """

    name: str
    share: float
    given: tuple[float, ...]
    value: float
    value_low: float
    value_high: float
    spend: float
    net: float
    net_low: float
    net_high: float
    events: float


class Leaves(NamedTuple):
    """Segments that a tree proposes.

    Attributes:
        names: Their conditions in words.
        code: The segment of each row, (N,).
        judged: The rows that the tree was not grown on, which say what the segments bring, (N,).
    """

    names: tuple[str, ...]
    code: NDArray[np.int64]
    judged: NDArray[np.bool_]


@checked
def segments(
    logs: Logs, counts: Floats, decided: NDArray[np.int32], code: NDArray[np.int64], names: tuple[str, ...], *,
    value_per_unit: float | None = None, level: float = 0.95,
) -> tuple[SegmentRow, ...]:  # fmt: skip
    """Returns what the policy gives and brings in each segment; segments without a row are left out.

    Args:
        logs: Rows with known propensities that the policy was not trained on.
        counts: How far each row counts at the budget, (N,), see `OutcomeCurve.matched`.
        decided: The treatment that the policy gives each row, (N,).
        code: The segment of each row, (N,); -1: in none, such a row counts nowhere.
        names: Names of the segments.
        value_per_unit: What one unit of value brings in money; None: not known.
        level: Coverage of the intervals.

    Raises:
        DataError: The lengths differ, or a code names no segment.

    >>> t = np.arange(400) % 2
    >>> logs = Logs(x=np.zeros((400, 1)), treatment=t, value=1.0 + 2.0 * t, cost=t * 5.0)
    >>> rows = segments(logs, t * 1.0, np.ones(400, np.int32), np.arange(400) // 200, ("old", "new"), value_per_unit=4.0)
    >>> [(row.name, row.share, row.value, row.spend, row.net) for row in rows]
    [('old', 0.5, 2.0, 5.0, 3.0), ('new', 0.5, 2.0, 5.0, 3.0)]
    """
    _check.lengths(logs=logs.treatment, counts=counts, decided=decided, code=code)
    if len(code) and not (code.min() >= -1 and code.max() < len(names)):
        raise _check.refuse("code", int(code.max()), f"there are {len(names)} segments", "Name every segment.")
    m = 1.0 if value_per_unit is None else _check.number("value_per_unit", value_per_unit, low=1e-12)
    value, cost = incremental_terms(logs, counts)
    terms = np.column_stack([value, cost, m * value - cost])
    all_units, out = logs.weights[code >= 0].sum(), []
    for k, name in enumerate(names):
        own = code == k
        size = logs.weights[own].sum()
        if size == 0:
            continue
        inside = np.where(own[:, None], terms, 0.0)
        estimate = inside.sum(axis=0) / size
        around = inside - np.outer(np.where(own, logs.weights, 0.0), estimate)  # the size of the segment is random too
        low, high = ends(estimate, centred(logs, around) * (logs.total_weight / size), level).T
        net = (estimate[2], low[2], high[2]) if value_per_unit is not None else (float("nan"),) * 3
        given = np.bincount(decided[own], logs.weights[own], logs.n_treatments) / size
        events = effective_events(logs, inside[:, :1])[0]
        numbers = (estimate[0], low[0], high[0], estimate[1], *net, events)
        out.append(SegmentRow._make((name, float(size / all_units), tuple(given.tolist()), *map(float, numbers))))
    return tuple(out)


@checked
def leaves(
    logs: Logs, counts: Floats, *, value_per_unit: float | None = None, seed: int = 0, dates: Collection[str] = ()
) -> Leaves | None:  # fmt: skip
    """Returns segments that differ in what the policy brings, by a small tree on one half of the rows; None if there are none.

    Args:
        logs: Rows with known propensities that the policy was not trained on.
        counts: How far each row counts at the budget, (N,), see `OutcomeCurve.matched`.
        value_per_unit: What one unit of value brings in money; None: the segments differ in value, whatever it costs.
        seed: Of the halves; all rows of a unit are in one of them.
        dates: Features that are days since 1970-01-01, written as dates.

    >>> rng = np.random.default_rng(0)
    >>> x, t = rng.integers(0, 2, (4000, 1)), rng.integers(0, 2, 4000)
    >>> logs = Logs(x=x, treatment=t, value=1.0 * t * x[:, 0], cost=0.2 * t, features=("vip",))
    >>> leaves(logs, t * 1.0, value_per_unit=1.0).names
    ('vip: no', 'vip: yes')
    """
    judged = logs.parts(1.0, 1.0, seed=number(seed, 7)) == 1
    grown = np.flatnonzero(~judged)
    least = max(_LEAST_ROWS, int(_LEAST_SHARE * len(grown)))
    if len(grown) < 2 * least or judged.sum() < 2 * least:
        return None
    x, weight = logs.x[grown], logs.weights[grown]
    outcome = (logs.value if value_per_unit is None else value_per_unit * logs.value - logs.cost)[grown]
    usual = make_pipeline(StandardScaler(), Ridge(1.0)).fit(x, outcome, ridge__sample_weight=weight).predict(x)
    part = (counts - (logs.treatment == 0))[grown]
    effect = part * (outcome - usual) * (logs.inverse_propensity[grown] / weight)  # the expectation of `usual` cancels
    tree = DecisionTreeRegressor(
        max_leaf_nodes=_LEAVES, max_depth=_DEPTH, min_samples_leaf=least, random_state=number(seed, 8)
    ).fit(x, effect, sample_weight=weight)
    if tree.get_n_leaves() < 2:
        return None
    paths = _paths(tree, logs)
    node = tree.apply(logs.x)
    code = np.searchsorted(np.array(sorted(paths)), node)
    return Leaves(tuple(_words(paths[leaf], logs, dates) for leaf in sorted(paths)), code, judged)


def incremental_terms(logs: Logs, counts: Floats) -> tuple[Floats, Floats]:
    """Returns what each row adds to value and cost beyond control for everyone, (N,) each."""
    weight = logs.inverse_propensity * (counts - (logs.treatment == 0))
    return weight * logs.value, weight * logs.cost


def _paths(tree: DecisionTreeRegressor, logs: Logs) -> dict[int, dict[int, list[float]]]:
    """Returns the conditions of each leaf: feature → lower and upper limit."""
    inner, out = tree.tree_, dict[int, dict[int, list[float]]]()

    def walk(node: int, limits: dict[int, list[float]]) -> None:
        if inner.children_left[node] < 0:
            out[node] = limits
            return
        f, cut = int(inner.feature[node]), float(inner.threshold[node])
        low, high = limits.get(f, [-np.inf, np.inf])
        walk(int(inner.children_left[node]), {**limits, f: [low, cut]})
        walk(int(inner.children_right[node]), {**limits, f: [cut, high]})

    walk(0, {})
    return out


def _words(limits: dict[int, list[float]], logs: Logs, dates: Collection[str]) -> str:
    """Returns the conditions of a leaf, e.g. ``"age up to 34.5, vip: yes"``."""
    return ", ".join(
        _condition(logs.features[f], logs.x[:, f], low, high, logs.features[f] in dates)
        for f, (low, high) in sorted(limits.items())
    )


def _condition(name: str, column: NDArray[np.float32], low: float, high: float, date: bool) -> str:
    def end(x: float) -> str:
        return str(np.datetime64(int(np.floor(x)), "D")) if date else _check.written(x, 4)

    if ((column == 0) | (column == 1)).all():
        return f"{name}: {'yes' if low >= 0 else 'no'}"
    if np.isinf(low):
        return f"{name} up to {end(high)}"
    if np.isinf(high):
        return f"{name} above {end(low)}"
    return f"{name} from {end(low)} to {end(high)}"
