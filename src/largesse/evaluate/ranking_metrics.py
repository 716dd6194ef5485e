"""Ranking measures of a score: AUCC, its form for several treatments, Qini, AUUC, and the cost curve.

All compare arm means, so they need the rows of a randomised trial with the same shares for every unit. The observed
shares of the arms are used (as in the papers), not given propensities. Units with higher scores are treated first.
Units with equal scores enter together, on a straight piece of the curve, so that the order of the rows does not matter.
A row of weight 2 counts as two rows.
"""

from __future__ import annotations

from typing import Any, Literal

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.errors import DataError
from largesse.evaluate.cost_curves import CostCurve, positive_totals, trapezoid
from largesse.evaluate.ties import differ, joined
from largesse.logs import Logs
from largesse.menu import Menu

__all__ = ["CostCurve", "aucc", "auuc", "cost_curve", "marginal_roi", "mt_aucc", "mt_cost_curve", "qini", "roi_score"]

Floats = NDArray[np.float64]
Form = Literal["normalised", "published"]
SMALLEST_STEP = 1e-6  # a cost difference nearer to zero than this counts as this


@checked
def roi_score(menu: Menu) -> Floats:
    """Returns the predicted return on treatment, (value_1 - value_0) / (cost_1 - cost_0), float64 (N,).

    Args:
        menu: Predictions for control and one treatment. A cost difference within 1e-6 of zero becomes 1e-6 with its
            sign (zero counts as positive).

    Raises:
        DataError: The menu has more than one treatment besides control.

    >>> roi_score(Menu(value=[[0.0, 3.0], [1.0, 2.0]], cost=[[0.0, 2.0], [0.0, 4.0]])).tolist()
    [1.5, 0.25]
    """
    if menu.n_treatments != 2:
        rule = "one ROI per unit needs control and one treatment"
        raise _check.refuse("menu.n_treatments", menu.n_treatments, rule, "Use marginal_roi: one per step.")
    return marginal_roi(menu)[:, 0]


@checked
def marginal_roi(menu: Menu) -> Floats:
    """Returns the predicted return on each step from treatment j to j + 1, float64 (N, M - 1).

    Args:
        menu: Predictions, treatments in ascending order of cost. Cost differences within 1e-6 of zero become 1e-6 with
            their sign (zero counts as positive).

    >>> marginal_roi(Menu(value=[[0.0, 3.0, 4.0]], cost=[[0.0, 1.0, 3.0]])).tolist()
    [[3.0, 0.5]]
    """
    gain = np.diff(menu.value.astype(np.float64), axis=1)  # (N, M - 1)
    step = np.diff(menu.cost.astype(np.float64), axis=1)
    # Adding 0.0 turns -0.0 into 0.0, whose sign is positive.
    return gain / np.where(np.abs(step) < SMALLEST_STEP, np.copysign(SMALLEST_STEP, step + 0.0), step)


@checked
def cost_curve(logs: Logs, score: ArrayLike) -> CostCurve:
    """Returns the cost curve of a score over the rows of a two-arm trial.

    After the units with the highest scores, cost = Σ_treated c / n_1 - Σ_control c / n_0, with the arms' total sizes
    n_1 and n_0 below; value likewise.

    Args:
        logs: Rows of a trial with control and one treatment.
        score: Priority of each row, (N,), finite; higher is treated first.

    Raises:
        DataError: The rows are observational or have more than two arms, or the score is not one number per row.

    >>> logs = Logs(x=[[0.0]] * 4, treatment=[0, 1, 0, 1], value=[0, 3, 0, 1], cost=[0, 1, 0, 1])
    >>> curve = cost_curve(logs, [2.0, 2.0, 1.0, 1.0])
    >>> curve.cost.tolist(), curve.value.tolist()
    ([0.0, 0.5, 1.0], [0.0, 1.5, 2.0])
    """
    share = np.where(logs.treatment == 1, 1.0, -1.0) * _row_share(logs)
    return _curve(_binary(logs, score), share * logs.cost, share * logs.value, logs.weights)


@checked
def aucc(logs: Logs, score: ArrayLike, *, form: Form = "normalised", points: int = 200) -> float:
    """Returns the area under the cost curve of a two-arm trial: 0.5 for a random score, higher is better.

    Args:
        logs: Rows of a trial with control and one treatment.
        score: Priority of each row, (N,), finite; higher is treated first. For a model: `roi_score` of its menu.
        form: ``"normalised"`` is the trapezoid area of `cost_curve`, both axes scaled to end at 1. ``"published"`` is
            the sum that the papers report: Q + 1 points picked at equal steps of cost, at most one at each row. It
            depends on the order of rows with equal scores (they keep the order given) and takes no weights.
        points: Q of the published form.

    Raises:
        DataError: As for `cost_curve`; or treating every unit costs nothing or brings no value in these rows; or the
            published form is requested for weighted rows.

    Reference:
        Zhou et al. 2023, "Direct heterogeneous causal learning for resource allocation problems in marketing" (DHCL),
        and Zhou et al. 2024, "Decision focused causal learning" (DFCL), whose public code agrees.

    >>> logs = Logs(x=[[0.0]] * 4, treatment=[0, 1, 0, 1], value=[0, 3, 0, 1], cost=[0, 1, 0, 1])
    >>> aucc(logs, [2.0, 2.0, 1.0, 1.0])
    0.625
    """
    _check.choice("form", form, ("normalised", "published"))
    if form == "normalised":
        return cost_curve(logs, score).area
    score = _binary(logs, score)
    return _published(logs, score, logs.treatment == 1, logs.value, logs.cost, points)


@checked
def mt_cost_curve(logs: Logs, scores: Menu | ArrayLike) -> CostCurve:
    """Returns the cost curve of the steps from each treatment to the next, taken in the order of their scores.

    Each step j → j + 1 compares the rows of arm j + 1 (treated) with those of arm j (control), both scored q(x, j).
    Each arm counts by its mean, whatever its size, so the curve ends at the last arm's mean less control's.

    Args:
        logs: Rows of a trial, treatments in ascending order of cost.
        scores: Priority of each step, (N, M - 1), finite; or a menu (N, M), which stands for its `marginal_roi`.

    Raises:
        DataError: The rows are observational, or the scores are not one number per row and step.

    >>> logs = Logs(x=[[0.0]] * 3, treatment=[0, 1, 2], value=[0, 2, 3], cost=[0, 1, 2])
    >>> curve = mt_cost_curve(logs, [[2.0, 1.0]] * 3)
    >>> curve.cost.tolist(), curve.value.tolist()
    ([0.0, 1.0, 2.0], [0.0, 2.0, 3.0])
    """
    row, treated, score = _steps(logs, scores)
    share = np.where(treated, 1.0, -1.0) * _row_share(logs)[row]
    return _curve(score, share * logs.cost[row], share * logs.value[row], np.abs(share))


@checked
def mt_aucc(logs: Logs, scores: Menu | ArrayLike, *, form: Form = "normalised", points: int = 200) -> float:
    """Returns the area under the cost curve of a trial with any number of ordered treatments: 0.5 for random scores.

    Args:
        logs: Rows of a trial, treatments in ascending order of cost.
        scores: Priority of each step j → j + 1, (N, M - 1), finite; or a menu (N, M), for its `marginal_roi`.
        form: ``"normalised"`` is the area of `mt_cost_curve`, and equals `aucc` where there is one treatment.
            ``"published"`` is the papers' sum: value and cost times N / N_t, then the published AUCC, which divides by
            the sizes of the two pools once more. Unless the first and last arm are of equal size that does not cancel.
        points: Q of the published form.

    Raises:
        DataError: As for `mt_cost_curve` and `aucc`.

    Reference:
        DHCL (Zhou et al. 2023), public code.

    >>> logs = Logs(x=[[0.0]] * 3, treatment=[0, 1, 2], value=[0, 2, 3], cost=[0, 1, 2])
    >>> round(mt_aucc(logs, [[2.0, 1.0]] * 3), 4), round(mt_aucc(logs, [[1.0, 2.0]] * 3), 4)
    (0.5833, 0.4167)
    """
    _check.choice("form", form, ("normalised", "published"))
    if form == "normalised":
        return mt_cost_curve(logs, scores).area
    row, treated, score = _steps(logs, scores)
    scale = (logs.n / logs.arm_rows[logs.treatment])[row]  # a_i = N / N_{t_i}
    return _published(logs, score, treated, scale * logs.value[row], scale * logs.cost[row], points)


@checked
def qini(logs: Logs, score: ArrayLike) -> float:
    """Returns the Qini coefficient as scikit-uplift's `qini_auc_score` defines it: 0 for a random score, 1 at best.

    The area between the Qini curve Y_1 - Y_0 n_1 / n_0 (running sums) and the straight line to its end, divided by that
    of the perfect order (treated responders first, control responders last).

    Args:
        logs: Rows of a trial with control and one treatment; value is 0 or 1. Costs are not used.
        score: Predicted uplift, (N,), finite.

    Raises:
        DataError: As for `cost_curve`; or a value is neither 0 nor 1; or every order is as good as any other.

    >>> logs = Logs(x=[[0.0]] * 4, treatment=[1, 0, 1, 0], value=[1, 0, 0, 0], cost=[1, 0, 1, 0])
    >>> qini(logs, [2.0, 2.0, 1.0, 1.0]), qini(logs, [1.0, 1.0, 2.0, 2.0])
    (0.6666666666666666, -0.6666666666666666)
    """
    score = _binary(logs, score)
    _responses(logs)
    perfect = logs.value * np.where(logs.treatment == 1, 1.0, -1.0)
    return _against_perfect(_qini_curve(logs, score), _qini_curve(logs, perfect))


@checked
def auuc(logs: Logs, score: ArrayLike, *, form: Literal["causalml", "scikit-uplift"] = "causalml") -> float:
    """Returns the area under the uplift curve n (Y_1 / n_1 - Y_0 / n_0) (running sums), in either convention.

    Args:
        logs: Rows of a trial with control and one treatment. Costs are not used.
        score: Predicted uplift, (N,), finite.
        form: ``"causalml"`` is its `auuc_score` with normalize=True: the mean of the curve over its N + 1 points,
            divided by the size of its end; about 0.5 for a random score (-0.5 where the treatment harms), any values.
            ``"scikit-uplift"`` is its `uplift_auc_score`: the area above the straight line, divided by that of the
            perfect order; 0 for a random score, 1 at best, values 0 or 1.

    Raises:
        DataError: As for `cost_curve`; or the arms' means are equal (causalml); or a value is neither 0 nor 1
            (scikit-uplift).

    >>> logs = Logs(x=[[0.0]] * 4, treatment=[1, 0, 1, 0], value=[1, 0, 0, 0], cost=[1, 0, 1, 0])
    >>> auuc(logs, [2.0, 2.0, 1.0, 1.0]), round(auuc(logs, [2.0, 2.0, 1.0, 1.0], form="scikit-uplift"), 4)
    (0.7, 0.6667)
    """
    _check.choice("form", form, ("causalml", "scikit-uplift"))
    score = _binary(logs, score)
    if form == "scikit-uplift":
        _responses(logs)
        return _against_perfect(_uplift_curve(logs, score), _uplift_curve(logs, _perfect_uplift(logs)))
    rows, lift = _lift(logs, score, empty=np.nan)
    # causalml fills the head of the curve, where one arm has no rows yet, with a straight line of lift from 0.
    lift[0] = 0.0
    head = np.isnan(lift)
    lift[head] = np.interp(rows[head], rows[~head], lift[~head])
    gain = rows * lift
    if gain[-1] == 0:
        raise _check.refuse("uplift of all rows", 0.0, "the curve must not end at 0", "Use qini, on values of 0 and 1.")
    # Σ over the whole-numbered points of a straight piece from a to b of width w, a left out: w a + (b - a)(w + 1) / 2.
    width = np.diff(rows)
    total = np.sum(width * gain[:-1] + np.diff(gain) * (width + 1) / 2)
    return float(total / abs(gain[-1]) / (rows[-1] + 1))


def _binary(logs: Logs, score: ArrayLike) -> Floats:
    if logs.n_treatments != 2:
        rule = "this ranking needs control and one treatment"
        raise _check.refuse("logs.n_treatments", logs.n_treatments, rule, "Use mt_aucc, or the rows of two arms.")
    return _scores("score", score, logs, ndim=1)


def _scores(field: str, score: Any, logs: Logs, ndim: int) -> Floats:
    if logs.design != "rct":
        rule = "a ranking metric compares arms, which must have been assigned at random"
        remedy = "Use the rows of a trial, or the doubly robust outcome curve where propensities are known."
        raise _check.refuse("logs.design", logs.design, rule, remedy)
    out: Floats = _check.array(field, score, ndim=ndim, dtype=np.float64)
    _check.lengths(treatment=logs.treatment, **{field: out})
    _check.finite(field, out, "Replace it: a unit never to be treated gets a very low score.")
    return out


def _responses(logs: Logs) -> None:
    bad = (logs.value != 0) & (logs.value != 1)
    if bad.any():
        rule, remedy = "the perfect order is known for values of 0 and 1 only", "Use auuc(form='causalml') or aucc."
        raise _check.refuse_cells("value", logs.value, bad, rule, remedy)


def _row_share(logs: Logs) -> Floats:
    """Returns the share of each row in its arm, (N,)."""
    arms = np.bincount(logs.treatment, logs.weights, minlength=logs.n_treatments)
    return logs.weights / arms[logs.treatment]


def _running(score: Floats, *columns: Floats) -> list[Floats]:
    """Returns running sums of the columns, highest score first, from 0 to the end of each group of equal scores."""
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(differ(score[order]), True))
    return [np.concatenate(([0.0], np.cumsum(column[order])[ends])) for column in columns]


def _curve(score: Floats, cost: Floats, value: Floats, weight: Floats) -> CostCurve:
    cost, value, units = _running(score, cost, value, weight)
    return CostCurve(cost=cost, value=value, share=units / units[-1])


def _steps(logs: Logs, scores: Menu | ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.bool_], Floats]:
    """Returns every row once for each step that it belongs to: its number, whether it is treated, the score of the step."""
    steps = logs.n_treatments - 1
    q = _scores("scores", marginal_roi(scores) if isinstance(scores, Menu) else scores, logs, ndim=2)
    if q.shape[1] != steps:
        raise _check.refuse("scores.shape", q.shape, f"{steps} steps need {steps} columns", "Give one score per step.")
    row, treated = np.repeat(np.arange(logs.n), 2), np.tile([False, True], logs.n)
    step = logs.treatment[row] - treated  # arm t: control of step t, treated of step t - 1
    keep = (step >= 0) & (step < steps)
    return row[keep], treated[keep], q[row[keep], step[keep]]


def _published(logs: Logs, score: Floats, treated: NDArray[Any], value: Floats, cost: Floats, points: int) -> float:
    if logs.weight is not None:
        words = "weight: the published form counts row by row and has no weighted meaning. Use form='normalised'."
        raise DataError(words, field="weight")
    if not (isinstance(points, int) and points >= 1):
        raise _check.refuse("points", points, "must be a whole number >= 1", "The papers use 200.")
    order, sizes = np.argsort(-joined(score), kind="stable"), np.bincount(treated, minlength=2)
    # DC and DR after each row: Σ_treated / n_1 - Σ_control / n_0
    spend, gain = (
        np.cumsum(np.where(treated, column, 0.0)[order]) / sizes[1]
        - np.cumsum(np.where(treated, 0.0, column)[order]) / sizes[0]
        for column in (cost, value)
    )
    positive_totals(spend[-1], gain[-1])
    return float(_picked_sum(spend, gain, points) / (gain[-1] * (points + 1)))


@numba.njit(cache=True)
def _picked_sum(spend: Floats, gain: Floats, points: int) -> float:
    total, j, last = 0.0, 1, len(spend) - 1
    for i in range(last + 1):
        if i == last or (j < points and spend[i] >= j * spend[last] / points):
            total += gain[i]
            j += 1
    return total


def _arm_sums(logs: Logs, score: Floats) -> list[Floats]:
    """Returns running n_1, n_0, Y_1 and Y_0: rows and summed values of treated and control."""
    treated, control = logs.weights * logs.treatment, logs.weights * (1 - logs.treatment)
    return _running(score, treated, control, treated * logs.value, control * logs.value)


def _qini_curve(logs: Logs, score: Floats) -> tuple[Floats, Floats]:
    n1, n0, y1, y0 = _arm_sums(logs, score)
    return n1 + n0, y1 - y0 * _ratio(n1, n0, 0.0)


def _lift(logs: Logs, score: Floats, *, empty: float = 0.0) -> tuple[Floats, Floats]:
    """Returns running rows and the difference of the arms' means among them; an arm without rows has the mean `empty`."""
    n1, n0, y1, y0 = _arm_sums(logs, score)
    return n1 + n0, _ratio(y1, n1, empty) - _ratio(y0, n0, empty)


def _uplift_curve(logs: Logs, score: Floats) -> tuple[Floats, Floats]:
    rows, lift = _lift(logs, score)
    return rows, rows * lift


def _ratio(top: Floats, bottom: Floats, empty: float) -> Floats:
    return np.divide(top, bottom, out=np.full_like(top, empty), where=bottom > 0)


def _perfect_uplift(logs: Logs) -> Floats:
    """Returns scikit-uplift's order: treated responders and control non-responders first, the rarer of the others last."""
    control_responders = np.sum(logs.weights[(logs.value == 1) & (logs.treatment == 0)])
    treated_refusers = np.sum(logs.weights[(logs.value == 0) & (logs.treatment == 1)])
    tie_break = logs.value if control_responders > treated_refusers else logs.treatment
    return np.add(2.0 * (logs.value == logs.treatment), tie_break)


def _against_perfect(actual: tuple[Floats, Floats], perfect: tuple[Floats, Floats]) -> float:
    straight = perfect[0][-1] * perfect[1][-1] / 2
    best = trapezoid(perfect[1], perfect[0]) - straight
    if best == 0:
        raise _check.refuse("area of the perfect order", 0.0, "every order is equally good", "Use more rows.")
    return float((trapezoid(actual[1], actual[0]) - straight) / best)
